"""One hour after the other is recomputed from raw and compared with all that follows from it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Final

from adbc_driver_postgresql import dbapi
from psycopg.rows import class_row

from lake import (
    HOUR,
    METER,
    STREAMS,
    VEHICLE,
    EnergySettings,
    Lake,
    Stream,
    TableMissing,
    rows_by_hour,
)
from lake.history import history_table
from lake.hours import hours_between
from lake.replace import live_files
from lake.table_spec import HOUR_START, TableSpec
from lake.tables import HOURLY_TABLES
from pipelines.resources import WarehouseResource
from pipelines.serving import MARTS, first_mart_hour, mart_rows
from pipelines.verify_checks import (
    LedgerHour,
    compaction_findings,
    energy_findings,
    history_findings,
    ledger_finding,
)
from pipelines.verify_findings import Finding, Remedy, row_finding
from pipelines.verify_heartbeats import HeartbeatsInOrder, StreamHour
from pipelines.verify_ledger import Counted, count_raw
from pipelines.verify_tables import (
    measured,
    recomputed,
    rows_of_hour,
)
from warehouse_sql.queries import query

_ATTEMPTS: Final = 3
# The twins of the tables that are verified by the hour.
_MARTS: Final = tuple(mart for mart in MARTS if mart.table.time_column == HOUR_START.name)


@dataclass(frozen=True)
class VerifiedHour:
    """What became of one hour; where it waits, nothing of it was judged."""

    hour: datetime
    waits: bool = False
    findings: Sequence[Finding] = ()
    raw_rows: int = 0
    rows: int = 0
    energies: dict[str, float] = field(default_factory=dict)


class Verification:
    """Compares the hours of a range, oldest first, in the memory of one hour."""

    def __init__(
        self,
        lake: Lake,
        warehouse: WarehouseResource,
        marts: dbapi.Connection,
        settings: EnergySettings,
    ) -> None:
        self._lake, self._warehouse, self._marts = lake, warehouse, marts
        self._settings = settings

    def hours(self, start: datetime, end: datetime) -> list[datetime]:
        """The hours from start to end (exclusive) that the lake, ledger or marts know."""
        known = {hour for hour, _ in self._ledger(start, end)}
        for stream in STREAMS.values():
            known |= set(rows_by_hour(self._lake, stream))
        for table in (*map(history_table, STREAMS.values()), *HOURLY_TABLES):
            known |= self._hours_of_files(table, start, end)
        known = {hour for hour in known if start <= hour < end}
        return sorted(known | self._only_in_marts(known, start, end))

    def run(self, hours: Sequence[datetime]) -> Iterator[VerifiedHour]:
        """Verify the hours, which `hours` has told; raises LakeError, psycopg.Error."""
        if not hours:
            return
        look_back = timedelta(hours=self._settings.register_lookback_hours)
        heartbeats = {
            name: HeartbeatsInOrder(self._lake, stream, self._settings)
            for name, stream in STREAMS.items()
        }
        before = self._ledger(hours[0] - look_back, hours[0])
        for name, in_order in heartbeats.items():
            in_order.begin(
                self._before(STREAMS[name], hours[0], look_back),
                [
                    hour
                    for (hour, stream), row in before.items()
                    if stream == name and row.raw_dropped
                ],
            )
        for hour in hours:
            verified, truth = self._settled(hour, heartbeats)
            yield verified
            for name, in_order in heartbeats.items():
                in_order.move_on(hour, truth[name].expected)

    # -- one hour --------------------------------------------------------------------------------

    def _settled(
        self, hour: datetime, heartbeats: dict[str, HeartbeatsInOrder]
    ) -> tuple[VerifiedHour, dict[str, StreamHour]]:
        """Verify an hour while nobody changes it: a run or a flush may be under way."""
        for _ in range(_ATTEMPTS):
            ledger = self._ledger_of(hour)
            truth = {
                name: in_order.read(hour, raw_dropped=name in ledger and ledger[name].raw_dropped)
                for name, in_order in heartbeats.items()
            }
            if any(row.waits for row in ledger.values()):
                return VerifiedHour(hour, waits=True), truth
            ledger_findings, under_way = self._check_counts(hour, ledger, truth)
            if under_way:
                # Raw holds what the ledger does not know yet: nothing but the ledger can be judged.
                waits = not ledger_findings
                return VerifiedHour(hour, waits=waits, findings=ledger_findings), truth
            verified = self._verify(hour, ledger, truth, heartbeats, ledger_findings)
            if not verified.findings:
                return verified, truth
            if self._waits_for_another(hour, heartbeats):
                return VerifiedHour(hour, waits=True), truth
            if self._ledger_of(hour) == ledger:
                return verified, truth
        return VerifiedHour(hour, waits=True), truth

    def _verify(
        self,
        hour: datetime,
        ledger: dict[str, LedgerHour],
        truth: dict[str, StreamHour],
        heartbeats: dict[str, HeartbeatsInOrder],
        ledger_findings: Sequence[Finding],
    ) -> VerifiedHour:
        findings = list(ledger_findings)
        for name, of_stream in truth.items():
            findings += compaction_findings(hour, ledger.get(name), of_stream)
            findings += history_findings(hour, of_stream)
        readings = {
            name: in_order.with_context(hour, truth[name].expected)
            for name, in_order in heartbeats.items()
        }
        found = {table.name: rows_of_hour(self._lake, table, hour) for table in HOURLY_TABLES}
        energies: dict[str, float] = {}
        # Nobody computes an hour of which nothing was ever heard; a run by hand may have.
        if ledger or any(rows.height for rows in found.values()) or _heard(truth):
            with self._warehouse.autocommit() as connection:
                expected = recomputed(
                    connection, readings[METER.name], readings[VEHICLE.name], hour, self._settings
                )
                energies = {
                    name: measured(connection, readings[name], stream, hour, self._settings)
                    for name, stream in STREAMS.items()
                }
            for table in HOURLY_TABLES:
                rows = expected[table.name].select(table.names).sort(table.key)
                findings += _some(row_finding(hour, table.name, rows, found[table.name], table.key))
            findings += energy_findings(hour, energies, found)
        for mart in _MARTS:
            in_lake = found.get(mart.table.name)
            if in_lake is None:
                in_lake = rows_of_hour(self._lake, mart.table, hour)
            in_mart = mart_rows(self._marts, mart, hour, hour + HOUR, in_lake)
            if hour < first_mart_hour(datetime.now(UTC)):
                continue  # asked after the rows were read: the retention may just have met them
            name = "/".join(mart.asset_key.path)
            findings += _some(row_finding(hour, name, in_lake, in_mart, mart.table.key))
        return VerifiedHour(
            hour,
            findings=findings,
            raw_rows=sum(of_stream.raw_rows or 0 for of_stream in truth.values()),
            rows=sum(of_stream.expected.height for of_stream in truth.values()),
            energies=energies,
        )

    def _check_counts(
        self, hour: datetime, ledger: dict[str, LedgerHour], truth: dict[str, StreamHour]
    ) -> tuple[list[Finding], bool]:
        """Where the ledger has miscounted the raw rows, and whether a flush is under way."""
        findings, under_way = [], False
        for name, of_stream in truth.items():
            known = ledger[name].raw_rows if name in ledger else 0
            if of_stream.raw_rows in {None, known} or of_stream.lost.height:
                continue
            counted = self._counted(of_stream.stream, hour)
            under_way = under_way or counted.pending > 0
            if counted.rows != counted.in_ledger:
                wrong = ("raw rows", counted.rows, counted.in_ledger)
                findings.append(ledger_finding(hour, of_stream, wrong, Remedy.COUNT))
        return findings, under_way

    def _counted(self, stream: Stream, hour: datetime) -> Counted:
        """Ledger and log of one moment: a flush may have written the one and not yet the other."""
        with (
            self._warehouse.autocommit() as connection,
            connection.transaction(force_rollback=True),
        ):
            return count_raw(connection, self._lake, stream, {hour: None})[hour]

    def _waits_for_another(self, hour: datetime, heartbeats: dict[str, HeartbeatsInOrder]) -> bool:
        """Whether an hour before this one waits, from which this one's energy may be counted."""
        registers = any(in_order.has_registers for in_order in heartbeats.values())
        reach = self._settings.register_lookback_hours if registers else 1
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
            files = live_files(self._lake, self._lake.open(table.name), table, start, end)
        except TableMissing:
            return set()
        hours: set[datetime] = set()
        for file in files:
            midnight = datetime.combine(file.day, time(), UTC)
            last = file.last or midnight + timedelta(hours=23)
            hours |= set(hours_between(file.first or midnight, last + timedelta(microseconds=1)))
        return hours

    def _before(self, stream: Stream, first: datetime, look_back: timedelta) -> list[datetime]:
        known = self._hours_of_files(history_table(stream), first - look_back, first)
        known |= set(rows_by_hour(self._lake, stream))
        return [hour for hour in sorted(known) if first - look_back <= hour < first]

    def _only_in_marts(self, known: set[datetime], start: datetime, end: datetime) -> set[datetime]:
        """Hours of mart rows that nothing else knows, looked for in the gaps between `known`."""
        start = max(start, first_mart_hour(datetime.now(UTC)))
        edges = [start - HOUR, *sorted(hour for hour in known if hour >= start), end]
        strays: set[datetime] = set()
        for last, following in pairwise(edges):
            if following - last > HOUR:
                for mart in _MARTS:
                    rows = mart_rows(self._marts, mart, last + HOUR, following)
                    strays |= set(rows["hour_start"].unique())
        return strays


def _some(found: Finding | None) -> list[Finding]:
    return [] if found is None else [found]


def _heard(truth: dict[str, StreamHour]) -> bool:
    return any(of_stream.expected.height for of_stream in truth.values())
