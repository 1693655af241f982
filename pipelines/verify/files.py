"""Tables as verification reads them: without files that can't be read, which are noted once."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl
import psycopg
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lake import HOUR, STREAMS, Lake, Stream, TableMissing
from lake.delta import (
    DamagedFile,
    DataFile,
    RawSnapshot,
    data_files,
    empty_commits,
    find_damage,
    scan_window,
)
from lake.schema import DERIVED_TABLES, TableSpec, decode_history, history_table
from pipelines.ledger import log_lacks

_RAW: Final = {stream.raw_table: stream for stream in STREAMS.values()}
_TABLES: Final = (
    *_RAW,
    *(stream.history_table for stream in STREAMS.values()),
    *(spec.name for spec in DERIVED_TABLES),
)
_LONGEST: Final = 300  # of the words of a library's error


@dataclass(frozen=True)
class CheckedRows:
    """Rows of a stretch of a table; not `whole` where a file that may hold more can't be read."""

    rows: pl.DataFrame
    whole: bool


class CheckedTables:
    """Reader of tables that checks each file first and remembers the damaged ones."""

    def __init__(self, lake: Lake, unreadable: Mapping[str, str]) -> None:
        """`unreadable`: tables whose log can't be read, which are left alone, with the reason."""
        self.lake, self.unreadable = lake, unreadable
        self._checked: dict[tuple[str, str], DamagedFile | None] = {}

    @property
    def damaged(self) -> list[DamagedFile]:
        """Damaged files among those that were checked."""
        return [one for one in self._checked.values() if one is not None]

    @property
    def checked(self) -> Mapping[tuple[str, str], DamagedFile | None]:
        """Files that were checked, by table and path, and the damage of each."""
        return dict(self._checked)

    def take_over(self, checked: Mapping[tuple[str, str], DamagedFile | None]) -> None:
        """Check none of these files again, which another reader has `checked`."""
        self._checked |= checked

    def open(self, name: str) -> DeltaTable | None:
        """Open a table; None where its log can't be read. Raises TableMissing."""
        return None if name in self.unreadable else self.lake.open(name)

    def raw(self, stream: Stream, hour: datetime) -> CheckedRows:
        """Read raw heartbeats of an hour, with the columns of the stream; raises TableMissing."""
        nothing = pl.DataFrame(stream.arrow_schema.empty_table())
        table = self.open(stream.raw_table)
        if table is None:
            return CheckedRows(nothing, whole=False)
        damaged = self._damaged_in(table, stream.raw_table, "timestamp", hour, hour + HOUR)
        raw = RawSnapshot(self.lake, stream, table)
        rows = raw.scan([hour], without=[one.file.path for one in damaged])
        return CheckedRows(rows.collect(), whole=not damaged)

    def history(self, stream: Stream, hour: datetime) -> CheckedRows:
        """Read the history of an hour: columns of the stream and `duplicates`, in their order."""
        found = self.computed(history_table(stream), hour, hour + HOUR)
        rows = decode_history(found.rows.lazy(), stream).collect()
        return CheckedRows(rows, found.whole)

    def computed(self, spec: TableSpec, start: datetime, end: datetime) -> CheckedRows:
        """Read any other table, sorted by its key; nothing where the table is missing."""
        nothing = pl.DataFrame(spec.schema.empty_table()).select(spec.names)
        try:
            table = self.open(spec.name)
        except TableMissing:
            return CheckedRows(nothing, whole=True)
        if table is None:
            return CheckedRows(nothing, whole=False)
        damaged = self._damaged_in(table, spec.name, spec.time_column, start, end)
        rows = scan_window(
            self.lake, table, spec, start, end, [one.file.path for one in damaged]
        ).sort(spec.key)
        return CheckedRows(rows.collect(), whole=not damaged)

    def is_whole(self, name: str, time_column: str, start: datetime, end: datetime) -> bool:
        """True if all that a table, raw or computed, has of [start, end) can be read."""
        try:
            table = self.open(name)
        except TableMissing:
            return True
        return table is not None and not self._damaged_in(table, name, time_column, start, end)

    def _damaged_in(
        self, table: DeltaTable, name: str, time_column: str, start: datetime, end: datetime
    ) -> list[DamagedFile]:
        found = (self._check(file) for file in data_files(table, name, time_column, start, end))
        return [damaged for damaged in found if damaged is not None]

    def _check(self, file: DataFile) -> DamagedFile | None:
        key = file.table, file.path
        if key not in self._checked:
            self._checked[key] = find_damage(self.lake, file)
        return self._checked[key]


def unreadable_tables(lake: Lake, connection: psycopg.Connection) -> dict[str, str]:
    """The tables whose log can't be read, or is not whole, and why.

    A log whose newest entries are gone or empty opens all the same: of a raw table the ledger knows
    better. Any other table that is missing is made anew, and is empty until then. Raises
    TableMissing where there is no raw table at all, and what the store fails with for all tables.
    """
    errors: dict[str, Exception] = {}
    for name in _TABLES:
        try:
            lake.open(name)
        except (TableMissing, DeltaError, OSError) as error:
            errors[name] = error
    if all(isinstance(errors.get(name), TableMissing) for name in _RAW) or len(errors) == len(
        _TABLES
    ):
        raise next(iter(errors.values()))
    unreadable = {
        name: " ".join(str(error).split())[:_LONGEST]
        for name, error in errors.items()
        if name in _RAW or not isinstance(error, TableMissing)
    }
    gaps = {name: _gap(lake, connection, _RAW[name]) for name in _RAW if name not in unreadable}
    return unreadable | {name: gap for name, gap in gaps.items() if gap}


def _gap(lake: Lake, connection: psycopg.Connection, stream: Stream) -> str | None:
    """Description of what the log of a raw table must have lost."""
    if lacks := log_lacks(connection, lake, stream):
        return lacks
    empty = empty_commits(lake, stream.raw_table)
    return f"entries of its log are empty files: {', '.join(empty[:5])}" if empty else None
