"""The ingest endpoints, as plain ASGI.

They are answered before FastAPI's routing, dependencies and error handling, which every heartbeat
would have to pay for. openapi.py describes them for OpenAPI.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs

import psycopg
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from ingestion_api.auth.api_keys import LOOPBACK, Caller
from ingestion_api.errors import NotCommitted
from ingestion_api.heartbeats.arrow_decoder import MEDIA_TYPE as ARROW
from ingestion_api.heartbeats.arrow_decoder import decode_arrow_fast, decode_arrow_strict
from ingestion_api.heartbeats.batch import TOO_MANY_NEW_DEVICES, Limits
from ingestion_api.heartbeats.fast_decoder import (
    decode_record,
    has_too_many_values,
    split_by_stream,
)
from ingestion_api.heartbeats.strict_decoder import (
    TELEMETRY,
    BatchTooLarge,
    DecodedBatch,
    UnreadableBody,
    WrongShape,
    decode_batch_fast,
    decode_batch_strict,
    decode_lines_fast,
    decode_lines_strict,
    decode_one_fast,
    decode_one_strict,
)
from ingestion_api.ingest.responses import (
    JSON,
    Answer,
    IngestHeaders,
    all_accepted,
    ingest_response,
    read_headers,
)
from ingestion_api.observability.metrics import FIELDS_LEFT_OUT, RECORDS
from ingestion_api.rejections.recorder import Rejection
from ingestion_api.rest.http_methods import with_head_and_options
from ingestion_api.rest.problems import Problem, problem_response
from ingestion_api.rest.request_bodies import RequestBodies
from ingestion_api.services import Services
from ingestion_api.settings import CollectorSettings
from lake import METER, VEHICLE

NDJSON: Final = "application/x-ndjson"
PREFIXES: Final = ("/v1/ingest", "/v1/ingestion")  # the paths of both published contracts

_AT_ONCE: Final = 1_000_000  # to decode more bytes, fast, holds up the event loop for milliseconds
_STRICT_AT_ONCE: Final = 4_000  # so does strict decoding


@dataclass(frozen=True, slots=True)
class Call:
    """The content of a path: heartbeats of a stream or of either (`telemetry`), one or many."""

    kind: str
    one: bool
    many: bool


CALLS: Final = {
    "/meter": Call(METER.name, one=True, many=False),
    "/vehicle": Call(VEHICLE.name, one=True, many=False),
    "/meter/batch": Call(METER.name, one=False, many=True),
    "/vehicle/batch": Call(VEHICLE.name, one=False, many=True),
    "/telemetry": Call(TELEMETRY, one=True, many=True),
}

_T = TypeVar("_T")
_Fast = Callable[[bytes, str, Limits], DecodedBatch | None]
_Strict = Callable[[bytes, str, Limits], DecodedBatch]


class IngestEndpoints:
    """Answers the ingest calls; everything else is passed on to the application."""

    def __init__(
        self, app: ASGIApp, state_of: FastAPI, settings: CollectorSettings, bodies: RequestBodies
    ) -> None:
        """`state_of` has the services."""
        self._app, self._state_of = app, state_of
        self._settings, self._bodies = settings, bodies
        self._calls = {prefix + path: call for prefix in PREFIXES for path, call in CALLS.items()}
        # One thread: more would only compete for the interpreter's lock with the event loop.
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="strict-decoder")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take heartbeats, or pass on what is something else."""
        call = self._calls.get(scope["path"]) if scope["type"] == "http" else None
        if call is None:
            await self._app(scope, receive, send)
            return
        scope["route_path"] = scope["path"]
        try:
            status, headers, body = await self._take(call, scope, receive)
        except Problem as problem:
            answer = problem_response(
                problem.status, problem.detail, problem.headers, **problem.members
            )
            await answer(scope, receive, send)
        except NotCommitted as problem:
            later = {"Retry-After": str(self._settings.retry_after_seconds)}
            await problem_response(503, str(problem), later)(scope, receive, send)
        else:
            length = (b"content-length", b"%d" % len(body))
            await send(
                {"type": "http.response.start", "status": status, "headers": [*headers, length]}
            )
            await send({"type": "http.response.body", "body": body})

    async def _take(self, call: Call, scope: Scope, receive: Receive) -> Answer:
        if scope["method"] != "POST":
            raise Problem(
                405,
                "heartbeats are sent by POST",
                headers={"Allow": with_head_and_options({"POST"})},
            )
        services: Services = self._state_of.state.services
        caller: Caller = scope["caller"]
        headers, strict = read_headers(scope), _is_strict(scope["query_string"])
        body = await self._bodies.read(scope, receive)
        # Where a body is large, there is a bound on how many of them wait for their commit.
        is_one = call.one and headers.media_type == JSON and not body.startswith(b"[")
        paid = 0
        if is_one and len(body) <= _STRICT_AT_ONCE:
            taken = await self._take_one(call.kind, body, services, caller)
            if taken:
                return all_accepted(1, headers)
            paid = 0 if taken is None else 1
        with self._bodies.reserve(len(body)):
            return await self._take_any(call, body, headers, scope, paid, strict=strict)

    async def _take_any(
        self,
        call: Call,
        body: bytes,
        headers: IngestHeaders,
        scope: Scope,
        paid: int,
        *,
        strict: bool,
    ) -> Answer:
        """Take what the fast path for a single heartbeat did not; `paid` records are charged."""
        services: Services = self._state_of.state.services
        caller: Caller = scope["caller"]
        limits = Limits.from_clock(
            services.now(),
            self._settings.future_tolerance_seconds,
            self._settings.max_batch_records,
            caller.device_prefix,
            services.new_devices.bound_for(caller.name),
            refuse_unknown=strict,
        )
        try:
            intake = await self._read(call, headers.media_type, body, limits)
            # Another collector, or an import, may have taken some of those that are refused.
            if (unknown := _new_devices(intake)) and await _learn(services, unknown):
                intake = await self._read(call, headers.media_type, body, limits)
        except UnreadableBody as error:
            caller.spend(1)
            raise Problem(400, str(error)) from None
        except BatchTooLarge as error:
            caller.spend(1)
            raise Problem(413, str(error)) from None
        except WrongShape as error:
            caller.spend(1)
            raise Problem(422, str(error), accepted=0, rejected=0, errors=[]) from None
        caller.spend(intake.accepted + intake.rejected - paid)
        try:
            await services.group_commit.submit(intake.rows)
        except NotCommitted:
            _count(intake, "unavailable")
            raise
        # Only now: a request that was not committed comes again.
        _note_rejected(intake, scope, services, caller)
        for warning in intake.warnings:
            if warning.stream is not None:
                FIELDS_LEFT_OUT.labels(warning.stream, warning.field).inc()
        _count(intake, "accepted")
        later = None
        if limits.new_devices is not None and (unknown := _new_devices(intake)):
            later = limits.new_devices.retry_after(len(unknown))
        return ingest_response(intake, headers, single=not call.many, retry_after=later)

    async def _take_one(
        self, kind: str, body: bytes, services: Services, caller: Caller
    ) -> bool | None:
        """Take a heartbeat in which everything is usual.

        Else it needs the strict decoder: None at once, False if it broke a rule when charged.
        """
        record: Any = decode_record(body, kind)
        if record is None:
            return None
        if kind == TELEMETRY:
            found = split_by_stream([record])
            if found is None:
                return None
            (kind,) = found
        device: str = record.meter_id if kind == METER.name else record.vehicle_id
        if caller.device_prefix and not device.startswith(caller.device_prefix):
            return None
        if not services.new_devices.admit(caller.name, kind, device):
            return None
        caller.spend(1)
        try:
            taken = await services.group_commit.submit_one(kind, record)
        except NotCommitted:
            _RECORDS[kind, "unavailable"].inc()
            raise
        if taken:
            _RECORDS[kind, "accepted"].inc()
        return taken

    async def _read(self, call: Call, media_type: str, body: bytes, limits: Limits) -> DecodedBatch:
        formats = _FORMATS if call.many else _FORMATS_OF_ONE
        if media_type not in formats:
            raise _wrong_type(call)
        fast, strict = formats[media_type]
        intake = await self._aside_if(_AT_ONCE, fast, body, call.kind, limits)
        if intake is None:
            intake = await self._aside_if(_STRICT_AT_ONCE, strict, body, call.kind, limits)
        return intake

    async def _aside_if(
        self,
        larger: int,
        read: Callable[[bytes, str, Limits], _T],
        body: bytes,
        kind: str,
        limits: Limits,
    ) -> _T:
        """Read a body here, or in the thread beside the event loop if it is large."""
        if len(body) <= larger:
            return read(body, kind, limits)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._aside, read, body, kind, limits)


