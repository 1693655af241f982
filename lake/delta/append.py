"""Appending heartbeats to a raw table, each transaction of the outbox exactly once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from lake.delta.commit import commit
from lake.delta.durability import sync_file_system, sync_folders, sync_log, sync_newest_commit
from lake.delta.parquet_files import write_data_file
from lake.delta.storage import CHECKPOINT_INTERVAL, Lake
from lake.errors import StaleRead
from lake.schema.partitions import with_partition
from lake.schema.streams import DATE_PARTITION, HOUR_PARTITION, Stream

# Each file and each folder waits for the disk on its own: thousands of old hours took a minute.
_SYNCED_ONE_BY_ONE: Final = 50
_PARTITION: Final = [DATE_PARTITION.name, HOUR_PARTITION.name]


@dataclass(frozen=True)
class DeliveredHorizon:
    """The progress of one outbox in a raw table: all transactions below `horizon` are in it."""

    horizon: int
    version: int
    table_id: str


def read_delivered_horizon(lake: Lake, stream: Stream, app_id: str) -> DeliveredHorizon:
    """Return how much of the outbox `app_id` the raw table holds, durably.

    Raises LakeDamaged if the newest commit claims data that is not on the disk.
    """
    table = lake.open(stream.raw_table)
    sync_newest_commit(lake.local_folder, table)
    sync_log(lake.local_folder, table, table.version() - CHECKPOINT_INTERVAL)
    return _horizon_of(table, app_id)


def append_once(
    lake: Lake, stream: Stream, rows: pa.Table, app_id: str, horizon: int, expected: int
) -> DeliveredHorizon:
    """Append `rows` and record `horizon` as delivered, in one durable Delta commit.

    `rows` have the columns of `stream.columns` and are the outbox rows of the transactions from
    `expected`, the horizon that was delivered before, up to `horizon`. Raises StaleRead, with
    nothing written, if the table has taken in anything else since; then read the outbox anew.
    """
    table = lake.open(stream.raw_table)
    before = _horizon_of(table, app_id)
    if before.horizon != expected:
        raise StaleRead(f"expected horizon {expected}, the table is at {before.horizon}")
    hours = _by_hour(pl.DataFrame(rows), stream)
    together = len(hours) > _SYNCED_ONE_BY_ONE
    added = _write(lake, stream, hours, synced=not together)
    if lake.local_folder and together:
        sync_file_system(lake.local_folder)
    elif lake.local_folder:
        sync_folders(lake.local_folder / stream.raw_table, (file.path for file in added))
    commit(lake, table, added, {app_id: horizon})
    return _horizon_of(lake.open(stream.raw_table), app_id)


def _by_hour(rows: pl.DataFrame, stream: Stream) -> list[tuple[date, int, pa.Table]]:
    """Date, hour and heartbeats of each hour, which stay in their order.

    They are parts of one Arrow table: to bring each hour to Arrow would take half of a flush of
    thousands of hours.
    """
    frame = with_partition(rows, "timestamp").sort(_PARTITION, maintain_order=True)
    whole = frame.select([column.name for column in stream.columns]).rechunk().to_arrow()
    counts = frame.group_by(_PARTITION, maintain_order=True).len()
    starts = counts["len"].cum_sum() - counts["len"]
    return [
        (day, hour, whole.slice(start, count))
        for (day, hour, count), start in zip(counts.rows(), starts, strict=True)
    ]


def _write(
    lake: Lake, stream: Stream, hours: Sequence[tuple[date, int, pa.Table]], *, synced: bool
) -> list[AddAction]:
    """One file for each hour, one after the other: a buffer for every hour would take gigabytes."""
    return [
        write_data_file(
            lake,
            stream.raw_table,
            {DATE_PARTITION.name: str(day), HOUR_PARTITION.name: str(hour)},
            [part],
            described=[stream.device],
            synced=synced,
        )
        for day, hour, part in hours
    ]


def _horizon_of(table: DeltaTable, app_id: str) -> DeliveredHorizon:
    horizon = table.transaction_version(app_id) or 0
    return DeliveredHorizon(horizon, table.version(), str(table.metadata().id))
