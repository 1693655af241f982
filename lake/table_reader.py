"""The computed tables as a server reads them: many small questions to the newest version."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Lock

import polars as pl
from deltalake import DeltaTable

from lake.hours import in_window
from lake.replace import LiveFile, all_files, files_reaching
from lake.storage import Lake
from lake.streams import DATE_PARTITION
from lake.table_spec import TableSpec


@dataclass(frozen=True)
class TableVersion:
    """A version of a table, and the files that make it up."""

    lake: Lake
    spec: TableSpec
    number: int
    files: Sequence[LiveFile]

    def scan(self, start: datetime, end: datetime) -> pl.LazyFrame:
        """The rows about times in [start, end) with the columns of the table, in any order.

        Of a table of days those about days that begin in it.
        """
        empty = pl.DataFrame(self.spec.schema.empty_table())
        files = files_reaching(self.files, start, end) if start < end else []
        if not files:
            return empty.lazy().select(self.spec.names)
        table = self.lake.table_uri(self.spec.name)
        date = DATE_PARTITION.name
        rows = pl.scan_parquet(
            [f"{table}/{file.path}" for file in files],
            storage_options=self.lake.storage_options or None,
            hive_partitioning=True,
            hive_schema={date: pl.Date},
            schema=empty.schema,
            missing_columns="insert",
        )
        time = pl.col(self.spec.time_column)
        begins = (
            time.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
            if (self.spec.time_column == date)
            else time
        )
        return rows.filter(
            in_window(start, end, self.spec.time_column), begins >= start, begins < end
        ).select(self.spec.names)


class TableReader:
    """Keeps a handle on each table that was asked for, which costs less than to open it anew.

    May be used by several threads at once.
    """

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._locks_lock = Lock()
        self._locks: dict[str, Lock] = {}
        self._handles: dict[str, DeltaTable] = {}
        self._newest: dict[str, TableVersion] = {}

    def newest(self, spec: TableSpec) -> TableVersion:
        """The version that the store has now; blocks, so not for the event loop.

        Raises TableMissing, or DeltaError where the store can't be read.
        """
        with self._locks_lock:
            lock = self._locks.setdefault(spec.name, Lock())
        with lock:
            handle = self._handles.pop(spec.name, None)
            if handle is None:
                handle = self._lake.open(spec.name)
                self._newest.pop(spec.name, None)
            else:
                handle.update_incremental()
            # Kept only if it could be read: one that failed is opened anew next time.
            self._handles[spec.name] = handle
            known = self._newest.get(spec.name)
            if known is None or known.number != handle.version():
                files = all_files(self._lake, handle, spec)
                known = TableVersion(self._lake, spec, handle.version(), files)
                self._newest[spec.name] = known
            return known
