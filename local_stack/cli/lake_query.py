"""`wattlake query`: SQL over the lake's tables, as a table or a file."""

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv
from pydantic import ValidationError
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lake import Lake, LakeError, LakeSettings
from lake.csv_injection import escape_column, escape_formula
from lake.delta import run_sql
from local_stack.cli.child_command import lake_uri
from local_stack.cli.lake_tables import TABLES, lake_tables
from local_stack.cli.result_table import moment_text, result_table
from local_stack.errors import LocalStackError, UsageError
from local_stack.settings import LocalStackSettings
from local_stack.terminal import output_console
from warehouse_sql.settings import settings_fault


class Format(StrEnum):
    """Format of the output."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


def query(
    sql: str, settings: LocalStackSettings, form: Format, output: Path | None, limit: int
) -> None:
    """Run a query and print its rows, or write them to a file.

    `limit` is the most rows of a table; 0: all. Files get every row, a batch at a time.
    """
    if output is None and form is Format.PARQUET:
        raise UsageError("--format parquet writes a file: name it with -o")
    if output is not None and form is Format.TABLE:
        raise UsageError("a table is for the terminal: -o takes --format csv, json or parquet")
    with _errors_of_the_lake():
        found = run_sql(_lake(settings), sql, TABLES)
        if form is Format.TABLE:
            _print_table(found, limit)
        elif output is None:
            with _standard_output() as stream:
                _WRITERS[form](found, stream)
        else:
            rows = _write_file(found, form, output)
            Console(stderr=True, highlight=False).print(f"{rows:,} rows in {output}", markup=False)


def print_tables(settings: LocalStackSettings) -> None:
    """Print the tables of the lake with their sizes and the meaning of their columns."""
    console = output_console()
    with _errors_of_the_lake():
        for table in lake_tables(_lake(settings)):
            console.print(Text(table.name, style="bold"))
            times = f", {table.first} to {table.last} UTC" if table.hours else ""
            console.print(
                f"{table.description}\n{table.rows:,} rows in {table.hours:,} partitions{times}",
                markup=False,
            )
            columns = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
            for name, kind, meaning in table.columns:
                columns.add_row(Text(name), Text(kind), Text(meaning))
            console.print(columns)


def _print_table(found: pa.RecordBatchReader, limit: int) -> None:
    console = output_console()
    kept: list[pa.RecordBatch] = []
    rows = 0
    for batch in found:
        if not limit or rows < limit:
            kept.append(batch.slice(0, limit - rows if limit else None))
        rows += batch.num_rows
    table = pa.Table.from_batches(kept, found.schema)
    console.print(result_table(table, console))
    if left_out := rows - table.num_rows:
        console.print(
            f"{left_out:,} more row{'s' if left_out > 1 else ''}; --limit 0 shows all, "
            "--format csv -o FILE keeps them",
            soft_wrap=True,
        )
    elif not rows:
        console.print("no rows")


def _write_file(found: pa.RecordBatchReader, form: Format, output: Path) -> int:
    """Write under another name first: an error leaves the old file and no half of a new one."""
    unfinished = output.with_name(f"{output.name}.part-{os.getpid()}")
    try:
        with unfinished.open("wb") as stream:
            rows = _WRITERS[form](found, stream)
        unfinished.replace(output)
    except OSError as error:
        raise LocalStackError(f"can't write {output}: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return rows


def _write_csv(found: pa.RecordBatchReader, stream: IO[bytes]) -> int:
    flat = pa.schema(
        [
            pa.field(escape_formula(field.name), field.type if _fits_csv(field.type) else _TEXT)
            for field in found.schema
        ]
    )
    rows = 0
    with csv.CSVWriter(stream, flat) as writer:
        for batch in found:
            columns = [
                _csv_column(column, field.type)
                for field, column in zip(flat, batch.columns, strict=True)
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=flat))
            rows += batch.num_rows
    return rows


def _write_json(found: pa.RecordBatchReader, stream: IO[bytes]) -> int:
    """Write a list of objects, a row on each line."""
    rows = 0
    stream.write(b"[")
    for batch in found:
        for row in batch.to_pylist():
            stream.write(b",\n" if rows else b"\n")
            stream.write(_json(row).encode())
            rows += 1
    stream.write(b"\n]\n")
    return rows


def _write_parquet(found: pa.RecordBatchReader, stream: IO[bytes]) -> int:
    rows = 0
    with pq.ParquetWriter(stream, found.schema, compression="zstd") as writer:
        for batch in found:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


_TEXT: Final = pa.large_string()
_WRITERS: Final = {
    Format.CSV: _write_csv,
    Format.JSON: _write_json,
    Format.PARQUET: _write_parquet,
}


def _csv_column(column: "pa.Array[Any]", kind: pa.DataType) -> "pa.Array[Any]":
    if kind == column.type and kind != _TEXT:
        return column
    if pa.types.is_nested(column.type) or not _is_text(column.type):
        return pa.array(_as_json(column), kind)
    return escape_column(column.cast(kind))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _fits_csv(kind: pa.DataType) -> bool:
    return not (
        _is_text(kind)
        or pa.types.is_nested(kind)
        or pa.types.is_duration(kind)
        or pa.types.is_interval(kind)
    )


def _as_json(column: "pa.Array[Any]") -> Iterator[str | None]:
    for value in column.to_pylist():
        yield None if value is None else _json(value)


def _json(value: object) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)


def _plain(value: object) -> object:
    """Convert times to ISO 8601 with their own zone; NaN and infinity to null, as JSON needs."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, datetime):
        return moment_text(value, "T")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)


@contextlib.contextmanager
def _standard_output() -> Iterator[IO[bytes]]:
    """Standard output; its reader may go away early, as `head` does."""
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _errors_of_the_lake() -> Iterator[None]:
    try:
        yield
    except LakeError as error:
        raise LocalStackError(str(error)) from error
    except pa.ArrowException as error:
        raise LocalStackError(
            f"the rows can't be written: {' '.join(str(error).split())}"
        ) from error


def _lake(settings: LocalStackSettings) -> Lake:
    try:
        where = LakeSettings().model_copy(update={"lake_uri": lake_uri(settings)})
    except ValidationError as error:
        raise UsageError(settings_fault(error)) from error
    return Lake.from_settings(where)
