"""Merging of an hour's raw files into one."""

import time
from datetime import date, datetime
from functools import partial
from typing import Final

import polars as pl
from deltalake.transaction import RemoveAction

from lake.delta.commit import commit, next_version
from lake.delta.durability import sync_folders
from lake.delta.file_statistics import LOG_DATE, LOG_HOUR
from lake.delta.parquet_files import SMALL, write_data_file
from lake.delta.raw_files import hour_start, live_raw_files, raw_files_of_hour, scan_raw_files
from lake.delta.storage import Lake, retry_stale
from lake.schema.streams import DATE_PARTITION, HOUR_PARTITION, Stream
from lake.upkeep.archive import ArchiveResult

_APP_ID: Final = "wattlake-merge"  # counted up by each merge


def merge_raw_hours(lake: Lake, stream: Stream, before: datetime) -> list[ArchiveResult]:
    """Merge the raw files of each hour that began before `before`.

    One commit an hour. The rows stay the same, so a lake writer that appends meanwhile is neither
    disturbed nor in the way; of two merges of one hour the second finds nothing to do.
    """
    files = live_raw_files(lake.open(stream.raw_table))
    many = (
        files.group_by(LOG_DATE, LOG_HOUR).len().filter(pl.col("len") > 1).sort(LOG_DATE, LOG_HOUR)
    )
    return [
        retry_stale(partial(_merge, lake, stream, day, hour))
        for day, hour in many.select(LOG_DATE, LOG_HOUR).iter_rows()
        if hour_start(day, hour) < before
    ]


def _merge(lake: Lake, stream: Stream, day: date, hour: int) -> ArchiveResult:
    table = lake.open(stream.raw_table)
    files = raw_files_of_hour(table, day, hour)
    size = int(files["size_bytes"].sum())
    if files.height < 2:
        return ArchiveResult(files.height, size, size)
    merged = scan_raw_files(lake, stream, files).sort("received_at", *stream.key).collect()
    partition = {DATE_PARTITION.name: str(day), HOUR_PARTITION.name: str(hour)}
    added = write_data_file(lake, stream.raw_table, partition, [merged], [stream.device], SMALL)
    added.data_change = False
    if lake.local_folder:
        sync_folders(lake.local_folder / stream.raw_table, [added.path])
    now = time.time_ns() // 1_000_000
    removed = [
        RemoveAction(path, False, now, size=of_file, partition_values={**partition})
        for path, of_file in files.select("path", "size_bytes").iter_rows()
    ]
    commit(lake, table, [*removed, added], next_version(table, _APP_ID))
    return ArchiveResult(files.height, size, added.size)
