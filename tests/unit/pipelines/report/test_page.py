"""The report's page and CSV from given figures."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

from lake import EnergySettings
from lake.energy import REASONS
from lake.energy.fleet import fleet_efficiency, lowest_efficiency
from lake.rollups.merging import merge_vehicle_hours
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_DAILY
from lake.schema.cost_columns import COST_COLUMNS
from lake.schema.vehicle_efficiency import (
    FLEET_EFFICIENCY_DAILY,
    FLEET_EFFICIENCY_HOURLY,
    VEHICLE_EFFICIENCY_DAILY,
)
from pipelines.report.chart import day_chart
from pipelines.report.figures import DayFigures, depot_figures
from pipelines.report.page import csv_table, energy, html_page, number
from tests.table_samples import table_rows
from tests.unit.vehicle_hour_samples import DAY, no_rows, vehicle_hour, vehicle_hours

SETTINGS = EnergySettings()


def figures(*hours: dict[str, object], generated_at: datetime | None = None) -> DayFigures:
    """Figures of a day with these vehicle hours."""
    costs = {column.name: pl.lit(None) for column in COST_COLUMNS}
    of_day = {"date": pl.lit(DAY.date()), "hours": pl.lit(1, pl.Int64), **costs}
    vehicles = rated(*hours).with_columns(**of_day).select(VEHICLE_EFFICIENCY_DAILY.names)
    unlinked = pl.LazyFrame(schema={"date": pl.Date, "unlinked_energy_ac_kwh": pl.Float64})
    fleet = fleet_efficiency(vehicles, unlinked, "date").with_columns(**of_day)
    return DayFigures(
        day=date(2026, 11, 20),
        generated_at=generated_at or datetime(2026, 11, 21, 0, 30, tzinfo=UTC),
        vehicles=vehicles.collect(),
        fleet=fleet.select(FLEET_EFFICIENCY_DAILY.names).collect(),
        hours=no_rows(FLEET_EFFICIENCY_HOURLY),
        depots=depot_figures(table_rows(CHARGER_EFFICIENCY_DAILY), {}),
        sources=dict.fromkeys(
            (
                "vehicle_efficiency_daily",
                "fleet_efficiency_daily",
                "fleet_efficiency_hourly",
                "meter_telemetry_history",
                "vehicle_telemetry_history",
            ),
            7,
        ),
    )


def rated(*hours: dict[str, object]) -> pl.LazyFrame:
    """One row for each vehicle, rated by its facts of the day."""
    rows = vehicle_hours(*hours).collect()
    return merge_vehicle_hours(rows, DAY, DAY + timedelta(days=1), SETTINGS).lazy()


def test_a_device_id_cannot_put_markup_into_the_page() -> None:
    page = html_page(
        figures(vehicle_hour("<script>alert(1)</script>", ac=10, dc=7)), "lake", SETTINGS
    )

    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_a_day_that_is_not_over_says_so_far() -> None:
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)

    assert "<b>So far:</b>" in html_page(figures(generated_at=noon), "lake", SETTINGS)
    assert "<b>So far:</b>" not in html_page(figures(), "lake", SETTINGS)


def test_the_page_lists_rated_vehicles_only_and_names_the_others_apart() -> None:
    page = html_page(
        figures(
            vehicle_hour("RATED", ac=10, dc=7),
            vehicle_hour("GAINING", ac=10, dc=13),
            vehicle_hour("LOST", ac=None, dc=5, link=None),
        ),
        "lake",
        SETTINGS,
    )

    table, notes = page.split("What to know about the data")
    assert "RATED" in table
    assert "GAINING" not in table
    assert "GAINING" in notes
    assert "AC not known, DC 5.00 kWh" in notes


def test_the_page_says_why_a_vehicle_is_not_rated_and_rests_on_what_is_matched() -> None:
    page = html_page(
        figures(
            vehicle_hour("RATED", ac=10.4, matched_ac=10, dc=9),
            vehicle_hour("LOST", ac=10, matched_ac=3, dc=2.7),
            vehicle_hour("COLD", ac=10, dc=3),
        ),
        "lake",
        SETTINGS,
    )

    table, notes = page.split("What to know about the data")
    assert ">90.0<" in table
    assert ">10.00</td>" in table
    assert REASONS["unmatched_ac"].replace("'", "&#39;") in notes.split("LOST")[1].split("</li>")[0]
    assert REASONS["below_floor"] in notes.split("COLD")[1].split("</li>")[0]


def test_the_csv_has_an_empty_field_where_a_figure_is_not_known() -> None:
    header, _, vehicle = csv_table(
        figures(vehicle_hour("LOST", ac=None, dc=5, link=None))
    ).splitlines()

    fields = dict(zip(header.split(","), vehicle.split(","), strict=True))
    assert (fields["energy_ac_kwh"], fields["energy_dc_kwh"]) == ("", "5.0")
    assert (fields["efficiency_percent"], fields["status"]) == ("", "unmapped")


def test_the_csv_has_no_formula() -> None:
    *_, vehicle = csv_table(figures(vehicle_hour("=1+1", ac=10, dc=7))).splitlines()
    assert vehicle.split(",")[:3] == ["2026-11-20", "vehicle", "'=1+1"]


def test_the_chart_is_well_formed_and_takes_its_colours_from_the_page() -> None:
    hours = pl.DataFrame(
        {
            "hour": range(24),
            "energy_ac_kwh": [10.0] * 12 + [None] * 12,
            "energy_dc_kwh": [9.0] * 12 + [None] * 12,
            "efficiency_percent": [90.0] * 12 + [None] * 12,
        }
    )
    svg = day_chart(hours, 85, width=300)

    assert ET.fromstring(svg).tag.endswith("svg")
    assert "var(--ac)" in svg
    assert "#00000" not in svg


@pytest.mark.parametrize(
    ("value", "decimals", "shown"),
    [(None, 1, "\N{EN DASH}"), (1234.56, 1, "1\u202f234.6"), (-0.04, 1, "0.0"), (-3.2, 0, "-3")],
)
def test_figures_are_readable(value: float | None, decimals: int, shown: str) -> None:
    assert number(value, decimals) == shown


def test_unknown_energy_is_said_in_words() -> None:
    assert (energy(None), energy(0.0)) == ("not known", "0.00 kWh")


def test_the_lowest_efficiency_comes_first_and_what_is_not_believable_never() -> None:
    vehicles = rated(
        vehicle_hour("FINE", ac=10, dc=9.5),
        vehicle_hour("POOR", ac=10, dc=7),
        vehicle_hour("GAINING", ac=10, dc=13),
        vehicle_hour("UNLINKED", ac=None, dc=1, link=None),
    )

    assert lowest_efficiency(vehicles, 10).collect()["vehicle_id"].to_list() == [
        "POOR",
        "FINE",
    ]


def test_depots_have_the_sums_of_their_chargers_and_a_row_for_each_currency() -> None:
    def charger(meter: str, lost: float, cost: str | None, **values: object) -> dict[str, object]:
        return {
            "date": DAY.date(),
            "meter_id": meter,
            "energy_ac_kwh": 10.0,
            "matched_energy_ac_kwh": 10.0,
            "matched_energy_dc_kwh": 10.0 - lost,
            "cost_of_energy": cost and Decimal(cost),
            "cost_of_losses": cost and Decimal(cost[:1]) / 10,
            "currency": "EUR",
            **values,
        }

    chargers = table_rows(
        CHARGER_EFFICIENCY_DAILY,
        charger("M1", 1.0, "1.00000000000000001"),
        charger("M2", 2.0, "2"),
        charger("M3", 9.0, "3", status="implausible"),
        charger("M4", 3.0, "4", currency="CHF"),
        charger("M5", 3.0, None),
    )
    depots = {"M1": "north", "M2": "north", "M3": "north", "M4": "north"}
    found = depot_figures(chargers, depots).rows_by_key(
        ("depot", "currency"), named=True, unique=True
    )
    assert found["north", "EUR"] == {
        "energy_ac_kwh": 30.0,
        "cost_of_energy": Decimal("6.00000000000000001"),
        "cost_of_losses": Decimal("0.60000000000000000"),
        "loss_kwh": 3.0,
        "efficiency_percent": 85.0,
    }
    assert found["north", "CHF"]["cost_of_energy"] == 4
    assert found[None, "EUR"]["cost_of_energy"] is None
    page = html_page(replace(figures(), depots=depot_figures(chargers, depots)), "lake", SETTINGS)
    assert "of none" not in page  # nobody sent a heartbeat, so there is nothing to rate
    shown = figures(vehicle_hour("V", ac=10.0, dc=9.0))
    page = html_page(replace(shown, depots=depot_figures(chargers, depots)), "lake", SETTINGS)
    assert "<h2>Depots</h2>" in page
    assert "of none" in page
    assert "<h2>Depots</h2>" not in html_page(shown, "lake", SETTINGS)
