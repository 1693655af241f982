"""CSV of `wattlake devices import`: a device for each row, or the reason why it has none."""

import csv
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain, repeat
from pathlib import Path
from typing import Final

from lake import UnusableFile
from lake.csv_injection import unescape_formula
from lake.recordings import read_header, require_utf8
from local_stack.client.rejects_file import RefusedRow
from local_stack.errors import RecordingError
from warehouse_sql.devices import DeviceUpdate, Unchanged

CLEAR: Final = "none"
_STREAMS: Final = ("meter", "vehicle")
COLUMNS: Final = ("stream", "device_id", "charger_class", "retired_at")
_NO_COLUMN: Final = ""  # what stands below no name
_LONGEST_ID: Final = 100


class BadRow(Exception):
    """A row that can't be taken; the text says what to change."""


def read_devices(
    file: Path, classes: Collection[str]
) -> tuple[list[DeviceUpdate], list[RefusedRow]]:
    """Read the devices of a CSV, and each row that is refused.

    `classes` are the names that a charger class may have. Raises RecordingError for what is no
    such CSV.
    """
    devices: dict[tuple[str, str], DeviceUpdate] = {}
    refused: list[RefusedRow] = []
    for number, row in enumerate(_rows(file), 1):
        try:
            one = _told(row, classes)
            if devices.setdefault((one.stream, one.device_id), one) is not one:
                raise BadRow(f"{one.stream} {one.device_id} stands in a row before this")  # noqa: TRY301
        except BadRow as error:
            cells = [row[name] for name in (*COLUMNS, _NO_COLUMN)]
            refused.append(RefusedRow(number, str(error), cells))
    if not (devices or refused):
        raise RecordingError(f"{file} has no devices, only a header")
    return list(devices.values()), refused


def read_ids(file: Path) -> list[tuple[str, str]]:
    """Read stream and id of each row of a CSV; RecordingError where one has none."""
    found = []
    for number, row in enumerate(_rows(file), 1):
        stream, device = row["stream"], row["device_id"]
        if stream not in _STREAMS or not device:
            raise RecordingError(
                f"{file}, row {number}: a device is a meter or a vehicle and an id"
            )
        found.append((stream, device))
    if not found:
        raise RecordingError(f"{file} has no devices, only a header")
    return found


def _told(row: Mapping[str, str], classes: Collection[str]) -> DeviceUpdate:
    if lost := row[_NO_COLUMN]:
        raise BadRow(f"{lost!r} stands in no column; the first line is {','.join(COLUMNS)}")
    stream, device = row["stream"], row["device_id"]
    if stream not in _STREAMS:
        raise BadRow(f"stream: a device is a meter or a vehicle, not {stream!r}")
    if not (0 < len(device) <= _LONGEST_ID and device.isprintable()):
        raise BadRow(f"device_id: an id has 1 to {_LONGEST_ID} printable characters")
    return DeviceUpdate(
        stream,
        device,
        charger_class=_charger_class(row["charger_class"], stream, classes),
        retired_at=_moment(row["retired_at"]),
    )


def _charger_class(text: str, stream: str, classes: Collection[str]) -> str | Unchanged | None:
    if not text:
        return Unchanged.UNCHANGED
    if text == CLEAR:
        return None
    if stream != "meter":
        raise BadRow("charger_class: the class belongs to the charger, name it with its meter")
    if text not in classes:
        known = ", ".join(map(repr, sorted(classes))) or "it describes none"
        raise BadRow(
            f"charger_class: {text!r} is not described in CHARGER_CLASSES ({known}); correct the "
            "name, or describe the class there, here and where Dagster and the collector run"
        )
    return text


def _moment(text: str) -> datetime | Unchanged | None:
    if not text:
        return Unchanged.UNCHANGED
    if text == CLEAR:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise BadRow(f"retired_at: {text!r} is no time with its zone, such as 2026-03-01T12:00:00Z")


def _rows(file: Path) -> Iterator[dict[str, str]]:
    """Rows by column name; a column or cell that is missing is empty.

    A column that nobody knows refuses the file: its name may be a misspelt one.
    """
    try:
        require_utf8(file)
        header = [name.strip() for name in read_header(file)]
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = filter(None, csv.reader(opened, strict=True))
            next(rows)
            header = ["stream" if name == "kind" else name for name in header]
            for name in ("stream", "device_id"):
                if header.count(name) != 1:
                    raise RecordingError(
                        f"{file} needs one column {name}; its first line is {','.join(COLUMNS)}"
                    )
            for name in filter(None, header):
                if name not in COLUMNS or header.count(name) > 1:
                    what = "twice a column" if name in COLUMNS else "a column"
                    raise RecordingError(
                        f"{file} has {what} {name!r}; the columns are {', '.join(COLUMNS)}"
                    )
            for row in rows:
                names = chain(header, repeat(_NO_COLUMN))
                cells = {
                    name: unescape_formula(cell.strip())
                    for name, cell in zip(names, row, strict=False)
                    if cell
                }
                yield dict.fromkeys((*COLUMNS, _NO_COLUMN), "") | cells
    except UnusableFile as error:
        raise RecordingError(f"{file} {error}") from error
    except (OSError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RecordingError(f"{file} can't be read: {reason}") from error
