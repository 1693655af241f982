"""Tables of an installation's lake, their columns and sizes."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final

import polars as pl
from deltalake import DeltaTable

from lake import STREAMS, Lake, TableMissing
from lake.schema import DERIVED_TABLES

TABLES: Final = (
    *(stream.raw_table for stream in STREAMS.values()),
    *(stream.history_table for stream in STREAMS.values()),
    *(spec.name for spec in DERIVED_TABLES),
)


@dataclass(frozen=True)
class LakeTable:
    """Table as its Delta log describes it.

    `hours` are the partitions that hold rows; `first` and `last` name the outermost of them.
    `columns` are name, type, and meaning with unit.
    """

    name: str
    description: str
    rows: int
    hours: int
    first: str
    last: str
    columns: list[tuple[str, str, str]]


def lake_tables(lake: Lake) -> Iterator[LakeTable]:
    """List the tables that the lake has; TableMissing if it has none."""
    found = False
    for name in TABLES:
        try:
            table = lake.open(name)
        except TableMissing:
            continue  # a lake of an older version gets it at the collector's next start
        found = True
        yield _described(name, table)
    if not found:
        raise TableMissing(f"there is no lake at {lake.uri}")


def _described(name: str, table: DeltaTable) -> LakeTable:
    files = pl.DataFrame(table.get_add_actions(flatten=True))
    partitions = (
        files.group_by([f"partition.{column}" for column in table.metadata().partition_columns])
        .agg(rows=pl.col("num_records").sum())
        .filter(pl.col("rows") > 0)
        .drop("rows")
        .sort(pl.all())
        if files.height
        else pl.DataFrame()
    )
    return LakeTable(
        name=name,
        description=table.metadata().description or "",
        rows=int(files["num_records"].sum()) if files.height else 0,
        hours=partitions.height,
        first=_partition_name(partitions.row(0)) if partitions.height else "",
        last=_partition_name(partitions.row(-1)) if partitions.height else "",
        columns=[
            (field.name, _type_name(str(field.type)), str(field.metadata.get("comment", "")))
            for field in table.schema().fields
        ],
    )


def _partition_name(values: tuple[date | int, ...]) -> str:
    day, *hours = values
    return f"{day} {hours[0]:02d}:00" if hours else str(day)


def _type_name(text: str) -> str:
    """`string` out of `PrimitiveType("string")`, `list of string` out of an array of them."""
    inner = text.split('"')[1] if '"' in text else text
    return f"list of {inner}" if text.startswith("ArrayType") else inner
