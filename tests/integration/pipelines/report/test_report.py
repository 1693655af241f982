"""The tables of a day and its report: the sums of the hours, and the same numbers in both."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from lake import HOUR, METER, VEHICLE, EnergySettings
from lake.reports import Period, Scope, read_file
from pipelines.automation.jobs import RANGE_END, RANGE_START, range_tags
from pipelines.automation.sensors import changed_days, late_hours
from pipelines.compute.inputs import day_inputs, day_tables
from pipelines.compute.places import Places
from pipelines.report.figures import FigureReader
from pipelines.report.window import PinnedTables
from tests.harness.pipelines import PipelineStack, StackTemplate, copied_stack, minutes_of
from tests.samples import HOUR_10, meter_rows, vehicle_rows

DAYS = ("vehicle_efficiency_daily", "fleet_efficiency_daily")
FOLDER = "reports/day/fleet/2026-11-20/v1"


@pytest.fixture
def reported(computed_template: StackTemplate, tmp_path: Path) -> Iterator[PipelineStack]:
    """Three computed hours and the report of their day."""
    with copied_stack(computed_template, tmp_path / "lake") as stack:
        yield stack


def read(stack: PipelineStack, name: str, folder: str = FOLDER) -> str:
    content = read_file(stack.lake.file_system(), f"{folder}/{name}")
    assert content is not None, name
    return content.decode()


def rows_of_csv(
    stack: PipelineStack, folder: str = FOLDER
) -> tuple[dict[str, str], list[dict[str, str]], list[dict[str, str]]]:
    """The row of the fleet or depot, those of vehicles, those of chargers."""
    whole, *rows = csv.DictReader(io.StringIO(read(stack, "efficiency.csv", folder)))
    assert whole["scope"] in ("fleet", "depot")
    vehicles, chargers = (
        [row for row in rows if row["scope"] == scope] for scope in ("vehicle", "charger")
    )
    assert len(rows) == len(vehicles) + len(chargers)
    return whole, vehicles, chargers


def test_the_csv_holds_the_sums_of_the_hourly_table(reported: PipelineStack) -> None:
    fleet, vehicles, _ = rows_of_csv(reported)

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
    assert float(fleet["efficiency_percent"]) == pytest.approx(81)
    # Of the minute that the first heartbeat tells of 55 seconds lie in the hour before.
    assert float(fleet["loss_kwh"]) == pytest.approx((3 * 60 - 55 / 60) * (0.2 - 0.162))
    assert fleet["devices_implausible"] == "1"


def test_the_page_shows_the_same_numbers_and_needs_nothing_from_elsewhere(
    reported: PipelineStack,
) -> None:
    page = read(reported, "efficiency.html")

    assert "Friday, 20 November 2026" in page
    for figure in ("81.0", "6.8"):
        assert f'<td class="n big"><a href="#sources">{figure}</a></td>' in page
    visits = page.split("Worth a visit")[1].split("</section>")[0]
    assert ">VEH002<" in visits
    assert ">VEH001<" not in visits
    assert "src=" not in page
    assert "@import" not in page
    assert "url(" not in page
    assert "<script" not in page


def test_a_range_run_reports_every_day_of_it(charged: PipelineStack) -> None:
    charged.run_hours(HOUR_10, HOUR_10)
    charged.run("daily", range_tags("2026-11-19", "2026-11-20"))

    page = read(charged, "efficiency.html", "reports/day/fleet/2026-11-19/v1")
    assert "nothing to rate" in page
    assert rows_of_csv(charged)[0]["period"] == "2026-11-20"


def test_a_day_without_data_has_a_csv_with_its_columns(stack: PipelineStack) -> None:
    stack.run("daily", {"dagster/partition": "2026-11-20"})

    columns = read(stack, "efficiency.csv").split("\n")[0]
    assert columns.startswith("period,scope,depot,vehicle_id,meter_id,energy_ac_kwh")


def test_the_report_and_the_tables_of_the_day_say_the_same(reported: PipelineStack) -> None:
    fleet, vehicles, chargers = rows_of_csv(reported)

    of_day = reported.table("vehicle_efficiency_daily").sort("vehicle_id")
    for row, expected in zip(vehicles, of_day.iter_rows(named=True), strict=True):
        assert row["vehicle_id"] == expected["vehicle_id"]
        assert float(row["efficiency_percent"]) == expected["efficiency_percent"]
        assert (row["status"], int(row["hours"])) == (expected["status"], expected["hours"])
    of_chargers = reported.table("charger_efficiency_daily").sort("meter_id")
    for row, expected in zip(chargers, of_chargers.iter_rows(named=True), strict=True):
        assert float(row["energy_ac_kwh"]) == expected["energy_ac_kwh"]
        assert (row["meter_id"], row["reason"]) == (expected["meter_id"], expected["reason"])
    (fleet_day,) = reported.table("fleet_efficiency_daily").to_dicts()
    assert float(fleet["loss_kwh"]) == fleet_day["loss_kwh"]
    for name in ("energy_ac_kwh", "energy_dc_kwh", "unlinked_energy_ac_kwh", "efficiency_percent"):
        assert float(fleet[name]) == fleet_day[name]
    assert int(fleet["devices"]) == fleet_day["vehicles"]
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
    _, (told,), _ = rows_of_csv(charged, "reports/day/fleet/2025-11-20/v1")
    for percent in (mart["efficiency_percent"], day["efficiency_percent"]):
        assert percent == pytest.approx(80)
    assert float(told["efficiency_percent"]) == day["efficiency_percent"]
    assert charged.evaluate_sensor(changed_days, tick.cursor).run_requests == []


def test_coverage_is_that_of_the_time_that_has_passed(charged: PipelineStack) -> None:
    charged.run_hours(HOUR_10 - HOUR, HOUR_10 + HOUR)
    charged.run("daily", {"dagster/partition": "2026-11-20"})
    noon, later = HOUR_10 + 2 * HOUR, datetime(2026, 11, 22, tzinfo=UTC)

    for moment, hours in ((noon, 12), (later, 24)):
        tables, _ = day_tables(
            day_inputs(charged.lake, HOUR_10.date(), EnergySettings(), moment, None),
            EnergySettings(),
        )
        assert tables is not None
        covered = tables["vehicle_efficiency_daily"]["coverage_ac"][0]
        assert covered == pytest.approx(3 / hours, rel=0.02)
        places = Places("UTC", {}, {}, {})
        reader = FigureReader(
            PinnedTables(charged.lake), places, EnergySettings(), None, [], moment
        )
        figures = reader.figures(Period("day", HOUR_10.date()), Scope())
        assert figures.vehicles["coverage_ac"][0] == covered
        assert figures.is_partial == (moment == noon)
