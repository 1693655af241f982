"""The tables of efficiency beside the oracle, on random fleets."""

from random import Random
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.energy.efficiency import efficiency_of_window
from lake.rollups.merging import merge_charger_hours, merge_vehicle_hours
from tests.oracle.comparing import differences, expected, row_differences
from tests.oracle.intervals import HOUR
from tests.oracle.rows import moment
from tests.oracle.shrinking import shrunk, words
from tests.oracle.worlds import TEN, Fleet, random_fleet, random_window

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=120)
@given(SEEDS)
def test_every_number_of_a_window_follows_from_the_page_on_energy(seed: int) -> None:
    random = Random(seed)
    start, end = random_window(random)
    _assert_none(random_fleet(random, start, end), start, end, differences)


@settings(max_examples=25)
@given(SEEDS, st.integers(2, 4))
def test_merged_hours_are_the_window_they_make(seed: int, hours: int) -> None:
    start, end = TEN, TEN + hours * HOUR
    _assert_none(random_fleet(Random(seed), start, end), start, end, _merged_differences)


@settings(max_examples=40)
@given(SEEDS)
def test_energies_of_chargers_add_up_to_those_of_the_fleet(seed: int) -> None:
    random = Random(seed)
    start, end = random_window(random)
    fleet = random_fleet(random, start, end)
    found = efficiency_of_window(*fleet.frames(), moment(start), moment(end), fleet.settings).tables

    of_vehicles = _sum(found.vehicles, "energy_ac_kwh")
    unlinked = _sum(found.chargers, "unlinked_energy_ac_kwh")
    assert of_vehicles + unlinked == _sum(found.chargers, "energy_ac_kwh"), words(fleet)


def _assert_none(fleet: Fleet, start: int, end: int, compare: Any) -> None:
    if compare(fleet, start, end):
        smallest = shrunk(fleet, lambda f: bool(compare(f, start, end)))
        found = [f"{k}: {v[0]} and not {v[1]}" for k, v in compare(smallest, start, end).items()]
        raise AssertionError("\n".join([words(smallest), moment(start).isoformat(), *found]))


def _merged_differences(fleet: Fleet, start: int, end: int) -> dict[Any, Any]:
    frames = fleet.frames()
    hours = [
        efficiency_of_window(*frames, moment(at), moment(at + HOUR), fleet.settings).tables
        for at in range(start, end, HOUR)
    ]
    window = moment(start), moment(end)
    vehicles = merge_vehicle_hours(pl.concat(h.vehicles for h in hours), *window, fleet.settings)
    chargers = merge_charger_hours(pl.concat(h.chargers for h in hours), *window, fleet.settings)
    of_vehicles, of_chargers = expected(fleet, start, end)
    return row_differences(of_vehicles, _rows(vehicles, "vehicle_id")) | row_differences(
        of_chargers, _rows(chargers, "meter_id")
    )


def _rows(table: pl.DataFrame, key: str) -> dict[str, dict[str, Any]]:
    return {
        row[key]: {k: v for k, v in row.items() if k not in ("hour_start", "hours")}
        for row in table.to_dicts()
    }


def _sum(table: pl.DataFrame, column: str) -> int:
    return sum(round((value or 0) * 10**9) for value in table[column])
