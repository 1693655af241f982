"""From a request body to columns: every record is taken or refused on its own.

Pydantic checks the types and limits of each field on the raw body in one pass; what concerns
several fields or the clock is checked on whole Arrow columns. Only a body with a refused record
is looked at twice.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json

from ingestion_api.columns import CONTRACTS, Mask
from lake import METER, VEHICLE, Stream

_METER_ONLY: Final = ("kwhConsumedAc", "voltage")
_ID_REASON: Final = "must be 1-64 printable ASCII characters without a space at either end"
_TIME_REASON: Final = "must be ISO 8601 with a zone, such as 2026-03-01T12:00:00Z"


class NotJson(Exception):
    """The body is not JSON."""


class WrongShape(Exception):
    """The body is JSON, but not what this call takes."""


class BatchTooLarge(Exception):
    """There are more heartbeats in the request than it may hold."""


@dataclass(frozen=True)
class Refusal:
    """Why the record at `index` of the request was refused; field is None for the whole record."""

    index: int
    field: str | None
    reason: str


@dataclass
class Intake:
    """What a request brought: rows to keep of each stream in order of arrival, and refusals.

    The tables have the stream's columns without `received_at`.
    """

    rows: dict[str, pa.Table] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        """Number of records to keep."""
        return sum(rows.num_rows for rows in self.rows.values())

    @property
    def rejected(self) -> int:
        """Number of records refused; one may have several refusals."""
        return len({refusal.index for refusal in self.refusals})


@dataclass(frozen=True)
class Limits:
    """What a request may hold: number of records, and the newest event time that is believed.

    The time is in microseconds since 1970, UTC.
    """

    records: int
    newest: int

    @classmethod
    def at(cls, now: datetime, tolerance_seconds: float, records: int) -> "Limits":
        """The limits at this moment of the collector's clock."""
        return cls(records, int((now.timestamp() + tolerance_seconds) * 1e6))


def read_one(body: bytes, stream: Stream, limits: Limits) -> Intake:
    """A body that is one heartbeat of `stream`; raises NotJson or WrongShape."""
    intake = Intake()
    try:
        records = [CONTRACTS[stream.name].one.validate_json(body)]
    except ValidationError:
        value = _parse(body)
        if not isinstance(value, dict):
            raise WrongShape(
                f"one {stream.name} heartbeat is a JSON object; lists go to .../{stream.name}/batch"
            ) from None
        _take_values(intake, stream, [value], [0], limits)
    else:
        _take_records(intake, stream, records, [0], limits)
    return intake


def read_batch(body: bytes, stream: Stream, limits: Limits) -> Intake:
    """A body that is a list of heartbeats; raises NotJson, WrongShape or BatchTooLarge."""
    intake = Intake()
    try:
        records = CONTRACTS[stream.name].many.validate_json(body)
    except ValidationError:
        values = _as_list(_parse(body), limits)
        _take_values(intake, stream, values, range(len(values)), limits)
    else:
        _as_list(records, limits)
        _take_records(intake, stream, records, range(len(records)), limits)
    return intake


def read_telemetry(body: bytes, limits: Limits) -> Intake:
    """A heartbeat or a list of them, of either kind; raises as `read_batch`."""
    value = _parse(body)
    values = [value] if isinstance(value, dict) else _as_list(value, limits)
    intake = Intake()
    indices: dict[str, list[int]] = {METER.name: [], VEHICLE.name: []}
    for index, record in enumerate(values):
        kind = _kind(record)
        if isinstance(kind, str):
            indices[kind].append(index)
        else:
            intake.refusals.append(Refusal(index, kind.field, kind.reason))
    for stream in (METER, VEHICLE):
        at = indices[stream.name]
        if at:
            _take_values(intake, stream, [values[index] for index in at], at, limits)
    intake.refusals.sort(key=lambda refusal: refusal.index)
    return intake


def _parse(body: bytes) -> Any:
    """Any JSON; a lone surrogate or a huge number is JSON, too, which the faster parser refuses."""
    try:
        return from_json(body)
    except ValueError as error:
        try:
            return json.loads(body, parse_int=float)  # as floats, for ints have a length limit
        except (ValueError, RecursionError):
            raise NotJson(f"the body is not JSON: {error}") from None


def _as_list(value: Any, limits: Limits) -> list[Any]:
    if not isinstance(value, list):
        raise WrongShape("the body must be a JSON list of heartbeats")
    if not value:
        raise WrongShape("the list is empty; send at least one heartbeat")
    if len(value) > limits.records:
        raise BatchTooLarge(
            f"{len(value):,} heartbeats in one request; send at most {limits.records:,} at a time"
        )
    return value


def _kind(record: Any) -> str | Refusal:
    """The stream of a record by its `type` or its fields, or why that can't be told."""
    if not isinstance(record, dict):
        return Refusal(0, None, "must be a JSON object")
    kind = record.get("type")
    if kind is not None:
        known = isinstance(kind, str) and kind in CONTRACTS
        return kind if known else Refusal(0, "type", "must be 'meter' or 'vehicle'")
    if record.get("vehicleId") is not None:
        if any(record.get(name) is not None for name in _METER_ONLY):
            reason = "has a vehicle's id and a meter's readings; send two heartbeats or a type"
            return Refusal(0, "type", reason)
        return VEHICLE.name
    if record.get("meterId") is not None:
        return METER.name
    return Refusal(0, "type", "can't be told: neither meterId nor vehicleId nor type is given")


def _take_values(
    intake: Intake, stream: Stream, values: list[Any], indices: Sequence[int], limits: Limits
) -> None:
    """Check parsed values one by one, and keep what holds."""
    every = CONTRACTS[stream.name].every
    try:
        records = every.validate_python(values)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        refused = {int(detail["loc"][0]) for detail in details}
        intake.refusals += [_refusal(detail, indices) for detail in details]
        kept = [i for i in range(len(values)) if i not in refused]
        if not kept:
            return
        records = every.validate_python([values[i] for i in kept])
        indices = [indices[i] for i in kept]
    _take_records(intake, stream, records, indices, limits)
    intake.refusals.sort(key=lambda refusal: refusal.index)


def _take_records(
    intake: Intake, stream: Stream, records: list[Any], indices: Sequence[int], limits: Limits
) -> None:
    """Turn records of the right types into columns, and keep the rows that break no rule."""
    contract = CONTRACTS[stream.name]
    columns = contract.columns(records)
    refused: Mask | None = None
    for wrong, name, reason in contract.broken_rules(columns, limits.newest):
        if not wrong.any():
            continue
        intake.refusals += [
            Refusal(indices[row], name, reason) for row in np.flatnonzero(wrong).tolist()
        ]
        refused = wrong if refused is None else refused | wrong
    rows = pa.Table.from_arrays(list(columns.values()), schema=contract.schema)
    intake.rows[stream.name] = rows if refused is None else rows.filter(pa.array(~refused))


def _refusal(detail: ErrorDetails, indices: Sequence[int]) -> Refusal:
    index, *path = detail["loc"]
    name = str(path[0]) if path else None
    reason = detail["msg"]
    if detail["type"] == "missing":
        reason = "is required"
    elif name == "timestamp":
        reason = _TIME_REASON
    elif name in ("meterId", "vehicleId"):
        reason = _ID_REASON
    return Refusal(indices[int(index)], name, reason.replace("Input should be", "must be"))
