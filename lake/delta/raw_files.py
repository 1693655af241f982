"""The files of a raw table: each flush adds one to every hour it has heartbeats of."""

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, time

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from lake.delta.file_statistics import LOG_DATE, LOG_HOUR
from lake.delta.parquet_files import scan_files
from lake.delta.storage import Lake
from lake.schema.streams import Stream


class RawSnapshot:
    """One version of a raw table, that of the handle, and its rows by hour.

    Reads the files of an hour alone, while a scan of the table first looks at all that it has.
    """

    def __init__(self, lake: Lake, stream: Stream, table: DeltaTable) -> None:
        self._lake, self._stream = lake, stream
        self.version = table.version()
        self._files = live_raw_files(table)

    def rows_by_hour(self) -> dict[datetime, int]:
        """Return the number of rows of each hour that has any."""
        return _sum_by_hour(self._files)

    def scan(self, hours: Sequence[datetime], without: Collection[str] = ()) -> pl.LazyFrame:
        """Scan contiguous hours of one UTC day, with the columns of the stream.

        Leaves out the files with the paths of `without`.
        """
        first, last = hours[0], hours[-1]
        of_day = self._files.filter(
            pl.col(LOG_DATE) == first.date(),
            pl.col(LOG_HOUR).is_between(first.hour, last.hour),
            ~pl.col("path").is_in(list(without)),
        )
        return scan_raw_files(self._lake, self._stream, of_day)


def rows_by_hour(lake: Lake, stream: Stream, version: int | None = None) -> dict[datetime, int]:
    """Count the rows of each hour in the raw table by its log, at `version` if given.

    The newest version is counted instead of one whose log is cleaned already.
    """
    table = lake.open(stream.raw_table)
    if version is not None and version != table.version():
        try:
            table.load_as_version(version)
        except TableNotFoundError:  # so the library says that a version has no log
            table = lake.open(stream.raw_table)
    return count_rows_by_hour(table)


def count_rows_by_hour(table: DeltaTable) -> dict[datetime, int]:
    """Count the rows of each hour in the version of the handle, by its log."""
    return _sum_by_hour(live_raw_files(table))


def live_raw_files(table: DeltaTable) -> pl.DataFrame:
    """Return the files of a raw table: path, LOG_DATE, LOG_HOUR, size_bytes, num_records."""
    log = pl.DataFrame(table.get_add_actions(flatten=True))
    columns = {
        "path": pl.String,
        LOG_DATE: pl.Date,
        LOG_HOUR: pl.Int32,
        "size_bytes": pl.Int64,
        "num_records": pl.Int64,
    }
    return pl.DataFrame(schema=columns) if log.is_empty() else log.select(columns.keys())


def raw_files_of_hour(table: DeltaTable, day: date, hour: int) -> pl.DataFrame:
    """Return those of `live_raw_files` that belong to one hour."""
    return live_raw_files(table).filter(pl.col(LOG_DATE) == day, pl.col(LOG_HOUR) == hour)


def scan_raw_files(lake: Lake, stream: Stream, files: pl.DataFrame) -> pl.LazyFrame:
    """Scan files of `live_raw_files`, with the columns of the stream."""
    return scan_files(lake, stream.raw_table, files["path"].to_list(), stream.arrow_schema)


def _sum_by_hour(files: pl.DataFrame) -> dict[datetime, int]:
    hours = files.group_by(LOG_DATE, LOG_HOUR).agg(pl.col("num_records").sum())
    return {hour_start(day, hour): rows for day, hour, rows in hours.iter_rows()}


def hour_start(day: date, hour: int) -> datetime:
    """Return the start of an hour, by its LOG_DATE and LOG_HOUR."""
    return datetime.combine(day, time(hour), UTC)
