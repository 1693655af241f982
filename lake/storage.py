"""The lake at one URL: its tables, and writes that replace whole hours."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

import polars as pl
import pyarrow as pa
import pyarrow.fs
from deltalake import ColumnProperties, CommitProperties, DeltaTable, WriterProperties
from deltalake import write_deltalake as _write
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler

from lake.derived import DERIVED_TABLES
from lake.durability import sync_newest_commit
from lake.errors import StaleRead, TableMissing
from lake.hours import partition_predicate, with_partition
from lake.settings import LakeSettings
from lake.streams import PARTITION_COLUMNS, STREAMS, Column
from lake.table_spec import TableSpec

DUPLICATES: Final = Column(
    "duplicates", pa.int64(), "received copies of this heartbeat that were removed", nullable=False
)

# Default dictionaries take 2.5 times the bytes of delta encoding for times that all differ.
_TIME_ENCODING: Final = ColumnProperties(dictionary_enabled=False, encoding="DELTA_BINARY_PACKED")
TIME_COLUMNS: Final = ("timestamp", "received_at")
COMPRESSION_LEVEL: Final = 3
_ATTEMPTS: Final = 8

_T = TypeVar("_T")


@dataclass(frozen=True)
class Lake:
    """Delta tables below one folder or object-store URL."""

    uri: str
    storage_options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_settings(cls, settings: LakeSettings) -> "Lake":
        """The lake at `LAKE_URI`; a relative folder is taken from the working directory."""
        uri = settings.lake_uri.rstrip("/")
        if "://" not in uri:
            uri = str(Path(uri).absolute())
        return cls(uri, dict(settings.lake_storage_options))

    @property
    def local_folder(self) -> Path | None:
        """The lake's folder, or None where it lies in an object store."""
        if self.uri.startswith("file://"):
            return Path(self.uri.removeprefix("file://"))
        return Path(self.uri) if "://" not in self.uri else None

    def table_uri(self, table: str) -> str:
        """Where a table lies."""
        return f"{self.uri}/{table}"

    def open(self, table: str) -> DeltaTable:
        """A fresh handle on the newest version; TableMissing where there is no table."""
        try:
            return DeltaTable(self.table_uri(table), storage_options=self.storage_options)
        except TableNotFoundError as error:
            raise TableMissing(f"the lake at {self.uri} has no table {table}") from error

    def scan(self, handle: DeltaTable) -> pl.LazyFrame:
        """The rows of exactly the version that `handle` holds."""
        return pl.scan_delta(handle, storage_options=self.storage_options or None)

    def create_tables(self) -> None:
        """Create every table that is missing; safe to call from several processes at once."""
        if self.local_folder:
            self.local_folder.mkdir(parents=True, exist_ok=True)
        for stream in STREAMS.values():
            self._create(
                stream.raw_table,
                f"every {stream.name} heartbeat as it was received",
                stream.columns,
                [stream.device, "timestamp"],
            )
            self._create(
                stream.history_table,
                f"{stream.name} heartbeats, one row for each device and timestamp, sorted by both",
                (*stream.columns, DUPLICATES),
                [stream.device, "timestamp", "reading_type"],
            )
        for spec in DERIVED_TABLES:
            self._create(spec.name, spec.description, spec.columns, [spec.time_column])

    def files(self) -> pyarrow.fs.FileSystem:
        """The files below the lake's URL, for what is not a table."""
        if folder := self.local_folder:
            return pyarrow.fs.SubTreeFileSystem(str(folder), pyarrow.fs.LocalFileSystem())
        return pyarrow.fs.PyFileSystem(DeltaStorageHandler(self.uri, self.storage_options))

    def _create(
        self, table: str, description: str, columns: Sequence[Column], statistics: list[str]
    ) -> None:
        created = DeltaTable.create(
            self.table_uri(table),
            pa.schema([column.field() for column in (*columns, *PARTITION_COLUMNS)]),
            mode="ignore",
            partition_by=[column.name for column in PARTITION_COLUMNS],
            name=table,
            description=description,
            configuration={
                "delta.checkpointInterval": "50",
                "delta.logRetentionDuration": "interval 30 days",
                "delta.deletedFileRetentionDuration": "interval 7 days",
                "delta.dataSkippingStatsColumns": ",".join(statistics),
            },
            storage_options=self.storage_options or None,
        )
        if created.version() == 0:
            sync_newest_commit(self.local_folder, created)


def writer_properties(columns: Sequence[str], row_group: int | None = None) -> WriterProperties:
    """Parquet settings of every table: zstd, and times delta-encoded."""
    return WriterProperties(
        compression="ZSTD",
        compression_level=COMPRESSION_LEVEL,
        max_row_group_size=row_group,
        column_properties={name: _TIME_ENCODING for name in columns if name in TIME_COLUMNS},
    )


def replace_hours(
    lake: Lake, spec: TableSpec, rows: pl.DataFrame, start: datetime, end: datetime
) -> int:
    """Let the hours from `start` to `end` of a derived table hold exactly `rows`.

    `rows` have the columns of `spec`. One commit; returns the table's version after it.
    """
    written = with_partition(rows.select(spec.names), spec.time_column)

    def replace() -> int:
        table = lake.open(spec.name)
        return overwrite_hours(lake, table, written, start, end, metadata={})

    return retry_stale(replace)


def overwrite_hours(
    lake: Lake,
    table: DeltaTable,
    rows: pl.DataFrame,
    start: datetime,
    end: datetime,
    metadata: dict[str, str],
    row_group: int | None = None,
) -> int:
    """Overwrite the partitions of these hours through the very handle that was read.

    The handle must not be refreshed between reading and this call: delta-rs takes its version as
    the snapshot that the transaction has read, and only then refuses to delete what was appended
    since. Raises StaleRead in that case, and has written nothing.
    """
    try:
        _write(
            table,
            # One record batch: with several, delta-rs interleaves them and the order is lost.
            rows.rechunk().to_arrow(),
            mode="overwrite",
            predicate=partition_predicate(start, end),
            writer_properties=writer_properties(rows.columns, row_group),
            commit_properties=CommitProperties(custom_metadata=metadata),
        )
    except CommitFailedError as error:
        raise StaleRead(str(error)) from error
    sync_newest_commit(lake.local_folder, table)
    return table.version()


def retry_stale(write: Callable[[], _T]) -> _T:
    """Call `write` until it has read nothing stale; the last StaleRead is raised."""
    for attempt in range(1, _ATTEMPTS):
        try:
            return write()
        except StaleRead:
            time.sleep(random.uniform(0, 0.1) * attempt)
    return write()
