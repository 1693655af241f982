"""Heartbeats come in."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, TypeAdapter
from pydantic_core import to_json
from starlette.responses import Response

from ingestion_api.bodies import read_body
from ingestion_api.group_commit import NotCommitted
from ingestion_api.heartbeats import (
    METER_EXAMPLE,
    VEHICLE_EXAMPLE,
    MeterHeartbeat,
    VehicleHeartbeat,
)
from ingestion_api.metrics import RECORDS
from ingestion_api.problems import Problem, documented, problem_response
from ingestion_api.services import Services, services_of
from ingestion_api.validation import (
    BatchTooLarge,
    Intake,
    Limits,
    NotJson,
    WrongShape,
    read_batch,
    read_one,
    read_telemetry,
)
from lake import METER, VEHICLE


class RecordError(BaseModel):
    """Why a record was refused."""

    index: int = Field(description="position of the record in the request, from 0")
    field: str | None = Field(description="the field at fault; null for the whole record")
    reason: str = Field(description="what is wrong with it")


class IngestAnswer(BaseModel):
    """What became of a request's records; the accepted ones are durable."""

    accepted: int
    rejected: int
    errors: list[RecordError]


_METER_SCHEMA: Final = TypeAdapter(MeterHeartbeat).json_schema()
_VEHICLE_SCHEMA: Final = TypeAdapter(VehicleHeartbeat).json_schema()
_KIND_SCHEMA: Final = {
    "type": {
        "enum": ["meter", "vehicle"],
        "description": "needed only where the fields don't tell the kind",
    }
}
_EITHER_SCHEMA: Final = {
    "anyOf": [
        {**schema, "properties": {**schema["properties"], **_KIND_SCHEMA}}
        for schema in (_METER_SCHEMA, _VEHICLE_SCHEMA)
    ]
}

Endpoint = Callable[[Request], Awaitable[Response]]

# The same calls under the paths of both published contracts.
routers = tuple(
    APIRouter(prefix=prefix, tags=["ingest"]) for prefix in ("/v1/ingest", "/v1/ingestion")
)


def _ingest_call(
    path: str, name: str, schema: Mapping[str, Any], example: Any, *, single: bool
) -> Callable[[Endpoint], Endpoint]:
    """A POST route with its true body and answers in OpenAPI."""
    if not single:
        several = {"type": "array", "items": schema, "minItems": 1, "maxItems": 10_000}
        schema = {"anyOf": [schema, several]} if path == "/telemetry" else several
    partly: dict[int | str, dict[str, Any]] = {
        207: {"model": IngestAnswer, "description": "some records taken, the others refused"}
    }
    described: dict[str, Any] = {
        "methods": ["POST"],
        "name": name,
        "status_code": 201,
        "response_class": Response,
        "responses": {
            201: {"model": IngestAnswer, "description": "every record is taken and durable"},
            **({} if single else partly),
            **documented(400, 413, 422, 503),
        },
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": schema, "example": example}},
            }
        },
    }

    def add(endpoint: Endpoint) -> Endpoint:
        for router in routers:
            router.add_api_route(path, endpoint, **described)
        return endpoint

    return add


@_ingest_call("/meter", "One meter heartbeat", _METER_SCHEMA, METER_EXAMPLE, single=True)
async def ingest_meter(request: Request) -> Response:
    """Take one meter heartbeat."""
    return await _ingest(
        request, "meter", lambda body, limits: read_one(body, METER, limits), single=True
    )


@_ingest_call("/vehicle", "One vehicle heartbeat", _VEHICLE_SCHEMA, VEHICLE_EXAMPLE, single=True)
async def ingest_vehicle(request: Request) -> Response:
    """Take one vehicle heartbeat."""
    return await _ingest(
        request, "vehicle", lambda body, limits: read_one(body, VEHICLE, limits), single=True
    )


@_ingest_call("/meter/batch", "Many meter heartbeats", _METER_SCHEMA, [METER_EXAMPLE], single=False)
async def ingest_meter_batch(request: Request) -> Response:
    """Take up to 10,000 meter heartbeats; each stands alone."""
    return await _ingest(request, "meter", lambda body, limits: read_batch(body, METER, limits))


@_ingest_call(
    "/vehicle/batch", "Many vehicle heartbeats", _VEHICLE_SCHEMA, [VEHICLE_EXAMPLE], single=False
)
async def ingest_vehicle_batch(request: Request) -> Response:
    """Take up to 10,000 vehicle heartbeats; each stands alone."""
    return await _ingest(request, "vehicle", lambda body, limits: read_batch(body, VEHICLE, limits))


@_ingest_call(
    "/telemetry",
    "Heartbeats of either kind",
    _EITHER_SCHEMA,
    [METER_EXAMPLE, VEHICLE_EXAMPLE],
    single=False,
)
async def ingest_telemetry(request: Request) -> Response:
    """Take a heartbeat, or up to 10,000, of either kind.

    With `vehicleId` it is a vehicle's, else with `meterId` a meter's, unless `type` says so.
    """
    return await _ingest(request, "telemetry", read_telemetry)


async def _ingest(
    request: Request,
    kind: str,
    read: Callable[[bytes, Limits], Intake],
    *,
    single: bool = False,
) -> Response:
    services = services_of(request)
    body = await read_body(request, services.settings.max_body_bytes)
    intake = _read(services, body, read)
    if intake.refusals:
        RECORDS.labels(kind, "rejected").inc(intake.rejected)
    try:
        await services.committer.submit(intake.rows)
    except NotCommitted:
        _count(intake, "unavailable")
        raise
    _count(intake, "accepted")
    return _answer(intake, single=single)


def _read(services: Services, body: bytes, read: Callable[[bytes, Limits], Intake]) -> Intake:
    settings = services.settings
    limits = Limits.at(
        services.now(), settings.future_tolerance_seconds, settings.max_batch_records
    )
    try:
        return read(body, limits)
    except NotJson as error:
        raise Problem(400, str(error)) from None
    except BatchTooLarge as error:
        raise Problem(413, str(error)) from None
    except WrongShape as error:
        raise Problem(422, str(error), accepted=0, rejected=0, errors=[]) from None


def _answer(intake: Intake, *, single: bool) -> Response:
    accepted = intake.accepted
    if not intake.refusals:
        return Response(
            b'{"accepted":%d,"rejected":0,"errors":[]}' % accepted,
            201,
            media_type="application/json",
        )
    rejected = intake.rejected
    if not accepted:
        detail = "the heartbeat was refused" if single else "every heartbeat was refused"
        return problem_response(
            422,
            f"{detail}; errors says why",
            accepted=0,
            rejected=rejected,
            errors=intake.refusals,
        )
    answer = {"accepted": accepted, "rejected": rejected, "errors": intake.refusals}
    return Response(to_json(answer), 207, media_type="application/json")


def _count(intake: Intake, outcome: str) -> None:
    for stream, rows in intake.rows.items():
        RECORDS.labels(stream, outcome).inc(rows.num_rows)
