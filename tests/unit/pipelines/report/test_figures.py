"""Figures of reports: totals, their reasons, what changed, whom to visit."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

from lake.costs import Pricing, Tariffs
from lake.reports import Period, parse_period
from pipelines.compute.places import Places
from pipelines.report.content import content_of, period_title
from pipelines.report.render import render
from pipelines.report.tables import rows_of
from tests.unit.pipelines.report.report_samples import (
    SETTINGS,
    charger_hour,
    depots,
    figures,
    shifted,
)
from tests.unit.vehicle_hour_samples import DAY, vehicle_hour

HOUR = timedelta(hours=1)
A_DAY = timedelta(days=1)
TARIFFS = Tariffs.model_validate(
    {
        "default": "day",
        "tariffs": {
            "day": {
                "currency": "EUR",
                "time_zone": "UTC",
                "periods": [
                    {"valid_from": "2026-01-01", "price_per_kwh": "0.2"},
                    {"valid_from": "2026-11-20", "price_per_kwh": "0.3"},
                ],
            }
        },
    }
)
PRICING = Pricing(TARIFFS, {})
NORTH = Places("UTC", depots("north", zone="Europe/Berlin"), {"M1": "north"}, {"VEH001": "north"})


def test_all_that_was_bought_is_rated_or_has_a_reason() -> None:
    found = figures(
        vehicle_hour("RATED", ac=10.4, matched_ac=10, dc=9),
        vehicle_hour("LOST", ac=10, matched_ac=3, dc=2.7),
        vehicle_hour("COLD", ac=10, dc=3),
        chargers=[charger_hour("FREE", ac=2.0, dc=0.0, unlinked_energy_ac_kwh=2.0, vehicle_ids=[])],
    )

    assert found.totals.bought_kwh == pytest.approx(32.4)
    excluded = {one.code: (one.devices, round(one.energy_kwh, 9)) for one in found.excluded}
    assert excluded == {
        "unmatched_ac": (1, 10.0),
        "below_floor": (1, 10.0),
        "unlinked": (0, 2.0),
        "unmatched": (1, 0.4),
    }
    rated = found.totals.rated_ac_kwh
    assert rated + sum(one.energy_kwh for one in found.excluded) == pytest.approx(32.4)
    assert [one.device_id for one in found.quality.unrated] == ["COLD", "LOST", "RATED"]
    basis = content_of(found, 0, (), SETTINGS, "lake", "")["basis"]
    assert "30.9 % of what was bought is not believable" in basis


def test_the_change_of_a_cost_is_that_of_the_amount_and_of_the_price() -> None:
    today = vehicle_hour("VEH001", ac=12, dc=10.8)
    before = shifted(vehicle_hour("VEH001", ac=10, dc=9.2), -A_DAY)
    found = figures(today, before, pricing=PRICING)

    money = found.totals.money
    assert (money.energy, money.currency) == (Decimal("3.6"), "EUR")
    assert money.losses == Decimal("0.36")
    (one, *_) = found.compared
    assert (one.label, one.totals.money.energy) == ("the day before", Decimal(2))
    texts = [change.text for change in found.changes]
    assert "+1.60 EUR, of which +0.40 by the amount and +1.20 by the price" in texts[0]
    assert "+0.4 kWh, of which +0.2 by the amount and +0.2 by the efficiency" in texts[1]
    rows = content_of(found, 0, (), SETTINGS, "lake", "")["rows"]
    assert [row["compared"][0]["change"] for row in rows if row["unit"] == "EUR"] == [
        "+80.0 %",
        "+125.0 %",
    ]


def test_a_depot_is_the_sum_of_its_chargers_whoever_charged_there() -> None:
    mine = charger_hour("M1", ac=10.0, dc=9.0, hour=5)
    other = charger_hour("M2", ac=20.0, dc=19.0, hour=5)
    # 23:00 UTC of the day before is midnight in Berlin, 23:00 UTC the next day.
    early = charger_hour("M1", ac=1.0, dc=0.9, hour=-1)
    late = charger_hour("M1", ac=5.0, dc=4.5, hour=23)
    vehicles = [vehicle_hour(name, hour=5, ac=10, dc=9) for name in ("VEH001", "VEH002")]
    found = figures(
        *vehicles, chargers=[mine, other, early, late], depot="north", places=NORTH, pricing=PRICING
    )

    assert (found.totals.bought_kwh, found.totals.delivered_kwh) == (11.0, 9.9)
    assert found.totals.money.energy == Decimal(
        "3.2"
    )  # an hour of it at the price of the day before
    assert found.chargers["meter_id"].to_list() == ["M1"]
    assert found.vehicles["vehicle_id"].to_list() == ["VEH001"]
    assert found.steps["energy_ac_kwh"].drop_nulls().to_list() == [1.0, 10.0]
    assert found.steps["label"][0] == "00:00"


@pytest.mark.parametrize(("key", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_a_day_on_which_clocks_change_has_an_hour_less_or_more(key: str, hours: int) -> None:
    period = parse_period(key)
    moved = datetime.combine(period.first, datetime.min.time(), UTC) - DAY - HOUR
    chargers = [
        shifted(charger_hour("M1", ac=1.0, dc=0.9), moved + n * HOUR) for n in range(-24, 49)
    ]
    found = figures(
        chargers=chargers,
        period=period,
        depot="north",
        places=NORTH,
        generated_at=datetime(2026, 12, 1, tzinfo=UTC),
    )

    assert found.steps.height == hours
    assert found.totals.bought_kwh == hours
    state = content_of(found, 0, (), SETTINGS, "lake", "")["state"]
    assert state == f"{hours} hours by the clock of Europe/Berlin, on which clocks change."


def test_a_week_is_the_sum_of_its_days() -> None:
    days = [shifted(vehicle_hour("VEH001", ac=10, dc=9), n * A_DAY) for n in range(-8, 3)]
    later = datetime(2026, 11, 24, tzinfo=UTC)
    found = figures(*days, period=parse_period("2026-W47"), generated_at=later)

    assert found.totals.bought_kwh == 70.0
    assert found.steps["energy_ac_kwh"].to_list() == [10.0] * 7
    assert found.steps["label"].to_list()[0] == "Mon 16"
    assert found.compared[0].totals.bought_kwh == 40.0


def test_devices_that_fell_silent_are_named_with_the_time() -> None:
    loud = vehicle_hour("LOUD", hour=23, ac=10, dc=9)
    quiet = shifted(vehicle_hour("QUIET", ac=10, dc=9), -A_DAY)
    never = vehicle_hour("NEVER", ac=None, dc=None) | {
        "data_points_vehicle": 0,
        "first_dc": None,
        "last_dc": None,
    }
    found = figures(vehicle_hour("EARLY", hour=3, ac=10, dc=9), loud, quiet, never)

    assert [(one.device_id, one.silent_for) for one in found.quality.silent] == [
        ("NEVER", None),
        ("QUIET", timedelta(days=1, hours=23, minutes=1)),
        ("EARLY", timedelta(hours=20, minutes=1)),
    ]
    for form in ("html", "pdf", "xlsx"):
        content = content_of(found, 0, (), SETTINGS, "lake", "")
        assert render(form, content, found, rows_of(found), SETTINGS)
    assert content["quality"]["silent"][0]["last"] == "not in the period before"
    texts = {change.text for change in found.changes}
    assert "1 vehicle is heard no more:" in texts
    assert "2 vehicles are heard that were not heard before:" in texts


def test_without_a_list_those_below_the_line_are_worth_a_visit_by_money() -> None:
    found = figures(
        vehicle_hour("POOR", ac=10, dc=8),
        vehicle_hour("POORER", ac=10, dc=7),
        vehicle_hour("FINE", ac=10, dc=9),
        pricing=PRICING,
    )

    assert [one.device_id for one in found.visits.vehicles] == ["POORER", "POOR"]
    (worst, _) = found.visits.vehicles
    # 1.5 kWh of 10 in 28 days, at 0.3 EUR
    assert worst.saves_kwh == pytest.approx(1.5 * 8766 / 672)
    assert worst.saves == pytest.approx(0.3 * worst.saves_kwh)
    assert found.visits.listed_on is None


def test_the_open_rows_of_the_maintenance_list_are_the_visits_where_there_is_one() -> None:
    row = {
        "date": DAY.date(),
        "device_kind": "meter",
        "device_id": "M1",
        "state": "open",
        "reason": "Since about 2026-09-01 9.0 % is lost.",
        "mending_saves_a_year": 120.0,
        "currency": "EUR",
        "mending_saves_kwh_a_year": 400.0,
        "at_stake_kwh_a_year": 400.0,
        "since": datetime(2026, 9, 1, tzinfo=UTC),
        "confidence": 0.9,
        "sessions": 31,
        "median_temperature": 12.0,
        "median_power_kw": 7.1,
        "mean_coverage": 0.98,
        "share_linked_by_rule": 0.0,
    }
    wrong = {
        **row,
        "device_id": "M2",
        "mending_saves_kwh_a_year": 0.0,
        "mending_saves_a_year": None,
    }
    closed = {**row, "device_id": "M3", "state": "closed"}
    listed = pl.DataFrame([wrong, row, closed])
    charged = vehicle_hour("VEH001", ac=10, dc=7)
    found = figures(charged, listed=listed)

    assert [one.device_id for one in found.visits.chargers] == ["M1"]
    assert [one.device_id for one in found.visits.wrong] == ["M2"]
    assert not found.visits.vehicles
    shown = content_of(found, 0, (), SETTINGS, "lake", "")["visits"]
    groups = shown["groups"]
    assert f"at the end of {DAY.date()} (UTC)" in shown["note"]
    assert [(one["saves"], one["energy"]) for one in groups[0]["visits"]] == [("120 EUR", "400")]
    assert [(one["title"], one["is_wrong"]) for one in groups] == [
        ("Chargers", False),
        ("Vehicles", False),
        ("What measures wrongly", True),
    ]
    for form in ("html", "pdf", "xlsx"):
        content = content_of(found, 0, (), SETTINGS, "lake", "")
        assert render(form, content, found, rows_of(found), SETTINGS)
    of_depot = figures(charged, listed=listed, depot="north", places=NORTH)
    assert [one.device_id for one in of_depot.visits.chargers] == ["M1"]

    # Nobody is to be visited: that is no reason to name others.
    for judged in (DAY.date(), DAY.date() - timedelta(days=1)):
        found = figures(charged, listed=listed.clear(), judged=[judged - timedelta(40), judged])
        assert found.visits.listed_on == judged
        assert not found.visits.vehicles
    assert figures(charged, judged=[DAY.date() - timedelta(40)]).visits.vehicles


def test_costs_of_several_currencies_are_never_added_up() -> None:
    swiss = {**TARIFFS.model_dump()["tariffs"]["day"], "currency": "CHF"}
    both = Tariffs.model_validate(
        {"default": "day", "tariffs": {"day": TARIFFS.tariffs["day"], "swiss": swiss}}
    )
    chargers = [charger_hour(name, ac=10.0, dc=9.0) for name in ("M1", "M2")]
    vehicles = [
        vehicle_hour("VEH001", ac=10, dc=9, meters=("M1",)),
        vehicle_hour("VEH002", ac=10, dc=9, meters=("M2",)),
    ]
    places = Places("UTC", depots("north", "south"), {"M1": "north", "M2": "south"}, {})
    found = figures(
        *vehicles, chargers=chargers, places=places, pricing=Pricing(both, {"M2": "swiss"})
    )

    assert found.totals.money.energy is None
    assert found.depots.select("depot", "currency", "cost_of_energy").rows() == [
        ("north", "EUR", Decimal(3)),
        ("south", "CHF", Decimal(3)),
    ]
    assert "several currencies" in content_of(found, 0, (), SETTINGS, "lake", "")["money_note"]


@pytest.mark.parametrize(
    ("period", "title"),
    [
        (Period("day", date(2026, 1, 5)), "Monday, 5 January 2026"),
        (parse_period("2026-W01"), "Week 1, 29 December 2025 to 4 January 2026"),
        (parse_period("2026-W05"), "Week 5, 26 January to 1 February 2026"),
        (parse_period("2026-W03"), "Week 3, 12 to 18 January 2026"),
        (parse_period("2026-10"), "October 2026"),
    ],
)
def test_a_period_is_called_as_people_do(period: Period, title: str) -> None:
    assert period_title(period) == title
