"""OpenAPI description of the ingest endpoints."""

from typing import Any, Final

from pydantic import BaseModel, Field, TypeAdapter

from ingestion_api.heartbeats.arrow_decoder import MEDIA_TYPE as ARROW
from ingestion_api.heartbeats.contract import (
    METER_EXAMPLE,
    VEHICLE_EXAMPLE,
    MeterHeartbeat,
    VehicleHeartbeat,
)
from ingestion_api.heartbeats.strict_decoder import TELEMETRY
from ingestion_api.ingest.endpoints import CALLS, NDJSON, PREFIXES, Call
from ingestion_api.ingest.responses import JSON
from ingestion_api.rest.problems import ProblemDetails, problem_responses
from lake import METER, VEHICLE


class RecordError(BaseModel):
    """Why a record was refused."""

    index: int = Field(description="position of the record in the request, from 0")
    field: str | None = Field(description="the field at fault; null for the whole record")
    reason: str = Field(description="what is wrong with it")
    code: str = Field(description="the kind of fault in a word, as in /v1/rejections")


class RecordWarning(BaseModel):
    """A field that was left out of a record that was taken."""

    index: int = Field(
        description="position of the record in the request, from 0; of an unknown field the first "
        "that has it"
    )
    field: str = Field(description="the field")
    reason: str = Field(description="what is wrong with it")
    code: str = Field(description="the kind of fault in a word")
    value: str | None = Field(description="the start of what was sent; null for an unknown field")


_WARNINGS: Final = (
    "fields that were left out: optional ones with a value that can't be, and, once for each name, "
    "those that nobody knows; there is no `warnings` where there are none, nor where the request "
    "asks for Prefer: return=minimal"
)


class IngestProblem(ProblemDetails):
    """Nothing of the request was taken; where its records were looked at, they are counted."""

    accepted: int = 0
    rejected: int = 0
    errors: list[RecordError] = Field(
        default=[], description="left out where the request asks for Prefer: return=minimal"
    )
    warnings: list[RecordWarning] = Field(default=[], description=_WARNINGS)


class IngestAnswer(BaseModel):
    """The outcome of a request's records; the accepted ones are durable."""

    accepted: int
    rejected: int
    errors: list[RecordError] = Field(
        default=[], description="left out where the request asks for Prefer: return=minimal"
    )
    warnings: list[RecordWarning] = Field(default=[], description=_WARNINGS)


_ADAPTERS: Final[dict[str, TypeAdapter[Any]]] = {
    METER.name: TypeAdapter(MeterHeartbeat),
    VEHICLE.name: TypeAdapter(VehicleHeartbeat),
}
_EXAMPLES: Final = {METER.name: METER_EXAMPLE, VEHICLE.name: VEHICLE_EXAMPLE}
_KIND: Final = {
    "type": {
        "enum": [METER.name, VEHICLE.name, None],
        "description": "needed only where the fields don't tell the kind",
    }
}
_TEXTS: Final = {
    "/meter": ("One meter heartbeat", "Take one meter heartbeat."),
    "/vehicle": ("One vehicle heartbeat", "Take one vehicle heartbeat."),
    "/meter/batch": (
        "Meter heartbeats",
        "Take up to 10,000 meter heartbeats. Each stands alone: a refused one costs no other.",
    ),
    "/vehicle/batch": (
        "Vehicle heartbeats",
        "Take up to 10,000 vehicle heartbeats. Each stands alone: a refused one costs no other.",
    ),
    "/telemetry": (
        "Heartbeats of either kind",
        "Take a heartbeat, or up to 10,000, of either kind. With `vehicleId` it is a vehicle's, "
        "else with `meterId` a meter's, unless `type` says so.",
    ),
}
_PARAMETERS: Final = [
    {
        "name": "Prefer",
        "in": "header",
        "description": "return=minimal asks for an answer without `errors` and `warnings`",
        "schema": {"type": "string"},
        "example": "return=minimal",
    },
    {
        "name": "strict",
        "in": "query",
        "description": "true refuses records with a field that nobody knows",
        "schema": {"type": "boolean", "default": False},
    },
    {
        "name": "Content-Encoding",
        "in": "header",
        "description": "how the body is packed; its limit holds unpacked, too",
        "schema": {"type": "string", "enum": ["", "identity", "gzip", "x-gzip", "zstd"]},
    },
]


def describe_ingest(schema: dict[str, Any]) -> None:
    """Add the ingest calls to an OpenAPI schema."""
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    for model in (IngestAnswer, IngestProblem):
        answer = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= answer.pop("$defs")
        schemas[model.__name__] = answer
    calls = {
        prefix + path: {"post": _operation(prefix, path, call)}
        for prefix in PREFIXES
        for path, call in CALLS.items()
    }
    schema["paths"] = calls | schema["paths"]


def _operation(prefix: str, path: str, call: Call) -> dict[str, Any]:
    title, text = _TEXTS[path]
    taken = {
        "description": "every record is taken and durable",
        "headers": {
            "Preference-Applied": {"schema": {"type": "string", "enum": ["return=minimal"]}}
        },
        "content": {JSON: {"schema": {"$ref": "#/components/schemas/IngestAnswer"}}},
    }
    partly = {**taken, "description": "some records are taken and durable, the others refused"}
    errors = problem_responses(400, 408, 413, 415, 503) | problem_responses(
        403, 422, schema=IngestProblem.__name__
    )
    return {
        "tags": ["ingest"],
        "summary": title,
        "description": text,
        "operationId": "_".join((prefix + path).strip("/").split("/")),
        "parameters": _PARAMETERS,
        "requestBody": {"required": True, "content": _content(call)},
        "responses": {
            "201": taken,
            **({"207": partly} if call.many else {}),
            **{str(status): problem for status, problem in errors.items()},
        },
    }


def _content(call: Call) -> dict[str, Any]:
    one, example = _heartbeat(call.kind)
    if not call.many:
        return {JSON: {"schema": one, "example": example}}
    several = {"type": "array", "items": one, "minItems": 1, "maxItems": 10_000}
    examples = example if isinstance(example, list) else [example]
    return {
        JSON: {"schema": {"anyOf": [one, several]} if call.one else several, "example": examples},
        NDJSON: {"schema": {"type": "string", "description": "a heartbeat a line"}},
        ARROW: {
            "schema": {
                "type": "string",
                "format": "binary",
                "description": "an Arrow IPC stream, its columns named as the JSON fields: "
                "strings, timestamps with a zone, floats; no dictionaries, no compressed buffers",
            }
        },
    }


def _heartbeat(kind: str) -> tuple[dict[str, Any], Any]:
    """The JSON schema of a heartbeat, and an example."""
    if kind != TELEMETRY:
        return _ADAPTERS[kind].json_schema(), _EXAMPLES[kind]
    schemas = [adapter.json_schema() for adapter in _ADAPTERS.values()]
    either = [{**one, "properties": {**one["properties"], **_KIND}} for one in schemas]
    return {"anyOf": either}, list(_EXAMPLES.values())
