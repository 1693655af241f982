"""Batches: all records at once if every one is valid, else one by one, with reasons.

fast_decoder.py decodes a body in which everything is valid. In any other body Pydantic validates
each record by the contract, and each refusal says why.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from pydantic import TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, from_json

from ingestion_api.heartbeats.batch import (
    HeartbeatBatch,
    Limits,
    invalid_mask,
    rule_violations,
)
from ingestion_api.heartbeats.contract import (
    ID_REASON,
    TIME_REASON,
    MeterHeartbeat,
    VehicleHeartbeat,
)
from ingestion_api.heartbeats.fast_decoder import (
    KINDS,
    decode_lines,
    decode_records,
    split_by_stream,
)
from lake import METER, STREAMS, VEHICLE, Stream

TELEMETRY: Final = "telemetry"  # the kind of a body whose records tell their stream
_METER_ONLY: Final = ("kwhConsumedAc", "voltage")
_OUT_OF_RANGE: Final = ("greater_than_equal", "less_than_equal", "finite_number")
_CONTRACTS: Final[dict[str, TypeAdapter[Any]]] = {
    METER.name: TypeAdapter(list[MeterHeartbeat]),
    VEHICLE.name: TypeAdapter(list[VehicleHeartbeat]),
}
_FIELDS: Final = {
    stream.name: {
        name: to_camel(name) for name in stream.arrow_schema.names if name != "received_at"
    }
    for stream in STREAMS.values()
}


class UnreadableBody(Exception):
    """The body is not what its content type says."""


class WrongShape(Exception):
    """The body can be read, but is not what this call takes."""


class BatchTooLarge(Exception):
    """There are more heartbeats in the request than it may hold."""


@dataclass(frozen=True)
class Refusal:
    """Why the record at `index` of the request was refused; field is None for the whole record.

    `code` is one of few words for the kind of fault.
    """

    index: int
    field: str | None
    reason: str
    code: str


@dataclass
class DecodedBatch:
    """The decoded request: rows to keep of each stream in order of arrival, and refusals.

    `refused` has the refused records themselves by their index, and the stream they were for.
    """

    rows: dict[str, HeartbeatBatch] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    refused: dict[int, tuple[str | None, Any]] = field(default_factory=dict)

    @property
    def accepted(self) -> int:
        """Number of records to keep."""
        return sum(len(rows) for rows in self.rows.values())

    @property
    def rejected(self) -> int:
        """Number of records refused; one may have several refusals."""
        return len(self.refused)


def decode_one_strict(body: bytes, kind: str, limits: Limits) -> DecodedBatch:
    """Decode a body that is one heartbeat; raises UnreadableBody or WrongShape."""
    value = _parse(body)
    if not isinstance(value, dict):
        raise WrongShape(f"one {kind} heartbeat is a JSON object; lists go to .../{kind}/batch")
    return decode_values_strict([value], kind, limits)


def decode_batch_fast(body: bytes, kind: str, limits: Limits) -> DecodedBatch | None:
    """Decode a list of valid heartbeats; None where the strict decoder is needed."""
    return _take_records(decode_records(body, kind), kind, limits)


def decode_batch_strict(body: bytes, kind: str, limits: Limits) -> DecodedBatch:
    """Decode a list of heartbeats, or one or a list of either kind.

    Raises UnreadableBody, WrongShape or BatchTooLarge.
    """
    value = _parse(body)
    if kind == TELEMETRY and isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise WrongShape("the body must be a JSON list of heartbeats")
    return decode_values_strict(value, kind, limits)


def decode_lines_fast(body: bytes, kind: str, limits: Limits) -> DecodedBatch | None:
    """Decode NDJSON of valid heartbeats; None where the strict decoder is needed."""
    return _take_records(decode_lines(body, kind), kind, limits)


def decode_lines_strict(body: bytes, kind: str, limits: Limits) -> DecodedBatch:
    """Decode NDJSON, one heartbeat a line; empty lines don't count.

    Raises WrongShape or BatchTooLarge; a line that is not JSON is refused as a record.
    """
    lines = [line for line in body.splitlines() if line.strip()]
    check_record_count(len(lines), limits)
    return decode_values_strict([_parse_line(line) for line in lines], kind, limits)


def decode_values_strict(values: Sequence[Any], kind: str, limits: Limits) -> DecodedBatch:
    """Validate parsed records one by one; raises WrongShape or BatchTooLarge."""
    check_record_count(len(values), limits)
    intake = DecodedBatch()
    indices: dict[str, list[int]] = {METER.name: [], VEHICLE.name: []}
    for index, record in enumerate(values):
        found = detect_stream(record) if kind == TELEMETRY else kind
        if isinstance(record, InvalidLine):
            _refuse(intake, Refusal(index, None, record.reason, "not_json"), None, record.text)
        elif isinstance(found, str):
            indices[found].append(index)
        else:
            field_name, reason, code = found
            _refuse(intake, Refusal(index, field_name, reason, code), None, record)
    for stream in (METER, VEHICLE):
        if indices[stream.name]:
            _judge(intake, stream, values, indices[stream.name], limits)
    intake.refusals.sort(key=lambda refusal: refusal.index)
    return intake


def detect_stream(record: Any) -> str | tuple[str | None, str, str]:
    """The stream of a record by its `type` or its fields, or what a refusal says of it."""
    if not isinstance(record, dict):
        return None, "must be a JSON object", "wrong_type"
    kind = record.get("type")
    if kind is not None:
        known = isinstance(kind, str) and kind in STREAMS
        return kind if known else ("type", "must be 'meter' or 'vehicle'", "unknown_kind")
    if record.get("vehicleId") is not None:
        if any(record.get(name) is not None for name in _METER_ONLY):
            reason = "has a vehicle's id and a meter's readings; send two heartbeats or a type"
            return "type", reason, "unknown_kind"
        return VEHICLE.name
    if record.get("meterId") is not None:
        return METER.name
    reason = "can't be told: neither meterId nor vehicleId nor type is given"
    return "type", reason, "unknown_kind"


def check_record_count(records: int, limits: Limits) -> None:
    """WrongShape or BatchTooLarge unless a request may hold so many records."""
    if not records:
        raise WrongShape("there is no heartbeat in the request; send at least one")
    if records > limits.records:
        raise BatchTooLarge(
            f"{records:,} heartbeats in one request; send at most {limits.records:,} at a time"
        )


@dataclass(frozen=True)
class InvalidLine:
    """A line of NDJSON that is not JSON."""

    text: str
    reason: str


def _take_records(records: list[Any] | None, kind: str, limits: Limits) -> DecodedBatch | None:
    """The batch of valid records; None where the strict decoder is needed."""
    if records is None:
        return None
    if not 0 < len(records) <= limits.records:
        return None  # which says so
    parts: Mapping[str, Sequence[Any]] | None = {kind: records}
    if kind == TELEMETRY:
        parts = split_by_stream(records)
    if parts is None:
        return None
    rows = {name: HeartbeatBatch.from_records(STREAMS[name], some) for name, some in parts.items()}
    if any(invalid_mask(some, limits).any() for some in rows.values()):
        return None
    return DecodedBatch(rows)


def _parse(body: bytes) -> Any:
    """Any JSON; a lone surrogate or a huge number is JSON, too, which the faster parser refuses."""
    try:
        return from_json(body)
    except ValueError as error:
        try:
            return json.loads(body, parse_int=float)  # as floats, for ints have a length limit
        except (ValueError, RecursionError):
            raise UnreadableBody(f"the body is not JSON: {error}") from None


def _parse_line(line: bytes) -> Any:
    try:
        return _parse(line)
    except UnreadableBody as error:
        return InvalidLine(line.decode(errors="replace"), str(error).replace("body", "line"))


def _judge(
    intake: DecodedBatch,
    stream: Stream,
    values: Sequence[Any],
    indices: Sequence[int],
    limits: Limits,
) -> None:
    """Take or refuse each of the values at `indices`, all meant for one stream."""
    contract = _CONTRACTS[stream.name]
    try:
        records = contract.validate_python([values[i] for i in indices])
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        for detail in details:
            refusal = _refusal(detail, indices)
            _refuse(intake, refusal, stream.name, values[refusal.index])
        indices = [i for i in indices if i not in intake.refused]
        if not indices:
            return
        records = contract.validate_python([values[i] for i in indices])
    rows = HeartbeatBatch.from_records(stream, _as_records(stream, records))
    for wrong, column, code, reason in rule_violations(rows, limits):
        for row in np.flatnonzero(wrong).tolist():
            refusal = Refusal(indices[row], column and to_camel(column), reason, code)
            _refuse(intake, refusal, stream.name, values[refusal.index])
    kept = np.array([i not in intake.refused for i in indices])
    if kept.any():
        intake.rows[stream.name] = rows if kept.all() else rows.take(np.flatnonzero(kept))


def _as_records(stream: Stream, records: Iterable[Mapping[str, Any]]) -> list[Any]:
    """The contract's records as those of the fast decoder, which columns are made of."""
    record: Any = KINDS[stream.name]
    fields = _FIELDS[stream.name]
    return [record(**{name: one.get(key) for name, key in fields.items()}) for one in records]


def _refuse(intake: DecodedBatch, refusal: Refusal, stream: str | None, record: Any) -> None:
    intake.refusals.append(refusal)
    intake.refused[refusal.index] = (stream, record)


def _refusal(detail: ErrorDetails, indices: Sequence[int]) -> Refusal:
    index, *path = detail["loc"]
    name = str(path[0]) if path else None
    reason, code = detail["msg"].replace("Input should be", "must be"), "wrong_type"
    if detail["type"] == "missing":
        reason, code = "is required", "missing_field"
    elif name == "timestamp":
        reason, code = TIME_REASON, "bad_time"
    elif name in ("meterId", "vehicleId"):
        reason, code = ID_REASON, "bad_id"
    elif detail["type"] in _OUT_OF_RANGE:
        code = "out_of_range"
    elif detail["type"] == "literal_error":
        code = "unknown_value"
    return Refusal(indices[int(index)], name, reason, code)
