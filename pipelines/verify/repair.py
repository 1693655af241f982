"""What `wattlake verify --repair` does: it lets the hours that differ be computed again."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Final

import psycopg

from lake import HOUR, STREAMS, Lake
from lake.delta import remove_file
from lake.history import compact_anew, rebuild_file
from lake.schema import DERIVED_TABLES
from pipelines.verify.findings import Finding, Remedy
from pipelines.verify.ledger import rebuild_ledger
from warehouse_sql.named_queries import query

_HOURS_AT_ONCE: Final = 500
_OF_HISTORY: Final = {stream.history_table: stream for stream in STREAMS.values()}
_COMPUTED: Final = {spec.name: spec for spec in DERIVED_TABLES}


def repair(
    connection: psycopg.Connection,
    lake: Lake,
    findings: Sequence[Finding],
    unreadable: Collection[str] = (),
) -> set[datetime]:
    """Put right what the ledger says, and let the hours wait; returns those that now do.

    `connection` is in autocommit. Nothing of raw is written, and no energy is computed: the
    sensor does that. Only a history that raw contradicts, or a file of it that is damaged, is made
    from raw at once, because a compaction keeps what it finds in the history, and a damaged file of
    another table is taken out of it. Tables that are `unreadable` are left alone. It can be
    repeated, and interrupted.
    """
    lake.create_tables(unreadable)
    curable = [found for found in findings if not found.remedy.needs_person]
    for stream in STREAMS.values():
        arrivals = {
            found.hour: found.last_arrival
            for found in curable
            if found.remedy is Remedy.COUNT and found.stream == stream.name
        }
        rebuild_ledger(connection, lake, stream, arrivals)
    for found in curable:
        if found.remedy is Remedy.COMPACT and found.stream and not _raw_dropped(connection, found):
            compact_anew(lake, STREAMS[found.stream], found.hour)
        elif found.remedy is Remedy.REBUILD and found.file:
            rebuild_file(lake, _OF_HISTORY[found.table], found.file)
        elif found.remedy is Remedy.REPLACE and found.file:
            remove_file(lake, _COMPUTED[found.table], found.file.path)
    return _reopen(connection, curable)


def _raw_dropped(connection: psycopg.Connection, found: Finding) -> bool:
    window = {"start": found.hour, "end": found.hour + HOUR}
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        rows = cursor.execute(query("ledger_between"), window).fetchall()
    return any(row["raw_dropped"] for row in rows if row["stream"] == found.stream)


def _reopen(connection: psycopg.Connection, findings: Sequence[Finding]) -> set[datetime]:
    histories: dict[datetime, bool] = defaultdict(bool)
    for found in findings:
        for hour in found.concerned:
            histories[hour] |= found.table in _OF_HISTORY
    hours, reopened = sorted(histories), set[datetime]()
    for first in range(0, len(hours), _HOURS_AT_ONCE):
        part = hours[first : first + _HOURS_AT_ONCE]
        rows = connection.execute(
            query("reopen_damaged_hours"),
            {"hours": part, "histories": [histories[hour] for hour in part]},
        )
        reopened |= {hour.astimezone(UTC) for (hour,) in rows}
    return reopened
