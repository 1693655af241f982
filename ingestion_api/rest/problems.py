"""RFC 9457 problem details: the one form of every error."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import psycopg
import psycopg_pool
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ingestion_api.errors import NotCommitted
from ingestion_api.rest.http_methods import with_head_and_options
from ingestion_api.rest.validation_messages import describe_error
from lake import LakeError

log = structlog.get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
REFUSED: Final = "wattlake.refused"  # in the scope of what is no whole request: its Problem


class ProblemDetails(BaseModel):
    """RFC 9457. More members are `errors` of a 422, and `collidesWith`, the links behind a 409."""

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


def unexpected_error() -> Response:
    """The answer to what nobody expected; the exception itself is logged by the server."""
    detail = "an error of the collector; its log says more under this X-Request-ID"
    return problem_response(500, detail, {"Connection": "close"})


def problem_responses(
    *statuses: int, schema: str = ProblemDetails.__name__
) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` of these errors, with the name of the schema of their bodies."""
    content = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {
        status: {
            "description": _MEANINGS[status],
            "headers": _HEADERS.get(status, {}) | _REQUEST_ID,
            "content": content,
        }
        for status in statuses
    }


def add_problem_handlers(
    app: FastAPI, retry_after_seconds: int, is_database_up: Callable[[], bool] = lambda: False
) -> None:
    """Answer every error of `app` as problem details."""
    later = {"Retry-After": str(retry_after_seconds)}

    async def problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return problem_response(error.status, error.detail, error.headers, **error.members)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        detail, headers = str(error.detail), dict(error.headers or {})
        if error.status_code == HTTPStatus.NOT_FOUND:
            detail = f"there is nothing at {request.scope['path']}; /docs lists every call"
        elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            detail = f"{request.method} is not possible here; /docs lists every call"
            headers |= _allowed(request)
        return problem_response(error.status_code, detail, headers)

    async def invalid_request(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError | WebSocketRequestValidationError)
        errors = [_parameter_error(one) for one in error.errors()]
        if any(one["type"] == "json_invalid" for one in error.errors()):
            return problem_response(400, "the body is not JSON")
        named = "; ".join(f"{one['field']}: {one['reason']}" for one in errors)
        return problem_response(422, named, errors=errors)

    async def not_committed(_: Request, error: Exception) -> Response:
        return problem_response(503, str(error), later)

    async def database_away(_: Request, error: Exception) -> Response:
        log.warning(
            "database does not serve a request", kind=type(error).__name__, error=str(error)
        )
        why = "the database can't serve this now"
        if isinstance(error, psycopg_pool.PoolTimeout) and is_database_up():
            why = "all reading connections are busy"
        return problem_response(503, f"{why}; ask again later", later)

    async def lake_away(_: Request, error: Exception) -> Response:
        log.warning("lake can't be read", kind=type(error).__name__, error=str(error))
        return problem_response(503, "the lake can't be read; ask again later", later)

    async def unexpected(_: Request, error: Exception) -> Response:
        return unexpected_error()

    for kind, handler in (
        (Problem, problem),
        (HTTPException, http_error),
        (RequestValidationError, invalid_request),
        (WebSocketRequestValidationError, invalid_request),
        (NotCommitted, not_committed),
        *((kind, database_away) for kind in _DATABASE_AWAY),
        (LakeError, lake_away),
        (Exception, unexpected),
    ):
        app.add_exception_handler(kind, handler)


# All that passes without a change of the collector: a database that is gone, busy, stopping, out of
# room, a standby, restored from before the newest migration, or short of a right.
_DATABASE_AWAY: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedTable,
)

_MEANINGS: Final = {
    400: "the body is not what its content type and encoding say, or ended early",
    401: "the call needs an API key, and none or no living one was sent",
    403: "the API key has not the scope of this call; without any key, only loopback addresses may",
    404: "there is no such thing; the detail says where to look",
    405: "the path takes only the methods that Allow names",
    408: "the body took too long to arrive",
    409: "it collides with what is there",
    406: "the answer has none of the media types that Accept names",
    410: "the cursor has expired; start again without it",
    413: "the body is larger, or the list longer, than one request may be",
    415: "the content type or encoding is none that this call takes",
    422: "the request is understood and can't be taken; `errors` or `detail` says why",
    429: "the key's rate limit is used up; repeat it after Retry-After seconds",
    503: "not possible right now, nothing is acknowledged; repeat it after Retry-After seconds",
}
_LATER: Final = {
    "Retry-After": {
        "description": "seconds after which to repeat it",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}
_HEADERS: Final[dict[int, dict[str, Any]]] = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"type": "string", "enum": ["Bearer"]}}},
    429: _LATER,
    503: _LATER,
}
_REQUEST_ID: Final = {
    "X-Request-ID": {
        "description": "id of the request, its own or a new one, as in the log",
        "required": True,
        "schema": {"type": "string"},
    }
}


def _allowed(request: Request) -> dict[str, str]:
    """Return the Allow header of a path: routing itself names only the methods of one route."""
    path = getattr(request.scope.get("route"), "path_format", None)
    methods = {
        method
        for route in iter_route_contexts(request.app.routes)
        if path and route.path_format == path
        for method in route.methods or ()
    }
    return {"Allow": with_head_and_options(methods)} if methods else {}


def _parameter_error(error: Mapping[str, Any]) -> dict[str, str]:
    location: Sequence[str | int] = error.get("loc", ())
    return {
        "field": ".".join(str(part) for part in location[1:]) or "body",
        "reason": describe_error(error),
    }
