"""The lake at one URL, and its tables."""

import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, TypeVar

import polars as pl
import pyarrow as pa
import pyarrow.fs
from deltalake import DeltaTable, Schema
from deltalake.exceptions import TableNotFoundError

from lake.delta.durability import sync_newest_commit
from lake.delta.object_store import ObjectStoreHandler
from lake.errors import OldTable, StaleRead, TableMissing, UnusableFolder, WrongLake
from lake.schema.catalog import DERIVED_TABLES
from lake.schema.history import history_table
from lake.schema.streams import DATE_PARTITION, HOUR_PARTITION, STREAMS
from lake.settings import LakeSettings

CHECKPOINT_INTERVAL: Final = 50  # commits
_ATTEMPTS: Final = 8

_T = TypeVar("_T")


@dataclass(frozen=True)
class Lake:
    """Delta tables below one folder or object-store URL."""

    uri: str
    storage_options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_settings(cls, settings: LakeSettings) -> "Lake":
        """Return the lake at `LAKE_URI`; a relative folder is taken from the working directory."""
        uri = settings.lake_uri.rstrip("/")
        if "://" not in uri:
            uri = str(Path(uri).absolute())
        return cls(uri, dict(settings.lake_storage_options))

    @cached_property
    def local_folder(self) -> Path | None:
        """The lake's folder, or None where it lies in an object store."""
        if self.uri.startswith("file://"):
            return Path(self.uri.removeprefix("file://"))
        return Path(self.uri) if "://" not in self.uri else None

    def table_uri(self, table: str) -> str:
        """Return the URI of a table."""
        return f"{self.uri}/{table}"

    def open(self, table: str) -> DeltaTable:
        """Open the newest version of a table; TableMissing where there is no table.

        OldTable where it is laid out in another way than `create_tables` does it.
        """
        try:
            handle = DeltaTable(self.table_uri(table), storage_options=self.storage_options)
        except TableNotFoundError as error:
            raise TableMissing(f"the lake at {self.uri} has no table {table}") from error
        _require_layout(handle, table)
        return handle

    def scan(self, handle: DeltaTable) -> pl.LazyFrame:
        """Scan exactly the version that `handle` holds."""
        return pl.scan_delta(handle, storage_options=self.storage_options or None)

    def create_tables(self, but: Collection[str] = (), existing: Collection[str] = ()) -> None:
        """Create every table that is missing; safe to call from several processes at once.

        Those named by `but` are left alone; without one of `existing` nothing is created. Raises
        UnusableFolder, OldTable or, without one of `existing`, TableMissing.
        """
        _require_plain(self.uri)
        opened = {table: self.open(table) for table in existing}
        if self.local_folder:
            self.local_folder.mkdir(parents=True, exist_ok=True)
        for stream in STREAMS.values():
            if stream.raw_table in but:
                continue
            raw = (*stream.columns, DATE_PARTITION, HOUR_PARTITION)
            self._create(
                stream.raw_table,
                f"every {stream.name} heartbeat as it was received",
                pa.schema([column.field() for column in raw]),
                [stream.device, "timestamp"],
                opened.get(stream.raw_table),
            )
        histories = (history_table(stream) for stream in STREAMS.values())
        for spec in (*histories, *DERIVED_TABLES):
            if spec.name in but:
                continue
            self._create(spec.name, spec.description, spec.schema, list(spec.described))

    def file_system(self) -> pyarrow.fs.FileSystem:
        """Return a file system of all below the lake's URL, for what is not a table."""
        if folder := self.local_folder:
            return pyarrow.fs.SubTreeFileSystem(str(folder), pyarrow.fs.LocalFileSystem())
        return pyarrow.fs.PyFileSystem(ObjectStoreHandler(self.uri, self.storage_options))

    def read_file(self, path: str) -> bytes:
        """Return the content of a file below the lake's URL; FileNotFoundError without one."""
        if folder := self.local_folder:
            return (folder / path).read_bytes()
        return ObjectStoreHandler(self.uri, self.storage_options).read(path)

    def _create(
        self,
        table: str,
        description: str,
        schema: pa.Schema,
        statistics: list[str],
        opened: DeltaTable | None = None,
    ) -> None:
        try:
            there = opened or self.open(table)
        except TableMissing:
            there = DeltaTable.create(
                self.table_uri(table),
                schema,
                mode="ignore",
                partition_by=_partition(table),
                name=table,
                description=description,
                configuration={
                    "delta.checkpointInterval": str(CHECKPOINT_INTERVAL),
                    "delta.logRetentionDuration": "interval 30 days",
                    "delta.deletedFileRetentionDuration": "interval 7 days",
                    "delta.dataSkippingStatsColumns": ",".join(statistics),
                },
                storage_options=self.storage_options or None,
            )
            _require_layout(there, table)
        if _add_missing_columns(there, schema) or there.version() == 0:
            sync_newest_commit(self.local_folder, there)


_RAW_TABLES: Final = frozenset(stream.raw_table for stream in STREAMS.values())


def _partition(table: str) -> list[str]:
    """The partition columns of a table of this version."""
    by_hour = [HOUR_PARTITION.name] if table in _RAW_TABLES else []
    return [DATE_PARTITION.name, *by_hour]


def require_table_id(lake: Lake, handle: DeltaTable, table: str, table_id: str) -> None:
    """Raise WrongLake for a table with another id than that which the database knows."""
    if str(handle.metadata().id) != table_id:
        raise WrongLake(
            f"the lake at {lake.uri} is not the one that belongs to this database: its {table} has "
            "another id. Point LAKE_URI at the right one"
        )


def _require_layout(handle: DeltaTable, table: str) -> None:
    """Raise OldTable for another layout: what reads it would fail, or find nothing."""
    if handle.metadata().partition_columns == _partition(table):
        return
    what = f"{handle.table_uri.rstrip('/')} was written by another version, in another layout. "
    if table in _RAW_TABLES:
        raise OldTable(
            f"{what}It holds heartbeats that nothing else may hold: leave it as it is, and start "
            "the version that wrote it, or point LAKE_URI at another folder with another database."
        )
    raise OldTable(
        f"{what}Nothing in it is lost: move this folder away, start again, and run "
        "`wattlake verify --repair`; it is computed anew from the raw heartbeats."
    )


# Of a URL, of a pattern of names, of a partition: the libraries disagree about what each means.
_SPECIAL: Final = frozenset(' %#?*[]{}=\\"<>`')


def _require_plain(uri: str) -> None:
    """Raise UnusableFolder for a name below which the libraries would miss files."""
    if not uri.isascii() or not uri.isprintable() or set(uri) & _SPECIAL:
        raise UnusableFolder(
            f"the lake can't lie in {uri!r}: choose a folder without spaces, any of "
            f"{' '.join(sorted(_SPECIAL - {' '}))} and letters beyond ASCII"
        )


def _add_missing_columns(table: DeltaTable, schema: pa.Schema) -> bool:
    """Add the columns that a later version knows; rows from before it have a null there."""
    known = {field.name for field in table.schema().fields}
    missing = [field.with_nullable(True) for field in schema if field.name not in known]
    if missing:
        table.alter.add_columns(Schema.from_arrow(pa.schema(missing)).fields)
        table.update_incremental()
    return bool(missing)


def retry_stale(write: Callable[[], _T]) -> _T:
    """Call `write` until it has read nothing stale; the last StaleRead is raised."""
    for attempt in range(1, _ATTEMPTS):
        try:
            return write()
        except StaleRead:
            time.sleep(random.uniform(0, 0.1) * attempt)
    return write()
