"""Appends to a raw table, one after the other, as its Delta log tells them."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lake.delta.bulk_append import is_import_by
from lake.delta.commit import read_log_entry
from lake.delta.storage import Lake
from lake.errors import LakeDamaged, LogGone
from lake.schema.streams import DATE_PARTITION, HOUR_PARTITION, Stream


@dataclass(frozen=True)
class Append:
    """A commit that brought heartbeats, with the app ids that it notes, and rows by hour."""

    app_ids: frozenset[str]
    rows: Mapping[datetime, int]
    committed_at: datetime


def appends_of_others(
    lake: Lake,
    stream: Stream,
    versions: range,
    outbox: str,
    database: str,
    entries: Mapping[int, bytes] | None = None,
) -> list[Append]:
    """Return what others appended in these versions, in their order; `entries` are read already.

    Others than the outbox with the app id `outbox`, and the imports into `database`, which note
    their rows in a ledger themselves. What rewrites or drops rows, as a merge of files does, is no
    append, nor is what another tool has written. Raises LogGone where an entry of the log was
    cleaned away, as it is after 30 days.
    """
    return [
        append
        for append in _appends(lake, stream, versions, entries or {})
        if outbox not in append.app_ids and not is_import_by(append.app_ids, database)
    ]


def _appends(
    lake: Lake, stream: Stream, versions: range, entries: Mapping[int, bytes]
) -> list[Append]:
    appends = []
    for version in versions:
        entry = entries.get(version) or read_log_entry(lake, stream.raw_table, version)
        if entry is None:
            raise LogGone(
                f"the log of {stream.raw_table} has no version {version} any more: the lake writer "
                "counts the table anew with its next flush"
            )
        actions = [json.loads(line) for line in entry.splitlines()]
        if not any("remove" in action for action in actions):
            appends += _append_of(actions, f"version {version} of {stream.raw_table}")
    return appends


def _append_of(actions: list[dict[str, Any]], what: str) -> list[Append]:
    app_ids = frozenset(action["txn"]["appId"] for action in actions if "txn" in action)
    rows = Counter[datetime]()
    if not app_ids:
        return []
    for added in (action["add"] for action in actions if "add" in action):
        values = added["partitionValues"]
        hour = datetime.fromisoformat(values[DATE_PARTITION.name]).replace(
            hour=int(values[HOUR_PARTITION.name]), tzinfo=UTC
        )
        try:
            rows[hour] += json.loads(added["stats"])["numRecords"]
        except (KeyError, TypeError) as error:
            raise LakeDamaged(f"{what} has a file whose entry counts no rows") from error
    if not rows:
        return []
    told = (action["commitInfo"] for action in actions if "commitInfo" in action)
    committed = max((info.get("timestamp", 0) for info in told), default=0)
    return [Append(app_ids, rows, datetime.fromtimestamp(committed / 1000, UTC))]
