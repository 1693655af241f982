"""Data files that can't be read: their names, their hours, and the reasons."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from lake.delta.file_statistics import times_of_files
from lake.delta.storage import Lake
from lake.errors import LakeDamaged, TableMissing
from lake.schema.partitions import hours_between

# Whatever a reader of a file or of a table's log may fail with; no error of a query, which would be
# taken for damage.
READ_ERRORS: Final = (
    DeltaError,
    pl.exceptions.ComputeError,
    pl.exceptions.SchemaError,
    pl.exceptions.PanicException,  # of a file that is too short; not an Exception by its class
    pa.ArrowException,
    OSError,
)
_TICK: Final = timedelta(microseconds=1)
_LONGEST: Final = 300  # of the words of a library's error


@dataclass(frozen=True)
class DataFile:
    """A file as the log of its table describes it; `last` is included."""

    table: str
    path: str
    size: int
    rows: int | None
    first: datetime
    last: datetime
    devices: tuple[str, str] | None
    """The least and the greatest id, where the log knows them."""

    @property
    def hours(self) -> list[datetime]:
        """The hours that it may hold rows of."""
        return hours_between(self.first, self.last + _TICK)

    @property
    def description(self) -> str:
        """The file, its hours and devices in words."""
        hours = self.hours
        last = f" to {hours[-1]:%H:%M}" if len(hours) > 1 else ""
        devices = f", {' to '.join(dict.fromkeys(self.devices))}" if self.devices else ""
        return f"{self.table}/{self.path} ({hours[0]:%Y-%m-%d %H:%M}{last} UTC{devices})"


@dataclass(frozen=True)
class DamagedFile:
    """A file that can't be read, with the reason.

    `is_lost`: its content is gone; otherwise it is only out of reach, by its rights for one.
    """

    file: DataFile
    reason: str
    is_lost: bool

    def require_lost(self) -> None:
        """Raise LakeDamaged where its content may yet be had: nobody may do without it."""
        if not self.is_lost:
            raise LakeDamaged(f"{self.file.description} can't be read: {self.reason}")


def data_files(
    table: DeltaTable, name: str, time_column: str, start: datetime, end: datetime
) -> list[DataFile]:
    """Return the files of a table, raw or computed, that may hold rows of [start, end), by time."""
    log = pl.DataFrame(table.get_add_actions(flatten=True))
    if log.is_empty():
        return []
    first_time, last_time = times_of_files(log.columns, time_column)
    devices = [pl.lit(None), pl.lit(None)]
    for column in log.columns:
        if column.startswith("min.") and column.endswith("_id"):
            devices = [pl.col(column), pl.col(column.replace("min.", "max."))]
    found = log.select(
        "path",
        "size_bytes",
        "num_records",
        first=first_time,
        last=last_time,
        least=devices[0],
        most=devices[1],
    )
    found = found.filter(pl.col("first") < end, pl.col("last") >= start).sort("first", "path")
    return [
        DataFile(name, path, size, rows, first, last, (least, most) if least and most else None)
        for path, size, rows, first, last, least, most in found.iter_rows()
    ]


def find_damage(lake: Lake, file: DataFile) -> DamagedFile | None:
    """Read a whole file and return its damage; None: it is as it was written."""
    try:
        with lake.file_system().open_input_file(f"{file.table}/{file.path}") as stream:
            content = stream.readall()
    except FileNotFoundError:
        return DamagedFile(file, "the file is missing", is_lost=True)
    except OSError as error:
        return DamagedFile(file, _line(error), is_lost=False)
    if len(content) != file.size:
        return DamagedFile(
            file, f"{len(content):,} bytes, {file.size:,} were written", is_lost=True
        )
    try:
        parquet = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        rows = sum(batch.num_rows for batch in parquet.iter_batches())
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        return DamagedFile(file, _line(error), is_lost=True)
    if file.rows is not None and rows != file.rows:
        return DamagedFile(file, f"{rows:,} rows, {file.rows:,} were written", is_lost=True)
    return None


def find_damaged_files(
    lake: Lake, name: str, time_column: str, start: datetime, end: datetime
) -> list[DamagedFile]:
    """Return the damaged files of a table's newest version that may hold rows of [start, end)."""
    found = (
        find_damage(lake, file)
        for file in data_files(lake.open(name), name, time_column, start, end)
    )
    return [damaged for damaged in found if damaged is not None]


def empty_commits(lake: Lake, name: str) -> list[str]:
    """Return the names of a table's empty log entries, which the Delta library skips silently."""
    entries = lake.file_system().get_file_info(pyarrow.fs.FileSelector(f"{name}/_delta_log"))
    newest = max((e.base_name[:20] for e in entries if ".checkpoint" in e.base_name), default="")
    return sorted(
        e.base_name
        for e in entries
        if e.extension == "json" and not e.size and e.base_name[:20] > newest
    )


@contextmanager
def diagnose_read_errors(
    lake: Lake, tables: Collection[tuple[str, str]], start: datetime, end: datetime
) -> Iterator[None]:
    """Raise LakeDamaged, with file and hour, where reading [start, end) fails in this context.

    `tables` are what is read, with the name of the time in each.
    """
    try:
        yield
    except READ_ERRORS as error:
        reasons = []
        for name, time_column in tables:
            try:
                found = find_damaged_files(lake, name, time_column, start, end)
            except TableMissing:
                continue
            except DeltaError as of_log:
                reasons.append(f"the log of {name} can't be read: {_line(of_log)}")
                continue
            reasons += [f"{one.file.description} can't be read: {one.reason}" for one in found]
        if not reasons and isinstance(error, Exception):
            raise
        reason = "; ".join(reasons) or _line(error)
        raise LakeDamaged(
            f"{reason}. `wattlake verify` tells what is damaged, and `wattlake verify --repair` "
            "puts right what can be computed from other tables"
        ) from error


def _line(error: BaseException) -> str:
    """The words of an error, as one line of bounded length."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}..."
