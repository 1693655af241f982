"""Every table of hours and days is computed by its job, and they agree with each other."""

from collections.abc import Iterator

import polars as pl
import pytest

from lake.energy.exact import exact_sum
from lake.schema.catalog import CONDITION_TABLES, DAILY_TABLES, DERIVED_TABLES
from lake.schema.charging_session import CHARGING_SESSION
from lake.schema.charging_stretch import CHARGING_STRETCH_HOURLY
from lake.schema.table_spec import TableSpec
from tests.harness.pipelines import PipelineStack, StackTemplate, copied_stack


@pytest.fixture(scope="module")
def computed(
    computed_template: StackTemplate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PipelineStack]:
    """Three hours of three cars, computed with their day; the tests only look at them."""
    with copied_stack(computed_template, tmp_path_factory.mktemp("tables") / "lake") as stack:
        yield stack


def rows(stack: PipelineStack, name: str) -> pl.DataFrame:
    table = stack.lake.open(name)
    return stack.lake.scan(table).collect()


def test_every_table_has_the_rows_and_the_order_of_its_key(computed: PipelineStack) -> None:
    for spec in DERIVED_TABLES:
        found = rows(computed, spec.name)
        assert found.height == expected_rows(spec), spec.name
        assert found.select(spec.key).is_unique().all(), spec.name
        for file in computed.lake.open(spec.name).file_uris():
            # The day is the file's partition, not one of its columns.
            keys = pl.read_parquet(file).select([name for name in spec.key if name != "date"])
            assert not keys.columns or keys.equals(keys.sort(keys.columns)), spec.name


def test_chargers_vehicles_and_fleet_tell_the_same_energy(computed: PipelineStack) -> None:
    for period in ("hourly", "daily"):
        fleet = rows(computed, f"fleet_efficiency_{period}")
        chargers = rows(computed, f"charger_efficiency_{period}")
        vehicles = rows(computed, f"vehicle_efficiency_{period}")
        for side in ("energy_ac_kwh", "energy_dc_kwh"):
            totals = [
                table.select(exact_sum(pl.col(side))).item()
                for table in (fleet, chargers, vehicles)
            ]
            assert totals[0] == totals[1] == totals[2] > 0
        assert chargers["vehicle_ids"].explode().sort().to_list() == sorted(
            vehicles["vehicle_id"].to_list()
        )


def test_a_day_says_what_its_hours_and_heartbeats_say(computed: PipelineStack) -> None:
    received = rows(computed, "heartbeat_completeness_hourly")["heartbeats_received"].sum()
    days = rows(computed, "vehicle_efficiency_daily")
    points = days.select(pl.sum("data_points_meter") + pl.sum("data_points_vehicle")).item()
    assert received == points
    batteries = rows(computed, "battery_health_daily")
    energies = days.select("vehicle_id", "energy_dc_kwh")
    assert batteries.select("vehicle_id", "energy_dc_kwh").equals(energies)
    assert batteries["temperature_max"].to_list() == [21.0, 35.0, 30.0]


def expected_rows(spec: TableSpec) -> int:
    """Three devices a stream over three hours; the grid's health needs a voltage, none is sent.

    Each car charges from five seconds before its first heartbeat on.
    """
    if spec is CHARGING_STRETCH_HOURLY:
        return 3 * 4
    if spec is CHARGING_SESSION:
        return 3
    if spec in CONDITION_TABLES:  # a job of their own, which needs more sessions
        return 0
    times = 1 if spec in DAILY_TABLES else 3
    of_one = {"fleet": 1, "grid": 0, "heartbeat": 2}
    return times * of_one.get(spec.name.split("_")[0], 3)
