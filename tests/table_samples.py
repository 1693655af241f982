"""Rows of computed tables for tests, also in a lake."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import polars as pl
import pyarrow as pa

from lake import Lake
from lake.delta.replace import replace_hours
from lake.reads.table_pages import row_period
from lake.schema.table_spec import TableSpec

_USUAL = {"status": "good", "reason": "rated"}


def table_rows(spec: TableSpec, *rows: Mapping[str, Any]) -> pl.DataFrame:
    """Rows of a table; what one leaves out is null, or where it can't be zero, empty, 'rated'."""
    schema = pl.DataFrame(pa.schema([c.field() for c in spec.columns]).empty_table()).schema
    usual: dict[str, Any] = {
        c.name: None if c.nullable else _usual(c.name, c.type) for c in spec.columns
    }
    return pl.DataFrame([{**usual, **row} for row in rows], schema=schema)


def put(lake: Lake, spec: TableSpec, time: datetime, *rows: Mapping[str, Any]) -> None:
    """Let the table hold exactly these rows of the hour or day that begins at `time`."""
    named = time.date() if spec.time_column == "date" else time
    content = table_rows(spec, *({spec.time_column: named, **row} for row in rows))
    replace_hours(lake, spec, content, time, time + row_period(spec))


def _usual(name: str, kind: pa.DataType) -> Any:
    if name in _USUAL:
        return _USUAL[name]
    if pa.types.is_large_list(kind) or pa.types.is_list(kind):
        return []
    if pa.types.is_large_string(kind):
        return ""
    return 0
