"""Charging sessions over real Postgres and Delta: ids that stay, late data, links, verification."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest

from lake import HOUR, METER, VEHICLE
from lake.schema.charging_session import CHARGING_SESSION
from pipelines.automation.sensors import late_hours
from tests.harness.pipelines import PipelineStack, checks
from tests.integration.pipelines.verify.test_verify import DIFFERS, NOT_JUDGED, Verified
from tests.samples import HOUR_10, meter_rows, vehicle_rows

NINE_PM = HOUR_10 + 11 * HOUR


def deliver(
    stack: PipelineStack,
    charging: Sequence[tuple[int, int]],
    first: int,
    last: int,
    device: str = "001",
) -> None:
    """Heartbeats each minute, and 0.12 and 0.11 kWh while charging; in minutes since nine."""
    meters, vehicles = [], []
    for minute in range(first, last):
        flows = any(start <= minute < end for start, end in charging)
        moment = NINE_PM + timedelta(minutes=minute + 1) - timedelta(seconds=1)
        own = {"timestamp": moment, "received_at": moment + timedelta(seconds=5)}
        meters.append({**own, "meter_id": f"METER{device}", "kwh_consumed_ac": 0.12 * flows})
        vehicles.append({**own, "vehicle_id": f"VEH{device}", "kwh_delivered_dc": 0.11 * flows})
    stack.deliver(METER, meter_rows(*meters))
    stack.deliver(VEHICLE, vehicle_rows(*vehicles))


def sessions(stack: PipelineStack) -> list[dict[str, Any]]:
    rows = stack.lake.scan(stack.lake.open(CHARGING_SESSION.name)).collect()
    return rows.drop("date").sort(CHARGING_SESSION.key).to_dicts()


def in_postgres(stack: PipelineStack) -> list[dict[str, Any]]:
    found = stack.rows(b"SELECT * FROM charging_session ORDER BY vehicle_id, begins")
    return [dict(row) for row in found]


def minutes(session: Mapping[str, Any]) -> tuple[int, int | None]:
    """Begin and end, in minutes since nine."""

    def since_nine(moment: datetime) -> int:
        return round((moment - NINE_PM) / timedelta(minutes=1))

    return since_nine(session["begins"]), session["ends"] and since_nine(session["ends"])


def test_a_session_keeps_its_id_over_midnight_late_data_and_a_rerun(
    stack: PipelineStack, capsys: pytest.CaptureFixture[str]
) -> None:
    charging = [(30, 120), (160, 270)]
    deliver(stack, charging, 0, 60)
    stack.run_hours(NINE_PM, NINE_PM)
    (first,) = sessions(stack)
    assert minutes(first) == (30, None)

    deliver(stack, charging, 60, 360)
    result = stack.run_hours(NINE_PM + HOUR, NINE_PM + 5 * HOUR)
    assert all(passed for name, passed in checks(result).items() if "session" in name)
    before, after = sessions(stack)
    assert before["session_id"] == first["session_id"]
    assert (minutes(before), minutes(after)) == ((30, 120), (160, 270))
    assert (after["begins"].day, after["ends"].day) == (20, 21)
    assert before["energy_ac_kwh"] == pytest.approx(90 * 0.12)
    assert in_postgres(stack) == sessions(stack)

    # What had been lost on the way comes late: the two were one, and the older lives on.
    deliver(stack, [(120, 160)], 120, 160)
    stack.run_hours(NINE_PM + 2 * HOUR, NINE_PM + 3 * HOUR)
    (whole,) = sessions(stack)
    assert (whole["session_id"], minutes(whole)) == (first["session_id"], (30, 270))
    assert whole["supersedes"] == [after["session_id"]]
    assert whole["energy_ac_by_hour_kwh"] == pytest.approx([3.6, 7.2, 7.2, 7.2, 3.6], abs=0.01)
    assert in_postgres(stack) == [whole]

    version = stack.lake.open(CHARGING_SESSION.name).version()
    stack.run_hours(NINE_PM, NINE_PM + 5 * HOUR)
    assert stack.lake.open(CHARGING_SESSION.name).version() == version
    assert Verified(capsys).code == NOT_JUDGED  # the day's own run has yet to come
    stack.rows(b"UPDATE charging_session SET energy_ac_kwh = 1 RETURNING 1")
    found = Verified(capsys)
    assert found.code == DIFFERS
    assert found.findings == [("2026-11-20T21", "warehouse/charging_session")]


def test_sessions_are_the_same_whatever_the_order_in_which_hours_are_computed(
    stack: PipelineStack,
) -> None:
    plans = {
        "001": [(10, 170), (195, 300), (331, 400)],
        "002": [(0, 480)],
        "003": [(170, 181), (239, 241)],
    }
    for device, charging in plans.items():
        deliver(stack, charging, 0, 480, device)
    random = Random(7)
    hours = [NINE_PM + n * HOUR for n in range(8)]
    random.shuffle(hours)
    for hour in hours:
        stack.run_hours(hour, hour)
    by_hours = sessions(stack)
    assert {row["session_id"] for row in by_hours if row["ends"] is None} == {
        row["session_id"] for row in by_hours if row["vehicle_id"] == "VEH002"
    }
    stack.run_hours(NINE_PM, NINE_PM + 7 * HOUR)
    assert sessions(stack) == by_hours == in_postgres(stack)
    assert [minutes(row) for row in by_hours] == [
        (10, 300),
        (331, 400),
        (0, None),
        (170, 181),
        (239, 241),
    ]
    total = pl.DataFrame(by_hours, infer_schema_length=None)["energy_dc_kwh"].sum()
    assert total == pytest.approx(stack.table("vehicle_efficiency_hourly")["energy_dc_kwh"].sum())


def test_an_explicit_link_is_the_time_of_being_plugged_in_and_joins_what_it_spans(
    stack: PipelineStack, capsys: pytest.CaptureFixture[str]
) -> None:
    deliver(stack, [(30, 60), (240, 300)], 0, 420)
    stack.run_hours(NINE_PM, NINE_PM + 6 * HOUR)
    first, second = sessions(stack)
    assert first["plugged_from"] is None

    link = {"since": NINE_PM, "until": NINE_PM + 5 * HOUR + timedelta(minutes=30)}
    stack.rows(
        b"INSERT INTO charging_link (meter_id, vehicle_id, valid)"
        b" VALUES ('METER001', 'VEH001', tstzrange(%(since)s, %(until)s)) RETURNING 1",
        **link,
    )
    stack.rows(b"UPDATE partition_ledger SET revision = revision + 1 RETURNING 1")
    stack.run_hours(NINE_PM, NINE_PM + 6 * HOUR)
    (one,) = sessions(stack)
    assert (one["session_id"], one["supersedes"]) == (first["session_id"], [second["session_id"]])
    assert (one["plugged_from"], one["plugged_to"]) == (link["since"], link["until"])
    assert (one["evidence"], one["link_source"]) == ("ac+dc+link", "link")
    assert (minutes(one), one["charging_seconds"]) == ((30, 300), 90 * 60)
    assert one["coverage_ac"] == 1.0

    stack.rows(b"DELETE FROM charging_link RETURNING 1")
    stack.rows(b"UPDATE partition_ledger SET revision = revision + 1 RETURNING 1")
    stack.run_hours(NINE_PM, NINE_PM + 6 * HOUR)
    again = sessions(stack)
    assert [minutes(row) for row in again] == [(30, 60), (240, 300)]
    assert in_postgres(stack) == again

    # A file of sessions that is lost is made anew, and they have the ids that they had.
    for file in stack.lake.open(CHARGING_SESSION.name).file_uris():
        Path(file).unlink()
    lost = Verified(capsys, "--repair")
    assert lost.code == DIFFERS
    assert {table for _, table in lost.findings} == {CHARGING_SESSION.name}
    for request in stack.evaluate_sensor(late_hours).run_requests or []:
        assert stack.run("hourly", request.tags).success
    assert sessions(stack) == again
