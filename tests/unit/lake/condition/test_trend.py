"""Trends of devices from their weekly levels."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import theilslopes

from lake.condition import efficiency_trends
from lake.condition.levels import LEVELS, WEEKS
from lake.condition.trend import sen_slopes


def levels(*courses: Sequence[float | None], cold: list[float] | None = None) -> pl.DataFrame:
    rows = [
        ("meter", f"M{number:03}", week - WEEKS, level, 0.5, 5, 90.0, (cold or [0.0] * WEEKS)[week])
        for number, course in enumerate(courses)
        for week, level in enumerate(course)
        if level is not None
    ]
    return pl.DataFrame(rows, schema=LEVELS, orient="row")


def noise(seed: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0, 0.5, WEEKS)


@settings(max_examples=60)
@given(
    st.lists(st.one_of(st.none(), st.floats(-50, 50)), min_size=4, max_size=20).filter(
        lambda values: sum(value is not None for value in values) >= 4
    )
)
def test_slopes_of_many_are_those_of_scipy(values: list[float | None]) -> None:
    level = np.array([[0.0 if value is None else value for value in values]])
    known = np.array([[value is not None for value in values]])
    weeks = np.flatnonzero(known[0])
    expected = theilslopes(level[0, weeks], weeks, alpha=0.95)
    found = sen_slopes(level, known)[0]
    assert found[0] == pytest.approx(expected.slope, abs=1e-9)
    if len(set(level[0, weeks])) == len(weeks):  # scipy widens the interval where values are equal
        assert found[1:] == pytest.approx([expected.low_slope, expected.high_slope], abs=1e-9)


def test_a_drift_is_found_with_its_begin_and_its_slope() -> None:
    weeks = np.arange(WEEKS)
    fall = -0.5 * np.maximum(weeks - 30, 0)
    (row,) = efficiency_trends(levels((fall + noise(1)).tolist())).iter_rows(named=True)
    assert row["course"] == "drift"
    assert row["change_week"] == pytest.approx(30 - WEEKS, abs=2)
    assert row["change_percent"] == pytest.approx(-10.5, abs=1)
    assert row["slope_low"] < -0.5 * 365.25 / 84 < row["slope_high"] < 0
    assert row["z"] < -20


def test_a_trend_has_the_levels_of_its_weeks_and_none_where_none_is_known() -> None:
    course = [None if week % 5 == 0 else -0.1 * week for week in range(WEEKS)]
    (row,) = efficiency_trends(levels(course)).iter_rows(named=True)
    assert row["weekly_level_percent"] == course


def test_a_step_is_found_with_its_week() -> None:
    step = np.where(np.arange(WEEKS) >= 40, -4.0, 0.0)
    (row,) = efficiency_trends(levels((step + noise(2)).tolist())).iter_rows(named=True)
    assert (row["course"], row["change_week"]) == ("step", 40 - WEEKS)
    assert row["change_percent"] == pytest.approx(-4, abs=0.5)


def test_the_limit_is_as_many_days_away_as_the_slope_says() -> None:
    weeks = np.arange(WEEKS)
    fall = -0.25 * np.maximum(weeks - 20, 0)
    (row,) = efficiency_trends(levels((fall + noise(3) / 2).tolist()), 80).iter_rows(named=True)
    # The level is the mean of the last four weeks, 1.5 weeks ago.
    days = 7 * (100 * np.log(90 / 80) + fall[-1]) / 0.25
    assert row["days_to_limit_low"] < days + 11 < row["days_to_limit_high"] + 11
    assert row["days_to_limit"] == pytest.approx(days, abs=40)


def test_what_stays_the_same_seldom_looks_like_a_change() -> None:
    many = [noise(seed).tolist() for seed in range(100, 400)]
    found = efficiency_trends(levels(*many))
    assert (found["z"].abs() > 5).sum() == 0


def test_a_car_that_suffers_more_from_cold_does_not_drift() -> None:
    cold = [
        max(0.0, 8 * np.sin((week - 20) / 8)) if 20 <= week <= 45 else 0.0 for week in range(52)
    ]
    course = (-0.4 * np.array(cold) + noise(4)).tolist()
    (with_cold,) = efficiency_trends(levels(course, cold=cold)).iter_rows(named=True)
    (without,) = efficiency_trends(levels(course)).iter_rows(named=True)
    assert abs(with_cold["z"]) < 5 < abs(without["z"])


def test_weeks_that_are_missing_are_left_out() -> None:
    course: list[float | None] = noise(5).tolist()
    course[10:30] = [None] * 20
    (row,) = efficiency_trends(levels(course)).iter_rows(named=True)
    assert row["weeks"] == 32
    short: list[float | None] = [None] * 46 + [0.0] * 6
    assert efficiency_trends(levels(short)).is_empty()
