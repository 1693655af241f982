"""Low-latency reads of the newest version of computed tables."""

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from lake.delta.parquet_files import scan_files
from lake.delta.storage import Lake
from lake.reads.open_tables import LiveFiles, OpenTables
from lake.schema.partitions import in_window
from lake.schema.streams import DATE_PARTITION
from lake.schema.table_spec import TableSpec


@dataclass(frozen=True)
class TableVersion:
    """A version of a table, and the files that make it up."""

    lake: Lake
    spec: TableSpec
    files: LiveFiles

    @property
    def number(self) -> int:
        """The number of the version; another one whenever the rows may be others."""
        return self.files.version

    def scan(self, start: datetime, end: datetime) -> pl.LazyFrame:
        """Scan the rows about times in [start, end), with the columns of the table, in any order.

        Of a table of days those about days that begin in it.
        """
        paths = self.files.paths_between(start, end) if start < end else []
        rows = scan_files(self.lake, self.spec.name, paths, self.spec.schema)
        time = pl.col(self.spec.time_column)
        begins = (
            time.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
            if self.spec.time_column == DATE_PARTITION.name
            else time
        )
        return rows.filter(
            in_window(start, end, self.spec.time_column), begins >= start, begins < end
        ).select(self.spec.names)


class TableReader:
    """Reader that keeps each table open. May be used by several threads at once."""

    def __init__(self, lake: Lake) -> None:
        self._lake, self._tables = lake, OpenTables(lake)

    def newest_version(self, spec: TableSpec) -> TableVersion:
        """Return the version that the store has now; blocks, so not for the event loop.

        Raises TableMissing, or DeltaError where the store can't be read.
        """
        files = self._tables.files(spec.name, spec.time_column)
        return TableVersion(self._lake, spec, files)
