"""The mapping of a recorded file's columns to the fields of a heartbeat."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Final

from lake.errors import UnusableFile
from lake.recordings.units import require_kwh_name
from lake.schema.streams import METER, VEHICLE

_JSON_NAMES: Final = {
    "meter_id": "meterId",
    "vehicle_id": "vehicleId",
    "timestamp": "timestamp",
    "kwh_consumed_ac": "kwhConsumedAc",
    "voltage": "voltage",
    "kwh_delivered_dc": "kwhDeliveredDc",
    "soc": "soc",
    "battery_temp": "batteryTemp",
    "reading_type": "readingType",
    "interval_seconds": "intervalSeconds",
    "interval_start": "intervalStart",
    "phase": "phase",
    "type": "type",
}
IDS: Final = ("meterId", "vehicleId")
TEXTS: Final = (*IDS, "phase")
"""Fields that are a text and may be written as a whole number."""
ENERGIES: Final = ("kwhConsumedAc", "kwhDeliveredDc")
_MEASURED: Final = {
    METER.name: tuple(_JSON_NAMES[name] for name in METER.number_measurements),
    VEHICLE.name: tuple(_JSON_NAMES[name] for name in VEHICLE.number_measurements),
}
NUMBERS: Final = (*_MEASURED[METER.name], *_MEASURED[VEHICLE.name], "intervalSeconds")
FIELDS: Final = tuple(_JSON_NAMES.values())
_NEAR: Final = 0.6  # how like another a name must be to be taken for it, 0-1
_OPTIONS: Final = {"meterId": "--meter-id", "vehicleId": "--vehicle-id"}


@dataclass(frozen=True)
class ColumnMapping:
    """The names, units, zone and ids of a recorded file that the file itself does not tell.

    `stream`: meter or vehicle; None tells it row by row. `renames`: a file's column to the name
    of the lake (snake_case) or of the JSON. `reading_type` holds where a row has none, `time_zone`
    where a time has none, `ids` are `meterId` or `vehicleId` of every row. `unit` is that of the
    energies; None is kWh unless the file looks otherwise.
    """

    stream: str | None = None
    reading_type: str | None = None
    renames: Mapping[str, str] = field(default_factory=dict)
    unit: str | None = None
    time_zone: str | None = None
    ids: Mapping[str, str] = field(default_factory=dict)

    def identity(self) -> dict[str, Any]:
        """Return the mapping as JSON; two files with equal identities are read alike."""
        optional = {
            "unit": None if self.unit == "kWh" else self.unit,
            "time_zone": self.time_zone,
            "ids": dict(self.ids),
        }
        return {
            "stream": self.stream,
            "reading_type": self.reading_type,
            "renames": dict(self.renames),
            **{name: value for name, value in optional.items() if value},
        }


def map_column(column: str, mapping: ColumnMapping) -> str | None:
    """Return the JSON field that a column holds; blanks around its name don't count."""
    name = column.strip()
    name = next((true for one, true in mapping.renames.items() if one.strip() == name), name)
    name = _JSON_NAMES.get(name, name)
    return name if name in FIELDS else None


def map_columns(columns: Sequence[str], mapping: ColumnMapping) -> dict[str, str]:
    """Return the JSON field of each column of a file that has one.

    Raises UnusableFile for what would make every row a refused or a wrong one.
    """
    names = [column.strip() for column in columns]
    has = ", ".join(names)
    if unknown := [name for name in mapping.renames if name.strip() not in names]:
        raise UnusableFile(f"has no column {unknown[0]} to rename; it has: {has}")
    found: dict[str, str] = {}
    for column in columns:
        name = map_column(column, mapping)
        if name is None:
            continue
        if name in mapping.ids:
            raise UnusableFile(f"has a column for {name}: leave {_OPTIONS[name]} away")
        if name in found.values():
            raise UnusableFile(f"has two columns for {name}; it has: {has}")
        found[column] = name
        if name in ENERGIES and mapping.unit is None:
            require_kwh_name(column.strip(), name)
    _require_fields([*found.values(), *mapping.ids], has, mapping)
    return found


def unknown_columns(columns: Sequence[str], mapping: ColumnMapping) -> dict[str, str | None]:
    """Return the columns that hold no field of a heartbeat, and the field that each may mean."""
    names = {name.lower(): name for name in (*_JSON_NAMES, *FIELDS)}
    found = {}
    for column in columns:
        if map_column(column, mapping) is None:
            near = get_close_matches(column.strip().lower(), names, 1, _NEAR)
            found[column.strip()] = names[near[0]] if near else None
    return found


def with_default_stream(mapping: ColumnMapping, fields: Collection[str]) -> ColumnMapping:
    """Return the mapping of a file whose rows all have these fields: without vehicles, meters."""
    if mapping.stream is None and "vehicleId" not in fields and "type" not in fields:
        return replace(mapping, stream=METER.name)
    return mapping


def _require_fields(fields: Sequence[str], has: str, mapping: ColumnMapping) -> None:
    stream = mapping.stream or (VEHICLE.name if "vehicleId" in fields else METER.name)
    device = f"{stream}Id"
    for wanted in ((device,), ("timestamp",), _MEASURED[stream]):
        if not any(name in fields for name in wanted):
            or_say = f", or say it with {_OPTIONS[device]} ID" if wanted == (device,) else ""
            raise UnusableFile(
                f"has no {' or '.join(wanted)} for a {stream}; it has: {has}; "
                f"name its column with --rename COLUMN={wanted[0]}{or_say}"
            )
