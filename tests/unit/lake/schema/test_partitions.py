"""Partitions are UTC hours, whatever the day, the year or the zone of the caller."""

from datetime import UTC, datetime, timedelta, timezone

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from lake.schema.partitions import (
    HOUR,
    hour_of,
    hours_between,
    in_raw_partitions,
    in_window,
    with_partition,
)

BASE = datetime(2025, 12, 30, tzinfo=UTC)
moments = st.integers(0, 72 * 3600).map(lambda n: BASE + timedelta(seconds=n))
EVERY_TEN_MINUTES = with_partition(
    pl.DataFrame(
        {"timestamp": [BASE + timedelta(minutes=10 * n) for n in range(73 * 6)]},
        schema={"timestamp": pl.Datetime("us", "UTC")},
    ),
    "timestamp",
)


@given(moments, moments)
def test_pruning_by_partition_drops_no_row_of_the_window(a: datetime, b: datetime) -> None:
    start, end = min(a, b), max(a, b) + timedelta(seconds=1)
    expected = EVERY_TEN_MINUTES.filter(pl.col("timestamp").is_between(start, end, "left"))
    assert EVERY_TEN_MINUTES.filter(in_window(start, end)).equals(expected)
    assert expected.filter(in_raw_partitions(start, end)).equals(expected)


@given(moments, moments)
def test_the_hours_of_a_window_hold_all_of_it_and_no_more(a: datetime, b: datetime) -> None:
    start, end = min(a, b), max(a, b) + timedelta(seconds=1)
    found = hours_between(start, end)
    assert found[0] <= start < found[0] + HOUR
    assert found[-1] < end <= found[-1] + HOUR
    assert found == sorted({hour_of(found[0] + n * HOUR) for n in range(len(found))})


def test_an_hour_is_utc_whatever_zone_the_moment_is_told_in() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    assert hour_of(datetime(2026, 11, 20, 15, 45, tzinfo=india)) == datetime(
        2026, 11, 20, 10, tzinfo=UTC
    )
