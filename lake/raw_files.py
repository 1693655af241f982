"""The files of a raw table: each flush adds one to every hour it has heartbeats of."""

import time
from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime
from datetime import time as time_of_day
from functools import partial
from typing import Final

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from lake.archive import Archived
from lake.data_files import SMALL, write_data_file
from lake.durability import sync_folders, sync_log
from lake.errors import StaleRead
from lake.storage import Lake, retry_stale
from lake.streams import DATE_PARTITION, HOUR_PARTITION, Stream

# Counted up by each merge: without it, two merges of the same files would both be accepted.
_APP_ID: Final = "wattlake-merge"
_DATE, _HOUR = (f"partition.{column.name}" for column in (DATE_PARTITION, HOUR_PARTITION))


def merge_raw_hours(lake: Lake, stream: Stream, before: datetime) -> list[Archived]:
    """Make one file of the raw files of each hour that began before `before`.

    One commit an hour. The rows stay the same, so a lake writer that appends meanwhile is neither
    disturbed nor in the way; of two merges of one hour the second finds nothing to do.
    """
    files = _live_files(lake.open(stream.raw_table))
    many = files.group_by(_DATE, _HOUR).len().filter(pl.col("len") > 1).sort(_DATE, _HOUR)
    return [
        retry_stale(partial(_merge, lake, stream, day, hour))
        for day, hour in many.select(_DATE, _HOUR).iter_rows()
        if datetime.combine(day, time_of_day(hour), UTC) < before
    ]


class RawHours:
    """What exactly one version of a raw table, that of the handle, holds of its hours.

    Reads the files of an hour alone, while a scan of the table first looks at all that it has.
    """

    def __init__(self, lake: Lake, stream: Stream, table: DeltaTable) -> None:
        self._lake, self._stream = lake, stream
        self.version = table.version()
        self._files = _live_files(table)

    def rows(self) -> dict[datetime, int]:
        """How many rows there are of each hour that has any."""
        hours = self._files.group_by(_DATE, _HOUR).agg(pl.col("num_records").sum())
        return {
            datetime.combine(day, time_of_day(hour), UTC): rows for day, hour, rows in hours.rows()
        }

    def scan(self, hours: Sequence[datetime], without: Collection[str] = ()) -> pl.LazyFrame:
        """The rows of contiguous hours of one UTC day, with the columns of the stream.

        Leaves out the files with the paths of `without`.
        """
        first, last = hours[0], hours[-1]
        of_day = self._files.filter(
            pl.col(_DATE) == first.date(),
            pl.col(_HOUR).is_between(first.hour, last.hour),
            ~pl.col("path").is_in(list(without)),
        )
        return _scan(self._lake, self._stream, of_day)


def _merge(lake: Lake, stream: Stream, day: date, hour: int) -> Archived:
    table = lake.open(stream.raw_table)
    files = _files_of(table, day, hour)
    size = int(files["size_bytes"].sum())
    if files.height < 2:
        return Archived(files.height, size, size)
    merged = _scan(lake, stream, files).sort("received_at", *stream.key).collect()
    partition = {DATE_PARTITION.name: str(day), HOUR_PARTITION.name: str(hour)}
    added = write_data_file(lake, stream.raw_table, partition, [merged], [stream.device], SMALL)
    added.data_change = False
    if lake.local_folder:
        sync_folders(lake.local_folder / stream.raw_table, [added.path])
    before, now = table.version(), time.time_ns() // 1_000_000
    actions: list[AddAction | RemoveAction] = [
        RemoveAction(path, False, now, size=of_file, partition_values={**partition})
        for path, of_file in files.select("path", "size_bytes").iter_rows()
    ]
    count = (table.transaction_version(_APP_ID) or 0) + 1
    try:
        table.create_write_transaction(
            [*actions, added],
            "append",
            table.schema(),
            partition_by=list(partition),
            commit_properties=CommitProperties(
                app_transactions=[Transaction(_APP_ID, count)], max_commit_retries=50
            ),
        )
    except CommitFailedError as error:
        raise StaleRead(str(error)) from error
    table.update_incremental()
    # The newest commit may be another's, and a lost one before it would hide that as well.
    sync_log(lake.local_folder, table, before)
    return Archived(files.height, size, added.size)


def _live_files(table: DeltaTable) -> pl.DataFrame:
    log = pl.DataFrame(table.get_add_actions(flatten=True))
    columns = {
        "path": pl.String,
        _DATE: pl.Date,
        _HOUR: pl.Int32,
        "size_bytes": pl.Int64,
        "num_records": pl.Int64,
    }
    return pl.DataFrame(schema=columns) if log.is_empty() else log.select(columns.keys())


def _files_of(table: DeltaTable, day: date, hour: int) -> pl.DataFrame:
    return _live_files(table).filter(pl.col(_DATE) == day, pl.col(_HOUR) == hour)


def _scan(lake: Lake, stream: Stream, files: pl.DataFrame) -> pl.LazyFrame:
    nothing = pl.DataFrame(stream.arrow_schema.empty_table())
    if files.is_empty():
        return nothing.lazy()
    return pl.scan_parquet(
        [f"{lake.table_uri(stream.raw_table)}/{path}" for path in files["path"]],
        storage_options=lake.storage_options or None,
        hive_partitioning=False,
        schema=nothing.schema,
        missing_columns="insert",  # of files from before a column was added
    )
