"""Result of a query for a terminal: a table, or row by row where a table is too wide."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
from rich import box
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_DECIMALS: Final = 4


def result_table(rows: pa.Table, console: Console) -> RenderableType:
    """Build a table; where the terminal is too narrow for it, names and values for each row."""
    columns = [_texts(column) for column in rows.columns]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, kind in zip(rows.schema.names, rows.schema.types, strict=True):
        table.add_column(Text(name), justify="right" if _is_number(kind) else "left", no_wrap=True)
    for cells in zip(*columns, strict=True):
        table.add_row(*map(Text, cells))
    width = Measurement.get(console, console.options.update(max_width=100_000), table).maximum
    if width <= console.width:
        return table
    if not console.is_terminal:
        console.width = width  # what reads it has no edge at which a line would break
        return table
    return _row_by_row(rows.schema.names, columns)


def _row_by_row(names: Sequence[str], columns: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for number, cells in enumerate(zip(*columns, strict=True), start=1):
        table.add_row(Text(f"-- row {number}", style="bright_black"), "")
        for name, cell in zip(names, cells, strict=True):
            table.add_row(Text(name), Text(cell))
    return table


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _texts(column: "pa.ChunkedArray[Any]") -> list[str]:
    """The cells of a column; its numbers get the decimals that the longest of them needs."""
    values = column.to_pylist()
    if pa.types.is_floating(column.type):
        shown = [f"{value:.{_DECIMALS}f}".rstrip("0") for value in values if value is not None]
        decimals = max((len(text.partition(".")[2]) for text in shown), default=0)
        return ["-" if value is None else f"{value:.{decimals}f}" for value in values]
    return [cell_text(value) for value in values]


def cell_text(value: object) -> str:
    """One value as text; times with their own zone, without a fraction where there is none."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return moment_text(value, " ")
    if isinstance(value, list):
        return ", ".join(map(cell_text, value))
    return str(value)


def moment_text(moment: datetime, separator: str) -> str:
    """A time in ISO 8601: Z in UTC, another zone as its offset, none for a time without one."""
    text = moment.isoformat(separator)
    return f"{text.removesuffix('+00:00')}Z" if text.endswith("+00:00") else text
