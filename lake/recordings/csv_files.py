"""Checks of CSV and other text files before their rows are read."""

import codecs
import csv
from pathlib import Path
from typing import Final

from lake.errors import UnusableFile

_BLOCK: Final = 2**20
_WIDE: Final = {
    codecs.BOM_UTF8: None,
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_OTHER_SEPARATORS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}


def require_utf8(file: Path) -> None:
    """Read the file once and raise UnusableFile unless it is UTF-8; OSError if unreadable."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with file.open("rb") as opened:
        block = opened.read(_BLOCK)
        wide = next((name for mark, name in _WIDE.items() if block.startswith(mark)), None)
        if wide or b"\0" in block[:4]:
            raise UnusableFile(f"is {wide or 'UTF-16'} text: save it as UTF-8")
        line = 1
        try:
            while block:
                decoder.decode(block)
                line += block.count(b"\n")
                block = opened.read(_BLOCK)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            line += error.object[: error.start].count(b"\n")
            raise UnusableFile(f"is not UTF-8 (line {line:,}): save it as UTF-8") from None


def read_header(file: Path) -> list[str]:
    """Return the column names of a CSV as they stand in its first line that is not blank.

    Raises UnusableFile if there is none, or if it has other separators than commas.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            header = next(filter(None, csv.reader(opened)), None)
    except csv.Error as error:
        raise UnusableFile(f"can't be read: {error}") from error
    if header is None:
        raise UnusableFile("is empty")
    for separator, name in _OTHER_SEPARATORS.items():
        if header[0].count(separator) and len(header) <= 1 + sum(
            cell.count(separator) for cell in header[1:]
        ):
            raise UnusableFile(
                f"has {name} between its cells: save it with commas, and with decimal points"
            )
    return header


def cell_count_fault(cells: int, columns: int) -> str | None:
    """Return the fault of a row with so many cells, if it is one."""
    if cells == columns:
        return None
    return f"has {cells} cell{'s' * (cells != 1)}, not {columns} as the first line"
