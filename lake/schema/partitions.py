"""UTC hours and days: the partitions of the tables."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import TypeVar

import polars as pl

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TIME = pl.Datetime("us", "UTC")
_Part = TypeVar("_Part", date, datetime)


@lru_cache(maxsize=256)
def literal(moment: datetime) -> pl.Expr:
    """Return a moment as an expression; much faster than `pl.lit` of a datetime."""
    return pl.lit(microseconds(moment), _TIME)


def microseconds(moment: datetime) -> int:
    """Return the whole microseconds since 1970, as a column of times holds them."""
    return (moment - EPOCH) // _MICROSECOND


def hour_of(moment: datetime) -> datetime:
    """Return the start of the UTC hour that `moment` lies in."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def hours_between(start: datetime, end: datetime) -> list[datetime]:
    """Return every hour that shares a moment with the half-open window."""
    first = hour_of(start)
    count = -((first - end) // HOUR)
    return [first + HOUR * n for n in range(count)]


def with_partition(rows: pl.DataFrame, time_column: str) -> pl.DataFrame:
    """Add the partition columns of a raw table that belong to the event time."""
    return rows.with_columns(
        pl.col(time_column).dt.date().alias("date"),
        pl.col(time_column).dt.hour().cast(pl.Int32).alias("hour"),
    )


def in_raw_partitions(start: datetime, end: datetime) -> pl.Expr:
    """Return a condition on a raw table's partitions that prunes the files of other hours."""
    first, last = hour_of(start), hour_of(end - timedelta(microseconds=1))
    if first.date() == last.date():
        return (pl.col("date") == first.date()) & pl.col("hour").is_between(first.hour, last.hour)
    return pl.col("date").is_between(first.date(), last.date())


def in_window(start: datetime, end: datetime, time_column: str = "timestamp") -> pl.Expr:
    """Return the condition start <= time < end for other tables, with days for pruning."""
    on_days = pl.col("date").is_between(*first_and_last_day(start, end))
    if time_column == "date":
        return on_days
    return on_days & (pl.col(time_column) >= start) & (pl.col(time_column) < end)


def first_and_last_day(start: datetime, end: datetime) -> tuple[date, date]:
    """Return the first and last of `days_between`, however many lie between them."""
    return hour_of(start).date(), (end - timedelta(microseconds=1)).astimezone(UTC).date()


def days_between(start: datetime, end: datetime) -> list[date]:
    """Return every UTC day that shares a moment with the half-open window."""
    first, last = first_and_last_day(start, end)
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def days_within(start: datetime, end: datetime) -> list[date]:
    """Return every UTC day that lies wholly in the half-open window."""
    whole = timedelta(days=1)
    return [
        day
        for day in days_between(start, end)
        if start <= (midnight := datetime.combine(day, time(), UTC)) and midnight + whole <= end
    ]


def utc_window(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Convert a half-open window to UTC; ValueError if a zone is missing or end <= start."""
    if start.tzinfo is None or end.tzinfo is None:
        raise ValueError(f"a window needs a time zone: {start} to {end}")
    # Two times of one zone are compared by their clocks, which go back where summer time ends.
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    if end <= start:
        raise ValueError(f"a window must end after its start: {start} to {end}")
    return start, end


def contiguous_hours(hours: Iterable[datetime], longest: int) -> list[Sequence[datetime]]:
    """Group hours, in order, into ranges without a hole and of at most `longest` hours."""
    return contiguous_ranges(hours, HOUR, longest)


def contiguous_ranges(
    parts: Iterable[_Part], step: timedelta, longest: int
) -> list[Sequence[_Part]]:
    """Group hours or days, in order, into ranges in which each is one step from the last."""
    ranges: list[list[_Part]] = []
    for part in sorted(set(parts)):
        if ranges and part - ranges[-1][-1] == step and len(ranges[-1]) < longest:
            ranges[-1].append(part)
        else:
            ranges.append([part])
    return list(ranges)
