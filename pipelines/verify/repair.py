"""Repair by `wattlake verify --repair`: hours that differ are computed again."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from typing import Final

import psycopg

from lake import HOUR, STREAMS, Lake, LakeError, Stream
from lake.delta import READ_ERRORS, DataFile, remove_file
from lake.history import rebuild_files, rebuild_hour
from lake.schema import DATE, DERIVED_TABLES
from pipelines.ledger import reopen_hours
from pipelines.verify.findings import Finding, Remedy
from pipelines.verify.ledger import rebuild_ledger
from warehouse_sql.named_queries import query

_OF_HISTORY: Final = {stream.history_table: stream for stream in STREAMS.values()}
_COMPUTED: Final = {spec.name: spec for spec in DERIVED_TABLES}
_DAILY: Final = {spec.name for spec in DERIVED_TABLES if spec.time_column == DATE.name}


@dataclass
class Repair:
    """The hours and days that wait now, and the findings that could not be put right, and why.

    The condition of devices on `days` is looked at again, and on those after them.
    """

    reopened: set[datetime] = field(default_factory=set)
    days: set[date] = field(default_factory=set)
    left: list[tuple[Finding, str]] = field(default_factory=list)


def repair(
    connection: psycopg.Connection,
    lake: Lake,
    findings: Sequence[Finding],
    unreadable: Collection[str] = (),
) -> Repair:
    """Correct the ledger and let the hours wait for computation.

    `connection` is in autocommit. Nothing of raw is written, and no energy is computed: the
    sensor does that. Only a history that raw contradicts, or a file of it that is damaged, is made
    from raw at once, because a compaction keeps what it finds in the history, and a damaged file of
    another table is taken out of it. Tables that are `unreadable` are left alone. It can be
    repeated, and interrupted: hours wait before anything of theirs is taken away. What can't be
    put right holds up nothing else.
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
    done = Repair()
    _look_again(connection, lake, curable, done)
    curable = [found for found in curable if found.remedy is not Remedy.LOOK]
    unknown: set[datetime] = set()
    for mend, mended in _steps(connection, lake, curable):
        hours = {hour for found in mended for hour in found.concerned_hours}
        is_history = mended[0].table in _OF_HISTORY
        if not is_history and unknown & _needed(mended[0]):
            done.left += [
                (found, "the history of its hours can't be made anew") for found in mended
            ]
            continue
        done.reopened |= _reopen(connection, mended)
        try:
            mend()
        except (LakeError, *READ_ERRORS) as error:
            done.left += [(found, " ".join(str(error).split())) for found in mended]
            unknown |= hours if is_history else set()
    # Once more: a run that has computed one of them meanwhile may have read what was there before.
    left = {id(found) for found, _ in done.left}
    done.reopened |= _reopen(connection, [found for found in curable if id(found) not in left])
    return done


def _look_again(
    connection: psycopg.Connection, lake: Lake, findings: Iterable[Finding], done: Repair
) -> None:
    """Take files of the condition of devices away, and have their days asked for."""
    damaged = [(found, found.file) for found in findings if found.remedy is Remedy.LOOK]
    days = {file.first.date() for _, file in damaged if file}
    connection.execute(query("outdate_condition"), {"days": list(days)})
    for found, file in damaged:
        try:
            if file:
                remove_file(lake, _COMPUTED[found.table], file.path)
        except (LakeError, *READ_ERRORS) as error:
            done.left.append((found, " ".join(str(error).split())))
    # Once more, for the same reason as hours.
    connection.execute(query("outdate_condition"), {"days": list(days)})
    done.days |= days


def _steps(
    connection: psycopg.Connection, lake: Lake, findings: Sequence[Finding]
) -> Iterator[tuple[Callable[[], object], Sequence[Finding]]]:
    """What is to be done at once, and the findings that it mends; histories first."""
    for stream, files in _stretches(findings):
        paths = {file.path for file in files}
        mended = [found for found in findings if found.file and found.file.path in paths]
        yield partial(rebuild_files, lake, stream, files), mended
    for found in findings:
        if found.remedy is Remedy.COMPACT and found.stream and not _raw_dropped(connection, found):
            yield partial(rebuild_hour, lake, STREAMS[found.stream], found.hour), [found]
    for found in findings:
        if found.remedy is Remedy.REPLACE and found.file:
            yield partial(remove_file, lake, _COMPUTED[found.table], found.file.path), [found]


def _needed(found: Finding) -> set[datetime]:
    """The hours whose history the rows of a computed file come from."""
    if found.table not in _DAILY or found.file is None:
        return set(found.concerned_hours)
    return {found.file.hours[0] + n * HOUR for n in range(24)}


def _stretches(findings: Iterable[Finding]) -> Iterator[tuple[Stream, list[DataFile]]]:
    """The files of histories to be made anew, together where they share an hour."""
    for table, stream in _OF_HISTORY.items():
        files = sorted(
            (
                found.file
                for found in findings
                if found.remedy is Remedy.REBUILD and found.file and found.table == table
            ),
            key=lambda file: file.first,
        )
        stretch: list[DataFile] = []
        for file in files:
            if stretch and file.hours[0] > max(one.hours[-1] for one in stretch):
                yield stream, stretch
                stretch = []
            stretch.append(file)
        if stretch:
            yield stream, stretch


def _raw_dropped(connection: psycopg.Connection, found: Finding) -> bool:
    window = {"start": found.hour, "end": found.hour + HOUR}
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        rows = cursor.execute(query("ledger_between"), window).fetchall()
    return any(row["raw_dropped"] for row in rows if row["stream"] == found.stream)


def _reopen(connection: psycopg.Connection, findings: Iterable[Finding]) -> set[datetime]:
    histories: dict[datetime, bool] = defaultdict(bool)
    for found in findings:
        for hour in found.concerned_hours:
            histories[hour] |= found.table in _OF_HISTORY
    return reopen_hours(connection, histories)
