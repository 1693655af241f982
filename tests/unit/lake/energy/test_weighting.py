"""The time that readings stand for: the same, whether an hour or its day is asked."""

from datetime import datetime, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from lake import HOUR, EnergySettings
from lake.energy.weighting import time_weights
from tests.samples import HOUR_10

SETTINGS = EnergySettings()
MIDNIGHT = HOUR_10.replace(hour=0)
CONTEXT = timedelta(seconds=SETTINGS.largest_gap_seconds)
# Seconds of the day, with much silence, and much around full hours.
SECONDS = st.integers(-400, 86_399) | st.builds(
    lambda hour, second: min(3_600 * hour + second, 86_399),
    st.integers(0, 23),
    st.integers(-400, 400),
)
READINGS = st.lists(st.tuples(st.sampled_from(["A", "B"]), SECONDS), unique=True, max_size=60)


def known_to(readings: list[tuple[str, int]], start: datetime, end: datetime) -> pl.DataFrame:
    """The readings that a window has, with the context before it."""
    rows = [(device, MIDNIGHT + timedelta(seconds=second)) for device, second in readings]
    schema = {"device": pl.String(), "timestamp": pl.Datetime("us", "UTC")}
    found = pl.DataFrame(rows, schema=schema, orient="row").sort("device", "timestamp")
    return found.filter(pl.col("timestamp") >= start - CONTEXT, pl.col("timestamp") < end)


def stood_for(readings: pl.DataFrame, start: datetime) -> pl.DataFrame:
    """Device, timestamp and microseconds of the readings of a window."""
    timed = readings.with_columns(time=time_weights("device", SETTINGS))
    return timed.filter(pl.col("timestamp") >= start)


@given(readings=READINGS)
def test_the_time_of_the_hours_is_that_of_their_day(readings: list[tuple[str, int]]) -> None:
    day = stood_for(known_to(readings, MIDNIGHT, MIDNIGHT + 24 * HOUR), MIDNIGHT)
    starts = [MIDNIGHT + hour * HOUR for hour in range(24)]
    hours = pl.concat(stood_for(known_to(readings, start, start + HOUR), start) for start in starts)
    assert hours.sort("device", "timestamp").equals(day)


def test_a_reading_stands_for_the_time_since_the_one_before_it_within_limits() -> None:
    seconds = [600, 660, 1_800, 3_400, 3_700, 6_800, 7_300]
    readings = [("A", second) for second in seconds]
    day = stood_for(known_to(readings, MIDNIGHT, MIDNIGHT + HOUR * 24), MIDNIGHT)
    # The first; after a minute; after silences, the last one since 6:40 minutes before an hour.
    assert (day["time"] // 1_000_000).to_list() == [60, 60, 300, 300, 300, 300, 60]
