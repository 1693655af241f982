"""Rows of a recording, turned into the heartbeats that devices send."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import ValidationError

from lake import EnergySettings, UnusableFile
from lake.recordings import (
    ENERGIES,
    FIELDS,
    IDS,
    NUMBERS,
    TEXTS,
    ColumnMapping,
    EnergyRows,
    LocalTimes,
    UnitCheck,
    local_micros,
    map_column,
    map_columns,
    no_zone_fault,
    parse_number,
    read_header,
    to_kwh,
    unknown_columns,
    with_default_stream,
)
from local_stack.client.recording_files import Row, Value, read_rows
from local_stack.errors import RecordingError, UsageError
from warehouse_sql.settings import settings_fault

_FIELDS: Final = {
    "meter": tuple(
        name for name in FIELDS if name not in {"vehicleId", "kwhDeliveredDc", "soc", "batteryTemp"}
    ),
    "vehicle": tuple(name for name in FIELDS if name not in {"kwhConsumedAc", "voltage", "phase"}),
}
_NAMES_TOLD: Final = 20
_ROWS_JUDGED: Final = 100_000
_1970: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # written with a Z
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

Numbered = tuple[int, Row | str]


@dataclass(frozen=True)
class RecordedRow:
    """Heartbeat with its row in the file, from 1; or reason and field where the row is none."""

    row: int
    heartbeat: dict[str, Value]
    problem: str | None = None
    field: str | None = None


def recorded_heartbeats(
    file: Path,
    meaning: ColumnMapping,
    order_by: str | None = None,
    unknown: dict[str, str | None] | None = None,
) -> Iterator[RecordedRow]:
    """Read every row of the file as a heartbeat, in file order or by a column.

    Columns that no heartbeat has are left out and added to `unknown`, some of them, with the field
    that may be meant; nulls are left out. Raises RecordingError, in one
    line, if the file can't be what it is said to be; nothing was yielded then.
    """
    try:
        yield from _heartbeats(file, meaning, order_by, {} if unknown is None else unknown)
    except UnusableFile as error:
        raise RecordingError(f"{file} {error}") from error


def _heartbeats(
    file: Path, meaning: ColumnMapping, order_by: str | None, unknown: dict[str, str | None]
) -> Iterator[RecordedRow]:
    read = _Reader(_checked(file, meaning, order_by), unknown)
    if meaning.unit is None:
        _check_unit(islice(_rows(file, order_by), _ROWS_JUDGED), read)
    clock = _clock(file, read, order_by) if meaning.time_zone else None
    for row, values in _rows(file, order_by):
        if isinstance(values, str):
            yield RecordedRow(row, {}, values)
            continue
        heartbeat = read.heartbeat(values)
        fault = None if clock is None else _tell_moment(row, heartbeat, clock)
        yield RecordedRow(row, heartbeat, fault, fault and "timestamp")


def _rows(file: Path, order_by: str | None) -> Iterator[Numbered]:
    numbered: Iterator[Numbered] = enumerate(read_rows(file), start=1)
    if order_by is None:
        return numbered
    return iter(sorted(numbered, key=lambda row: _sort_key(row[1], order_by)))


def _checked(file: Path, meaning: ColumnMapping, order_by: str | None) -> ColumnMapping:
    """Mapping for this file; RecordingError where it would make every row a refused one."""
    rows = read_rows(file)
    first = next(rows, None)
    if first is None:
        raise RecordingError(f"{file} has no rows")
    if file.suffix.lower() == ".csv":
        columns = read_header(file)
    elif isinstance(first, str):
        raise RecordingError(f"the first line of {file} is {first}")
    else:
        columns = [*first]
    fields = map_columns(columns, meaning)
    names = [name.strip() for name in columns]
    if order_by is not None and order_by not in names:
        raise UnusableFile(f"has no column {order_by} to order by; it has: {', '.join(names)}")
    if meaning.time_zone is None:
        read = _Reader(meaning)
        some = (read.heartbeat(row) for row in chain([first], rows) if not isinstance(row, str))
        time = next((time for one in some if (time := one.get("timestamp")) is not None), None)
        if isinstance(time, str) and local_micros(time) is not None:
            raise UnusableFile(no_zone_fault(time))
    is_table = file.suffix.lower() in {".csv", ".parquet"}
    return with_default_stream(meaning, [*fields.values(), *meaning.ids]) if is_table else meaning


def _check_unit(rows: Iterator[Numbered], read: "_Reader") -> None:
    """Check that the energies can be kWh, before one is posted."""
    found: dict[str, list[tuple[float, int, int, int, float]]] = {name: [] for name in ENERGIES}
    codes: dict[str, int] = {}

    def code(text: Value) -> int:
        return codes.setdefault(text, len(codes)) if isinstance(text, str) else -1

    for _, values in rows:
        heartbeat = {} if isinstance(values, str) else read.heartbeat(values)
        if heartbeat.get("readingType") == "register":
            continue
        time, seconds = _micros(heartbeat.get("timestamp")), _declared_seconds(heartbeat)
        for name, device in zip(ENERGIES, IDS, strict=True):
            if isinstance(energy := heartbeat.get(name), float):
                sender = code(None if time is None else heartbeat.get(device))
                phase = code(heartbeat.get("phase"))
                found[name].append((energy, sender, phase, time or 0, seconds))
    check = UnitCheck(_energy_settings())
    for name, some in found.items():
        if some:
            energies, senders, phases, times, declared = zip(*some, strict=True)
            judged = EnergyRows(
                np.array(energies, np.float64),
                np.array(senders, np.int32),
                np.array(phases, np.int32),
                np.array(times, np.int64),
                np.array(declared, np.float64),
            )
            check.add(name, judged)
    check.require_kwh()


def _energy_settings() -> EnergySettings:
    try:
        return EnergySettings()
    except ValidationError as error:
        raise UsageError(settings_fault(error)) from error


def _declared_seconds(heartbeat: Row) -> float:
    """The length of the interval that a heartbeat declares; NaN for none."""
    seconds = heartbeat.get("intervalSeconds")
    if isinstance(seconds, float):
        return seconds
    start, end = (_micros(heartbeat.get(name)) for name in ("intervalStart", "timestamp"))
    return math.nan if start is None or end is None else (end - start) / 1e6


def _micros(time: Value) -> int | None:
    """Microseconds since 1970; of a local time those of its clock, which is as good for a step."""
    if not isinstance(time, str):
        return None
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return None
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - _EPOCH) // _MICROSECOND


def _clock(file: Path, read: "_Reader", order_by: str | None) -> LocalTimes:
    """The clock of the zone, which has seen each device's rows near the repeated hours."""
    clock = LocalTimes(read.meaning.time_zone or "UTC")
    for row, values in _rows(file, order_by) if clock.repeats else ():
        if not isinstance(values, str):
            heartbeat = read.heartbeat(values)
            time = _local(heartbeat)
            if time is not None and clock.is_near_repeated(time):
                clock.add_row(row, read.device(heartbeat), time)
    clock.finish()
    return clock


