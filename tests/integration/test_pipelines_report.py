"""The daily report over real tables: its numbers are those of the tables."""

import csv
import io
from datetime import UTC, datetime

import pytest

from lake import HOUR, EnergySettings
from pipelines.jobs import range_tags
from pipelines.report.figures import figures_of_day
from tests.integration.pipeline_house import House
from tests.samples import HOUR_10

FOLDER = "reports/date=2026-11-20"


@pytest.fixture
def reported(charged: House) -> House:
    """Three computed hours and the report of their day."""
    charged.run_hours(HOUR_10 - HOUR, HOUR_10 + HOUR)
    charged.run("daily_report", {"dagster/partition": "2026-11-20"})
    return charged


def read(house: House, name: str) -> str:
    with house.lake.files().open_input_stream(f"{FOLDER}/{name}") as stream:
        return bytes(stream.read()).decode()


def rows_of_csv(house: House) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(read(house, "efficiency.csv"))))


def test_the_csv_holds_the_sums_of_the_hourly_table(reported: House) -> None:
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
    assert float(fleet["loss_kwh"]) == pytest.approx(3 * 60 * (0.2 - 0.162))
    assert fleet["vehicles_implausible"] == "1"


def test_the_page_shows_the_same_numbers_and_needs_nothing_from_elsewhere(
    reported: House,
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


def test_a_range_run_reports_every_day_of_it(charged: House) -> None:
    charged.run_hours(HOUR_10, HOUR_10)
    charged.run("daily_report", range_tags("2026-11-19", "2026-11-20"))

    with charged.lake.files().open_input_stream("reports/date=2026-11-19/efficiency.html") as page:
        assert b"nothing to rate" in bytes(page.read())
    assert rows_of_csv(charged)[0]["scope"] == "fleet"


def test_a_day_without_data_has_a_csv_with_its_columns(house: House) -> None:
    house.run("daily_report", {"dagster/partition": "2026-11-20"})

    assert read(house, "efficiency.csv").startswith("date,scope,vehicle_id,energy_ac_kwh")


def test_coverage_is_that_of_the_time_that_has_passed(charged: House) -> None:
    charged.run_hours(HOUR_10 - HOUR, HOUR_10 + HOUR)
    noon, later = HOUR_10 + 2 * HOUR, datetime(2026, 11, 22, tzinfo=UTC)

    at_noon, after = (
        figures_of_day(charged.lake, HOUR_10.date(), moment, EnergySettings())
        for moment in (noon, later)
    )

    assert at_noon.so_far
    assert at_noon.vehicles["coverage_ac"][0] == pytest.approx(3 / 12, rel=0.02)
    assert not after.so_far
    assert after.vehicles["coverage_ac"][0] == pytest.approx(3 / 24, rel=0.02)
