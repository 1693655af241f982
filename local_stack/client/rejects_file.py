"""FILE.rejects.csv: each row that was refused, with its number, the reasons and its cells."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lake.csv_injection import escape_formula
from local_stack.errors import RecordingError


@dataclass(frozen=True)
class RefusedRow:
    """A row of a CSV, from 1, with what is wrong and its cells."""

    number: int
    reasons: str
    cells: Sequence[str]


class RejectsFile:
    """The refused rows of one CSV, beside it; that of an import before goes."""

    def __init__(self, file: Path, columns: Sequence[str]) -> None:
        self.path = file.with_name(f"{file.name}.rejects.csv")
        self.rows = 0
        self._columns = columns
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def add(self, refused: Iterable[RefusedRow]) -> None:
        """Write the rows behind those before them; raises RecordingError."""
        lines = [
            (row.number, row.reasons, *(escape_formula(cell) for cell in row.cells))
            for row in refused
        ]
        if not lines:
            return
        try:
            with self.path.open("a", encoding="utf-8", newline="") as opened:
                writer = csv.writer(opened)
                if not self.rows:
                    writer.writerow(("row", "reasons", *self._columns))
                writer.writerows(lines)
        except OSError as error:
            raise self._unwritable(error) from error
        self.rows += len(lines)

    def _unwritable(self, error: OSError) -> RecordingError:
        return RecordingError(
            f"refused rows can't be written to {self.path} ({error.strerror}): import a copy of "
            "the file from a folder that you may write"
        )
