"""Appends to a raw table, one after the other, as its Delta log tells them."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lake.delta.bulk_append import import_transaction
from lake.delta.commit import read_log_entry
from lake.delta.storage import Lake
from lake.errors import LakeDamaged, LogGone
from lake.schema.streams import DATE_PARTITION, HOUR_PARTITION, Stream


@dataclass(frozen=True)
class Append:
    """A commit that brought heartbeats: rows by hour.

    `import_transaction` is that of an import into the database that was asked for, which notes
    them in the ledger unless it was aborted.
    """

    rows: Mapping[datetime, int]
    committed_at: datetime
    import_transaction: int | None


def appends_of_others(
    lake: Lake,
    stream: Stream,
    versions: range,
    outbox: str,
    database: str,
    entries: Mapping[int, bytes] | None = None,
) -> list[Append]:
    """Return what others than the outbox with the app id `outbox` appended in these versions.

    `entries` are read already. What rewrites or drops rows, as a merge of files does, is no append,
    nor is what another tool has written. Raises LogGone where an entry of the log was cleaned away,
    as it is after 30 days.
    """
    appends = []
    for version in versions:
        entry = (entries or {}).get(version) or read_log_entry(lake, stream.raw_table, version)
        if entry is None:
            raise LogGone(
                f"the log of {stream.raw_table} has no version {version} any more: the lake writer "
                "counts the table anew with its next flush"
            )
        actions = [json.loads(line) for line in entry.splitlines()]
        noted = {one["appId"]: one["version"] for one in (a["txn"] for a in actions if "txn" in a)}
        if noted and outbox not in noted and not any("remove" in action for action in actions):
            rows = _rows_by_hour(actions, f"version {version} of {stream.raw_table}")
            importing = import_transaction(noted, database)
            appends += [Append(rows, _committed_at(actions), importing)] if rows else []
    return appends


def _rows_by_hour(actions: list[dict[str, Any]], what: str) -> dict[datetime, int]:
    rows = Counter[datetime]()
    for added in (action["add"] for action in actions if "add" in action):
        values = added["partitionValues"]
        hour = datetime.fromisoformat(values[DATE_PARTITION.name]).replace(
            hour=int(values[HOUR_PARTITION.name]), tzinfo=UTC
        )
        try:
            rows[hour] += json.loads(added["stats"])["numRecords"]
        except (KeyError, TypeError) as error:
            raise LakeDamaged(f"{what} has a file whose entry counts no rows") from error
    return rows


def _committed_at(actions: list[dict[str, Any]]) -> datetime:
    told = (action["commitInfo"] for action in actions if "commitInfo" in action)
    committed = max((info.get("timestamp", 0) for info in told), default=0)
    return datetime.fromtimestamp(committed / 1000, UTC)
