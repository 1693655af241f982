"""Rows of a recording: Parquet, CSV or NDJSON, one at a time for any size of file."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from lake import UnusableFile
from lake.csv_injection import unescape_formula
from lake.recordings import cell_count_fault, read_header, require_utf8
from local_stack.errors import RecordingError

Value = str | int | float | bool | datetime | Decimal | None
Row = dict[str, Value]


def read_rows(file: Path) -> Iterator[Row | str]:
    """Read each row with its column names; a text in its place says why a line is none.

    Raises RecordingError, in one line, if the file can't be read.
    """
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise RecordingError(f"{file} is not one of {', '.join(_READERS)}: convert it first")
    try:
        if reader is not _parquet:
            require_utf8(file)
        yield from reader(file)
    except UnusableFile as error:
        raise RecordingError(f"{file} {error}") from error
    except (OSError, pa.ArrowException, csv.Error, UnicodeDecodeError) as error:
        raise _unreadable(file, error) from error


def count_rows(file: Path) -> int:
    """Count the rows; an estimate where a CSV has line breaks in its cells."""
    try:
        if file.suffix.lower() == ".parquet":
            return pq.read_metadata(file).num_rows
        with file.open("rb") as opened:
            return sum(line.strip() != b"" for line in opened) - (file.suffix.lower() == ".csv")
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> RecordingError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return RecordingError(f"{file} can't be read: {' '.join(reason.split())}")


def _parquet(file: Path) -> Iterator[Row]:
    with pq.ParquetFile(file) as parquet:
        schema = pa.schema([_in_microseconds(column) for column in parquet.schema_arrow])
        for batch in parquet.iter_batches(batch_size=10_000):
            yield from batch.cast(schema, safe=False).to_pylist()


def _csv(file: Path) -> Iterator[Row | str]:
    names = [name.strip() for name in read_header(file)]
    with file.open(encoding="utf-8-sig", newline="") as text:
        rows = filter(None, csv.reader(text))
        next(rows)
        for cells in rows:
            fault = cell_count_fault(len(cells), len(names))
            values = (unescape_formula(cell.strip()) or None for cell in cells)
            yield fault or dict(zip(names, values, strict=True))


def _ndjson(file: Path) -> Iterator[Row | str]:
    with file.open(encoding="utf-8-sig") as text:
        for line in filter(str.strip, text):
            try:
                found = json.loads(line)
            except (ValueError, RecursionError) as error:
                found = f"not JSON: {error}"
            yield found if isinstance(found, dict | str) else "not a JSON object"


def _in_microseconds(column: "pa.Field[pa.DataType]") -> "pa.Field[pa.DataType]":
    """Round times to microseconds: Python's datetime holds no nanoseconds."""
    if isinstance(column.type, pa.TimestampType):
        return column.with_type(pa.timestamp("us", column.type.tz))
    return column


_READERS: Final[Mapping[str, Callable[[Path], Iterator[Row | str]]]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".ndjson": _ndjson,
    ".jsonl": _ndjson,
}
