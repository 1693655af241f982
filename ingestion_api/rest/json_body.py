"""JSON bodies of calls that take one record."""

from typing import Final, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from ingestion_api.rest.problems import Problem
from ingestion_api.rest.request_bodies import RequestBodies
from ingestion_api.rest.validation_messages import describe_error, json_fields

JSON: Final = "application/json"
_Record = TypeVar("_Record", bound=BaseModel)


async def read_record(request: Request, bodies: RequestBodies, kind: type[_Record]) -> _Record:
    """The record of the body; what is wrong with it is answered 400, 408, 413, 415 or 422."""
    media_type(request, JSON)
    body = await bodies.read(request.scope, request.receive)
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        known = json_fields(kind)
        raise RequestValidationError(
            [
                {**one, "loc": ("body", *one["loc"]), "msg": describe_error(one, known)}
                for one in error.errors(include_url=False, include_input=False)
            ]
        ) from None


def media_type(request: Request, *known: str) -> str:
    """The content type of the body, the first of `known` where none is named; Problem 415."""
    named = request.headers.get("content-type", "").partition(";")[0].strip().lower() or known[0]
    if named not in known:
        raise Problem(415, f"Content-Type must be {' or '.join(known)}")
    return named


def describe_record(kind: type[BaseModel], example: dict[str, object]) -> dict[str, object]:
    """Return the OpenAPI description of such a body."""
    content = {"schema": kind.model_json_schema(), "example": example}
    return {"requestBody": {"required": True, "content": {JSON: content}}}
