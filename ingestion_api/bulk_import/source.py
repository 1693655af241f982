"""The rows of a file to import, some 500,000 at a time, whatever the size of the file."""

import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from ingestion_api.bulk_import.meaning import IDS, Meaning, UnusableFile, fields_of

ROWS_A_PART: Final = 500_000
_CSV_BLOCK: Final = 8 * 2**20
_PARQUET_BUFFER: Final = 2**20
_ALL: Final = 2**63 - 1


@dataclass(frozen=True)
class Part:
    """Rows of a file under their JSON names, and their numbers in the file, from 1.

    `upto` is the number of the last row so far. `broken` are the lines of a CSV that are no rows:
    number, text and reason.
    """

    rows: pa.Table
    numbers: npt.NDArray[np.int64]
    upto: int
    broken: list[tuple[int, str, str]]

    def between(self, after: int, upto: int) -> "Part":
        """Only the rows with a number above `after` and up to `upto`."""
        if after < self.numbers.min(initial=self.upto) and self.upto <= upto and not self.broken:
            return self
        start, end = np.searchsorted(self.numbers, [after, upto], side="right").tolist()
        broken = [line for line in self.broken if after < line[0] <= upto]
        rows = self.rows.slice(start, end - start)
        return Part(rows, self.numbers[start:end], min(self.upto, upto), broken)


class Source:
    """A Parquet or CSV file; UnusableFile, with a reason, if it is neither."""

    def __init__(self, file: Path, meaning: Meaning) -> None:
        """Reads the file once, for its identity."""
        self.file, self._meaning = file, meaning
        self._is_csv = file.suffix.lower() == ".csv"
        if not self._is_csv and file.suffix.lower() != ".parquet":
            raise UnusableFile("is neither .parquet nor .csv: convert it, or use `wattlake replay`")
        try:
            self.size = file.stat().st_size
            self.identity = _identity(file, meaning)
            columns = _csv_header(file) if self._is_csv else self._parquet_columns()
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(error) from error
        self.fields = fields_of(columns, meaning)

    def parts(self, after: int, upto: int = _ALL) -> Iterator[Part]:
        """The rows after the first `after`, in file order, and up to `upto`.

        Raises UnusableFile.
        """
        try:
            for part in self._csv() if self._is_csv else self._parquet(after):
                if part.upto > after:
                    yield part.between(after, upto)
                if part.upto >= upto:
                    return
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(error) from error

    @property
    def rows(self) -> int | None:
        """How many rows there are, where the file tells it."""
        return None if self._is_csv else pq.read_metadata(self.file).num_rows

    def _parquet_columns(self) -> list[str]:
        schema = pq.read_schema(self.file)
        times = [
            name
            for name in schema.names
            if pa.types.is_timestamp(schema.field(name).type) and schema.field(name).type.tz is None
        ]
        named = fields_of(schema.names, self._meaning)
        if unzoned := [name for name in times if named.get(name) == "timestamp"]:
            raise UnusableFile(
                f"has times without a zone in {unzoned[0]}: a timestamp must be ISO 8601 text "
                "with a zone, or of a type with one, such as timestamp[us, UTC]"
            )
        return schema.names

    def _parquet(self, after: int) -> Iterator[Part]:
        by_code = [column for column, name in self.fields.items() if name in IDS]
        with pq.ParquetFile(
            self.file, read_dictionary=by_code, pre_buffer=False, buffer_size=_PARQUET_BUFFER
        ) as parquet:
            first, groups = 0, list(range(parquet.num_row_groups))
            while groups and first + parquet.metadata.row_group(groups[0]).num_rows <= after:
                first += parquet.metadata.row_group(groups.pop(0)).num_rows
            if not groups:
                return
            for batch in parquet.iter_batches(ROWS_A_PART, groups, columns=list(self.fields)):
                upto = first + batch.num_rows
                yield Part(self._named(batch), np.arange(first + 1, upto + 1), upto, [])
                first = upto

    def _csv(self) -> Iterator[Part]:
        broken: list[tuple[int, str, str]] = []

        def skip(line: Any) -> Literal["skip", "error"]:
            reason = f"has {line.actual_columns} cells, not {line.expected_columns}"
            broken.append((line.number - 1, line.text, reason))
            return "skip"

        reader = pa.csv.open_csv(
            self.file,
            # Several threads would not tell the numbers of broken lines.
            read_options=pa.csv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
            convert_options=pa.csv.ConvertOptions(
                include_columns=list(self.fields),
                column_types=dict.fromkeys(self.fields, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
        upto = 0
        with reader:
            for batch in reader:
                numbers = np.arange(upto + 1, upto + batch.num_rows + len(broken) + 1)
                numbers = numbers[~np.isin(numbers, [number for number, _, _ in broken])]
                # The reader is ahead by a block at most: what is broken there stays for later.
                numbers = numbers[: batch.num_rows]
                upto = int(numbers[-1]) if len(numbers) else upto
                yield Part(
                    self._named(batch), numbers, upto, [line for line in broken if line[0] <= upto]
                )
                broken = [line for line in broken if line[0] > upto]
        if broken:
            none = pa.table({name: pa.array([], pa.string()) for name in self.fields.values()})
            yield Part(none, np.empty(0, np.int64), broken[-1][0], broken)

    def _named(self, batch: pa.RecordBatch) -> pa.Table:
        named = {self.fields[name]: batch.column(name) for name in self.fields}
        return pa.table(named)


def _identity(file: Path, meaning: Meaning) -> str:
    """Of the content and of how it is meant, wherever the file lies: a corrected one is another."""
    with file.open("rb") as opened:
        content = hashlib.file_digest(opened, "sha256")
    content.update(json.dumps(asdict(meaning), sort_keys=True).encode())
    return content.hexdigest()


def _csv_header(file: Path) -> list[str]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            return next(csv.reader(opened), [])
    except (csv.Error, UnicodeDecodeError) as error:
        raise UnusableFile(f"can't be read: {error}") from error


def _unreadable(error: Exception) -> UnusableFile:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UnusableFile(f"can't be read: {' '.join(reason.split())}")
