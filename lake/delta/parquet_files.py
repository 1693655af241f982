"""The Parquet files of all tables: their encodings and their statistics.

The library's own writer keeps a buffer for every hour at once, which measured 165 KB an hour: a
backlog or a batch whose heartbeats are years apart would take gigabytes. It also commits before
anything is on the disk, and can't encode a column as it packs best.
"""

import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from lake.delta.durability import sync_path
from lake.delta.storage import Lake
from lake.schema.history import RECEIPT_DELAY
from lake.schema.streams import DATE_PARTITION

# Times that all differ, and differ by nearly the same, take a hundredth of what a dictionary takes.
# Of a delay only the low bytes are noise, so it packs by its bytes. So does a state of charge: it
# moves in one direction for hours.
_ENCODINGS: Final = {
    "timestamp": "DELTA_BINARY_PACKED",
    "received_at": "DELTA_BINARY_PACKED",
    RECEIPT_DELAY.name: "BYTE_STREAM_SPLIT",
    "soc": "BYTE_STREAM_SPLIT",
}
# Zstd describes the bytes of each 128 KiB by one table. In pages of this many rows that is two of
# the eight bytes of a number at a time; in smaller ones noise and repetition share a table.
_ROWS_A_PAGE: Final = 65_536
FAST, SMALL = 3, 9  # zstd levels: for what is written each hour, and for what is kept for years


def write_data_file(
    lake: Lake,
    table: str,
    partition: Mapping[str, str],
    parts: Iterable[pl.DataFrame | pa.Table],
    described: Sequence[str],
    level: int = FAST,
    synced: bool = True,
    rows_a_group: int = 2 * _ROWS_A_PAGE,
) -> AddAction:
    """Write one file of a partition; returns what a commit adds for it.

    It is on the disk when this returns, unless the caller takes care of that for many at once.

    `parts` are its rows, at least one part, without the columns of the partition. `described` are
    the columns by whose least and greatest values readers skip the file. Without the commit it is
    an orphan that no reader sees.
    """
    files = lake.file_system()
    folder = "/".join(f"{name}={value}" for name, value in partition.items())
    if lake.local_folder:
        files.create_dir(f"{table}/{folder}", recursive=True)
    name = f"{folder}/part-{uuid4()}.zstd.parquet"
    path = f"{table}/{name}"
    ends: dict[str, list[Any]] = {name: [] for name in described}
    rows = 0
    with files.open_output_stream(path) as sink:
        with ExitStack() as stack:
            writer = None
            for part in parts:
                content = part.rechunk().to_arrow() if isinstance(part, pl.DataFrame) else part
                if writer is None:
                    writer = stack.enter_context(_writer(sink, content.schema, level))
                writer.write_table(content, row_group_size=rows_a_group)
                rows += content.num_rows
                for column, values in ends.items():
                    found: Any = pc.min_max(content[column])
                    values += [found["min"].as_py(), found["max"].as_py()]
        size = sink.tell()
    if lake.local_folder and synced:
        sync_path(lake.local_folder / path)
    return AddAction(
        name,
        size,
        dict(partition),
        time.time_ns() // 1_000_000,
        data_change=True,
        stats=_statistics(rows, ends),
    )


def scan_files(
    lake: Lake,
    table: str,
    paths: Collection[str],
    schema: pa.Schema,
    path_column: str | None = None,
) -> pl.LazyFrame:
    """Scan some data files of a table, in their order, with the columns of `schema`.

    A column that was added to the table later is null in older files; the `date` of the partition
    is taken from the path where the schema has it. `path_column`, if given, names the file.
    """
    empty = pl.DataFrame(schema.empty_table())
    if not paths:
        named = {} if path_column is None else {path_column: pl.lit("")}
        return empty.lazy().with_columns(**named)
    date = DATE_PARTITION.name
    return pl.scan_parquet(
        [f"{lake.table_uri(table)}/{path}" for path in paths],
        storage_options=lake.storage_options or None,
        hive_partitioning=date in empty.columns,
        hive_schema={date: pl.Date} if date in empty.columns else None,
        schema=empty.schema,
        missing_columns="insert",
        include_file_paths=path_column,
    )


def _writer(sink: pa.NativeFile, schema: pa.Schema, level: int) -> pq.ParquetWriter:
    # A list of columns is right, the type stubs know only bool.
    with_dictionary: Any = [name for name in schema.names if name not in _ENCODINGS]
    return pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        compression_level=level,
        use_dictionary=with_dictionary,
        column_encoding={name: code for name, code in _ENCODINGS.items() if name in schema.names},
        max_rows_per_page=_ROWS_A_PAGE,
        write_page_checksum=True,  # flipped bits are found, and not read as other values
    )


def _statistics(rows: int, ends: Mapping[str, Sequence[Any]]) -> str:
    """Return the statistics in the log of a file whose least and greatest values are in `ends`."""
    return json.dumps(
        {
            "numRecords": rows,
            "minValues": {name: _text(min(values), up=False) for name, values in ends.items()},
            "maxValues": {name: _text(max(values), up=True) for name, values in ends.items()},
            "nullCount": dict.fromkeys(ends, 0),
        }
    )


def _text(value: Any, *, up: bool) -> str:
    """A value as the log has it; times in milliseconds, so the greatest is rounded up."""
    if not isinstance(value, datetime):
        return value.isoformat() if isinstance(value, date) else str(value)
    if up:
        value += timedelta(microseconds=-value.microsecond % 1000)
    return f"{value:%Y-%m-%dT%H:%M:%S}.{value.microsecond // 1000:03d}Z"
