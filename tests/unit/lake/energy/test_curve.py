"""The curve of a vehicle: what an operator may read from it."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake import METER, VEHICLE, EnergySettings
from lake.energy.curve import STEPS, curve_step, vehicle_curve
from lake.energy.exact import exact_sum
from lake.energy.measured_side import measure_side
from lake.energy.network import Link, linked_sides
from tests.unit.energy_recomputation import (
    HOUR_10,
    HOUR_11,
    Row,
    readings,
    seconds,
)
from tests.unit.energy_samples import exclusive_links, meter_rows, patiently, tables, vehicle_rows

SETTINGS = EnergySettings(_env_file=None)
LINKED = [("M1", "V1", HOUR_10, HOUR_11, "link")]
STEP = timedelta(minutes=5)


def curve(
    meters: list[Row],
    vehicles: list[Row],
    ranges: Any = LINKED,
    start: datetime = HOUR_10,
    end: datetime = HOUR_11,
    step: timedelta = STEP,
) -> pl.DataFrame:
    vehicles = [row for row in vehicles if row["vehicle_id"] == "V1"]
    own = readings(VEHICLE, vehicles).collect()
    sides = linked_sides(
        measure_side(readings(METER, meters).collect(), METER, SETTINGS),
        measure_side(own, VEHICLE, SETTINGS),
        [Link(*one) for one in ranges if one[1] == "V1"],
        start,
        end,
    )
    return vehicle_curve(sides, own, start, end, step, SETTINGS)


def minutes(kwh_ac: float, kwh_dc: float, spared: range = range(0)) -> tuple[list[Row], list[Row]]:
    """Both sides, one reading a minute from 9:59 to 11:00, but for some minutes."""
    kept = [minute for minute in range(-1, 61) if minute not in spared]
    meters: list[Row] = [
        {"meter_id": "M1", "timestamp": seconds(60 * minute), "kwh_consumed_ac": kwh_ac}
        for minute in kept
    ]
    vehicles: list[Row] = [
        {
            "vehicle_id": "V1",
            "timestamp": seconds(60 * minute + 20),
            "kwh_delivered_dc": kwh_dc,
            "soc": float(minute),
            "battery_temp": 20.0,
        }
        for minute in kept
    ]
    return meters, vehicles


def test_steady_charging_has_the_same_energy_in_each_step_and_its_efficiency() -> None:
    found = curve(*minutes(0.2, 0.18))
    assert found.columns == [
        "begins",
        "energy_ac_kwh",
        "energy_dc_kwh",
        "efficiency_percent",
        "soc",
        "battery_temp",
    ]
    assert found["begins"].to_list() == [HOUR_10 + n * STEP for n in range(12)]
    inner = found[1:-1]
    assert inner["energy_ac_kwh"].to_list() == [pytest.approx(1.0)] * 10
    assert inner["energy_dc_kwh"].to_list() == [pytest.approx(0.9)] * 10
    assert inner["efficiency_percent"].to_list() == [pytest.approx(90)] * 10
    assert found["soc"].to_list() == [2 + 5 * n for n in range(12)]


def test_a_silence_is_a_gap_on_both_sides_and_in_every_measurement() -> None:
    found = curve(*minutes(0.2, 0.18, spared=range(20, 40)))
    silent = found.filter(pl.col("begins").is_between(seconds(1200), seconds(1800)))
    assert silent.height == 3
    assert silent.drop("begins").null_count().row(0) == (3, 3, 3, 3, 3)


def test_what_came_at_once_after_a_gap_makes_no_ratio() -> None:
    meters, vehicles = minutes(0.2, 0.18, spared=range(20, 40))
    meters = [
        {**row, "reading_type": "register", "kwh_consumed_ac": 10 + 0.2 * n}
        for n, row in enumerate(meters)
    ]
    found = curve(meters, vehicles).filter(pl.col("begins") == seconds(2100))
    assert found["energy_ac_kwh"].item() > 0
    assert found["efficiency_percent"].item() is None


def test_a_step_in_which_charging_ends_has_no_ratio_and_a_longer_one_has() -> None:
    meters, vehicles = minutes(0.2, 0.18)
    for rows, name, idle in ((meters, "kwh_consumed_ac", 0.001), (vehicles, "kwh_delivered_dc", 0)):
        rows[:] = [
            {**row, name: idle} if row["timestamp"] > seconds(60 * 32 + 30) else row for row in rows
        ]
    found = curve(meters, vehicles)["efficiency_percent"].to_list()
    assert found[1:6] == [pytest.approx(90)] * 5
    assert found[6:] == [None] * 6
    (hour,) = curve(meters, vehicles, step=timedelta(hours=1))["efficiency_percent"]
    assert hour == pytest.approx(90, abs=1)


def test_a_charger_that_gives_nothing_has_an_efficiency_of_zero() -> None:
    assert curve(*minutes(0.2, 0.0))["efficiency_percent"].to_list()[1:-1] == [0.0] * 10


def test_one_side_alone_makes_no_ratio() -> None:
    meters, vehicles = minutes(0.2, 0.18)
    assert curve(meters, [])["efficiency_percent"].null_count() == 12
    assert curve([], vehicles)["efficiency_percent"].null_count() == 12
    assert curve([], vehicles, ranges=[])["energy_ac_kwh"].null_count() == 12


def test_nothing_at_all_is_a_curve_of_gaps() -> None:
    found = curve([], [], ranges=[])
    assert found.height == 12
    assert found.drop("begins").null_count().row(0) == (12, 12, 12, 12, 12)


def test_the_first_and_the_last_step_may_be_parts() -> None:
    found = curve([], [], start=seconds(61), end=seconds(3599))
    assert found["begins"].to_list() == [HOUR_10 + n * STEP for n in range(12)]


@patiently
@given(meter_rows(), vehicle_rows(), exclusive_links(), st.sampled_from(STEPS[:3]))
def test_the_steps_have_exactly_the_energy_of_the_window(
    meters: list[Row], vehicles: list[Row], ranges: Any, step: timedelta
) -> None:
    found = curve(meters, vehicles, ranges, step=step).select(
        exact_sum(pl.col("energy_ac_kwh", "energy_dc_kwh"))
    )
    mine = [row for row in vehicles if row["vehicle_id"] == "V1"]
    whole = tables(meters, mine, [one for one in ranges if one[1] == "V1"]).vehicles
    expected = whole.select("energy_ac_kwh", "energy_dc_kwh").rows() or [(None, None)]
    assert found.rows() == expected


@pytest.mark.parametrize(
    ("hours", "step"), [(1, 300), (24, 300), (26, 900), (72, 900), (31 * 24, 10800), (9999, 86400)]
)
def test_a_longer_window_has_longer_steps(hours: int, step: int) -> None:
    assert curve_step(HOUR_10, HOUR_10 + timedelta(hours=hours)) == timedelta(seconds=step)
