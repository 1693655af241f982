"""A day from its hours: sums, and the efficiency of sums."""

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake import EnergySettings
from lake.rollup import lowest_efficiency, roll_up_fleet, roll_up_vehicles
from lake.settings import ChargerClass
from tests.unit.rollup_samples import DAY, vehicle_hour, vehicle_hours

SETTINGS = EnergySettings()


def day_of(*hours: dict[str, object]) -> pl.DataFrame:
    end = DAY + timedelta(days=1)
    return roll_up_vehicles(vehicle_hours(*hours), DAY, end, SETTINGS).collect()


def test_the_efficiency_of_a_day_is_that_of_its_sums_and_no_mean_of_ratios() -> None:
    (day,) = day_of(
        vehicle_hour("V", hour=0, ac=1, dc=0.5), vehicle_hour("V", hour=1, ac=9, dc=8.5)
    ).to_dicts()

    assert (day["energy_ac_kwh"], day["energy_dc_kwh"], day["loss_kwh"]) == (10, 9, 1)
    assert day["efficiency_percent"] == pytest.approx(90)
    assert day["status"] == "good"
    assert (day["hours"], day["duplicates"], day["data_points_meter"]) == (2, 2, 120)
    assert day["coverage_ac"] == pytest.approx(2 / 24)


def test_matched_shares_weigh_by_energy() -> None:
    (day,) = day_of(
        vehicle_hour("V", hour=0, ac=1, dc=1, share=0.0),
        vehicle_hour("V", hour=1, ac=19, dc=17, share=1.0),
    ).to_dicts()

    assert day["matched_share_ac"] == pytest.approx(0.95)
    assert day["status"] == "good"


def test_a_day_with_too_much_unmatched_energy_has_no_rating() -> None:
    (day,) = day_of(
        vehicle_hour("V", hour=0, ac=5, dc=4, share=0.5), vehicle_hour("V", hour=1, ac=5, dc=4)
    ).to_dicts()

    assert day["matched_share_ac"] == pytest.approx(0.75)
    assert day["status"] == "insufficient_data"


def test_the_stand_by_of_an_idle_day_does_not_make_a_vehicle_implausible() -> None:
    (day,) = day_of(
        *(vehicle_hour("V", hour=hour, ac=0.03, dc=0.0, status="idle") for hour in range(24))
    ).to_dicts()

    assert day["energy_ac_kwh"] == pytest.approx(0.72)
    assert (day["status"], day["efficiency_percent"]) == ("idle", None)


def test_links_and_meters_of_all_hours_are_named() -> None:
    (day,) = day_of(
        vehicle_hour("V", hour=0, ac=5, dc=4, link="rule", meters=("M2",)),
        vehicle_hour("V", hour=1, ac=5, dc=4, link="link+heartbeat", meters=("M1", "M2")),
        vehicle_hour("V", hour=2, ac=None, dc=0.0, link=None),
    ).to_dicts()

    assert day["meter_ids"] == ["M1", "M2"]
    assert day["link_source"] == "link+heartbeat+rule"


def test_the_class_of_a_day_is_that_of_the_hours_with_the_most_energy() -> None:
    classes = EnergySettings(charger_classes={"household": ChargerClass(good_from_percent=81)})
    hours = vehicle_hours(
        vehicle_hour("V", hour=0, ac=5, dc=4.1, charger_class="household"),
        vehicle_hour("V", hour=1, ac=5, dc=4.1, charger_class="household"),
        vehicle_hour("V", hour=2, ac=9, dc=7.4, charger_class="depot"),
        vehicle_hour("SLEEPER", hour=0, ac=0.0, dc=0.0, charger_class="depot"),
        vehicle_hour("SLEEPER", hour=1, ac=None, dc=0.0, link=None),
    )
    end = DAY + timedelta(days=1)
    days = roll_up_vehicles(hours, DAY, end, classes).select(
        "vehicle_id", "charger_class", "status"
    )
    assert days.collect().rows() == [("SLEEPER", "depot", "idle"), ("V", "household", "good")]


def test_a_vehicle_that_was_never_linked_is_unmapped() -> None:
    (day,) = day_of(vehicle_hour("V", ac=None, dc=4, link=None)).to_dicts()

    assert (day["status"], day["link_source"], day["meter_ids"]) == ("unmapped", None, [])


def test_the_fleet_of_a_day_takes_the_ratings_of_the_day() -> None:
    vehicles = day_of(
        vehicle_hour("A", ac=10, dc=9.5),
        vehicle_hour("B", ac=10, dc=8),
        vehicle_hour("C", ac=1, dc=5),
    )
    hours = pl.LazyFrame({"unlinked_energy_ac_kwh": [1.5, 2.0]})

    (fleet,) = roll_up_fleet(vehicles.lazy(), hours, DAY, SETTINGS).collect().to_dicts()

    assert (fleet["rated_energy_ac_kwh"], fleet["loss_kwh"]) == (20, 2.5)
    assert fleet["efficiency_percent"] == pytest.approx(87.5)
    assert fleet["unlinked_energy_ac_kwh"] == 3.5
    assert (fleet["vehicles"], fleet["vehicles_implausible"]) == (3, 1)


def test_the_lowest_efficiency_comes_first_and_what_is_not_believable_never() -> None:
    vehicles = day_of(
        vehicle_hour("FINE", ac=10, dc=9.5),
        vehicle_hour("POOR", ac=10, dc=7),
        vehicle_hour("GAINING", ac=10, dc=13),
        vehicle_hour("UNLINKED", ac=None, dc=1, link=None),
    )

    assert lowest_efficiency(vehicles.lazy(), 10).collect()["vehicle_id"].to_list() == [
        "POOR",
        "FINE",
    ]


@given(st.data())
def test_sums_are_exact_in_any_order_of_the_hours(data: st.DataObject) -> None:
    watt_hours = st.integers(0, 10**6)
    energies = data.draw(st.lists(st.tuples(watt_hours, watt_hours), min_size=1, max_size=24))
    hours = [
        vehicle_hour("V", hour=hour, ac=ac / 1e6, dc=dc / 1e6)
        for hour, (ac, dc) in enumerate(energies)
    ]

    (day,) = day_of(*hours).to_dicts()
    (again,) = day_of(*data.draw(st.permutations(hours))).to_dicts()

    assert day == again
    assert day["energy_ac_kwh"] == sum(ac for ac, _ in energies) / 1e6
    assert day["energy_dc_kwh"] == sum(dc for _, dc in energies) / 1e6
