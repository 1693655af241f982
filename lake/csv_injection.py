"""Escaping of CSV text, so that no spreadsheet takes a cell for a formula.

A cell that begins like a formula, or with apostrophes and then like a formula, gets an apostrophe
in front, so that `unescape_formula` can restore it. Numbers are no text: -0.5 stays.
"""

import re
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

_FORMULA: Final = "'*[-=+@\t\r\n\uff0d\uff1d\uff0b\uff20]"  # the last four are full-width ones
_BEGINS: Final = re.compile(_FORMULA)
_QUOTED: Final = re.compile("'" + _FORMULA)


def escape_formula(text: str) -> str:
    """Escape a cell."""
    return f"'{text}" if _BEGINS.match(text) else text


def escape_frame(rows: pl.DataFrame) -> pl.DataFrame:
    """Escape every text of a frame."""
    return rows.with_columns(pl.col(pl.String).str.replace(f"^({_FORMULA})", "'${1}"))


def escape_column(column: "pa.Array[Any]") -> "pa.Array[Any]":
    """Escape a column of text."""
    return pc.replace_substring_regex(column, f"^({_FORMULA})", r"'\1", max_replacements=1)


def unescape_formula(cell: str) -> str:
    """Return the cell as it was before `escape_formula`."""
    return cell[1:] if _QUOTED.match(cell) else cell


def unescape_column(column: "pa.Array[Any]") -> "pa.Array[Any]":
    """Return a column of text as it was before `escape_column`."""
    if not pc.any(pc.starts_with(column, "'")).as_py():
        return column
    return pc.replace_substring_regex(column, f"^'({_FORMULA})", r"\1", max_replacements=1)
