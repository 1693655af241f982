"""Appending heartbeats to a raw table, each transaction of the outbox exactly once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from lake.delta.commit import commit, read_log_entry, transactions_of
from lake.delta.durability import sync_file_system, sync_folders, sync_log, sync_newest_commit
from lake.delta.parquet_files import write_data_file
from lake.delta.storage import CHECKPOINT_INTERVAL, Lake
from lake.errors import StaleRead
from lake.schema.partitions import with_partition
from lake.schema.streams import DATE_PARTITION, HOUR_PARTITION, Stream

# Horizons that are no transactions: of an outbox that has delivered nothing yet, and of one that
# will deliver nothing any more.
BEGUN: Final = 1
CLOSED: Final = 2**63 - 1
# Each file and each folder waits for the disk on its own: thousands of old hours took a minute.
_SYNCED_ONE_BY_ONE: Final = 50
_PARTITION: Final = [DATE_PARTITION.name, HOUR_PARTITION.name]


@dataclass(frozen=True)
class DeliveredHorizon:
    """The progress of one outbox in a raw table: all transactions below `horizon` are in it.

    `table` is open at `version`. `entries` are log entries by version, that of `version` among
    them, by which the next append knows the table again: to open it anew would cost two requests
    for each commit since the last checkpoint.
    """

    horizon: int
    version: int
    table: DeltaTable = field(repr=False, compare=False)
    entries: Mapping[int, bytes] = field(repr=False, compare=False)


def read_delivered_horizon(
    lake: Lake, stream: Stream, app_id: str, table: DeltaTable | None = None
) -> DeliveredHorizon:
    """Return how much of the outbox `app_id` the raw table holds, durably.

    By `table`, where the caller has just opened it. Raises LakeDamaged if the newest commit claims
    data that is not on the disk.
    """
    table = table or lake.open(stream.raw_table)
    sync_newest_commit(lake.local_folder, table)
    sync_log(lake.local_folder, table, table.version() - CHECKPOINT_INTERVAL)
    return _horizon_of(lake, stream, table, app_id)


def append_once(
    lake: Lake,
    stream: Stream,
    rows: pa.Table,
    app_id: str,
    horizon: int,
    before: DeliveredHorizon,
) -> DeliveredHorizon:
    """Append `rows` and record `horizon` as delivered, in one durable Delta commit.

    `rows` have the columns of `stream.columns` and are the outbox rows of the transactions from
    `before`, the horizon that was delivered last, up to `horizon`. It serves one append, which uses
    its open table. Raises StaleRead, with nothing committed, if the same outbox has delivered more
    since, rows were removed, or the table has been exchanged for another; then read the outbox
    anew. Appends of other outboxes go through.
    """
    _require_known(lake, stream, before)
    hours = _by_hour(pl.DataFrame(rows), stream)
    together = len(hours) > _SYNCED_ONE_BY_ONE
    added = _write(lake, stream, hours, synced=not together)
    if lake.local_folder and together:
        sync_file_system(lake.local_folder)
    elif lake.local_folder:
        sync_folders(lake.local_folder / stream.raw_table, (file.path for file in added))
    commit(lake, before.table, added, {app_id: horizon})
    return _read_on(lake, stream, before, app_id, synced=before.version + 1)


def follow_horizon(
    lake: Lake, stream: Stream, before: DeliveredHorizon, app_id: str
) -> DeliveredHorizon:
    """Return the horizon at the newest version, which others may have appended, durably.

    `before` serves no append after that. Raises StaleRead where the table has been exchanged.
    """
    _require_known(lake, stream, before)
    return _read_on(lake, stream, before, app_id, synced=before.version)


def begin_outbox(
    lake: Lake, stream: Stream, before: DeliveredHorizon, app_id: str, closed: str | None
) -> DeliveredHorizon:
    """Note that the outbox `app_id` begins, and CLOSED as the horizon of the one before it.

    What anybody else is about to append under `closed` is refused from then on. Raises StaleRead,
    with nothing changed, if it has delivered more since `before`.
    """
    _require_known(lake, stream, before)
    commit(lake, before.table, [], {app_id: BEGUN} | ({closed: CLOSED} if closed else {}))
    return _read_on(lake, stream, before, app_id, synced=before.version + 1)


def _horizon_of(lake: Lake, stream: Stream, table: DeltaTable, app_id: str) -> DeliveredHorizon:
    horizon, version = table.transaction_version(app_id) or 0, table.version()
    entry = read_log_entry(lake, stream.raw_table, version)
    return DeliveredHorizon(horizon, version, table, {} if entry is None else {version: entry})


def _require_known(lake: Lake, stream: Stream, before: DeliveredHorizon) -> None:
    """Raise StaleRead where the table does not go on from what `before` knows of it.

    A commit through its handle is refused if the outbox has delivered more since. Of a handle that
    has moved on that would no longer hold, and a commit may follow on another table's.
    """
    if before.table.version() != before.version:
        raise StaleRead(f"version {before.version} has been appended to already")
    known = before.entries.get(before.version)
    if read_log_entry(lake, stream.raw_table, before.version) != known:
        raise StaleRead(f"version {before.version} is not the one that was read: another table")


def _read_on(
    lake: Lake, stream: Stream, before: DeliveredHorizon, app_id: str, *, synced: int
) -> DeliveredHorizon:
    """The horizon after all commits since `before`, one's own and those of others.

    By the log entries since then, while the library would read all since a checkpoint.
    """
    table, horizon, entries = before.table, before.horizon, dict[int, bytes]()
    table.update_incremental()
    if table.version() > synced:
        # Nobody may have synced the newest yet, and its version is going to be counted on.
        sync_log(lake.local_folder, table, before.version)
    for version in range(before.version + 1, table.version() + 1):
        entry = read_log_entry(lake, stream.raw_table, version)
        if entry is None:
            raise StaleRead(f"version {version} of {stream.raw_table} has gone")
        entries[version] = entry
        found = transactions_of(entry).get(app_id, horizon)
        horizon = horizon if found == CLOSED else found
    return DeliveredHorizon(horizon, table.version(), table, entries or before.entries)


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
