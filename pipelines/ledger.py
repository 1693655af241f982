"""The partition ledger as the pipelines read and write it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg
from psycopg.rows import class_row

from lake import Compaction, Lake, Stream
from warehouse_sql.named_queries import query
from warehouse_sql.outbox import outbox_app_id

_HOURS_AT_ONCE: Final = 500


@dataclass(frozen=True)
class WaitingHour:
    """Hour of one stream whose newest state is not in the marts yet."""

    hour: datetime
    stream: str
    raw_rows: int
    raw_version: int
    last_arrival: datetime


@dataclass(frozen=True)
class HourState:
    """State of one stream's hour that a step works from: its heartbeats, and what else counts.

    Both are null where nothing was computed yet. `read_at`: when it was so.
    """

    stream: str
    hour: datetime
    version: int | None
    revision: int | None
    read_at: datetime


@dataclass(frozen=True)
class RawTotals:
    """Totals of the raw table of one stream."""

    rows: int
    hours: int
    first_hour: datetime | None
    last_hour: datetime | None
    last_arrival: datetime | None
    hours_waiting: int


@dataclass(frozen=True)
class CountedHours:
    """Raw rows of one stream, as the ledger counts them up to a version of the raw table.

    `dropped` are hours of which the raw table may hold fewer: their retention is over.
    """

    version: int | None
    rows: dict[datetime, int]
    dropped: list[datetime]


@dataclass(frozen=True)
class Sessions:
    """Application names of the sessions of runs, and since when the database has kept any."""

    names: frozenset[str]
    since: datetime


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


def log_lacks(connection: psycopg.Connection, lake: Lake, stream: Stream) -> str | None:
    """Tell what the log of the raw table lacks of what this database has seen in it; mostly None.

    By the versions in the ledger, and by how far the outbox was delivered, for others append, too.
    """
    asked = {"stream": stream.name}
    ((known,),) = connection.execute(query("newest_delivered_version"), asked).fetchall()
    ((identity, epoch, *_, settled),) = connection.execute(
        query("outbox_delivery"), asked
    ).fetchall()
    table = lake.open(stream.raw_table)
    if table.version() < known:
        return f"its log ends at version {table.version()}, and the ledger has seen version {known}"
    if (table.transaction_version(outbox_app_id(identity, epoch)) or 0) < settled:
        return "its log lacks heartbeats that were delivered to it"
    return None


def counted_hours(connection: psycopg.Connection, stream: Stream) -> CountedHours:
    """Counts of the ledger for one stream, all of one moment."""
    found = connection.execute(query("counted_hours"), {"stream": stream.name}).fetchall()
    return CountedHours(
        version=max((version for _, _, version, _ in found), default=None),
        rows={hour: rows for hour, rows, _, _ in found},
        dropped=[hour for hour, _, _, is_dropped in found if is_dropped],
    )


def import_under_way(connection: psycopg.Connection) -> bool:
    """True while files are being imported: the lake has them before the ledger does."""
    return connection.execute(query("import_under_way")).fetchone() == (True,)


def appends_uncounted(connection: psycopg.Connection, stream: Stream) -> bool:
    """True while the ledger may lack what others appended before its own newest version."""
    rows = connection.execute(query("appends_uncounted"), {"stream": stream.name})
    return rows.fetchone() == (True,)


def newest_published_hour(connection: psycopg.Connection, now: datetime) -> datetime | None:
    """The newest hour that the marts hold; hours after now came while a clock was ahead."""
    rows = connection.execute(query("newest_published_hour"), {"now": now}).fetchall()
    hour: datetime | None = rows[0][0]
    return hour


def first_hour(connection: psycopg.Connection) -> datetime:
    """The first hour that is computed, or will be without a hand."""
    ((hour,),) = connection.execute(query("first_hour")).fetchall()
    first: datetime = hour.astimezone(UTC)
    return first


def dirty_hours(connection: psycopg.Connection, stream: Stream) -> dict[datetime, datetime | None]:
    """The hours of which raw holds what the history lacks.

    Of an hour that the history never had any heartbeat of: since when the lake has some.
    """
    rows = connection.execute(query("dirty_hours"), {"stream": stream.name})
    return {hour.astimezone(UTC): first_flush_at for hour, first_flush_at in rows}


def computed_hours(
    connection: psycopg.Connection, start: datetime, end: datetime
) -> dict[datetime, datetime | None]:
    """The hours of the window that the history holds, and when they were last computed."""
    rows = connection.execute(query("computed_hours_between"), {"start": start, "end": end})
    return {hour.astimezone(UTC): computed_at for hour, computed_at in rows}


def reopen_beside(
    connection: psycopg.Connection, hours: Collection[datetime], changed_by: datetime
) -> None:
    """Let hours be computed again because of heartbeats in those of a run, whose first is told."""
    in_order = sorted(hours)
    for first in range(0, len(in_order), _HOURS_AT_ONCE):
        asked = {"hours": in_order[first : first + _HOURS_AT_ONCE], "changed_by": changed_by}
        connection.execute(query("reopen_beside"), asked)


def changed_hours(connection: psycopg.Connection, hours: Sequence[datetime]) -> set[datetime]:
    """The hours beside those of a run that wait because of their heartbeats alone."""
    asked = {"first": hours[0], "last": hours[-1]}
    return {hour.astimezone(UTC) for (hour,) in connection.execute(query("changed_hours"), asked)}


def hours_to_refine(
    connection: psycopg.Connection, now: datetime, pause: timedelta, since: datetime
) -> list[datetime]:
    """Computed hours from `since` on of which a reading that they lacked has come."""
    asked = {"now": now, "pause": pause.total_seconds(), "since": since}
    return [hour.astimezone(UTC) for (hour,) in connection.execute(query("hours_to_refine"), asked)]


def count_refinements(connection: psycopg.Connection, hours: int) -> None:
    """Count hours that were computed again for a reading that they had lacked."""
    connection.execute(query("count_refinements"), {"hours": hours})


def has_heartbeats(connection: psycopg.Connection, hour: datetime) -> bool:
    """True if the lake has a heartbeat of either stream in this hour."""
    rows = connection.execute(query("ledger_of_hour"), {"hour": hour})
    return rows.fetchone() is not None


def sessions_of_runs(connection: psycopg.Connection) -> Sessions:
    """The sessions that live runs hold."""
    ((names, since),) = connection.execute(query("sessions_of_runs")).fetchall()
    return Sessions(frozenset(names), since)


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


def state_of_history(connection: psycopg.Connection, hours: Sequence[datetime]) -> list[HourState]:
    """State that an efficiency of these hours is computed from; read before links and history."""
    return _states(connection, "state_of_history", hours)


def state_of_efficiency(
    connection: psycopg.Connection, hours: Sequence[datetime]
) -> list[HourState]:
    """State that the lake's efficiency of these hours was computed from; read it before that."""
    return _states(connection, "state_of_efficiency", hours)


