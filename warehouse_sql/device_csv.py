"""CSV of the device registry: an update for each row, or the reasons why it has none."""

import csv
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from pydantic import ValidationError

from warehouse_sql.device_attributes import (
    ATTRIBUTES,
    CLEAR,
    DeviceAttributes,
    charger_class_fault,
)
from warehouse_sql.devices import DeviceUpdate, unknown_depot
from warehouse_sql.errors import WarehouseError

COLUMNS: Final = ("stream", "device_id", *ATTRIBUTES)
STREAMS: Final = ("meter", "vehicle")
_LONGEST_ID: Final = 100
_NUMBERS: Final = ("latitude", "longitude", "cadence_seconds")
_NUMBER: Final = re.compile(r"[-+]?[0-9]{1,9}(\.[0-9]{0,20})?([eE][-+]?[0-9]{1,3})?")


class BadHeader(WarehouseError):
    """The first line names no columns of devices."""


@dataclass(frozen=True)
class RefusedDevice:
    """A row that can't be taken: its number from 1, its line, its cells by column, each fault.

    A cell below no name has an empty one. A fault is the column, None for the whole row, and the
    reason.
    """

    number: int
    line: int
    cells: Mapping[str, str]
    faults: Sequence[tuple[str | None, str]]


def csv_rows(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Return the rows of a CSV that are not blank, each with the line where it begins.

    Raises csv.Error.
    """
    reader, line = csv.reader(lines, strict=True), 1
    for cells in reader:
        if cells:
            yield line, cells
        line = reader.line_num + 1


def device_columns(header: Iterable[str]) -> list[str]:
    """Return the columns that a first line names; BadHeader.

    `kind` is another word for `stream`. A column that nobody knows is refused: its name may be a
    misspelt one.
    """
    names = [name.strip() for name in header]
    names = ["stream" if name == "kind" else name for name in names]
    for name in ("stream", "device_id"):
        if names.count(name) != 1:
            raise BadHeader(f"needs one column {name}; its first line is {','.join(COLUMNS)}")
    for name in filter(None, names):
        if name not in COLUMNS or names.count(name) > 1:
            what = "twice a column" if name in COLUMNS else "a column"
            raise BadHeader(f"has {what} {name!r}; the columns are {', '.join(COLUMNS)}")
    return names


def read_devices(
    columns: Sequence[str],
    rows: Iterable[tuple[int, Sequence[str]]],
    classes: Collection[str],
    depots: Collection[str],
) -> tuple[list[DeviceUpdate], list[RefusedDevice]]:
    """Read rows, each with its line, below the columns of `device_columns`.

    An empty cell, or one that is missing, leaves a value as it is, `none` clears it. `classes` and
    `depots` are those that there are.
    """
    updates: dict[tuple[str, str], DeviceUpdate] = {}
    refused = []
    for number, (line, cells) in enumerate(rows, 1):
        pairs = zip_longest(columns, (cell.strip() for cell in cells), fillvalue="")
        row = {name: cell for name, cell in pairs if cell}
        stream, device = row.get("stream", ""), row.get("device_id", "")
        faults = list(_row_faults(stream, device, row.get("")))
        values = {name: _value(name, cell) for name, cell in row.items() if name in ATTRIBUTES}
        try:
            attributes = DeviceAttributes.model_validate(values)
            faults += _unknown_names(stream, attributes, classes, depots)
        except ValidationError as error:
            faults += _faults(error)
        if not faults and (stream, device) in updates:
            faults.append((None, f"{stream} {device} stands in a row before this"))
        if faults:
            refused.append(RefusedDevice(number, line, row, faults))
        else:
            updates[stream, device] = DeviceUpdate(stream, device, attributes)
    return list(updates.values()), refused


def _row_faults(stream: str, device: str, lost: str | None) -> Iterator[tuple[str | None, str]]:
    if lost:
        yield None, f"{lost!r} stands in no column; the first line is {','.join(COLUMNS)}"
    if stream not in STREAMS:
        yield "stream", f"a device is a meter or a vehicle, not {stream!r}"
    if not (0 < len(device) <= _LONGEST_ID and device.isprintable()):
        yield "device_id", f"an id has 1 to {_LONGEST_ID} printable characters"


def _value(name: str, cell: str) -> str | float | None:
    if cell == CLEAR:
        return None
    return float(cell) if name in _NUMBERS and _NUMBER.fullmatch(cell) else cell


def _unknown_names(
    stream: str, attributes: DeviceAttributes, classes: Collection[str], depots: Collection[str]
) -> Iterator[tuple[str | None, str]]:
    if stream in STREAMS and (
        fault := charger_class_fault(stream, attributes.charger_class, classes)
    ):
        yield "charger_class", fault
    if attributes.depot is not None and attributes.depot not in depots:
        yield "depot", unknown_depot(attributes.depot)


def _faults(error: ValidationError) -> Iterator[tuple[str | None, str]]:
    for one in error.errors(include_url=False, include_input=False):
        place: Any = one["loc"][0] if one["loc"] else None
        text = one["msg"].removeprefix("Value error, ").replace("Input should", "must", 1)
        yield place, text
