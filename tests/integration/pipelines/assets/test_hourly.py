"""Hourly runs over real Postgres and Delta: what analysts rely on in the tables."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import dagster as dg
import polars as pl
import pytest
from dagster import AssetKey

from lake import HOUR, METER, VEHICLE, Lake, Stream, compact_hours
from lake.schema.catalog import HOURLY_TABLES
from lake.schema.vehicle_efficiency import FLEET_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_HOURLY
from pipelines.assets import history
from pipelines.partitions import hour_key
from tests.harness.pipelines import PipelineStack, checks, minutes_of
from tests.samples import HOUR_10, meter_rows, vehicle_rows

DERIVED = (
    METER.history_table,
    VEHICLE.history_table,
    VEHICLE_EFFICIENCY_HOURLY.name,
    FLEET_EFFICIENCY_HOURLY.name,
)


def test_a_range_run_fills_history_efficiency_and_marts_with_the_same_numbers(
    charged: PipelineStack,
) -> None:
    result = charged.run_hours(HOUR_10 - HOUR, HOUR_10 + HOUR)

    assert result.success
    assert charged.table(METER.history_table).height == 3 * 3 * 60
    vehicles = charged.table(VEHICLE_EFFICIENCY_HOURLY.name)
    assert vehicles.filter(pl.col("hour_start") == HOUR_10).select(
        "vehicle_id", "efficiency_percent", "status", "link_source"
    ).rows() == [
        ("VEH001", pytest.approx(92), "excellent", "rule"),
        ("VEH002", pytest.approx(70), "critical", "rule"),
        ("VEH003", pytest.approx(130), "implausible", "rule"),
    ]
    fleet = charged.table(FLEET_EFFICIENCY_HOURLY.name)
    assert fleet["efficiency_percent"].to_list() == [pytest.approx(81)] * 3
    in_postgres = charged.rows(
        b"SELECT * FROM vehicle_efficiency_hourly ORDER BY hour_start, vehicle_id"
    )
    assert [(row["hour_start"], row["energy_dc_kwh"], row["meter_ids"]) for row in in_postgres] == [
        (row["hour_start"], row["energy_dc_kwh"], row["meter_ids"])
        for row in vehicles.sort("hour_start", "vehicle_id").iter_rows(named=True)
    ]
    fleet_in_postgres = charged.rows(
        b"SELECT loss_kwh FROM fleet_efficiency_hourly ORDER BY hour_start"
    )
    assert [row["loss_kwh"] for row in fleet_in_postgres] == fleet["loss_kwh"].to_list()


def test_checks_of_a_run_name_the_implausible_vehicle_and_do_not_stop_the_run(
    charged: PipelineStack,
) -> None:
    result = charged.run_hours(HOUR_10, HOUR_10)

    assert checks(result) == {
        "meter_telemetry_history: rows_conserved": True,
        "meter_telemetry_history: no_duplicate_key": True,
        "meter_telemetry_history: sorted_files": True,
        "vehicle_telemetry_history: rows_conserved": True,
        "vehicle_telemetry_history: no_duplicate_key": True,
        "vehicle_telemetry_history: sorted_files": True,
        "vehicle_efficiency_hourly: efficiency_plausible": False,
        "vehicle_efficiency_hourly: dc_not_above_ac": False,
        "vehicle_efficiency_hourly: hours_covered": True,
        "vehicle_efficiency_hourly: one_vehicle_at_a_meter": True,
        "vehicle_efficiency_hourly: agrees_with_chargers": True,
        "charger_efficiency_hourly: agrees_with_fleet": True,
        "fleet_efficiency_hourly: agrees_with_vehicles": True,
        "heartbeat_completeness_hourly: agrees_with_devices": True,
        "grid_health_hourly: voltages_were_sent": True,
        "charging_stretch_hourly: stretches_add_up": True,
        "warehouse/vehicle_efficiency_hourly: equals_lake_table": True,
        "warehouse/charger_efficiency_hourly: equals_lake_table": True,
        "warehouse/fleet_efficiency_hourly: equals_lake_table": True,
        "charging_session: sessions_add_up": True,
        "warehouse/charging_session: equals_lake_table": True,
    }
    for warning in (c for c in result.get_asset_check_evaluations() if not c.passed):
        assert warning.severity == dg.AssetCheckSeverity.WARN
        assert "| 2026-11-20 10:00:00Z | VEH003 |" in str(warning.metadata["first_ones"].value)


def test_each_hour_of_a_range_has_its_own_row_counts(charged: PipelineStack) -> None:
    extra = minutes_of(HOUR_10, meter_id="METER001", kwh_consumed_ac=0.1)[:7]
    charged.deliver(METER, meter_rows(*extra))

    charged.run_hours(HOUR_10 - HOUR, HOUR_10)

    found = charged.instance.fetch_materializations(AssetKey(METER.history_table), limit=10).records
    by_partition = {
        record.partition_key: {
            name: value.value
            for name, value in record.asset_materialization.metadata.items()
            if name in ("dagster/partition_row_count", "duplicates_removed")
        }
        for record in found
        if record.asset_materialization
    }
    assert by_partition == {
        hour_key(HOUR_10 - HOUR): {"dagster/partition_row_count": 180, "duplicates_removed": 0},
        hour_key(HOUR_10): {"dagster/partition_row_count": 180, "duplicates_removed": 7},
    }


def test_running_the_same_hours_again_changes_nothing(charged: PipelineStack) -> None:
    charged.run_hours(HOUR_10 - HOUR, HOUR_10 + HOUR)
    before = {name: charged.table(name) for name in DERIVED}
    versions = versions_of_hourly_tables(charged)
    marts = charged.rows(b"SELECT * FROM vehicle_efficiency_hourly ORDER BY hour_start, vehicle_id")

    charged.run_hours(HOUR_10 - HOUR, HOUR_10 + HOUR)

    for name in DERIVED:
        assert charged.table(name).equals(before[name]), name
    assert (
        charged.rows(b"SELECT * FROM vehicle_efficiency_hourly ORDER BY hour_start, vehicle_id")
        == marts
    )
    assert versions_of_hourly_tables(charged) == versions


def versions_of_hourly_tables(stack: PipelineStack) -> dict[str, int]:
    return {spec.name: stack.lake.open(spec.name).version() for spec in HOURLY_TABLES}


def test_an_hour_without_heartbeats_and_links_has_no_row_when_it_is_run_by_hand(
    stack: PipelineStack,
) -> None:
    stack.run_hours(HOUR_10, HOUR_10)
    rows = {spec.name: stack.table(spec.name).height for spec in HOURLY_TABLES}
    assert rows == dict.fromkeys(rows, 0)


def test_an_hour_whose_heartbeats_are_gone_from_the_history_blocks_everything_downstream(
    charged: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def losing(lake: Lake, stream: Stream, hours: Sequence[datetime]) -> object:
        done = compact_hours(lake, stream, hours)
        if stream is METER:
            lake.open(stream.history_table).delete("meter_id = 'METER002'")
        return done

    monkeypatch.setattr(history, "compact_hours", losing)
    result = charged.run_hours(HOUR_10, HOUR_10, raise_on_error=False)

    assert not result.success
    (failed,) = [c for c in result.get_asset_check_evaluations() if not c.passed]
    assert failed.check_name == "rows_conserved"
    assert failed.metadata["count"].value == 60
    assert "METER002" in str(failed.metadata["first_ones"].value)
    assert charged.table(VEHICLE_EFFICIENCY_HOURLY.name).is_empty()
    assert not charged.rows(b"SELECT 1 FROM vehicle_efficiency_hourly")
    (ledger,) = charged.rows(
        b"SELECT compacted_version, published_version FROM partition_ledger"
        b" WHERE stream = 'meter' AND hour = %(hour)s",
        hour=HOUR_10,
    )
    assert ledger == {"compacted_version": None, "published_version": None}


def test_late_register_readings_recompute_the_hour_that_counts_from_them(
    stack: PipelineStack,
) -> None:
    def register(hours_later: float, kwh: float) -> dict[str, object]:
        return {
            "timestamp": HOUR_10 + timedelta(hours=hours_later),
            "reading_type": "register",
            "kwh_delivered_dc": kwh,
        }

    stack.deliver(VEHICLE, vehicle_rows(register(0, 100), register(5.5, 109)))
    stack.run_hours(HOUR_10, HOUR_10 + 6 * HOUR)
    assert _energy(stack) == {0: None, 5: pytest.approx(9)}

    stack.deliver(VEHICLE, vehicle_rows(register(0.5, 104)))
    stack.run_hours(HOUR_10, HOUR_10)

    assert _energy(stack) == {0: pytest.approx(4), 5: pytest.approx(5)}
    assert [
        row["energy_dc_kwh"]
        for row in stack.rows(
            b"SELECT energy_dc_kwh FROM vehicle_efficiency_hourly ORDER BY hour_start"
        )
    ] == list(_energy(stack).values())


def test_a_lake_that_is_older_than_the_ledger_is_refused(charged: PipelineStack) -> None:
    charged.rows(b"UPDATE partition_ledger SET raw_version = 1000 RETURNING 1")

    with pytest.raises(dg.Failure, match="this is another or a restored lake"):
        charged.run_hours(HOUR_10, HOUR_10)


def _energy(stack: PipelineStack) -> dict[int, float | None]:
    rows = stack.table(VEHICLE_EFFICIENCY_HOURLY.name).sort("hour_start")
    return {
        (row["hour_start"] - HOUR_10) // HOUR: row["energy_dc_kwh"]
        for row in rows.iter_rows(named=True)
    }


def test_two_known_meters_of_one_number_pair_nobody_even_while_one_is_silent(
    stack: PipelineStack,
) -> None:
    stack.deliver(METER, meter_rows({"meter_id": "OLD001", "timestamp": HOUR_10 - 5 * HOUR}))
    stack.deliver(METER, meter_rows(*minutes_of(HOUR_10, kwh_consumed_ac=0.1)))
    stack.deliver(VEHICLE, vehicle_rows(*minutes_of(HOUR_10, kwh_delivered_dc=0.09)))
    stack.run_hours(HOUR_10 - 5 * HOUR, HOUR_10)
    rows = stack.table("vehicle_efficiency_hourly").filter(pl.col("hour_start") == HOUR_10)
    assert rows.select("vehicle_id", "status").rows() == [("VEH001", "unmapped")]
