"""Imported files in a raw table, each part of a source file exactly once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from lake.delta.commit import commit
from lake.delta.durability import sync_file_system, sync_log, sync_newest_commit
from lake.delta.parquet_files import write_data_file
from lake.delta.storage import CHECKPOINT_INTERVAL, Lake, retry_stale
from lake.errors import StaleRead
from lake.schema.streams import DATE_PARTITION, HOUR_PARTITION, Stream

_NOTHING: Final = 0


@dataclass(frozen=True)
class ImportProgress:
    """The rows of one source file that a raw table holds.

    All rows of the file before `upto`, the last commit those from `since`; `transaction` is the
    id of the database transaction that notes this commit in the ledger, None where it was one of
    another database. `received_at` is the import's time of receipt, microseconds since 1970;
    `rows` the length of the file once all of it is in.
    """

    upto: int = 0
    since: int = 0
    received_at: int | None = None
    transaction: int | None = None
    rows: int | None = None


def read_import_progress(
    lake: Lake, stream: Stream, import_id: str, database: str
) -> ImportProgress:
    """Return how much of a source file is in the raw table, durably."""
    table = lake.open(stream.raw_table)
    sync_newest_commit(lake.local_folder, table)
    _sync_recent(lake, table)
    return _progress_of(table, import_id, database)


def write_hour_file(lake: Lake, stream: Stream, hour: datetime, rows: pa.Table) -> AddAction:
    """Write the heartbeats of one hour into a file of their own, for `append_files`.

    `rows` have the stream's columns. The file is on the disk only after the append. Can be called
    from threads.
    """
    partition = {DATE_PARTITION.name: f"{hour:%Y-%m-%d}", HOUR_PARTITION.name: str(hour.hour)}
    return write_data_file(
        lake, stream.raw_table, partition, [rows], described=[stream.device], synced=False
    )


def append_files(
    lake: Lake,
    stream: Stream,
    added: Sequence[AddAction],
    import_id: str,
    database: str,
    before: ImportProgress,
    after: ImportProgress,
) -> int:
    """Commit written files with how far the source file has come; returns the table's version.

    One durable Delta commit. Raises StaleRead if the table does not stand at `before`: somebody
    else imports the same file.
    """
    noted = {
        import_id: after.upto,
        f"{import_id}/since": after.since,
        f"{import_id}/received": after.received_at,
        f"{import_id}/rows": after.rows,
        _transaction_id(import_id, database): after.transaction,
    }
    versions = {name: value for name, value in noted.items() if value is not None}

    if lake.local_folder:
        sync_file_system(lake.local_folder)

    def append() -> int:
        table = lake.open(stream.raw_table)
        found = _progress_of(table, import_id, database)
        if found == before:
            commit(lake, table, added, versions)
        elif found == after:  # by an attempt that failed only by its answer
            _sync_recent(lake, table)
        else:
            raise StaleRead("another import of the same file came first; start this one again")
        table.update_incremental()
        return table.version()

    return retry_stale(append)


def import_transaction(app_transactions: Mapping[str, int], database: str) -> int | None:
    """Return the transaction of `database` that notes the rows of an import's commit in its ledger.

    None of any other commit.
    """
    noted = _transaction_id("", database)
    return next((at for name, at in app_transactions.items() if name.endswith(noted)), None)


def _progress_of(table: DeltaTable, import_id: str, database: str) -> ImportProgress:
    return ImportProgress(
        table.transaction_version(import_id) or _NOTHING,
        table.transaction_version(f"{import_id}/since") or _NOTHING,
        table.transaction_version(f"{import_id}/received"),
        table.transaction_version(_transaction_id(import_id, database)),
        table.transaction_version(f"{import_id}/rows"),
    )


def _sync_recent(lake: Lake, table: DeltaTable) -> None:
    sync_log(lake.local_folder, table, table.version() - CHECKPOINT_INTERVAL)


def _transaction_id(import_id: str, database: str) -> str:
    return f"{import_id}/transaction/{database}"
