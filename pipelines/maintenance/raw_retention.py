"""Retention of raw hours, recorded in the ledger."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import psycopg
from psycopg.rows import class_row

from lake import Lake, Stream
from lake.upkeep import RawHourSize, drop_raw_partitions, raw_hour_sizes
from warehouse_sql.named_queries import query

# A week a commit: what a kill loses of a long first run, and the length of the predicate.
_HOURS_A_COMMIT: Final = 168


@dataclass(frozen=True)
class Retention:
    """Rows dropped from each hour, and the reasons why hours of that age were kept."""

    dropped: dict[datetime, RawHourSize]
    kept: dict[datetime, str]


@dataclass(frozen=True)
class _OldHour:
    hour: datetime
    raw_rows: int
    rows_left: int
    compacted: bool


def drop_old_hours(
    lake: Lake, connection: psycopg.Connection, stream: Stream, before: datetime
) -> Retention:
    """Drop the raw rows of the hours before `before` that the history has taken in, all of them.

    An hour that waits for its compaction is kept, and so is one whose rows in the lake are not as
    many as the ledger says, which a flush under way explains. Killed at any moment, the next call
    goes on from there. `connection` is in autocommit: the ledger is updated row by row, so that
    nobody who locks many of its rows waits for one who waits for him. Who counts the raw table for
    the ledger waits until the end of it.
    """
    with _counts_held_off(connection):
        return _drop(lake, connection, stream, before)


@contextmanager
def _counts_held_off(connection: psycopg.Connection) -> Iterator[None]:
    connection.execute(query("hold_off_counts_until_let"))
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute(query("let_counts"))


def _drop(
    lake: Lake, connection: psycopg.Connection, stream: Stream, before: datetime
) -> Retention:
    old = _settled(lake, connection, stream, before)
    kept = {of.hour: "not compacted" for of in old if not of.compacted}
    ready = [of for of in old if of.compacted]
    dropped: dict[datetime, RawHourSize] = {}
    for first in range(0, len(ready), _HOURS_A_COMMIT):
        rows = {of.hour: of.rows_left for of in ready[first : first + _HOURS_A_COMMIT]}
        # Noted before it is done: from then on nobody takes what is missing for lost.
        done = drop_raw_partitions(
            lake, stream, rows, lambda hours: _announce(connection, stream, list(hours))
        )
        dropped |= done.dropped
        kept |= done.kept
    if dropped:
        _settled(lake, connection, stream, before)
    return Retention(dropped, kept)


def _settled(
    lake: Lake, connection: psycopg.Connection, stream: Stream, before: datetime
) -> list[_OldHour]:
    """Old hours that have raw rows, after the ledger has learned which rows were dropped.

    The ledger is read before the lake: it counts a row only once the lake has it, so a row that
    it counts and that the lake lacks was dropped.
    """
    with connection.cursor(row_factory=class_row(_OldHour)) as cursor:
        asked = {"stream": stream.name, "before": before}
        old = cursor.execute(query("raw_hours_before"), asked).fetchall()
    found = raw_hour_sizes(lake, stream) if old else {}
    there = []
    for of in old:
        left = found[of.hour].rows if of.hour in found else 0
        if left < of.rows_left:
            gone = {"stream": stream.name, "hour": of.hour, "rows": of.raw_rows - left}
            connection.execute(query("settle_raw_drop"), gone)
        if left:
            there.append(_OldHour(of.hour, of.raw_rows, min(left, of.rows_left), of.compacted))
    return there


def _announce(connection: psycopg.Connection, stream: Stream, hours: Sequence[datetime]) -> None:
    for hour in hours:
        connection.execute(query("announce_raw_drop"), {"stream": stream.name, "hour": hour})
