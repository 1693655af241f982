"""The rows of a file to import, some 500,000 at a time, whatever the size of the file."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from ingestion_api.bulk_import.part_times import first_local_time, record_repeated_hours, to_utc
from lake import UnusableFile
from lake.csv_injection import unescape_column
from lake.recordings import (
    TEXTS,
    ColumnMapping,
    LocalTimes,
    cell_count_fault,
    map_columns,
    no_zone_fault,
    read_header,
    require_utf8,
    unknown_columns,
)

ROWS_A_PART: Final = 500_000
_CSV_BLOCK: Final = 8 * 2**20
_PARQUET_BUFFER: Final = 2**20
_ALL: Final = 2**63 - 1


@dataclass(frozen=True)
class BadRow:
    """A row that is none, before its values are judged: what it holds, and why."""

    number: int
    record: object
    field: str | None
    reason: str
    code: str


@dataclass(frozen=True)
class Part:
    """Rows of a file under their JSON names, and their numbers in the file, from 1.

    `upto` is the number of the last row so far. `broken` are those that are no rows.
    """

    rows: pa.Table
    numbers: npt.NDArray[np.int64]
    upto: int
    broken: list[BadRow]

    def between(self, after: int, upto: int) -> "Part":
        """Only the rows with a number above `after` and up to `upto`."""
        if after < self.numbers.min(initial=self.upto) and self.upto <= upto and not self.broken:
            return self
        start, end = np.searchsorted(self.numbers, [after, upto], side="right").tolist()
        broken = [row for row in self.broken if after < row.number <= upto]
        rows = self.rows.slice(start, end - start)
        return Part(rows, self.numbers[start:end], min(self.upto, upto), broken)


class Source:
    """A Parquet or CSV file; UnusableFile, with a reason, if it is neither."""

    def __init__(self, file: Path, meaning: ColumnMapping) -> None:
        """Reads the file once, for its identity."""
        self.file, self._meaning = file, meaning
        self._is_csv = file.suffix.lower() == ".csv"
        if not self._is_csv and file.suffix.lower() != ".parquet":
            raise UnusableFile("is neither .parquet nor .csv: convert it, or use `wattlake replay`")
        try:
            self.size = file.stat().st_size
            self.identity = _identity(file, meaning)
            if self._is_csv:
                require_utf8(file)
                columns = read_header(file)
            else:
                columns = pq.read_schema(file).names
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(error) from error
        self._columns = map_columns(columns, meaning)
        self.unknown_columns = unknown_columns(columns, meaning)
        self.fields = {*self._columns.values(), *meaning.ids}
        if meaning.time_zone is None:
            first = next(self._read(0, rows=1_000), None)
            if (
                first is not None
                and (time := first_local_time(first.rows["timestamp"])) is not None
            ):
                raise UnusableFile(no_zone_fault(time))

    def parts(self, after: int, upto: int = _ALL) -> Iterator[Part]:
        """The rows after the first `after`, in file order, and up to `upto`.

        Raises UnusableFile.
        """
        for part in self._read(after):
            if part.upto > after:
                yield self._to_utc(part.between(after, upto))
            if part.upto >= upto:
                return

    @property
    def rows(self) -> int | None:
        """Number of rows, where the file tells it."""
        return None if self._is_csv else pq.read_metadata(self.file).num_rows

    def _read(self, after: int, rows: int | None = None) -> Iterator[Part]:
        """The file as it is; its first rows may be left out."""
        try:
            yield from self._csv() if self._is_csv else self._parquet(after, rows or ROWS_A_PART)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(error) from error

    def _to_utc(self, part: Part) -> Part:
        if self._local_times is None:
            return part
        times, faults = to_utc(part.rows["timestamp"], part.numbers, self._local_times)
        rows = part.rows.set_column(part.rows.column_names.index("timestamp"), "timestamp", times)
        if not faults:
            return Part(rows, part.numbers, part.upto, part.broken)
        kept = np.ones(len(part.numbers), np.bool_)
        kept[list(faults)] = False
        records = part.rows.take(pa.array(faults)).to_pylist()
        broken = part.broken + [
            BadRow(
                int(part.numbers[place]),
                {name: value for name, value in record.items() if value is not None},
                "timestamp",
                reason,
                "bad_time",
            )
            for (place, reason), record in zip(faults.items(), records, strict=True)
        ]
        return Part(rows.filter(pa.array(kept)), part.numbers[kept], part.upto, broken)

    @cached_property
    def _local_times(self) -> LocalTimes | None:
        """The clock of the zone, which has seen each device's rows near the repeated hours."""
        if self._meaning.time_zone is None:
            return None
        clock = LocalTimes(self._meaning.time_zone)
        for part in self._read(0) if clock.repeats else ():
            record_repeated_hours(part.rows, part.numbers, self._meaning.stream, clock)
        clock.finish()
        return clock

    def _parquet(self, after: int, rows: int) -> Iterator[Part]:
        by_code = [column for column, name in self._columns.items() if name in TEXTS]
        with pq.ParquetFile(
            self.file, read_dictionary=by_code, pre_buffer=False, buffer_size=_PARQUET_BUFFER
        ) as parquet:
            first, groups = 0, list(range(parquet.num_row_groups))
            while groups and first + parquet.metadata.row_group(groups[0]).num_rows <= after:
                first += parquet.metadata.row_group(groups.pop(0)).num_rows
            if not groups:
                return
            for batch in parquet.iter_batches(rows, groups, columns=list(self._columns)):
                upto = first + batch.num_rows
                yield Part(self._named(batch), np.arange(first + 1, upto + 1), upto, [])
                first = upto

    def _csv(self) -> Iterator[Part]:
        broken: list[BadRow] = []

        def skip(line: Any) -> Literal["skip", "error"]:
            reason = cell_count_fault(line.actual_columns, line.expected_columns) or ""
            broken.append(BadRow(line.number - 1, line.text, None, reason, "not_csv"))
            return "skip"

        reader = pa.csv.open_csv(
            self.file,
            # Several threads would not tell the numbers of broken lines.
            read_options=pa.csv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
            convert_options=pa.csv.ConvertOptions(
                include_columns=list(self._columns),
                column_types=dict.fromkeys(self._columns, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
        upto = 0
        with reader:
            for batch in reader:
                numbers = np.arange(upto + 1, upto + batch.num_rows + len(broken) + 1)
                numbers = numbers[~np.isin(numbers, [row.number for row in broken])]
                # The reader is ahead by a block at most: what is broken there stays for later.
                numbers = numbers[: batch.num_rows]
                upto = int(numbers[-1]) if len(numbers) else upto
                yield Part(
                    self._named(batch), numbers, upto, [row for row in broken if row.number <= upto]
                )
                broken = [row for row in broken if row.number > upto]
        if broken:
            none = pa.table({name: pa.array([], pa.string()) for name in self.fields})
            yield Part(none, np.empty(0, np.int64), broken[-1].number, broken)

    def _named(self, batch: pa.RecordBatch) -> pa.Table:
        named: dict[str, Any] = {}
        for column, name in self._columns.items():
            named[name] = batch.column(column)
            if self._is_csv:
                named[name] = _without_blanks(named[name])
                if name in TEXTS:
                    named[name] = unescape_column(named[name])
        for name, device in self._meaning.ids.items():
            named[name] = pa.repeat(device, batch.num_rows)
        return pa.table(named)


def _without_blanks(cells: Any) -> Any:
    trimmed: Any = pc.utf8_trim_whitespace(cells)
    is_empty: Any = pc.equal(pc.utf8_length(trimmed), pa.scalar(0))
    return pc.if_else(is_empty, pa.scalar(None, trimmed.type), trimmed)


def _identity(file: Path, meaning: ColumnMapping) -> str:
    """Hash the content and its meaning, wherever the file lies: a corrected one is another."""
    with file.open("rb") as opened:
        content = hashlib.file_digest(opened, "sha256")
    content.update(json.dumps(meaning.identity(), sort_keys=True).encode())
    return content.hexdigest()


def _unreadable(error: Exception) -> UnusableFile:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UnusableFile(f"can't be read: {' '.join(reason.split())}")
