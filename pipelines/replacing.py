"""Writing what a run has computed, unless the table holds just that already."""

from datetime import datetime

import polars as pl

from lake import Lake, replace_hours
from lake.damage import UNREADABLE
from lake.hours import in_window
from lake.table_spec import TableSpec


def replace_changed(
    lake: Lake, spec: TableSpec, rows: pl.DataFrame, start: datetime, end: datetime
) -> int:
    """`replace_hours`, but no commit where the table holds exactly these rows; the version after.

    A rerun then leaves no new version, no dead files, and nothing for readers to load again. Only
    for the one writer of a table, in its pool: nobody else may change the hours meanwhile.
    """
    table = lake.open(spec.name)
    there = lake.scan(table).filter(in_window(start, end, spec.time_column)).select(spec.names)
    try:
        is_there = there.collect().sort(spec.key).equals(rows.select(spec.names).sort(spec.key))
    except UNREADABLE:
        is_there = False  # a file that can't be read is one to replace
    return table.version() if is_there else replace_hours(lake, spec, rows, start, end)