def _bounded(decode: _Strict) -> _Strict:
    """Let a strict decoder of text refuse a body with too many values before it parses."""

    def read(body: bytes, kind: str, limits: Limits) -> DecodedBatch:
        if has_too_many_values(body, limits.records):
            raise BatchTooLarge("there are too many values in the body; send it in parts")
        return decode(body, kind, limits)

    return read


_FORMATS: Final[Mapping[str, tuple[_Fast, _Strict]]] = {
    JSON: (decode_batch_fast, _bounded(decode_batch_strict)),
    NDJSON: (decode_lines_fast, _bounded(decode_lines_strict)),
    ARROW: (decode_arrow_fast, decode_arrow_strict),
}
_FORMATS_OF_ONE: Final[Mapping[str, tuple[_Fast, _Strict]]] = {
    JSON: (decode_one_fast, _bounded(decode_one_strict))
}


def _is_strict(query: bytes) -> bool:
    """Whether `?strict=true` asks to refuse unknown fields; raises a Problem for other words."""
    if not query:
        return False
    words = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("strict", ["false"])
    if len(words) != 1 or words[0] not in {"true", "false"}:
        raise Problem(422, "strict must be true or false")
    return words[0] == "true"


_RECORDS: Final = {
    (stream.name, outcome): RECORDS.labels(stream.name, outcome)
    for stream in (METER, VEHICLE)
    for outcome in ("accepted", "unavailable")
}


