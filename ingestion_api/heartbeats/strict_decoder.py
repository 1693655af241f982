"""Batches: all records at once if every one is valid, else one by one, with reasons.

fast_decoder.py decodes a body in which everything is valid. In any other body Pydantic validates
each record by the contract, and each refusal says why.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final

import numpy as np
from pydantic import TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, from_json

from ingestion_api.heartbeats.batch import (
    NULL_TIME,
    HeartbeatBatch,
    Limits,
    invalid_mask,
    parse_timestamps,
    rule_violations,
)
from ingestion_api.heartbeats.contract import (
    ID_LENGTH,
    ID_REASON,
    ID_TYPE_REASON,
    LONGEST_INTERVAL_SECONDS,
    OPTIONAL,
    PHASE_REASON,
    TIME_REASON,
    MeterHeartbeat,
    VehicleHeartbeat,
)
from ingestion_api.heartbeats.fast_decoder import (
    KINDS,
    decode_lines,
    decode_records,
    decode_with_others,
    has_too_many_values,
    split_by_stream,
)
from lake import METER, STREAMS, VEHICLE, Stream

TELEMETRY: Final = "telemetry"  # the kind of a body whose records tell their stream
UNKNOWN_FIELD: Final = "unknown_field"
_METER_ONLY: Final = ("kwhConsumedAc", "voltage")
_OUT_OF_RANGE: Final = ("greater_than_equal", "less_than_equal", "finite_number")
_CONTRACTS: Final[dict[str, TypeAdapter[Any]]] = {
    METER.name: TypeAdapter(list[MeterHeartbeat]),
    VEHICLE.name: TypeAdapter(list[VehicleHeartbeat]),
}
_FIELDS: Final = {
    stream.name: {
        column.name: to_camel(column.name)
        for column in stream.posted_columns
        if column.name != "received_at"
    }
    for stream in STREAMS.values()
}
_START: Final = "intervalStart"  # which becomes intervalSeconds
KNOWN_FIELDS: Final = {
    name: frozenset({*fields.values(), _START, "type"}) for name, fields in _FIELDS.items()
}
KNOWN_FIELDS[TELEMETRY] = KNOWN_FIELDS[METER.name] | KNOWN_FIELDS[VEHICLE.name]
NAMES_TOLD: Final = 20
_NEAR: Final = 0.6  # how like another a name must be to be taken for it, 0-1
_LONGEST_NAME: Final = 100
_AGREE_SECONDS: Final = 0.001


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


@dataclass(frozen=True)
class Notice:
    """A field that was left out of the record at `index`, which was taken, and its value.

    Of a field that nobody knows the first record is told.
    """

    index: int
    field: str
    reason: str
    code: str
    value: object
    stream: str | None


@dataclass
class DecodedBatch:
    """The decoded request: rows to keep of each stream in order of arrival, and refusals.

    `refused` has the refused records themselves by their index, and the stream they were for.
    """

    rows: dict[str, HeartbeatBatch] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    refused: dict[int, tuple[str | None, Any]] = field(default_factory=dict)
    warnings: list[Notice] = field(default_factory=list)

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


def decode_one_fast(body: bytes, kind: str, limits: Limits) -> DecodedBatch | None:
    """Decode a valid heartbeat with fields that nobody knows; None: the strict decoder is needed.

    One without such fields goes another way.
    """
    return _take_with_others(body, kind, limits)


def decode_batch_fast(body: bytes, kind: str, limits: Limits) -> DecodedBatch | None:
    """Decode a list of valid heartbeats; None where the strict decoder is needed."""
    records = decode_records(body, kind)
    if records is None:
        return _take_with_others(body, kind, limits)
    return _take_records(records, kind, limits)


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
    records = decode_lines(body, kind)
    if records is None:
        return _take_with_others(body, kind, limits, lines=True)
    return _take_records(records, kind, limits)


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
    unknown = [] if limits.refuse_unknown else _unknown_fields(values, kind)
    intake.warnings += unknown
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
        if limits.refuse_unknown:
            _refuse_unknown(intake, stream, values, indices[stream.name], kind)
        if left := [index for index in indices[stream.name] if index not in intake.refused]:
            _judge(intake, stream, values, left, limits)
    intake.refusals.sort(key=lambda refusal: refusal.index)
    intake.warnings.sort(key=lambda warning: warning.index)
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


def describe_unknown(name: str, known: Iterable[str]) -> str:
    """Say that a field is not known, and which one may have been meant."""
    by_lower = {one.lower(): one for one in sorted(known)}
    near = get_close_matches(name[:_LONGEST_NAME].lower(), by_lower, 1, _NEAR)
    return f"is not known; did you mean {by_lower[near[0]]}?" if near else "is not known"


def _take_with_others(
    body: bytes, kind: str, limits: Limits, *, lines: bool = False
) -> DecodedBatch | None:
    """The batch of records that are valid but for fields that nobody knows."""
    if limits.refuse_unknown or has_too_many_values(body, limits.records):
        return None
    found = decode_with_others(body, kind, lines=lines)
    if found is None:
        return None
    records, fields = found
    if any(_START in one for one in fields):
        return None
    intake = _take_records(records, kind, limits)
    if intake is not None:
        intake.warnings += _unknown_fields(fields, kind)
    return intake


def _unknown_fields(records: Sequence[Any], kind: str) -> list[Notice]:
    """A warning for each name that no contract knows, some at most."""
    known = KNOWN_FIELDS[kind]
    names = set[Any]().union(*(one for one in records if isinstance(one, Mapping))) - known
    first: dict[str, int] = {}
    if names:
        for index, record in enumerate(records):
            for name in names.intersection(record) if isinstance(record, Mapping) else ():
                first.setdefault(name, index)
    return [
        Notice(index, name, describe_unknown(name, known), UNKNOWN_FIELD, None, None)
        for index, name in sorted((index, name) for name, index in first.items())[:NAMES_TOLD]
    ]


def _refuse_unknown(
    intake: DecodedBatch, stream: Stream, values: Sequence[Any], indices: Iterable[int], kind: str
) -> None:
    known = KNOWN_FIELDS[kind]
    for index in indices:
        record = values[index]
        names = sorted(set(record) - known)[:NAMES_TOLD] if isinstance(record, dict) else []
        for name in names:
            refusal = Refusal(index, name, describe_unknown(name, known), UNKNOWN_FIELD)
            _refuse(intake, refusal, stream.name, record)


def _take_records(records: list[Any], kind: str, limits: Limits) -> DecodedBatch | None:
    """The batch of valid records; None where the strict decoder is needed."""
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
            return json.loads(body, parse_int=_int)
        except (ValueError, RecursionError):
            raise UnreadableBody(f"the body is not JSON: {error}") from None


def _int(digits: str) -> int | float:
    """An id may be a whole number; of more digits than an id has Python may not make an int."""
    return int(digits) if len(digits) <= ID_LENGTH else float(digits)


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
    """Take or refuse each of the values at `indices`, all meant for one stream.

    A fault of an optional field costs the field alone where the rest can be taken.
    """
    contract, optional = _CONTRACTS[stream.name], OPTIONAL[stream.name]
    left_out: dict[int, list[Refusal]] = {}
    try:
        records = contract.validate_python([values[i] for i in indices])
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        for detail in details:
            refusal = _refusal(detail, indices)
            if refusal.field in optional:
                left_out.setdefault(refusal.index, []).append(refusal)
            else:
                _refuse(intake, refusal, stream.name, values[refusal.index])
        indices = [i for i in indices if i not in intake.refused]
        records = contract.validate_python(
            [_without(values[i], left_out.get(i, ())) for i in indices]
        )
    if indices:
        rows = HeartbeatBatch.from_records(stream, _as_records(stream, records))
        for row, fault in _declare_intervals(rows, records):
            refusal = Refusal(indices[row], *fault)
            left_out.setdefault(refusal.index, []).append(refusal)
        for wrong, column, code, reason in rule_violations(rows, limits):
            for row in np.flatnonzero(wrong).tolist():
                refusal = Refusal(indices[row], column and to_camel(column), reason, code)
                if code == "no_measurement" and refusal.index in left_out:
                    intake.refused[refusal.index] = stream.name, values[refusal.index]
                else:
                    _refuse(intake, refusal, stream.name, values[refusal.index])
        kept = np.array([i not in intake.refused for i in indices])
        if kept.any():
            intake.rows[stream.name] = rows if kept.all() else rows.take(np.flatnonzero(kept))
    _tell_left_out(intake, stream, values, left_out)


def _tell_left_out(
    intake: DecodedBatch,
    stream: Stream,
    values: Sequence[Any],
    left_out: Mapping[int, Sequence[Refusal]],
) -> None:
    """Warn of fields that were left out; of a record that is refused they are further faults."""
    for index, faults in left_out.items():
        if index in intake.refused:
            intake.refusals += faults
            continue
        intake.warnings += [
            Notice(
                index,
                str(fault.field),
                f"{fault.reason}; it was left out",
                fault.code,
                values[index].get(fault.field),
                stream.name,
            )
            for fault in faults
        ]


def _without(record: Any, faults: Iterable[Refusal]) -> Any:
    names = {fault.field for fault in faults}
    if not names:
        return record
    return {name: value for name, value in record.items() if name not in names}


def _declare_intervals(
    rows: HeartbeatBatch, records: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[int, tuple[str, str, str]]]:
    """Let the rows have the intervals of `intervalStart`; tell which can't be: row, what is wrong.

    What is wrong is field, reason and code.
    """
    at = [row for row, record in enumerate(records) if record.get(_START) is not None]
    if not at:
        return
    starts = parse_timestamps([records[row][_START] for row in at])
    declared, times = rows.numbers["interval_seconds"], rows.times
    for row, start in zip(at, starts.tolist(), strict=True):
        seconds = (int(times[row]) - start) / 1e6
        if NULL_TIME in (start, int(times[row])):
            yield row, (_START, "is not a time that exists", "bad_time")
        elif seconds <= 0:
            yield row, (_START, "must be before the timestamp", "out_of_range")
        elif seconds > LONGEST_INTERVAL_SECONDS:
            yield row, (_START, "must be at most 7 days before the timestamp", "out_of_range")
        elif abs(seconds - float(declared[row])) > _AGREE_SECONDS:  # never of a NaN
            declared[row] = np.nan
            yield row, (_START, "and intervalSeconds must agree; neither counts", "out_of_range")
        else:
            declared[row] = seconds


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
        is_text = isinstance(detail["input"], str)
        reason, code = ID_REASON if is_text else ID_TYPE_REASON, "bad_id"
    elif name == "phase":
        reason, code = PHASE_REASON, "bad_phase"
    elif name == _START:
        reason, code = TIME_REASON, "bad_time"
    elif detail["type"] in _OUT_OF_RANGE:
        code = "out_of_range"
    elif detail["type"] == "literal_error":
        code = "unknown_value"
    return Refusal(indices[int(index)], name, reason, code)
