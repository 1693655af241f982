"""The tables of a day and its report: the sums of the hours, and the same numbers in both."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from lake import HOUR, METER, VEHICLE, EnergySettings
from pipelines.automation.jobs import RANGE_END, RANGE_START, range_tags
from pipelines.automation.sensors import changed_days, late_hours
from pipelines.compute.inputs import day_inputs, day_tables
from pipelines.report.figures import day_figures
from tests.harness.pipelines import PipelineStack, StackTemplate, copied_stack, minutes_of
from tests.samples import HOUR_10, meter_rows, vehicle_rows

DAYS = ("vehicle_efficiency_daily", "fleet_efficiency_daily")
FOLDER = "reports/date=2026-11-20"


@pytest.fixture
def reported(computed_template: StackTemplate, tmp_path: Path) -> Iterator[PipelineStack]:
    """Three computed hours and the report of their day."""
    with copied_stack(computed_template, tmp_path / "lake") as stack:
        yield stack


def read(stack: PipelineStack, name: str) -> str:
    with stack.lake.file_system().open_input_stream(f"{FOLDER}/{name}") as stream:
        return bytes(stream.read()).decode()


def rows_of_csv(stack: PipelineStack) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(read(stack, "efficiency.csv"))))


def test_the_csv_holds_the_sums_of_the_hourly_table(reported: PipelineStack) -> None:
    fleet, *vehicles = rows_of_csv(reported)

    in_postgres = {
        row["vehicle_id"]: row
        for row in reported.rows(
            b"SELECT vehicle_id, sum(energy_ac_kwh) AS ac, sum(energy_dc_kwh) AS dc,"
            b" count(*) AS hours FROM vehicle_efficiency_hourly GROUP BY vehicle_id"
        )
    }
    assert [row["vehicle_id"] for row in vehicles] == ["VEH001", "VEH002", "VEH003"]
    for row in vehicles:
        expected = in_postgres[row["vehicle_id"]]
        assert float(row["energy_ac_kwh"]) == pytest.approx(expected["ac"])
        assert float(row["energy_dc_kwh"]) == pytest.approx(expected["dc"])
        assert int(row["hours"]) == expected["hours"]
    assert [row["status"] for row in vehicles] == ["excellent", "critical", "implausible"]
    assert fleet["scope"] == "fleet"
    assert float(fleet["efficiency_percent"]) == pytest.approx(81)
    # Of the minute that the first heartbeat tells of 55 seconds lie in the hour before.
    assert float(fleet["loss_kwh"]) == pytest.approx((3 * 60 - 55 / 60) * (0.2 - 0.162))
    assert fleet["vehicles_implausible"] == "1"


def test_the_page_shows_the_same_numbers_and_needs_nothing_from_elsewhere(
    reported: PipelineStack,
) -> None:
    page = read(reported, "efficiency.html")

    assert "Friday, 20 November 2026" in page
    assert '81.0<span class="unit">%</span>' in page
    assert '6.8<span class="unit">kWh</span>' in page
    assert "3 of 24 hours have heartbeats" in page
    assert page.index(">VEH002<") < page.index(">VEH001<")
    assert "src=" not in page
    assert "@import" not in page
    assert "url(" not in page
    assert "<script" not in page


def test_a_range_run_reports_every_day_of_it(charged: PipelineStack) -> None:
    charged.run_hours(HOUR_10, HOUR_10)
    charged.run("daily", range_tags("2026-11-19", "2026-11-20"))

    with charged.lake.file_system().open_input_stream(
        "reports/date=2026-11-19/efficiency.html"
    ) as page:
        assert b"nothing to rate" in bytes(page.read())
    assert rows_of_csv(charged)[0]["scope"] == "fleet"


def test_a_day_without_data_has_a_csv_with_its_columns(stack: PipelineStack) -> None:
    stack.run("daily", {"dagster/partition": "2026-11-20"})

    assert read(stack, "efficiency.csv").startswith("date,scope,vehicle_id,energy_ac_kwh")


def test_the_report_and_the_tables_of_the_day_say_the_same(reported: PipelineStack) -> None:
    fleet, *vehicles = rows_of_csv(reported)

    of_day = reported.table("vehicle_efficiency_daily").sort("vehicle_id")
    for row, expected in zip(vehicles, of_day.iter_rows(named=True), strict=True):
        assert row["vehicle_id"] == expected["vehicle_id"]
        assert float(row["efficiency_percent"]) == expected["efficiency_percent"]
        assert (row["status"], int(row["hours"])) == (expected["status"], expected["hours"])
    (fleet_day,) = reported.table("fleet_efficiency_daily").to_dicts()
    assert float(fleet["loss_kwh"]) == fleet_day["loss_kwh"]
    assert (fleet_day["date"], fleet_day["hours"]) == (HOUR_10.date(), 3)


def test_a_rerun_of_days_changes_nothing_and_a_range_leaves_other_days_alone(
    reported: PipelineStack,
) -> None:
    before = {name: reported.table(name) for name in DAYS}
    reported.run("daily", range_tags("2026-11-18", "2026-11-20"))
    for name in DAYS:
        assert reported.table(name).equals(before[name]), name

    reported.run("daily", range_tags("2026-11-21", "2026-11-22"))
    for name in DAYS:
        assert reported.table(name).equals(before[name]), name


def test_heartbeats_that_are_a_year_late_reach_hour_mart_day_and_report(
    charged: PipelineStack,
) -> None:
    charged.run_hours(HOUR_10 - HOUR, HOUR_10 + HOUR)
    charged.run("daily", {"dagster/partition": "2026-11-20"})
    cursor = charged.evaluate_sensor(changed_days).cursor
    old = HOUR_10 - timedelta(days=365)
    charged.deliver(METER, meter_rows(*minutes_of(old, kwh_consumed_ac=0.1)))
    charged.deliver(VEHICLE, vehicle_rows(*minutes_of(old, kwh_delivered_dc=0.08)))

    while requests := charged.evaluate_sensor(late_hours).run_requests:
        for request in requests:
            charged.run("hourly", request.tags)
    tick = charged.evaluate_sensor(changed_days, cursor)
    requests = tick.run_requests or []
    for request in requests:
        charged.run("daily", request.tags)

    # The first hour of 2026 has its last readings before it in the year before.
    days = sorted((request.tags[RANGE_START], request.tags[RANGE_END]) for request in requests)
    assert days == [("2025-11-20", "2025-11-20"), ("2026-11-20", "2026-11-20")]
    (mart,) = charged.rows(
        b"SELECT efficiency_percent FROM vehicle_efficiency_hourly WHERE hour_start = %(hour)s",
        hour=old,
    )
    computed = charged.table("vehicle_efficiency_daily")
    (day,) = computed.filter(pl.col("date") == old.date()).to_dicts()
    with charged.lake.file_system().open_input_stream(
        "reports/date=2025-11-20/efficiency.csv"
    ) as file:
        (_, told) = csv.DictReader(io.StringIO(bytes(file.read()).decode()))
    for percent in (mart["efficiency_percent"], day["efficiency_percent"]):
        assert percent == pytest.approx(80)
    assert float(told["efficiency_percent"]) == day["efficiency_percent"]
    assert charged.evaluate_sensor(changed_days, tick.cursor).run_requests == []


def test_coverage_is_that_of_the_time_that_has_passed(charged: PipelineStack) -> None:
    charged.run_hours(HOUR_10 - HOUR, HOUR_10 + HOUR)
    noon, later = HOUR_10 + 2 * HOUR, datetime(2026, 11, 22, tzinfo=UTC)

    for moment, hours in ((noon, 12), (later, 24)):
        tables, _ = day_tables(
            day_inputs(charged.lake, HOUR_10.date(), EnergySettings(), moment, None),
            EnergySettings(),
        )
        assert tables is not None
        covered = tables["vehicle_efficiency_daily"]["coverage_ac"][0]
        assert covered == pytest.approx(3 / hours, rel=0.02)
    assert day_figures(charged.lake, HOUR_10.date(), noon, {}).is_partial
    assert not day_figures(charged.lake, HOUR_10.date(), later, {}).is_partial
