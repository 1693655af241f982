"""The lakes that are measured, filled without HTTP and Postgres."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import count, islice
from typing import Final

import polars as pl
from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction

from benchmarks.full_fleet import FullFleet
from lake import HOUR, STREAMS, Lake, Stream, read_delivered_horizon, replace_hours
from lake.delta.parquet_files import FAST, SMALL, write_data_file
from lake.history.deduplication import as_history, merge_heartbeats, no_heartbeats
from lake.schema.history import encode_history, history_table
from lake.schema.streams import DATE_PARTITION, HOUR_PARTITION
from lake.upkeep.cleanup import checkpoint_if_due
from tests.harness.raw_table import append_from

FILES_AN_HOUR: Final = 60
_HOUR_FILES_DAYS: Final = 30
_YEAR_DAYS: Final = 365
_FILES_A_COMMIT: Final = 1_000


def fill_raw_hour(lake: Lake, fleet: FullFleet, hour: datetime) -> int:
    """Fill an hour as flushes a minute leave it; returns the number of rows."""
    rows = 0
    for stream in STREAMS.values():
        received = fleet.hour(stream, hour)
        size = -(-received.height // FILES_AN_HOUR)
        for flush in received.iter_slices(size):
            before = read_delivered_horizon(lake, stream, "benchmark").horizon
            append_from(lake, stream, flush.to_arrow(), "benchmark", before + 1, before)
        rows += received.height
    return rows


def fill_history(lake: Lake, fleet: FullFleet, hours: Iterable[datetime]) -> int:
    """Fill compacted hours, without their raw rows; returns the number of rows."""
    rows = 0
    for hour in hours:
        for stream in STREAMS.values():
            received = fleet.hour(stream, hour).lazy()
            merged = merge_heartbeats(stream, no_heartbeats(stream).lazy(), [received]).collect()
            replace_hours(lake, history_table(stream), encode_history(merged), hour, hour + HOUR)
            rows += merged.height
    return rows


def fill_year(lake: Lake, before: datetime) -> None:
    """Fill a year of small files as the nightly maintenance leaves it.

    A raw file for each hour; a history file for each day, and for each hour of the last month. The
    files hold one heartbeat: what a later compaction has to do with them is to find its way in the
    list of files.
    """
    for stream in STREAMS.values():
        row = one_heartbeat(stream)
        hours = [before - n * HOUR for n in range(1, _YEAR_DAYS * 24 + 1)]
        _commit(lake, stream.raw_table, (_raw_file(lake, stream, row, hour) for hour in hours))
        newest = hours[: _HOUR_FILES_DAYS * 24]
        days = [before - timedelta(days=n) for n in range(_HOUR_FILES_DAYS + 1, _YEAR_DAYS + 1)]
        files = [(hour, FAST) for hour in newest] + [(day, SMALL) for day in days]
        _commit(
            lake,
            stream.history_table,
            (_history_file(lake, stream, row, at, level) for at, level in files),
        )
        for table in (stream.raw_table, stream.history_table):
            checkpoint_if_due(lake, table, commits=0)


def one_heartbeat(stream: Stream) -> pl.DataFrame:
    """One raw heartbeat, of a device that comes after those of the fleet."""
    return FullFleet(vehicles=1).hour(stream, datetime.fromisoformat("2026-11-20T00Z")).head(1)


def _raw_file(lake: Lake, stream: Stream, row: pl.DataFrame, hour: datetime) -> AddAction:
    partition = {DATE_PARTITION.name: f"{hour:%Y-%m-%d}", HOUR_PARTITION.name: str(hour.hour)}
    return write_data_file(lake, stream.raw_table, partition, [_at(row, hour)], [stream.device])


def _history_file(
    lake: Lake, stream: Stream, row: pl.DataFrame, at: datetime, level: int
) -> AddAction:
    rows = encode_history(as_history(_at(row, at).lazy()).collect())
    spec = history_table(stream)
    partition = {DATE_PARTITION.name: f"{at:%Y-%m-%d}"}
    rows_a_group = spec.rows_a_group if level == FAST else spec.archived_rows_a_group
    content = [rows.select(spec.names)]
    return write_data_file(
        lake, spec.name, partition, content, spec.described, level, rows_a_group=rows_a_group
    )


def _at(row: pl.DataFrame, at: datetime) -> pl.DataFrame:
    time = pl.lit(at, pl.Datetime("us", "UTC"))
    return row.with_columns(timestamp=time, received_at=time + pl.duration(seconds=1))


def _commit(lake: Lake, table: str, files: Iterable[AddAction]) -> None:
    """A commit for each thousand files."""
    waiting = iter(files)
    for _ in count():
        actions: list[AddAction | RemoveAction] = list(islice(waiting, _FILES_A_COMMIT))
        if not actions:
            return
        handle: DeltaTable = lake.open(table)
        partition = handle.metadata().partition_columns
        handle.create_write_transaction(actions, "append", handle.schema(), partition_by=partition)
