"""`wattlake verify` on the tables of days: they add up, and what does not is computed again."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from lake import HOUR
from lake.schema.battery_health import BATTERY_HEALTH_DAILY
from lake.schema.catalog import DAILY_TABLES
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_DAILY, CHARGER_EFFICIENCY_HOURLY
from lake.schema.fact_columns import FACT_COLUMNS
from lake.schema.vehicle_efficiency import (
    FLEET_EFFICIENCY_DAILY,
    VEHICLE_EFFICIENCY_DAILY,
    VEHICLE_EFFICIENCY_HOURLY,
)
from pipelines.automation.sensors import changed_days, late_hours
from pipelines.verify import days
from tests.harness.pipelines import PipelineStack, StackTemplate, copied_stack
from tests.integration.pipelines.verify.test_verify import AGREES, DIFFERS, NOT_JUDGED, Verified
from tests.samples import HOUR_10

DAMAGED = {
    VEHICLE_EFFICIENCY_DAILY.name: "coverage_dc",
    CHARGER_EFFICIENCY_DAILY.name: "longest_gap_seconds",
    FLEET_EFFICIENCY_DAILY.name: "unlinked_energy_ac_kwh",
    BATTERY_HEALTH_DAILY.name: "minutes_measured",
}


def test_a_damaged_day_is_found_and_computed_again(
    charged: PipelineStack, capsys: pytest.CaptureFixture[str]
) -> None:
    charged.run_hours(HOUR_10 - HOUR, HOUR_10 + HOUR)
    before_it = Verified(capsys)  # the day's own run has yet to come
    assert (before_it.code, before_it.report["daysNotJudged"]) == (NOT_JUDGED, ["2026-11-20"])
    run_days(charged)
    assert Verified(capsys).code == AGREES
    before = {spec.name: charged.table(spec.name) for spec in DAILY_TABLES}

    for name, column in DAMAGED.items():
        table = charged.lake.open(name)
        rows = charged.lake.scan(table).collect()
        changed = rows.with_columns(
            pl.when(pl.int_range(pl.len()) == 0)
            .then(pl.col(column) + 1)
            .otherwise(column)
            .alias(column)
        )
        write_deltalake(table, changed.rechunk().to_arrow(), mode="overwrite")

    found = Verified(capsys, "--repair")
    assert found.code == DIFFERS
    assert {table for _, table in found.findings} == DAMAGED.keys()
    assert {hour for hour, _ in found.findings} == {"2026-11-20T09"}
    for request in charged.evaluate_sensor(late_hours).run_requests or []:
        assert charged.run("hourly", request.tags).success
    run_days(charged)
    assert Verified(capsys).code == AGREES
    for name, rows in before.items():
        assert charged.table(name).equals(rows), name


def test_a_day_waits_for_its_hours_where_an_older_version_computed_them(
    charged: PipelineStack, capsys: pytest.CaptureFixture[str]
) -> None:
    charged.run_hours(HOUR_10 - HOUR, HOUR_10 + HOUR)
    run_days(charged)
    before = {spec.name: charged.table(spec.name) for spec in DAILY_TABLES}
    facts = ["reason", *(column.name for column in FACT_COLUMNS)]
    for spec in (VEHICLE_EFFICIENCY_HOURLY, CHARGER_EFFICIENCY_HOURLY):
        table = charged.lake.open(spec.name)
        known = charged.lake.scan(table).drop(facts, "unlinked_known_ac_seconds", strict=False)
        write_deltalake(
            table,
            known.collect().rechunk().to_arrow(),
            mode="overwrite",
            schema_mode="overwrite",
        )
    charged.lake.create_tables()

    found = Verified(capsys)
    assert found.code == DIFFERS
    assert VEHICLE_EFFICIENCY_HOURLY.name in {table for _, table in found.findings}
    assert before.keys().isdisjoint(table for _, table in found.findings)
    assert charged.run("daily", {"dagster/partition": f"{HOUR_10:%Y-%m-%d}"}).success
    for name, rows in before.items():
        assert charged.table(name).equals(rows), name

    for request in charged.evaluate_sensor(late_hours).run_requests or []:
        assert charged.run("hourly", request.tags).success
    run_days(charged)
    assert Verified(capsys).code == AGREES
    for name, rows in before.items():
        assert charged.table(name).equals(rows), name


def test_a_day_in_postgres_that_is_not_that_of_the_lake_is_found_and_published_again(
    computed_template: StackTemplate,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with copied_stack(computed_template, tmp_path / "lake") as computed:
        computed.rows(b"DELETE FROM charger_efficiency_daily RETURNING 1")
        assert Verified(capsys).code == NOT_JUDGED  # the run that has written the day may be at it
        monkeypatch.setattr(days, "_TIME_TO_FOLLOW", timedelta())
        found = Verified(capsys, "--repair")
        assert found.findings == [("2026-11-20T09", "warehouse/charger_efficiency_daily")]
        for request in computed.evaluate_sensor(late_hours).run_requests or []:
            assert computed.run("hourly", request.tags).success
        run_days(computed)
        assert Verified(capsys).code == AGREES


def test_days_that_lie_partly_in_the_range_are_not_judged(
    computed_template: StackTemplate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with copied_stack(computed_template, tmp_path / "lake") as computed:
        computed.lake.open(VEHICLE_EFFICIENCY_DAILY.name).delete("vehicle_id = 'VEH001'")
        part = Verified(capsys, "--from", "2026-11-20T10", "--to", "2026-11-20T10")
        assert part.code == AGREES
        whole = Verified(capsys, "--from", "2026-11-20", "--to", "2026-11-20")
        assert whole.code == DIFFERS
        assert "1 missing" in whole.first(VEHICLE_EFFICIENCY_DAILY.name)["found"]


def run_days(stack: PipelineStack) -> None:
    """Run what the sensor of the days asks for."""
    requests = stack.evaluate_sensor(changed_days).run_requests or []
    assert requests
    for request in requests:
        assert stack.run("daily", request.tags).success
