"""Versions of reports, and reports of depots, weeks and months."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from lake import HOUR, METER, VEHICLE
from lake.reports import ReportFolder, Scope, parse_period, read_file, read_versions
from pipelines.automation.report_sensor import changed_reports
from tests.harness.pipelines import PipelineStack, StackTemplate, copied_stack, minutes_of
from tests.samples import HOUR_10, meter_rows, vehicle_rows

DAY = {"dagster/partition": "2026-11-20"}
FLEET = ReportFolder(parse_period("2026-11-20"), Scope())


@pytest.fixture
def reported(computed_template: StackTemplate, tmp_path: Path) -> Iterator[PipelineStack]:
    """Three computed hours and the report of their day."""
    with copied_stack(computed_template, tmp_path / "lake") as stack:
        yield stack


def page(stack: PipelineStack, folder: ReportFolder, version: int) -> str:
    content = read_file(stack.lake.file_system(), folder.file(version, "html"))
    assert content is not None
    return content.decode()


def numbers(stack: PipelineStack, folder: ReportFolder) -> list[int]:
    return [version.number for version in read_versions(stack.lake.file_system(), folder)]


def charge(stack: PipelineStack, hour_number: int) -> None:
    """Bring another hour of a healthy car, and compute it."""
    hour = HOUR_10 + hour_number * HOUR
    stack.deliver(METER, meter_rows(*minutes_of(hour, kwh_consumed_ac=0.1)))
    stack.deliver(VEHICLE, vehicle_rows(*minutes_of(hour, kwh_delivered_dc=0.09)))
    stack.run_hours(hour, hour)


def test_a_report_whose_figures_changed_says_what_and_keeps_the_one_before(
    reported: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = page(reported, FLEET, 1)
    reported.run("daily", DAY)
    assert numbers(reported, FLEET) == [1]  # nothing has changed

    charge(reported, 5)
    reported.run("daily", DAY)
    assert numbers(reported, FLEET) == [1, 2]
    assert page(reported, FLEET, 1) == first
    assert "Changed since" not in first
    head = page(reported, FLEET, 2).split("</header>")[0]
    assert "Changed since version 1 of " in head
    assert "bought 53.7 \N{RIGHTWARDS ARROW} 59.6 kWh" in head

    monkeypatch.setenv("REPORT_VERSIONS", "1")
    charge(reported, 7)
    reported.run("daily", DAY)
    assert numbers(reported, FLEET) == [1, 3]
    note = json.loads(read_file(reported.lake.file_system(), FLEET.figures(3)) or b"")
    assert note["figures"]["bought"].startswith("65.")
    assert note["changed"][0].startswith("Changed since version 2 of ")


def test_a_depot_has_reports_of_its_chargers_by_its_own_clock(reported: PipelineStack) -> None:
    with psycopg.connect(reported.database_url) as connection:
        connection.execute("INSERT INTO depot (id, time_zone) VALUES ('north', 'Australia/Sydney')")
        connection.execute("UPDATE device SET depot_id = 'north' WHERE device_id = 'METER002'")
    north = ReportFolder(parse_period("2026-11-20"), Scope("north"))
    weekly = ReportFolder(parse_period("2026-W47"), Scope("north"))
    reported.run("daily", DAY)
    tick = reported.evaluate_sensor(changed_reports)
    asked = {}
    for request in tick.run_requests or []:
        assert request.job_name is not None
        reported.run(request.job_name, request.tags)
        asked[request.job_name] = request.tags["dagster/asset_partition_range_start"]

    # Midnight in Sydney is 13:00 UTC: both local days have hours of the UTC day.
    assert asked == {
        "daily_report": "2026-11-21",
        "weekly_report": "2026-11-16",
        "monthly_report": "2026-11-01",
    }
    assert reported.evaluate_sensor(changed_reports, tick.cursor).run_requests == []
    shown = page(reported, north, 1)
    assert "METER002" in shown
    assert "METER001" not in shown
    # 9 to 12 UTC are 20 to 23 there.
    assert "24 hours by the clock of Australia/Sydney" in shown
    assert "<td>20:00</td>" in shown
    assert "Week 47, 16 to 22 November 2026" in page(reported, weekly, 1)
    month = ReportFolder(parse_period("2026-11"), Scope())
    assert ">53.7<" in page(reported, month, numbers(reported, month)[0])


def test_a_week_is_asked_for_until_its_report_knows_its_days(reported: PipelineStack) -> None:
    reported.run("daily", DAY)
    first = reported.evaluate_sensor(changed_reports)
    again = reported.evaluate_sensor(changed_reports, first.cursor)

    for tick in (first, again):
        jobs = [request.job_name for request in tick.run_requests or []]
        assert jobs == ["weekly_report", "monthly_report"]
    assert (
        timedelta(days=7) == parse_period("2026-W47").next().first - parse_period("2026-W47").first
    )
