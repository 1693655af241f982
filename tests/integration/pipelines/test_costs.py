"""Costs of days: exact, and computed again where what energy costs has changed, and only there."""

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import polars as pl
import psycopg
import pytest

from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_DAILY, CHARGER_EFFICIENCY_HOURLY
from lake.schema.charging_session import CHARGING_SESSION
from lake.schema.vehicle_efficiency import FLEET_EFFICIENCY_DAILY, VEHICLE_EFFICIENCY_DAILY
from pipelines.automation.sensors import changed_days
from tests.harness.pipelines import PipelineStack, StackTemplate, copied_stack
from tests.integration.pipelines.verify.test_verify import AGREES, NOT_JUDGED, Verified
from tests.samples import HOUR_10
from warehouse_sql.device_attributes import DeviceAttributes
from warehouse_sql.devices import DeviceUpdate, update_devices

DAY = HOUR_10.date()
TARIFFS = """
default: berlin
tariffs:
  berlin:
    currency: EUR
    time_zone: Europe/Berlin
    periods:
      - {valid_from: 2026-01-01, price_per_kwh: 0.212345, bands: [
          {from_hour: 22, to_hour: 11, price_per_kwh: 0.1}]}
      - {valid_from: 2027-01-01, price_per_kwh: 0.25}
  zurich:
    currency: CHF
    time_zone: Europe/Zurich
    periods: [{valid_from: 2026-01-01, price_per_kwh: 0.3}]
"""


@pytest.fixture
def computed(computed_template: StackTemplate, tmp_path: Path) -> Iterator[PipelineStack]:
    """Three hours from 9:00 UTC, 10:00 in Berlin, and their day, computed without any tariff."""
    with copied_stack(computed_template, tmp_path / "lake") as stack:
        yield stack


def run_days(stack: PipelineStack) -> None:
    requests = stack.evaluate_sensor(changed_days).run_requests or []
    assert [request.partition_key or request.tags for request in requests]
    for request in requests:
        assert stack.run("daily", request.tags).success
    assert stack.rows(b"SELECT * FROM repriced_day") == []


def repriced(stack: PipelineStack) -> list[object]:
    return [row["day"] for row in stack.rows(b"SELECT day FROM repriced_day")]


def costs(stack: PipelineStack, name: str, key: str) -> dict[object, tuple[object, ...]]:
    shown = stack.table(name).select(key, "cost_of_energy", "cost_of_losses", "currency")
    return {row[0]: row[1:] for row in shown.iter_rows()}


def test_a_day_has_exact_costs_and_others_once_its_prices_or_a_tariff_changes(
    computed: PipelineStack,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    none = (None, None, None)
    assert costs(computed, FLEET_EFFICIENCY_DAILY.name, "date") == {DAY: none}
    file = tmp_path / "tariffs.yaml"
    file.write_text(TARIFFS)
    monkeypatch.setenv("TARIFF_FILE", str(file))
    computed.evaluate_sensor(changed_days)
    assert repriced(computed) == [DAY]
    assert Verified(capsys).code == NOT_JUDGED
    run_days(computed)

    hours = computed.table(CHARGER_EFFICIENCY_HOURLY.name)
    expected: dict[object, Decimal] = defaultdict(Decimal)
    for row in hours.iter_rows(named=True):
        price = Decimal("0.1") if row["hour_start"] < HOUR_10 else Decimal("0.212345")
        expected[row["meter_id"]] += Decimal(repr(row["energy_ac_kwh"])) * price
    chargers = costs(computed, CHARGER_EFFICIENCY_DAILY.name, "meter_id")
    assert {meter: row[0] for meter, row in chargers.items()} == expected
    assert {row[2] for row in chargers.values()} == {"EUR"}
    ((energy, losses, currency),) = costs(computed, FLEET_EFFICIENCY_DAILY.name, "date").values()
    assert (energy, currency) == (sum(expected.values()), "EUR")
    vehicles = costs(computed, VEHICLE_EFFICIENCY_DAILY.name, "vehicle_id")
    sessions_cost_what_days_do(computed)
    assert losses == sum(Decimal(str(row[1])) for row in vehicles.values()) > 0
    copied = computed.rows(
        b"SELECT meter_id, cost_of_energy, cost_of_losses, currency FROM charger_efficiency_daily"
    )
    assert {row["meter_id"]: tuple(row.values())[1:] for row in copied} == chargers
    assert Verified(capsys).code == AGREES

    with psycopg.connect(computed.database_url) as connection:
        connection.execute("INSERT INTO depot (id, tariff) VALUES ('south', 'zurich')")
    moved = [DeviceUpdate("meter", "METER001", DeviceAttributes(depot="south"))]
    update_devices(computed.database_url, moved)
    assert repriced(computed) == [DAY]
    run_days(computed)
    chargers = costs(computed, CHARGER_EFFICIENCY_DAILY.name, "meter_id")
    assert chargers["METER001"][2] == "CHF"
    kwh = hours.filter(pl.col("meter_id") == "METER001")["energy_ac_kwh"]
    assert chargers["METER001"][0] == sum(Decimal(repr(one)) for one in kwh) * Decimal("0.3")
    assert chargers["METER002"][0] == expected["METER002"]
    sessions_cost_what_days_do(computed)
    assert costs(computed, FLEET_EFFICIENCY_DAILY.name, "date") == {DAY: none}
    assert Verified(capsys).code == AGREES

    update_devices(computed.database_url, moved)  # no change
    file.write_text(TARIFFS.replace("0.25", "0.26"))  # of a time to come
    assert not computed.evaluate_sensor(changed_days).run_requests
    assert repriced(computed) == []
    file.write_text(TARIFFS.replace("0.212345", "0.3"))
    run_days(computed)
    assert (
        costs(computed, CHARGER_EFFICIENCY_DAILY.name, "meter_id")["METER002"]
        != chargers["METER002"]
    )


def sessions_cost_what_days_do(stack: PipelineStack) -> None:
    """All that these vehicles charged on their day lies in one session each."""
    days = costs(stack, VEHICLE_EFFICIENCY_DAILY.name, "vehicle_id")
    sessions = costs(stack, CHARGING_SESSION.name, "vehicle_id")
    assert {vehicle: (cost[0], cost[2]) for vehicle, cost in sessions.items()} == {
        vehicle: (cost[0], cost[2]) for vehicle, cost in days.items()
    }
    rated = {vehicle: cost[1] for vehicle, cost in sessions.items() if cost[1] is not None}
    assert rated == {vehicle: days[vehicle][1] for vehicle in rated}
    assert "VEH003" not in rated  # it seems to gain energy
    assert len(rated) == 2
    copied = stack.rows(b"SELECT vehicle_id, cost_of_energy FROM charging_session")
    assert {row["vehicle_id"]: row["cost_of_energy"] for row in copied} == {
        vehicle: cost[0] for vehicle, cost in sessions.items()
    }


def test_a_wrong_file_of_tariffs_stops_no_day_from_being_asked_for(
    computed: PipelineStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tariffs.yaml"
    file.write_text(TARIFFS.replace("EUR", "Euro"))
    monkeypatch.setenv("TARIFF_FILE", str(file))
    tick = computed.evaluate_sensor(changed_days)
    assert tick.cursor
    assert repriced(computed) == []
