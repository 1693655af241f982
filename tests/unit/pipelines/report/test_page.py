"""A report's page and tables from given figures."""

import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest

from lake.energy import REASONS
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_DAILY
from pipelines.report.chart import ON_PAPER, step_chart
from pipelines.report.figures import depot_totals
from pipelines.report.tables import csv_table, rows_of
from pipelines.report.text import number, signed
from tests.table_samples import table_rows
from tests.unit.pipelines.report.report_samples import depots, figures, page_of
from tests.unit.vehicle_hour_samples import DAY, vehicle_hour


def test_a_device_id_cannot_put_markup_into_the_page() -> None:
    page = page_of(figures(vehicle_hour("<script>alert(1)</script>", ac=10, dc=7)))

    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert 'href="/vehicles/%3Cscript%3Ealert%281%29%3C%2Fscript%3E"' in page


def test_a_day_that_is_not_over_says_so_far_and_compares_nothing() -> None:
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    charged = [vehicle_hour("VEH001", ac=10, dc=9)]

    partial, whole = page_of(figures(*charged, generated_at=noon)), page_of(figures(*charged))
    assert "So far: until 12:00 (UTC)" in partial
    assert "So far:" not in whole
    assert "24 hours by the clock of UTC." in whole


def test_the_page_says_why_energy_is_not_rated_and_rests_on_what_is_matched() -> None:
    page = page_of(
        figures(
            vehicle_hour("RATED", ac=10.4, matched_ac=10, dc=9),
            vehicle_hour("LOST", ac=10, matched_ac=3, dc=2.7),
            vehicle_hour("COLD", ac=10, dc=3),
        )
    )

    shown, unrated = page.split("Energy without a rating")
    assert ">90.0<" in shown
    assert "on 32.9 % of the energy" in shown
    for vehicle, reason in (("LOST", "unmatched_ac"), ("COLD", "below_floor")):
        row = unrated.split(f">{vehicle}<")[1].split("</tr>")[0]
        assert REASONS[reason].replace("'", "&#39;") in row
        assert f"<code>{reason}</code>" in shown
    assert "vehicles/RATED" in unrated  # 0.4 kWh of it flowed while the other side was not known


def test_what_changed_since_an_earlier_version_stands_at_the_top() -> None:
    charged = figures(vehicle_hour("VEH001", ac=10, dc=9))
    page = page_of(charged, "Changed since version 1 of 2026-11-21 00:30 UTC:", "bought 9 → 10 kWh")

    assert "version 1 of 2026-11-21 00:30 UTC:</b> bought 9 → 10 kWh" in page.split("</header>")[0]


def test_a_period_in_which_nothing_was_heard_says_so() -> None:
    assert "there is nothing to rate" in page_of(figures())


def test_the_csv_has_an_empty_field_where_a_figure_is_not_known() -> None:
    rows = csv_table(rows_of(figures(vehicle_hour("LOST", ac=None, dc=5, link=None)))).decode()
    header, _, vehicle = rows.splitlines()

    fields = dict(zip(header.split(","), vehicle.split(","), strict=True))
    assert (fields["energy_ac_kwh"], fields["energy_dc_kwh"]) == ("", "5.0")
    assert (fields["efficiency_percent"], fields["status"]) == ("", "unmapped")


def test_the_csv_has_no_formula() -> None:
    *_, vehicle = (
        csv_table(rows_of(figures(vehicle_hour("=1+1", ac=10, dc=7)))).decode().splitlines()
    )
    assert vehicle.split(",")[:4] == ["2026-11-20", "vehicle", "", "'=1+1"]


def test_the_chart_is_well_formed_and_takes_its_colours_from_the_page_or_for_paper() -> None:
    hours = pl.DataFrame(
        {
            "label": [f"{hour:02}:00" for hour in range(24)],
            "energy_ac_kwh": [10.0] * 12 + [None] * 12,
            "energy_dc_kwh": [9.0] * 12 + [None] * 12,
            "efficiency_percent": [90.0] * 12 + [None] * 12,
        }
    )
    on_page = step_chart(hours, "Hour", 85, width=300)
    on_paper = step_chart(hours, "Hour", 85, width=300, colours=ON_PAPER)

    for svg in (on_page, on_paper):
        assert ET.fromstring(svg).tag.endswith("svg")
        assert "#00000" not in svg
    assert "var(--ac)" in on_page
    assert "var(" not in on_paper


@pytest.mark.parametrize(
    ("value", "decimals", "shown"),
    [
        (None, 1, "\N{EN DASH}"),
        (1234.56, 1, "1\u202f234.6"),
        (-0.04, 1, "0.0"),
        (-3.2, 0, "\N{MINUS SIGN}3"),
    ],
)
def test_figures_are_readable(value: float | None, decimals: int, shown: str) -> None:
    assert number(value, decimals) == shown


def test_changes_have_a_sign_unless_they_are_none() -> None:
    assert [signed(value, 1) for value in (3.14, -3.14, 0.01, -0.01)] == [
        "+3.1",
        "\N{MINUS SIGN}3.1",
        "0.0",
        "0.0",
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
    belonging = {"M1": "north", "M2": "north", "M3": "north", "M4": "north"}
    found = depot_totals(chargers, belonging).rows_by_key(
        ("depot", "currency"), named=True, unique=True
    )
    north = found["north", "EUR"]
    assert north["energy_ac_kwh"] == 30.0
    assert north["cost_of_energy"] == Decimal("6.00000000000000001")
    assert north["cost_of_losses"] == Decimal("0.6")
    assert (north["loss_kwh"], north["efficiency_percent"]) == (3.0, 85.0)
    assert found["north", "CHF"]["cost_of_energy"] == 4
    assert found[None, "EUR"]["cost_of_energy"] is None
    assert depot_totals(chargers, {}).is_empty()
    assert depots("north")["north"].id == "north"