def mark_computed(connection: psycopg.Connection, states: Iterable[HourState]) -> None:
    """Record what the lake's efficiency was computed from.

    Row by row on an autocommit connection, as `mark_compacted`: the collector updates many rows
    of the ledger at once, and two who hold rows while they wait for others can deadlock.
    """
    _mark(connection, "mark_computed", states)


def mark_published(connection: psycopg.Connection, states: Iterable[HourState]) -> None:
    """Record which computation the marts hold; row by row, as `mark_computed`."""
    _mark(connection, "mark_published", states)


def reopen_hours(connection: psycopg.Connection, hours: Mapping[datetime, bool]) -> set[datetime]:
    """Let hours be computed again; returns those that the ledger knows.

    True: the history of the hour is wrong as well, and readers take the raw rows until then.
    """
    in_order, reopened = sorted(hours), set[datetime]()
    for first in range(0, len(in_order), _HOURS_AT_ONCE):
        part = in_order[first : first + _HOURS_AT_ONCE]
        asked = {"hours": part, "histories": [hours[hour] for hour in part]}
        rows = connection.execute(query("reopen_damaged_hours"), asked)
        reopened |= {hour.astimezone(UTC) for (hour,) in rows}
    return reopened


def _states(
    connection: psycopg.Connection, name: str, hours: Sequence[datetime]
) -> list[HourState]:
    with connection.cursor(row_factory=class_row(HourState)) as cursor:
        return cursor.execute(query(name), {"hours": list(hours)}).fetchall()


def _mark(connection: psycopg.Connection, name: str, states: Iterable[HourState]) -> None:
    for state in states:
        connection.execute(query(name), asdict(state))


def hours_with_dropped_rows(
    connection: psycopg.Connection, stream: Stream, hours: Sequence[datetime]
) -> set[datetime]:
    """Hours among these whose raw rows were dropped, if only in part, or are about to be."""
    asked = {"stream": stream.name, "hours": list(hours)}
    return {hour for (hour,) in connection.execute(query("hours_with_dropped_rows"), asked)}
