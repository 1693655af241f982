"""The data files of an append, written one hour after the other and synced before the commit.

The library's own writer keeps a buffer for every hour at once, which measured 165 KB an hour: a
backlog or a batch whose heartbeats are years apart would take gigabytes. It also commits before
anything is on the disk.
"""

import json
import time
from datetime import date
from typing import Any, Final
from uuid import uuid4

import polars as pl
import pyarrow.parquet as pq
from deltalake.transaction import AddAction, RemoveAction

from lake.durability import sync_path
from lake.storage import COMPRESSION_LEVEL, TIME_COLUMNS, Lake
from lake.streams import PARTITION_COLUMNS, Stream

_PARTITION: Final = [column.name for column in PARTITION_COLUMNS]


def write_data_files(
    lake: Lake, stream: Stream, rows: pl.DataFrame
) -> list[AddAction | RemoveAction]:
    """Write one file for each hour of `rows` into the raw table; returns what a commit adds.

    `rows` have the stream's columns and those of the partition. Without the commit the files are
    orphans that no reader sees.
    """
    return [
        _write(lake, stream, day, hour, part)
        for (day, hour), part in sorted(
            rows.partition_by(_PARTITION, as_dict=True, include_key=False).items()
        )
    ]


def _write(lake: Lake, stream: Stream, day: date, hour: int, rows: pl.DataFrame) -> AddAction:
    files = lake.files()
    folder = f"date={day}/hour={hour}"
    name = f"{folder}/part-{uuid4()}.zstd.parquet"
    path = f"{stream.raw_table}/{name}"
    # A list of columns is right, the type stubs know only bool.
    with_dictionary: Any = [name for name in rows.columns if name not in TIME_COLUMNS]
    if lake.local_folder:
        files.create_dir(f"{stream.raw_table}/{folder}", recursive=True)
    pq.write_table(
        rows.to_arrow(),
        path,
        filesystem=files,
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        use_dictionary=with_dictionary,
        column_encoding=dict.fromkeys(TIME_COLUMNS, "DELTA_BINARY_PACKED"),
    )
    if lake.local_folder:
        sync_path(lake.local_folder / path)
    return AddAction(
        name,
        files.get_file_info(path).size,
        {"date": str(day), "hour": str(hour)},
        time.time_ns() // 1_000_000,
        data_change=True,
        stats=_statistics(stream, rows),
    )


def _statistics(stream: Stream, rows: pl.DataFrame) -> str:
    """What readers skip files by: the devices. The hour is in the partition already."""
    devices = rows[stream.device]
    return json.dumps(
        {
            "numRecords": rows.height,
            "minValues": {stream.device: devices.min()},
            "maxValues": {stream.device: devices.max()},
            "nullCount": {stream.device: 0},
        }
    )
