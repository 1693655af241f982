"""The partition ledger as the pipelines read and write it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from lake import STREAMS, Compaction, Stream
from warehouse_sql.queries import query


@dataclass(frozen=True)
class WaitingHour:
    """Heartbeats of one stream and hour that the marts have not taken in yet."""

    hour: datetime
    stream: str
    raw_rows: int
    raw_version: int
    last_arrival: datetime


@dataclass(frozen=True)
class RawTotals:
    """What the raw table of one stream holds."""

    rows: int
    hours: int
    first_hour: datetime | None
    last_hour: datetime | None
    last_arrival: datetime | None
    hours_waiting: int


def waiting_hours(
    connection: psycopg.Connection, start: datetime, end: datetime
) -> list[WaitingHour]:
    """The hours of the window that wait for their computation, in order of time."""
    with connection.cursor(row_factory=class_row(WaitingHour)) as cursor:
        return cursor.execute(query("waiting_hours"), {"start": start, "end": end}).fetchall()


def raw_totals(connection: psycopg.Connection, stream: Stream) -> RawTotals:
    """Totals over all hours of one stream."""
    with connection.cursor(row_factory=class_row(RawTotals)) as cursor:
        (totals,) = cursor.execute(query("raw_totals"), {"stream": stream.name}).fetchall()
    return totals


def newest_raw_version(connection: psycopg.Connection, stream: Stream) -> int | None:
    """The newest version of the raw table that the ledger has heard of."""
    rows = connection.execute(query("newest_raw_version"), {"stream": stream.name}).fetchall()
    version: int | None = rows[0][0]
    return version


def compacted_hours(
    connection: psycopg.Connection, start: datetime, end: datetime
) -> list[datetime]:
    """The hours of the window that the history holds, in order of time."""
    rows = connection.execute(query("compacted_hours_between"), {"start": start, "end": end})
    return [hour for (hour,) in rows]


def has_heartbeats(connection: psycopg.Connection, hour: datetime) -> bool:
    """Whether the lake has a heartbeat of either stream in this hour."""
    rows = connection.execute(query("ledger_of_hour"), {"hour": hour})
    return rows.fetchone() is not None


def sessions_of_runs(connection: psycopg.Connection) -> set[str]:
    """Application names of the sessions that live runs hold."""
    return {name for (name,) in connection.execute(query("sessions_of_runs"))}


def mark_compacted(connection: psycopg.Connection, done: Compaction) -> None:
    """Record that the history has taken in this hour up to the raw version that was read."""
    connection.execute(
        query("mark_compacted"),
        {
            "stream": done.stream,
            "hour": done.hour,
            "version": done.raw_version,
            "rows": done.rows,
            "duplicates": done.duplicates_removed,
        },
    )


def mark_published(connection: psycopg.Connection, hours: Iterable[datetime]) -> None:
    """Record that the marts hold what follows from the history of these hours.

    Row by row on an autocommit connection, as `mark_compacted`: the collector updates many rows
    of the ledger at once, and two who hold rows while they wait for others can deadlock.
    """
    for hour in hours:
        for stream in STREAMS:
            connection.execute(query("mark_published"), {"stream": stream, "hour": hour})
