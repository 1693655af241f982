"""How the columns of a file are meant; the same words as `wattlake replay` uses."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ingestion_api.columns import camel_case
from ingestion_api.validation import TELEMETRY
from lake import METER, STREAMS, VEHICLE


class UnusableFile(Exception):
    """A file that can't be imported as it is; the text says why in one line."""


@dataclass(frozen=True)
class Meaning:
    """`stream`: meter or vehicle; None tells it row by row. `renames`: a file's column to the name
    of the lake (snake_case) or of the JSON. `reading_type` holds where a row has none.
    """

    stream: str | None = None
    reading_type: str | None = None
    renames: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The kind of heartbeat as the collector's calls name it."""
        return self.stream or TELEMETRY


IDS: Final = ("meterId", "vehicleId")
NUMBERS: Final = tuple(
    camel_case(name) for stream in STREAMS.values() for name in stream.number_measurements
)
FIELDS: Final = (*IDS, "timestamp", *NUMBERS, "readingType", "type")
_JSON_NAMES: Final = {
    re.sub("[A-Z]", lambda capital: f"_{capital[0].lower()}", name): name for name in FIELDS
}


def fields_of(columns: Sequence[str], meaning: Meaning) -> dict[str, str]:
    """Which JSON field each known column of a file holds.

    Raises UnusableFile for what would make every row a refused one.
    """
    has = ", ".join(columns)
    if unknown := [name for name in meaning.renames if name not in columns]:
        raise UnusableFile(f"has no column {unknown[0]} to rename; it has: {has}")
    found: dict[str, str] = {}
    for column in columns:
        name = meaning.renames.get(column, column)
        name = _JSON_NAMES.get(name, name)
        if name in FIELDS:
            if name in found.values():
                raise UnusableFile(f"has two columns for {name}; it has: {has}")
            found[column] = name
    fields = set(found.values())
    stream = STREAMS[meaning.stream or (VEHICLE.name if "vehicleId" in fields else METER.name)]
    measured = [camel_case(name) for name in stream.number_measurements]
    for wanted in ((camel_case(stream.device),), ("timestamp",), measured):
        if not fields.intersection(wanted):
            raise UnusableFile(
                f"has no {' or '.join(wanted)} for a {stream.name}; it has: {has}; "
                f"name its column with --rename COLUMN={wanted[0]}"
            )
    return found


def streams_of(fields: set[str], meaning: Meaning) -> list[str]:
    """The streams that rows with these fields may be for."""
    if meaning.stream:
        return [meaning.stream]
    if "vehicleId" not in fields and "type" not in fields:
        return [METER.name]
    return [METER.name, VEHICLE.name]
