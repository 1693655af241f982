"""UTC hours: the partitions of every table."""

from datetime import UTC, datetime, timedelta

import polars as pl

HOUR = timedelta(hours=1)


def hour_of(moment: datetime) -> datetime:
    """The start of the UTC hour that `moment` lies in."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def hours_between(start: datetime, end: datetime) -> list[datetime]:
    """Every hour that shares a moment with the half-open window."""
    first = hour_of(start)
    count = -((first - end) // HOUR)
    return [first + HOUR * n for n in range(count)]


def with_partition(rows: pl.DataFrame, time_column: str) -> pl.DataFrame:
    """Add the partition columns that belong to the event time."""
    return rows.with_columns(
        pl.col(time_column).dt.date().alias("date"),
        pl.col(time_column).dt.hour().cast(pl.Int32).alias("hour"),
    )


def partition_predicate(start: datetime, end: datetime) -> str:
    """SQL predicate of the partitions of the hours from `start` to `end`, for an overwrite."""
    days: dict[str, list[int]] = {}
    for hour in hours_between(start, end):
        days.setdefault(f"{hour:%Y-%m-%d}", []).append(hour.hour)
    return " OR ".join(
        f"(date = '{day}' AND hour IN ({', '.join(map(str, hours))}))"
        if len(hours) < 24
        else f"date = '{day}'"
        for day, hours in days.items()
    )


def in_hours(start: datetime, end: datetime) -> pl.Expr:
    """Condition on the partition columns that no row of the window fails; prunes files."""
    first, last = hour_of(start), hour_of(end - timedelta(microseconds=1))
    if first.date() == last.date():
        return (pl.col("date") == first.date()) & pl.col("hour").is_between(first.hour, last.hour)
    return pl.col("date").is_between(first.date(), last.date())


def in_window(start: datetime, end: datetime) -> pl.Expr:
    """Condition for start <= timestamp < end, with the partitions for pruning."""
    return in_hours(start, end) & (pl.col("timestamp") >= start) & (pl.col("timestamp") < end)
