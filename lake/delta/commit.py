"""Commits of added and removed files to a Delta table."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from lake.delta.durability import sync_log
from lake.delta.storage import Lake
from lake.errors import StaleRead

_RETRIES: Final = 50  # of a commit whose version another writer has taken


def commit(
    lake: Lake,
    table: DeltaTable,
    actions: Sequence[AddAction | RemoveAction],
    app_transactions: Mapping[str, int],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Commit files that are on the disk, and the versions of `app_transactions`, durably.

    `table` must be the handle on which the caller has looked up what the commit rests on: the files
    that it removes, and what the app transactions were before. delta-rs refuses it if another
    commit of one of these app ids came in between, and accepts a repeated version otherwise. That
    raises StaleRead, with nothing changed. The handle stays at the version that it was opened at.
    """
    try:
        table.create_write_transaction(
            [*actions],
            "append",
            table.schema(),
            partition_by=table.metadata().partition_columns,
            commit_properties=CommitProperties(
                app_transactions=[Transaction(*one) for one in app_transactions.items()],
                custom_metadata=dict(metadata or {}),
                max_commit_retries=_RETRIES,
            ),
            # Which lists all of the log at each commit: the upkeep does it, once a day.
            post_commithook_properties=PostCommitHookProperties(cleanup_expired_logs=False),
        )
    except CommitFailedError as error:
        raise StaleRead(str(error)) from error
    # The newest commit may be another's, and a lost one before it would hide that as well.
    sync_log(lake.local_folder, table, table.version())


def next_version(table: DeltaTable, app_id: str) -> dict[str, int]:
    """Return the app transaction that counts up the commits of one kind.

    The library lets two commits remove the same file, and the rows of both would stay. Of two that
    start from one version it refuses the second for its count.
    """
    return {app_id: (table.transaction_version(app_id) or 0) + 1}


def read_log_entry(lake: Lake, table: str, version: int) -> bytes | None:
    """Return the log entry of one version, None where there is none any more."""
    try:
        return lake.read_file(f"{table}/_delta_log/{version:020}.json")
    except FileNotFoundError:
        return None


def transactions_of(entry: bytes) -> dict[str, int]:
    """Return the versions of the app transactions in a log entry, by app id."""
    actions = (json.loads(line) for line in entry.splitlines())
    return {txn["appId"]: txn["version"] for txn in (a["txn"] for a in actions if "txn" in a)}
