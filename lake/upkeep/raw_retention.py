"""Retention of raw hours: dropped once the history has taken in every row."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from lake.delta.durability import sync_log
from lake.delta.file_statistics import LOG_DATE, LOG_HOUR
from lake.delta.raw_files import hour_start, live_raw_files
from lake.delta.storage import Lake, retry_stale
from lake.errors import LakeDamaged, StaleRead
from lake.history.scans import scan_history
from lake.schema.partitions import HOUR
from lake.schema.streams import Stream


@dataclass(frozen=True)
class RawHourSize:
    """Rows, files and bytes of an hour in the raw table."""

    rows: int
    files: int
    bytes: int


@dataclass(frozen=True)
class RawDrop:
    """The hours that were dropped, and the reasons of those that were kept.

    The files of a dropped hour are gone for readers at once and from the disk at a later vacuum.
    """

    dropped: Mapping[datetime, RawHourSize]
    kept: Mapping[datetime, str]


def raw_hour_sizes(lake: Lake, stream: Stream) -> dict[datetime, RawHourSize]:
    """Return the size of each hour in the newest version of the raw table, by its log."""
    return _raw_hours(lake.open(stream.raw_table))


def drop_raw_partitions(
    lake: Lake,
    stream: Stream,
    rows: Mapping[datetime, int],
    before_commit: Callable[[Collection[datetime]], None] = lambda hours: None,
) -> RawDrop:
    """Drop these hours from the raw table, in one commit.

    `rows` says how many rows the caller knows to be taken in of each hour. An hour is kept if the
    table holds another number, or if the history does not account for each of them. Hours that
    are gone already are in neither list. `before_commit` gets the hours that are about to go. An
    append at the same time is either noticed here, and this starts over, or notices this one.
    """
    return retry_stale(lambda: _drop(lake, stream, rows, before_commit))


def _drop(
    lake: Lake,
    stream: Stream,
    rows: Mapping[datetime, int],
    before_commit: Callable[[Collection[datetime]], None],
) -> RawDrop:
    table = lake.open(stream.raw_table)
    found = {hour: of_hour for hour, of_hour in _raw_hours(table).items() if hour in rows}
    kept = {}
    for hour, of_hour in found.items():
        if of_hour.rows != rows[hour]:
            kept[hour] = f"{of_hour.rows} raw rows where {rows[hour]} were taken in"
        elif lost := _not_in_history(lake, stream, table, hour):
            kept[hour] = f"the history does not account for {lost} heartbeats"
    dropped = {hour: of_hour for hour, of_hour in found.items() if hour not in kept}
    if dropped:
        before_commit(dropped.keys())
        before = table.version()
        try:
            # Through the very handle that was read, as every other change of what is there.
            table.delete(_predicate(dropped))
        except CommitFailedError as error:
            raise StaleRead(str(error)) from error
        sync_log(lake.local_folder, table, before)
    return RawDrop(dropped, kept)


def _raw_hours(table: DeltaTable) -> dict[datetime, RawHourSize]:
    files = live_raw_files(table)
    if files["num_records"].has_nulls():
        raise LakeDamaged(f"{table.table_uri} has files whose log entry counts no rows")
    hours = files.group_by(LOG_DATE, LOG_HOUR).agg(
        pl.col("num_records").sum(), pl.len(), pl.col("size_bytes").sum()
    )
    return {hour_start(day, hour): RawHourSize(*counts) for day, hour, *counts in hours.rows()}


def _not_in_history(lake: Lake, stream: Stream, table: DeltaTable, hour: datetime) -> int:
    """Identities of the raw hour that the history lacks, has older, or has counted too few of."""
    key = list(stream.key)
    raw = lake.scan(table).filter(pl.col("date") == hour.date(), pl.col("hour") == hour.hour)
    known = pl.col("received_at").filter(pl.col(stream.energy).is_not_null())
    newest = pl.coalesce(known.max(), pl.max("received_at"))
    received = raw.group_by(key).agg(copies=pl.len().cast(pl.Int64), newest=newest)
    history = scan_history(lake, stream, hour, hour + HOUR)
    accounted = pl.col("received_at").ge(pl.col("newest")) & pl.col("duplicates").ge(
        pl.col("copies") - 1
    )
    lost = (
        received.join(
            history.select(*key, "received_at", "duplicates"), on=key, how="left", nulls_equal=True
        )
        .filter(~accounted.fill_null(value=False))
        .select(pl.len())
    )
    return int(lost.collect().item())


def _predicate(hours: Collection[datetime]) -> str:
    """SQL predicate of exactly these partitions."""
    days: dict[date, list[str]] = {}
    for hour in sorted(hours):
        days.setdefault(hour.date(), []).append(str(hour.hour))
    return " OR ".join(
        f"(date = '{day}' AND hour IN ({', '.join(of_day)}))" for day, of_day in days.items()
    )
