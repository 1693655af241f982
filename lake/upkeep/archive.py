"""The archive: a day's small files become one with the same rows, smaller and faster to read.

A full fleet adds 60 files an hour to each raw table and one to each other; without this a year is
half a million files, and every reader and writer of a table first reads the list of them.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from lake.delta.parquet_files import scan_files
from lake.delta.replace import live_files, replace_files, sorted_parts
from lake.delta.storage import Lake, retry_stale
from lake.schema.streams import DATE_PARTITION
from lake.schema.table_spec import TableSpec


@dataclass(frozen=True)
class ArchiveResult:
    """Files and bytes before and after an archive."""

    files_before: int
    bytes_before: int
    bytes_after: int


def archive_day(lake: Lake, spec: TableSpec, day: date) -> ArchiveResult:
    """Make one file of all files of a day; a day that is one file already stays as it is.

    The rows stay the same, and late ones still find their hour. Raises StaleRead where somebody
    else keeps writing to this table.
    """
    return retry_stale(lambda: _archive(lake, spec, day))


def days_to_archive(lake: Lake, spec: TableSpec, before: date) -> list[date]:
    """Return the days before `before` that are several files, in order."""
    log = pl.DataFrame(lake.open(spec.name).get_add_actions(flatten=True))
    if log.is_empty():
        return []
    day = pl.col(f"partition.{DATE_PARTITION.name}")
    days = log.group_by(day).len().filter(day < before, pl.col("len") > 1)
    return days.to_series().sort().to_list()


def _archive(lake: Lake, spec: TableSpec, day: date) -> ArchiveResult:
    table = lake.open(spec.name)
    midnight = datetime.combine(day, time(), UTC)
    window = midnight, midnight + timedelta(days=1)
    files = live_files(lake, table, spec, *window)
    size = sum(file.size for file in files)
    if len(files) < 2:
        return ArchiveResult(len(files), size, size)
    rows = scan_files(lake, spec.name, [file.path for file in files], spec.schema)
    days = [(day, sorted_parts(rows.select(spec.names), spec))]
    replace_files(lake, table, spec, days, files, archived=True)
    return ArchiveResult(
        len(files), size, sum(f.size for f in live_files(lake, table, spec, *window))
    )
