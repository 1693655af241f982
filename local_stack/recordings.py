"""Recorded rows as the heartbeats that devices send."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Final

from local_stack.errors import RecordingError
from local_stack.recording_files import Row, Value, read_rows

_DEVICE: Final = {"meter": "meterId", "vehicle": "vehicleId"}
_MEASUREMENTS: Final = {
    "meter": ("kwhConsumedAc", "voltage"),
    "vehicle": ("kwhDeliveredDc", "soc", "batteryTemp"),
}
_FIELDS: Final = {
    "meter": ("meterId", "timestamp", *_MEASUREMENTS["meter"], "readingType"),
    "vehicle": ("vehicleId", "timestamp", *_MEASUREMENTS["vehicle"], "meterId", "readingType"),
}
_NUMBERS: Final = frozenset(chain(*_MEASUREMENTS.values()))
_JSON_NAMES: Final = {
    re.sub("[A-Z]", lambda capital: f"_{capital[0].lower()}", name): name
    for name in chain(*_FIELDS.values())
}
_ZONE: Final = re.compile(r"(Z|[+-]\d{2}(:?\d{2})?)$")


@dataclass(frozen=True)
class Meaning:
    """How the columns of a recording are meant.

    `stream`: meter or vehicle; None tells it by the columns. `renames`: a file's column to the
    name of the lake (snake_case) or of the JSON. `reading_type` holds where a row has none.
    """

    stream: str | None = None
    reading_type: str | None = None
    renames: Mapping[str, str] = field(default_factory=dict)
    order_by: str | None = None
    assume_utc: bool = False


@dataclass(frozen=True)
class Recorded:
    """A heartbeat and its row in the file, from 1; or why that row is none."""

    row: int
    stream: str
    heartbeat: dict[str, Value]
    problem: str | None = None


def recorded_heartbeats(file: Path, meaning: Meaning) -> Iterator[Recorded]:
    """Every row of the file as a heartbeat, in file order or by `order_by`.

    Columns that no heartbeat has are left out, and so are nulls. Raises RecordingError, in one
    line, if the file can't be what it is said to be.
    """
    rows = read_rows(file)
    first = next(rows, None)
    if first is None:
        raise RecordingError(f"{file} has no rows")
    _check(file, first, meaning)
    numbered: Iterator[tuple[int, Row | str]] = enumerate(chain([first], rows), start=1)
    if meaning.order_by is not None:
        column = meaning.order_by
        numbered = iter(sorted(numbered, key=lambda row: _sort_key(row[1], column)))
    for row, values in numbered:
        if isinstance(values, str):
            yield Recorded(row, meaning.stream or "meter", {}, values)
        else:
            renamed = _renamed(values, meaning)
            stream = _stream(renamed, meaning)
            yield Recorded(row, stream, _heartbeat(renamed, stream, meaning))


def _check(file: Path, row: Row | str, meaning: Meaning) -> None:
    """Tell at once what would make every row a refused one."""
    if isinstance(row, str):
        raise RecordingError(f"the first line of {file} is {row}")
    has = ", ".join(row)
    if unknown := [name for name in meaning.renames if name not in row]:
        raise RecordingError(f"{file} has no column {unknown[0]} to rename; it has: {has}")
    if meaning.order_by is not None and meaning.order_by not in row:
        raise RecordingError(f"{file} has no column {meaning.order_by} to order by; it has: {has}")
    values = _renamed(row, meaning)
    stream = _stream(values, meaning)
    for wanted in ((_DEVICE[stream],), ("timestamp",), _MEASUREMENTS[stream]):
        if not any(name in values for name in wanted):
            raise RecordingError(
                f"{file} has no {' or '.join(wanted)} for a {stream}; it has: {has}; "
                f"name its column with --rename COLUMN={wanted[0]}"
            )
    time = values["timestamp"]
    if not meaning.assume_utc and isinstance(time, str | datetime) and not _has_zone(time):
        raise RecordingError(
            f"the times of {file} have no zone ({time}): add --assume-utc if they are UTC"
        )


def _renamed(row: Row, meaning: Meaning) -> Row:
    told = {meaning.renames.get(name, name): value for name, value in row.items()}
    return {_JSON_NAMES.get(name, name): value for name, value in told.items()}


def _stream(values: Row, meaning: Meaning) -> str:
    return meaning.stream or ("vehicle" if values.get("vehicleId") is not None else "meter")


def _heartbeat(values: Row, stream: str, meaning: Meaning) -> Row:
    found = {name: _json(name, values.get(name), meaning) for name in _FIELDS[stream]}
    if found["readingType"] is None:
        found["readingType"] = meaning.reading_type
    return {name: value for name, value in found.items() if value is not None}


def _json(name: str, value: Value, meaning: Meaning) -> Value:
    """The value as a device would send it; what is no number or time stays for the collector."""
    if name == "timestamp" and isinstance(value, str | datetime):
        return _time(value, meaning)
    if name in _DEVICE.values() and isinstance(value, int):
        return str(value)
    if name in _NUMBERS and isinstance(value, str | float):
        try:
            number = float(value)
        except ValueError:
            return value
        return number if math.isfinite(number) else str(value)  # JSON has no infinity
    return value


def _time(value: str | datetime, meaning: Meaning) -> str:
    if meaning.assume_utc and not _has_zone(value):
        value = f"{value}Z" if isinstance(value, str) else value.replace(tzinfo=UTC)
    return value if isinstance(value, str) else value.isoformat()


def _has_zone(time: str | datetime) -> bool:
    if isinstance(time, datetime):
        return time.tzinfo is not None
    return _ZONE.search(time[10:]) is not None


def _sort_key(row: Row | str, column: str) -> tuple[int, float, str]:
    """Numbers and times by value, then texts, at last rows that have neither."""
    value = None if isinstance(row, str) else row.get(column)
    if isinstance(value, datetime):
        value = value.timestamp()
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return 1, 0.0, str(value)
    return (2, 0.0, "") if value is None else (0, float(value), "")