def _wrong_type(call: Call) -> Problem:
    known = f"{JSON}, {NDJSON} or {ARROW}" if call.many else JSON
    return Problem(415, f"Content-Type must be {known}")


def _count(intake: DecodedBatch, outcome: str) -> None:
    for stream, rows in intake.rows.items():
        _RECORDS[stream, outcome].inc(len(rows))


def _note_rejected(intake: DecodedBatch, scope: Scope, services: Services, caller: Caller) -> None:
    """Count refused records, and keep them for the operator."""
    if not intake.refusals:
        return
    for stream, _ in intake.refused.values():
        RECORDS.labels(stream or "unknown", "rejected").inc()
    client = scope.get("client")
    sender = client[0] if caller is LOOPBACK and client else caller.name
    services.rejections.record(
        Rejection(
            stream=stream,
            device=_device_of(stream, record),
            field=refusal.field,
            code=refusal.code,
            reason=refusal.reason,
            record=record,
            sender=sender,
            request_id=scope.get("request_id"),
        )
        for refusal in intake.refusals
        for stream, record in [intake.refused[refusal.index]]
    )


def _new_devices(intake: DecodedBatch) -> set[tuple[str, str]]:
    """Stream and id of those beyond the bound."""
    found = set()
    for refusal in intake.refusals:
        if refusal.code == TOO_MANY_NEW_DEVICES:
            stream, record = intake.refused[refusal.index]
            device = _device_of(stream, record)
            if stream is not None and isinstance(device, str):
                found.add((stream, device))
    return found


async def _learn(services: Services, devices: set[tuple[str, str]]) -> bool:
    """Return whether the database knows any of them; NotCommitted where it does not answer."""
    try:
        return await services.new_devices.refresh(services.monitor_pool, devices)
    except psycopg.Error as error:
        away = "the database does not answer; send again later"
        raise NotCommitted("database", away) from error


def _device_of(stream: str | None, record: Any) -> object:
    """The id that a refused record gives."""
    if not isinstance(record, dict):
        return None
    if stream is not None:
        return record.get(f"{stream}Id")
    return record.get("vehicleId") or record.get("meterId")
