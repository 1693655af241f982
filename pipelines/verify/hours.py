"""Verification of hours: each is recomputed from raw and compared with all tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Final

import polars as pl
from psycopg.rows import class_row

from lake import (
    HOUR,
    METER,
    STREAMS,
    VEHICLE,
    EnergySettings,
    Stream,
    TableMissing,
    hours_between,
)
from lake.delta import count_rows_by_hour, live_files
from lake.health import LOOK_BACK
from lake.schema import (
    HEARTBEAT_COMPLETENESS_HOURLY,
    HOURLY_TABLES,
    TableSpec,
    history_table,
)
from pipelines.assets.mart import first_mart_hour
from pipelines.assets.marts import HOUR_MARTS
from pipelines.compute.awaited import lacks_what_came
from pipelines.resources import WarehouseResource
from pipelines.verify.checks import (
    LedgerHour,
    compaction_findings,
    energy_findings,
    history_findings,
    ledger_finding,
)
from pipelines.verify.files import CheckedTables
from pipelines.verify.findings import Finding, Remedy, row_finding
from pipelines.verify.heartbeats import SequentialRawReader, StreamHour
from pipelines.verify.ledger import Counted, count_raw
from pipelines.verify.marts import MartReader, MartUnreadable
from pipelines.verify.recompute import measured, recomputed
from warehouse_sql.named_queries import query

_ATTEMPTS: Final = 3


@dataclass(frozen=True)
class VerifiedHour:
    """Result of one hour.

    Where it waits for its computation, or `unknown` says that neither raw nor the history tells
    what it should hold, it was not judged. `damaged`: a file of it can't be read.
    """

    hour: datetime
    waits: bool = False
    unknown: bool = False
    damaged: bool = False
    findings: Sequence[Finding] = ()
    raw_rows: int = 0
    rows: int = 0
    energies: dict[str, float] = field(default_factory=dict)


class Verification:
    """Comparison of the hours of a range, oldest first, in the memory of one hour."""

    def __init__(
        self,
        tables: CheckedTables,
        warehouse: WarehouseResource,
        marts: MartReader,
        settings: EnergySettings,
    ) -> None:
        self._tables, self._lake = tables, tables.lake
        self._warehouse, self._marts, self._settings = warehouse, marts, settings
        self._lacks_what_came = False

    def hours(self, start: datetime, end: datetime) -> list[datetime]:
        """The hours from start to end (exclusive) that the lake, ledger or marts know."""
        known = {hour for hour, _ in self._ledger(start, end)}
        for stream in STREAMS.values():
            known |= self._hours_of_raw(stream)
        for table in (*map(history_table, STREAMS.values()), *HOURLY_TABLES):
            known |= self._hours_of_files(table, start, end)
        known = {hour for hour in known if start <= hour < end}
        return sorted(known | self._only_in_marts(known, start, end))

    def run(self, hours: Sequence[datetime]) -> Iterator[VerifiedHour]:
        """Verify these hours, which `hours` returned; raises LakeError, psycopg.Error."""
        if not hours:
            return
        look_back = timedelta(hours=self._settings.register_lookback_hours)
        heartbeats = {
            name: SequentialRawReader(self._tables, stream, self._settings)
            for name, stream in STREAMS.items()
        }
        before = self._ledger(hours[0] - look_back, hours[0])
        for name, reader in heartbeats.items():
            reader.load_context(
                self._before(STREAMS[name], hours[0], look_back),
                [
                    hour
                    for (hour, stream), row in before.items()
                    if stream == name and row.raw_dropped
                ],
            )
        for hour in hours:
            verified, stream_hours = self._verify_unchanged(hour, heartbeats)
            for (
                table
            ) in HOURLY_TABLES:  # a file that is damaged is told also where nothing is judged
                self._tables.is_whole(table.name, table.time_column, hour, hour + HOUR)
            yield verified
            for name, reader in heartbeats.items():
                reader.advance(hour, stream_hours[name].expected)

    # -- one hour --------------------------------------------------------------------------------

    def _verify_unchanged(
        self, hour: datetime, heartbeats: dict[str, SequentialRawReader]
    ) -> tuple[VerifiedHour, dict[str, StreamHour]]:
        """Verify an hour, again if it has changed meanwhile: a run or a flush may be under way."""
        for _ in range(_ATTEMPTS):
            ledger = self._ledger_of(hour)
            stream_hours = {
                name: reader.read(hour, raw_dropped=name in ledger and ledger[name].raw_dropped)
                for name, reader in heartbeats.items()
            }
            verified = self._judged(hour, ledger, stream_hours, heartbeats)
            is_final = verified.waits or verified.unknown or not verified.findings
            if is_final or self._ledger_of(hour) == ledger:
                return verified, stream_hours
        return VerifiedHour(hour, waits=True), stream_hours

    def _judged(
        self,
        hour: datetime,
        ledger: dict[str, LedgerHour],
        stream_hours: dict[str, StreamHour],
        heartbeats: dict[str, SequentialRawReader],
    ) -> VerifiedHour:
        if any(row.waits for row in ledger.values()):
            return VerifiedHour(hour, waits=True)
        ledger_findings, under_way = self._check_counts(hour, ledger, stream_hours)
        if under_way:
            # Raw holds what the ledger does not know yet: nothing but the ledger can be judged.
            return VerifiedHour(hour, waits=not ledger_findings, findings=ledger_findings)
        if not all(stream_hour.is_known for stream_hour in stream_hours.values()):
            return VerifiedHour(hour, unknown=True)
        verified = self._verify(hour, ledger, stream_hours, heartbeats, ledger_findings)
        if verified.findings and (
            self._lacks_what_came or self._waits_for_another(hour, heartbeats, verified.findings)
        ):
            return VerifiedHour(hour, waits=True)
        if verified.findings and any(h.depends_on_unknown(hour) for h in heartbeats.values()):
            return VerifiedHour(hour, unknown=True)
        return verified

    def _verify(
        self,
        hour: datetime,
        ledger: dict[str, LedgerHour],
        stream_hours: dict[str, StreamHour],
        heartbeats: dict[str, SequentialRawReader],
        ledger_findings: Sequence[Finding],
    ) -> VerifiedHour:
        findings = list(ledger_findings)
        self._lacks_what_came = False
        for name, stream_hour in stream_hours.items():
            findings += compaction_findings(hour, ledger.get(name), stream_hour)
            findings += history_findings(hour, stream_hour)
        read = {t.name: self._tables.computed(t, hour, hour + HOUR) for t in HOURLY_TABLES}
        found = {name: checked.rows for name, checked in read.items() if checked.whole}
        expected: dict[str, pl.DataFrame] = {}
        energies: dict[str, float] = {}
        # Nobody computes an hour of which nothing was ever heard; a run by hand may have.
        if ledger or any(checked.rows.height for checked in read.values()) or _heard(stream_hours):
            with self._warehouse.autocommit() as connection:
                readings = {
                    name: reader.with_context(hour, stream_hours[name].expected, connection)
                    for name, reader in heartbeats.items()
                }
                self._lacks_what_came = lacks_what_came(connection, readings, hour)
                expected, changes = recomputed(
                    connection,
                    readings[METER.name],
                    readings[VEHICLE.name],
                    lambda name, wanted: heartbeats[name].read_more(hour, wanted),
                    hour,
                    self._settings,
                )
                energies = {
                    name: measured(connection, readings[name], stream, hour, self._settings)
                    for name, stream in STREAMS.items()
                }
            expected = {
                table.name: expected[table.name].select(table.names).sort(table.key)
                for table in HOURLY_TABLES
            }
            for table in HOURLY_TABLES:
                if table.name in found:
                    rows = expected[table.name], found[table.name]
                    findings += _some(row_finding(hour, table.name, *rows, table.key))
            findings += energy_findings(hour, energies, found, changes)
        for mart in HOUR_MARTS:
            # A copy of a table that can't be read is compared with what that should hold.
            in_lake = found.get(mart.table.name, expected.get(mart.table.name))
            if in_lake is not None:
                findings += _some(self._marts.finding(mart, hour, (hour, hour + HOUR), in_lake))
        return VerifiedHour(
            hour,
            findings=findings,
            damaged=len(found) < len(read) or _is_damaged(stream_hours),
            raw_rows=sum(stream_hour.raw_rows or 0 for stream_hour in stream_hours.values()),
            rows=sum(stream_hour.expected.height for stream_hour in stream_hours.values()),
            energies=energies,
        )

    def _check_counts(
        self, hour: datetime, ledger: dict[str, LedgerHour], stream_hours: dict[str, StreamHour]
    ) -> tuple[list[Finding], bool]:
        """Findings of raw rows that the ledger miscounts; True if a flush is under way."""
        findings, under_way = [], False
        for name, stream_hour in stream_hours.items():
            known = ledger[name].raw_rows if name in ledger else 0
            if stream_hour.raw_rows in {None, known} or stream_hour.lost.height:
                continue
            counted = self._counted(stream_hour.stream, hour)
            under_way = under_way or counted.pending > 0
            if counted.rows != counted.in_ledger:
                wrong = ("raw rows", counted.rows, counted.in_ledger)
                findings.append(ledger_finding(hour, stream_hour, wrong, Remedy.COUNT))
        return findings, under_way

    def _counted(self, stream: Stream, hour: datetime) -> Counted:
        """Count in ledger and log at one moment: a flush may have written only one of them."""
        with (
            self._warehouse.autocommit() as connection,
            connection.transaction(force_rollback=True),
        ):
            return count_raw(connection, self._lake, stream, {hour: None})[hour]

    def _waits_for_another(
        self,
        hour: datetime,
        heartbeats: dict[str, SequentialRawReader],
        findings: Sequence[Finding],
    ) -> bool:
        """True if an hour waits from which what was found of this one may follow.

        Its energy from a register, or how often a device sends that is silent since.
        """
        registers = any(reader.has_registers for reader in heartbeats.values())
        reach = self._settings.register_lookback_hours if registers else 1
        if all(found.table == HEARTBEAT_COMPLETENESS_HOURLY.name for found in findings):
            reach = LOOK_BACK // HOUR
        return any(row.waits for row in self._ledger(hour - reach * HOUR, hour + HOUR).values())

    # -- what is known --------------------------------------------------------------------------

    def _ledger(self, start: datetime, end: datetime) -> dict[tuple[datetime, str], LedgerHour]:
        with (
            self._warehouse.autocommit() as connection,
            connection.cursor(row_factory=class_row(LedgerHour)) as cursor,
        ):
            rows = cursor.execute(query("ledger_between"), {"start": start, "end": end})
            return {(row.hour, row.stream): row for row in rows}

    def _ledger_of(self, hour: datetime) -> dict[str, LedgerHour]:
        return {stream: row for (_, stream), row in self._ledger(hour, hour + HOUR).items()}

    def _hours_of_files(self, table: TableSpec, start: datetime, end: datetime) -> set[datetime]:
        """The hours that the files of a table may hold rows of."""
        try:
            handle = self._tables.open(table.name)
        except TableMissing:
            return set()
        if handle is None:
            return set()
        files = live_files(self._lake, handle, table, start, end)
        hours: set[datetime] = set()
        for file in files:
            midnight = datetime.combine(file.day, time(), UTC)
            last = file.last or midnight + timedelta(hours=23)
            hours |= set(hours_between(file.first or midnight, last + timedelta(microseconds=1)))
        return hours

    def _hours_of_raw(self, stream: Stream) -> set[datetime]:
        table = self._tables.open(stream.raw_table)
        return set() if table is None else set(count_rows_by_hour(table))

    def _before(self, stream: Stream, first: datetime, look_back: timedelta) -> list[datetime]:
        known = self._hours_of_files(history_table(stream), first - look_back, first)
        known |= self._hours_of_raw(stream)
        return [hour for hour in sorted(known) if first - look_back <= hour < first]

    def _only_in_marts(self, known: set[datetime], start: datetime, end: datetime) -> set[datetime]:
        """Hours of mart rows that nothing else knows, looked for in the gaps between `known`."""
        start = max(start, first_mart_hour(datetime.now(UTC)))
        edges = [start - HOUR, *sorted(hour for hour in known if hour >= start), end]
        strays: set[datetime] = set()
        for last, following in pairwise(edges):
            if following - last > HOUR:
                for mart in HOUR_MARTS:
                    try:
                        rows = self._marts.rows(mart, last + HOUR, following)
                    except MartUnreadable:
                        continue  # each hour that is known will say so
                    strays |= set(rows["hour_start"].unique())
        return strays


def _some(found: Finding | None) -> list[Finding]:
    return [] if found is None else [found]


def _is_damaged(stream_hours: dict[str, StreamHour]) -> bool:
    return any(stream_hour.is_damaged for stream_hour in stream_hours.values())


def _heard(stream_hours: dict[str, StreamHour]) -> bool:
    return any(stream_hour.expected.height for stream_hour in stream_hours.values())
