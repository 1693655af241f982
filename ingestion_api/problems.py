"""RFC 9457 problem details: the one form of every error."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import psycopg
import psycopg_pool
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ingestion_api.group_commit import NotCommitted
from lake import LakeError

log = structlog.get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"


class ProblemDetails(BaseModel):
    """RFC 9457. An ingest error also has `accepted`, `rejected` and `errors`."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(default="about:blank", description="kind of problem")
    title: str = Field(description="the status in words")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what is wrong, and what to do")


class Problem(Exception):
    """An error that is answered as problem details, with `members` beside the standard ones."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.members = status, detail, headers, members


def problem_response(
    status: int, detail: str, headers: Mapping[str, str] | None = None, **members: Any
) -> Response:
    """The answer itself."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **members,
    }
    return Response(to_json(body), status, headers=headers, media_type=MEDIA_TYPE)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` of these errors."""
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    return {
        status: {
            "description": _MEANINGS[status],
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status in statuses
    }


def add_problem_handlers(app: FastAPI, retry_after_seconds: int) -> None:
    """Answer every error of `app` as problem details."""
    later = {"Retry-After": str(retry_after_seconds)}

    async def problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return problem_response(error.status, error.detail, error.headers, **error.members)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        detail = str(error.detail)
        if error.status_code == HTTPStatus.NOT_FOUND:
            detail = f"there is nothing at {request.url.path}; /docs lists every call"
        elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            detail = f"{request.method} is not possible here; /docs lists every call"
        return problem_response(error.status_code, detail, error.headers)

    async def invalid_request(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        errors = [_parameter_error(one) for one in error.errors()]
        if any(one["type"] == "json_invalid" for one in error.errors()):
            return problem_response(400, "the body is not JSON")
        named = "; ".join(f"{one['field']}: {one['reason']}" for one in errors)
        return problem_response(422, named, errors=errors)

    async def not_committed(_: Request, error: Exception) -> Response:
        return problem_response(503, str(error), later)

    async def database_away(_: Request, error: Exception) -> Response:
        log.warning("database does not answer a reader", kind=type(error).__name__)
        return problem_response(503, "the database does not answer; ask again later", later)

    async def lake_away(_: Request, error: Exception) -> Response:
        log.warning("lake can't be read", kind=type(error).__name__, error=str(error))
        return problem_response(503, "the lake can't be read; ask again later", later)

    async def unexpected(_: Request, error: Exception) -> Response:
        # The exception itself is logged by the server that this handler leaves it to.
        return problem_response(500, "an error of the collector; its log says more")

    for kind, handler in (
        (Problem, problem),
        (HTTPException, http_error),
        (RequestValidationError, invalid_request),
        (NotCommitted, not_committed),
        (psycopg.OperationalError, database_away),
        (psycopg.InterfaceError, database_away),
        (psycopg_pool.PoolTimeout, database_away),
        (LakeError, lake_away),
        (Exception, unexpected),
    ):
        app.add_exception_handler(kind, handler)


_MEANINGS: Final = {
    400: "the body is not JSON",
    404: "there is no such thing; the detail says where to look",
    409: "it collides with what is there",
    413: "the body is larger, or the list longer, than one request may be",
    422: "the request is understood and can't be taken; `errors` or `detail` says why",
    503: "not possible right now, nothing is acknowledged; repeat it after Retry-After seconds",
}


def _parameter_error(error: Mapping[str, Any]) -> dict[str, str]:
    location: Sequence[str | int] = error.get("loc", ())
    return {
        "field": ".".join(str(part) for part in location[1:]) or "body",
        "reason": str(error.get("msg", "is not valid")),
    }
