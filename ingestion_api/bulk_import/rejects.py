"""FILE.rejects.csv: each refused row with the reasons, in the order of the file."""

import csv
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ingestion_api.bulk_import.intake import RefusedRow
from ingestion_api.heartbeats.strict_decoder import Refusal
from ingestion_api.rejections.text import printable_text
from lake import UnusableFile
from lake.csv_injection import escape_formula

COLUMNS: Final = ("row", "stream", "device", "timestamp", "codes", "reasons", "record")
_RECORD_CHARACTERS: Final = 2_000
_LABEL_CHARACTERS: Final = 100


class RejectsFile:
    """A CSV file, made when the first row is refused; one of an earlier import is deleted."""

    def __init__(self, path: Path, keep_before: int) -> None:
        """Keep the lines of the first `keep_before` rows, which an earlier run dealt with."""
        self.path = path
        self.rows = 0
        self.reasons: Counter[str] = Counter()
        self._exists = False
        if keep_before and path.exists():
            self._keep(keep_before)
        else:
            path.unlink(missing_ok=True)

    def add(self, refused: Iterable[RefusedRow]) -> None:
        """Write the rows behind those before them; raises UnusableFile."""
        lines = [_line(one) for one in refused]
        if not lines:
            return
        for one in refused:
            self.reasons.update({_reason(refusal) for refusal in one.refusals})
        try:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                if not self._exists:
                    writer.writerow(COLUMNS)
                writer.writerows(lines)
        except OSError as error:
            raise UnusableFile(
                f"has refused rows, which can't be written to {self.path} ({error.strerror}): "
                "name another place with --rejects"
            ) from error
        self._exists = True
        self.rows += len(lines)

    def remove(self) -> None:
        """Delete it, as nothing of the file was taken after all."""
        self.path.unlink(missing_ok=True)

    def sync(self) -> None:
        """Bring it to the disk, before the lake remembers that these rows were dealt with."""
        if self._exists:
            with self.path.open("rb") as file:
                os.fsync(file.fileno())

    def _keep(self, rows: int) -> None:
        unfinished = self.path.with_name(f"{self.path.name}.unfinished")
        with (
            self.path.open(encoding="utf-8", newline="") as file,
            unfinished.open("w", encoding="utf-8", newline="") as kept,
        ):
            writer, reader = csv.writer(kept), csv.reader(file)
            writer.writerow(next(reader, COLUMNS))
            for line in reader:
                # The last line may be half a line, if its writer was killed.
                if len(line) == len(COLUMNS) and line[0].isdecimal() and int(line[0]) <= rows:
                    writer.writerow(line)
        unfinished.replace(self.path)
        self._exists = True


def _line(refused: RefusedRow) -> list[object]:
    record = refused.record if isinstance(refused.record, dict) else {}
    device = record.get("vehicleId" if refused.stream == "vehicle" else "meterId")
    if device is None:
        device = record.get("vehicleId", record.get("meterId"))
    cells = [
        refused.row,
        refused.stream,
        None if device is None else printable_text(device, _LABEL_CHARACTERS),
        printable_text(record["timestamp"], _LABEL_CHARACTERS) if "timestamp" in record else None,
        " ".join(dict.fromkeys(refusal.code for refusal in refused.refusals)),
        "; ".join(map(_reason, refused.refusals)),
        printable_text(refused.record, _RECORD_CHARACTERS),
    ]
    return [escape_formula(cell) if isinstance(cell, str) else cell for cell in cells]


def _reason(refusal: Refusal) -> str:
    where = f"{refusal.field}: " if refusal.field else ""
    return f"{where}{refusal.reason}"
