"""Fast path of decoding: JSON whose heartbeats are all valid.

msgspec decodes and checks the types and limits of the contract (contract.py) in one pass, several
times faster than Pydantic. What it does not take, or what has an unusual id or time, goes to
strict_decoder.py, which takes or refuses each record with its reasons; so this module only has to
be right when it takes something.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta

from ingestion_api.heartbeats.contract import (
    BATTERY_CELSIUS,
    CHARGE_PERCENT,
    ENERGY_KWH,
    ID_PATTERN,
    INTERVAL_SECONDS,
    NO_IDS,
    PHASE_PATTERN,
    TIME_PATTERN,
    VOLTS,
)
from lake import METER, VEHICLE

_Id = Annotated[str, Meta(min_length=1, max_length=64)]
_Time = Annotated[str, Meta(min_length=17, max_length=40)]
_Energy = Annotated[float, Meta(ge=ENERGY_KWH[0], le=ENERGY_KWH[1])]
_Voltage = Annotated[float, Meta(ge=VOLTS[0], le=VOLTS[1])]
_StateOfCharge = Annotated[float, Meta(ge=CHARGE_PERCENT[0], le=CHARGE_PERCENT[1])]
_Temperature = Annotated[float, Meta(ge=BATTERY_CELSIUS[0], le=BATTERY_CELSIUS[1])]
_Interval = Annotated[float, Meta(ge=INTERVAL_SECONDS[0], le=INTERVAL_SECONDS[1])]
_Phase = Annotated[str, Meta(pattern=PHASE_PATTERN)]
_ReadingType = Literal["interval", "register"]


class MeterRecord(msgspec.Struct, rename="camel", gc=False, forbid_unknown_fields=True):
    """A meter heartbeat; the names are those of the columns."""

    meter_id: _Id
    timestamp: _Time
    kwh_consumed_ac: _Energy | None = None
    voltage: _Voltage | None = None
    reading_type: _ReadingType | None = None
    interval_seconds: _Interval | None = None
    phase: _Phase | None = None


class VehicleRecord(msgspec.Struct, rename="camel", gc=False, forbid_unknown_fields=True):
    """A vehicle heartbeat; the names are those of the columns."""

    vehicle_id: _Id
    timestamp: _Time
    kwh_delivered_dc: _Energy | None = None
    soc: _StateOfCharge | None = None
    battery_temp: _Temperature | None = None
    meter_id: _Id | None = None
    reading_type: _ReadingType | None = None
    interval_seconds: _Interval | None = None


class TelemetryRecord(msgspec.Struct, rename="camel", gc=False, forbid_unknown_fields=True):
    """A heartbeat of either kind, known by its fields."""

    timestamp: _Time
    meter_id: _Id | None = None
    vehicle_id: _Id | None = None
    kwh_consumed_ac: _Energy | None = None
    voltage: _Voltage | None = None
    kwh_delivered_dc: _Energy | None = None
    soc: _StateOfCharge | None = None
    battery_temp: _Temperature | None = None
    reading_type: _ReadingType | None = None
    interval_seconds: _Interval | None = None
    phase: _Phase | None = None
    type: Literal["meter", "vehicle"] | None = None


class _AnyMeterRecord(MeterRecord, forbid_unknown_fields=False):
    pass


class _AnyVehicleRecord(VehicleRecord, forbid_unknown_fields=False):
    pass


class _AnyTelemetryRecord(TelemetryRecord, forbid_unknown_fields=False):
    pass


Record = MeterRecord | VehicleRecord | TelemetryRecord
KINDS: Final[dict[str, type[Record]]] = {
    METER.name: MeterRecord,
    VEHICLE.name: VehicleRecord,
    "telemetry": TelemetryRecord,
}
_WITH_OTHERS: Final[dict[str, type[Record]]] = {
    METER.name: _AnyMeterRecord,
    VEHICLE.name: _AnyVehicleRecord,
    "telemetry": _AnyTelemetryRecord,
}


def _decoders(
    kinds: Mapping[str, type[Record]],
) -> tuple[dict[str, msgspec.json.Decoder[Any]], dict[str, msgspec.json.Decoder[Any]]]:
    """For each kind a decoder of one heartbeat, and one of a list."""
    return (
        {kind: msgspec.json.Decoder(record) for kind, record in kinds.items()},
        {
            kind: msgspec.json.Decoder(list[record])  # type: ignore[valid-type]  # made here
            for kind, record in kinds.items()
        },
    )


_ONE, _MANY = _decoders(KINDS)
_ONE_WITH_OTHERS, _MANY_WITH_OTHERS = _decoders(_WITH_OTHERS)
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_FIELDS_OF_MANY: Final = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_VALUES: Final = 64  # of a record, on average over as many records as a request may hold
_BEFORE_A_VALUE: Final = b",[{\n"
_ID: Final = re.compile(ID_PATTERN)
_TIME: Final = re.compile(TIME_PATTERN)


def decode_record(body: bytes, kind: str) -> Record | None:
    """The heartbeat of a body that is one, or None where the strict decoder is needed."""
    try:
        record = _ONE[kind].decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return record if _is_usual(body, [record], kind) else None


def decode_records(body: bytes, kind: str) -> list[Any] | None:
    """The heartbeats of a JSON list, or None where the strict decoder is needed."""
    try:
        records = _MANY[kind].decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return records if _is_usual(body, records, kind) else None


def decode_lines(body: bytes, kind: str) -> list[Any] | None:
    """The heartbeats of NDJSON, one a line, or None where the strict decoder is needed."""
    try:
        records = _ONE[kind].decode_lines(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not _is_one_a_line(body, records):
        return None
    return records if _is_usual(body, records, kind) else None


def decode_with_others(
    body: bytes, kind: str, *, lines: bool
) -> tuple[list[Any], list[Mapping[str, object]]] | None:
    """The heartbeats of JSON, one or a list, or of NDJSON, that may have fields nobody knows.

    Beside them the fields of each. None where the strict decoder is needed.
    """
    fields: list[Mapping[str, object]]
    try:
        if lines:
            records = _ONE_WITH_OTHERS[kind].decode_lines(body)
            fields = [*_FIELDS.decode_lines(body)]
        elif body.lstrip().startswith(b"{"):
            records, fields = [_ONE_WITH_OTHERS[kind].decode(body)], [_FIELDS.decode(body)]
        else:
            records = _MANY_WITH_OTHERS[kind].decode(body)
            fields = [*_FIELDS_OF_MANY.decode(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if lines and not _is_one_a_line(body, records):
        return None
    return (records, fields) if _is_usual(body, records, kind) else None


def _is_one_a_line(body: bytes, records: Sequence[Any]) -> bool:
    # JSON that goes on over several lines is no NDJSON, though the decoder takes it.
    return len(records) == sum(1 for line in body.splitlines() if line.strip())


def split_by_stream(records: Iterable[TelemetryRecord]) -> dict[str, list[TelemetryRecord]] | None:
    """Split records by stream; None if the stream of one is unclear."""
    found: dict[str, list[TelemetryRecord]] = {METER.name: [], VEHICLE.name: []}
    for record in records:
        kind = record.type
        if kind is None and record.vehicle_id is not None:
            if record.kwh_consumed_ac is not None or record.voltage is not None:
                return None
            kind = "vehicle"
        elif kind is None and record.meter_id is not None:
            kind = "meter"
        if kind is None or (record.vehicle_id if kind == "vehicle" else record.meter_id) is None:
            return None
        found[kind].append(record)
    return {name: some for name, some in found.items() if some}


def has_too_many_values(body: bytes, records: int) -> bool:
    """Return whether JSON, one or many, would take very much memory and time to parse.

    As Python's objects, small values take many times the bytes that they have in the body, and
    to make them holds up everything else.
    """
    most = _VALUES * records
    if _count(body, _BEFORE_A_VALUE) <= most:
        return False
    # Without what stands in texts: an odd number of quotes before it, not counting \\".
    characters = np.frombuffer(body.replace(b"\\\\", b"").replace(b'\\"', b""), np.uint8)
    in_text = np.bitwise_xor.accumulate(characters == ord('"'))
    return _count(characters[~in_text].tobytes(), _BEFORE_A_VALUE) > most


def _count(body: bytes, characters: bytes) -> int:
    return len(body) - len(body.translate(None, characters))


def _is_usual(body: bytes, records: Sequence[Any], kind: str) -> bool:
    """Return whether ids and times have the form of the contract, by a cheap check."""
    # Beyond ASCII the decoder does not look into fields that it skips.
    if not body.isascii():
        return False
    if kind == METER.name:
        ids = [record.meter_id for record in records]
    elif kind == VEHICLE.name:
        ids = [record.vehicle_id for record in records]
        ids += [record.meter_id for record in records if record.meter_id is not None]
    else:
        ids = [record.meter_id for record in records if record.meter_id is not None]
        ids += [record.vehicle_id for record in records if record.vehicle_id is not None]
    return are_valid_ids(ids) and all(map(_TIME.match, {record.timestamp for record in records}))


def are_valid_ids(texts: Sequence[str]) -> bool:
    """Return whether each of the texts, which have 1-64 characters, is an id."""
    together = "".join(texts)
    if not (together.isascii() and together.isprintable()):
        return False
    if "." in together and any(text in texts for text in NO_IDS):
        return False
    return " " not in together or all(map(_ID.match, texts))
