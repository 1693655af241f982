"""Findings of files and tables that can't be read, with a remedy for each."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from psycopg.rows import class_row

from lake import DAY, HOUR, STREAMS, EnergySettings, Stream
from lake.delta import DamagedFile, DataFile, count_rows_by_hour
from lake.schema import CONDITION_TABLES, DATE, DERIVED_TABLES
from pipelines.resources import WarehouseResource
from pipelines.verify.checks import LedgerHour
from pipelines.verify.days import first_hour_of
from pipelines.verify.files import CheckedTables
from pipelines.verify.findings import Finding, Remedy, TableDamage
from warehouse_sql.named_queries import query

_OF_RAW: Final = {stream.raw_table: stream for stream in STREAMS.values()}
_OF_HISTORY: Final = {stream.history_table: stream for stream in STREAMS.values()}
_OF_CONDITION: Final = {spec.name for spec in CONDITION_TABLES}
_DAILY: Final = {spec.name for spec in DERIVED_TABLES if spec.time_column == DATE.name}


def table_damage(tables: CheckedTables) -> list[TableDamage]:
    """Findings of the tables whose log can't be read."""
    return [
        TableDamage(name, reason, _remedy_of_log(name))
        for name, reason in tables.unreadable.items()
    ]


def _remedy_of_log(name: str) -> Remedy:
    if name in _OF_RAW:
        return Remedy.RAW_LOG
    return Remedy.HISTORY_LOG if name in _OF_HISTORY else Remedy.TABLE_LOG


class DamagedFiles:
    """Findings of the damaged files that a verification has met."""

    def __init__(
        self, tables: CheckedTables, warehouse: WarehouseResource, settings: EnergySettings
    ) -> None:
        self._tables, self._warehouse, self._settings = tables, warehouse, settings

    def findings(self, start: datetime, end: datetime) -> Iterator[Finding]:
        """Findings of each damaged file that may hold rows of [start, end), in order of time."""
        for damaged in sorted(
            self._tables.damaged, key=lambda one: (one.file.first, one.file.table, one.file.path)
        ):
            file = damaged.file
            if file.first < end and file.last >= start:
                hours = self._hours(file)
                rows = "" if file.rows is None else f", {file.rows:,} rows"
                yield Finding(
                    hour=hours[0],
                    table=file.table,
                    expected=f"{file.description}{rows}",
                    found=f"it can't be read: {damaged.reason}",
                    first=(),
                    remedy=self._remedy(damaged),
                    file=file,
                    hours=hours,
                )

    def _hours(self, file: DataFile) -> tuple[datetime, ...]:
        if file.table in _DAILY:
            return (first_hour_of(self._warehouse, file.first.date(), self._settings),)
        return tuple(file.hours)

    def _remedy(self, damaged: DamagedFile) -> Remedy:
        file = damaged.file
        if not damaged.is_lost:
            return Remedy.ACCESS
        if file.table in _OF_RAW:
            return Remedy.NONE
        if stream := _OF_HISTORY.get(file.table):
            return Remedy.REBUILD if self._is_in_raw(stream, file) else Remedy.RESTORE
        if file.table in _OF_CONDITION:
            return Remedy.LOOK
        start, end = file.hours[0], file.hours[-1] + (DAY if file.table in _DAILY else HOUR)
        is_known = all(self._is_known(stream, start, end) for stream in STREAMS.values())
        return Remedy.REPLACE if is_known else Remedy.RESTORE

    def _is_known(self, stream: Stream, start: datetime, end: datetime) -> bool:
        """True if the history can be read in a window, or else be made anew."""
        if self._tables.is_whole(stream.history_table, "timestamp", start, end):
            return True
        return stream.history_table not in self._tables.unreadable and all(
            one.is_lost and self._is_in_raw(stream, one.file)
            for one in self._tables.damaged
            if one.file.table == stream.history_table
            and one.file.first < end
            and one.file.last >= start
        )

    def _is_in_raw(self, stream: Stream, file: DataFile) -> bool:
        """True if raw still has all that the history had taken in of the hours of a file."""
        start, end = file.hours[0], file.hours[-1] + HOUR
        with (
            self._warehouse.autocommit() as connection,
            connection.cursor(row_factory=class_row(LedgerHour)) as cursor,
        ):
            ledger = cursor.execute(
                query("ledger_between"), {"start": start, "end": end}
            ).fetchall()
        if not self._tables.is_whole(stream.raw_table, "timestamp", start, end):
            return False
        table = self._tables.open(stream.raw_table)
        logged = {} if table is None else count_rows_by_hour(table)
        return all(
            not row.raw_dropped and logged.get(row.hour.astimezone(UTC), 0) >= row.raw_rows
            for row in ledger
            if row.stream == stream.name
        )
