"""Request ids and request metrics."""

import itertools
import re
import secrets
import time
from typing import Final

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.utils import ClientDisconnected

from ingestion_api.observability.logs import REQUEST_ID
from ingestion_api.observability.metrics import REQUEST_SECONDS, REQUESTS
from ingestion_api.rest.problems import REFUSED, Problem, problem_response, unexpected_error

_SENT_ID: Final = re.compile(rb"[!-~]{1,100}")
_NOTED: Final = 200  # characters of a path
_STARTS: Final = frozenset({"http.response.start", "websocket.http.response.start"})
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestMetricsMiddleware:
    """Counts and times the answers, and gives each request an id; plain ASGI.

    A client's own `X-Request-ID` is kept; the answer returns the id either way. An exception that
    nobody expected is answered 500, and left to the server, which logs it. A WebSocket may be
    answered like any other request before it is accepted.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._process = secrets.token_hex(4)
        self._numbers = itertools.count()
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, and see the start of the answer."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request_id = _sent_id(scope) or f"{self._process}-{next(self._numbers):x}"
        scope["request_id"] = request_id
        # For the lines that are logged; the server has a task for each request, so it ends by
        # itself, and not before the server has logged an exception.
        REQUEST_ID.set(request_id)
        started, answering, denied = time.perf_counter(), False, False

        async def observe(message: Message) -> None:
            nonlocal answering, denied
            if message["type"] in _STARTS:
                headers = message.get("headers", ())
                message["headers"] = [*headers, (b"x-request-id", request_id.encode())]
                if scope["type"] == "http":
                    answering = True
                    self._count(scope, message["status"], time.perf_counter() - started)
                else:
                    denied = True
            await send(message)

        try:
            refused: Problem | None = scope.get(REFUSED)
            if refused is not None:
                answer = problem_response(refused.status, refused.detail, refused.headers)
                await answer(scope, receive, observe)
            else:
                await self._app(scope, receive, observe)
        except Exception as error:
            if scope["type"] == "http":
                error.add_note(f"{scope['method']} {scope['path'][:_NOTED]}")
                if not answering:
                    await unexpected_error()(scope, receive, observe)
            raise
        if denied:  # or else the server would log that the handshake was not completed
            raise ClientDisconnected

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        # The series are kept: to find one by its labels takes longer than to count.
        method = scope["method"] if scope["method"] in _METHODS else "other"
        key = method, scope.get("route_path") or _path_format(scope), status
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = REQUESTS.labels(*key), REQUEST_SECONDS.labels(*key[1:])
        counter, timer = series
        counter.inc()
        timer.observe(seconds)


def _path_format(scope: Scope) -> str:
    """The path of the route that answers, with its parameters' names: few, however many ids."""
    return str(getattr(scope.get("route"), "path_format", "none"))


def _sent_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SENT_ID.fullmatch(value):
            return str(value.decode())
    return None