def _tell_moment(row: int, heartbeat: Row, clock: LocalTimes) -> str | None:
    """Replace a local time by its moment; return the reason if it has none."""
    time = _local(heartbeat)
    if time is None:
        return None
    moment = clock.moment(row, time)
    if isinstance(moment, str):
        return moment
    heartbeat["timestamp"] = f"{(_1970 + timedelta(microseconds=moment)).isoformat()}Z"
    return None


def _local(heartbeat: Row) -> int | None:
    time = heartbeat.get("timestamp")
    return local_micros(time) if isinstance(time, str) else None


class _Reader:
    """Reads rows by their meaning."""

    def __init__(
        self, meaning: ColumnMapping, unknown: dict[str, str | None] | None = None
    ) -> None:
        self.meaning = meaning
        self._unknown = {} if unknown is None else unknown
        self._fields: dict[str, str | None] = {}

    def heartbeat(self, values: Row) -> Row:
        """The heartbeat of a row; a local time is still as it stands there."""
        found: Row = dict(self.meaning.ids)
        for column, value in values.items():
            if column not in self._fields:
                self._fields[column] = map_column(column, self.meaning)
                if self._fields[column] is None and len(self._unknown) < _NAMES_TOLD:
                    self._unknown |= unknown_columns([column], self.meaning)
            name = self._fields[column]
            if name is not None and value is not None:
                found[name] = self._json(name, value)
        if self.meaning.reading_type is not None:
            found.setdefault("readingType", self.meaning.reading_type)
        if self.meaning.stream is not None:
            found["type"] = self.meaning.stream
            found = {name: found[name] for name in _FIELDS[self.meaning.stream] if name in found}
        return found

    def device(self, heartbeat: Row) -> tuple[str, Value]:
        """Device of the heartbeat."""
        stream = self.meaning.stream or ("vehicle" if "vehicleId" in heartbeat else "meter")
        return stream, heartbeat.get(f"{stream}Id")

    def _json(self, name: str, value: Value) -> Value:
        """JSON value as a device would send it; what is no number or time stays, and is refused."""
        if isinstance(value, datetime):
            return value.isoformat()
        if name in TEXTS and isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if name not in NUMBERS or isinstance(value, bool):
            return value
        number = _number(value)
        if number is None:
            return str(value)  # JSON has no infinity
        return to_kwh(number, self.meaning.unit) if name in ENERGIES else number


def _number(value: Value) -> float | None:
    if isinstance(value, str):
        return parse_number(value)
    if not isinstance(value, int | float | Decimal):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _sort_key(row: Row | str, column: str) -> tuple[int, float, str]:
    """Numbers and times by value, then texts, at last rows that have neither."""
    value = None if isinstance(row, str) else row.get(column)
    if isinstance(value, datetime):
        value = value.timestamp()
    if isinstance(value, str):
        number = parse_number(value)
        if number is None:
            return 1, 0.0, value
        value = number
    return (2, 0.0, "") if value is None else (0, float(value), "")
