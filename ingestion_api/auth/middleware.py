"""API key middleware: every request shows a key, or comes from this machine while there is none."""

import ipaddress
from functools import lru_cache
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from ingestion_api.auth.api_keys import LOOPBACK, ApiKeyCache, Caller
from ingestion_api.rest.problems import Problem, problem_response, problem_responses
from warehouse_sql.api_keys import KeyScope

_HEALTH: Final = frozenset({"/healthz", "/readyz"})
_DOCS: Final = frozenset({"/docs", "/docs/oauth2-redirect", "/openapi.json"})
# The pages' frames and files; what they show, they ask for with a key.
_PAGES: Final = frozenset({"/", "/sessions", "/maintenance", "/reports"})
_OPEN_BELOW: Final = (
    "/static-offline-docs/",
    "/vehicles/",
    "/meters/",
    "/sessions/",
    "/reports/",
    "/assets/",
)
_INGEST: Final = ("/v1/ingest/", "/v1/ingestion/")
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# What a proxy adds: its client is somebody else, even where the proxy runs on this machine.
_OF_A_PROXY: Final = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-real-ip"})
_OF_THIS_SITE: Final = frozenset({b"same-origin", b"none"})
_HOW_TO_SEND: Final = "send it as `Authorization: Bearer wl_...` or `X-API-Key: wl_...`"


class ApiKeyMiddleware:
    """Lets a request pass with its `Caller` as scope["caller"], or answers 401, 403 or 429.

    Health is open to everybody, and once there are keys the docs and the pages' frames are, too.
    Records that come in are charged by their route; any other request counts as one record. Plain
    ASGI, because every heartbeat passes here.
    """

    def __init__(self, app: ASGIApp, keys: ApiKeyCache) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is allowed."""
        if scope["type"] != "lifespan":
            try:
                scope["caller"] = self._admit(scope)
            except Problem as problem:
                await _refuse(problem, scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> Caller | None:
        """Return the caller, None where that does not matter; Problem if it may not call."""
        path: str = scope["path"]
        if path in _HEALTH:
            return None
        if self._keys.is_empty:
            if _is_from_here(scope):
                return LOOPBACK
            raise Problem(
                403,
                "without any API key the collector serves only loopback addresses; on its machine "
                "`wattlake keys create NAME --scope ingest --scope read` makes one, then "
                + _HOW_TO_SEND,
            )
        if _is_open(path):
            return None
        needed = scope_needed(scope.get("method", "GET"), path)  # a WebSocket begins as a GET
        text = _sent_key(scope)
        if text is None:
            raise _unauthorized(f"this call needs an API key: {_HOW_TO_SEND}")
        caller = self._keys.find(text)
        if caller is None:
            raise _unauthorized(
                "the API key is unknown or revoked; `wattlake keys create` makes one"
            )
        if needed not in caller.scopes:
            raise Problem(
                403,
                f"the key {caller.name!r} lacks the scope '{needed}' of this call; "
                f"`wattlake keys create NAME --scope {needed}` makes one that has it",
            )
        if needed is not KeyScope.INGEST:
            caller.spend(1)
        return caller


def scope_needed(method: str, path: str) -> KeyScope:
    """Return the scope that a key needs for a call that is not open to everybody."""
    if method in _READING:
        return KeyScope.READ
    if method == "POST" and path.startswith(_INGEST):
        return KeyScope.INGEST
    return KeyScope.ADMIN


def describe_keys(schema: dict[str, Any]) -> None:
    """Add the two ways to send a key, and the answers of who may not call, to an OpenAPI schema."""
    schema.setdefault("components", {})["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "a key that `wattlake keys create` has made; while there is none at "
            "all, loopback addresses need none",
        },
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    refusals = {str(status): answer for status, answer in problem_responses(401, 403, 429).items()}
    for path, operations in schema["paths"].items():
        if path in _HEALTH or _is_open(path):
            continue
        for method, operation in operations.items():
            needed = [scope_needed(method.upper(), path)]
            operation["security"] = [{"bearer": needed}, {"header": needed}, {}]
            operation["responses"] = refusals | operation["responses"]


def _is_open(path: str) -> bool:
    return path in _DOCS or path in _PAGES or path.startswith(_OPEN_BELOW)


def _is_from_here(scope: Scope) -> bool:
    """Return whether the request comes from a loopback address, on behalf of nobody elsewhere.

    Not through a proxy that says so, and not from a page of another site in a browser here.
    """
    client = scope.get("client")
    if client is None or not _is_loopback(client[0]):
        return False
    for name, value in scope["headers"]:
        if name in _OF_A_PROXY:
            return False
        if name == b"sec-fetch-site" and value not in _OF_THIS_SITE:
            return False
        if name == b"host" and not _is_local_host(value):
            return False
    return True


@lru_cache(maxsize=1024)
def _is_local_host(sent: bytes) -> bool:
    """Return whether a Host header names this machine: another name may be made to lead here."""
    host = sent.decode("latin-1").rsplit(":", 1)[0] if sent[-1:] != b"]" else sent.decode("latin-1")
    return host.lower() == "localhost" or _is_loopback(host.strip("[]"))


@lru_cache(maxsize=1024)
def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # no address: a Unix socket, or something made up
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback


def _sent_key(scope: Scope) -> str | None:
    """Return the key of the request. X-API-Key wins: a proxy may use the other for itself."""
    bearer: str | None = None
    value: bytes
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            return value.decode("latin-1").strip()
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            bearer = value[7:].decode("latin-1").strip()
    return bearer


def _unauthorized(detail: str) -> Problem:
    return Problem(401, detail, headers={"WWW-Authenticate": "Bearer"})


async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    answer = problem_response(problem.status, problem.detail, problem.headers, **problem.members)
    await answer(scope, receive, send)
