"""The times in a data file, by the statistics in the log of its table."""

from collections.abc import Collection
from datetime import timedelta
from typing import Final

import polars as pl

from lake.schema.streams import DATE_PARTITION, HOUR_PARTITION

LOG_DATE, LOG_HOUR = (f"partition.{column.name}" for column in (DATE_PARTITION, HOUR_PARTITION))
_TIME: Final = pl.Datetime("us", "UTC")
_TICK: Final = timedelta(microseconds=1)


def times_of_files(columns: Collection[str], time_column: str) -> tuple[pl.Expr, pl.Expr]:
    """Return the first and last time a file may hold, for a flat log with these columns."""
    first = pl.col(LOG_DATE).cast(_TIME)
    last = first + timedelta(days=1) - _TICK
    if LOG_HOUR in columns:
        first += pl.duration(hours=LOG_HOUR)
        last = first + timedelta(hours=1) - _TICK
    elif f"min.{time_column}" in columns:
        first = pl.coalesce(pl.col(f"min.{time_column}").cast(_TIME), first)
        last = pl.coalesce(pl.col(f"max.{time_column}").cast(_TIME), last)
    return first, last
