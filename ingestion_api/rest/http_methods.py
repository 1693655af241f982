"""Middleware for HEAD, wherever there is GET, and OPTIONS."""

from collections.abc import Awaitable
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_EVERY: Final = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"  # that some path takes


class HeadOptionsMiddleware:
    """Answers HEAD with the headers of GET, and OPTIONS with the methods of the path as Allow.

    So no route has to know of them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass everything else on."""
        method = scope.get("method")
        if method == "HEAD":
            return self._head(scope, receive, send)
        if method == "OPTIONS" and scope["path"] == "*":
            return _allow(send, [(b"allow", _EVERY.encode())])
        if method == "OPTIONS":
            return self._options(scope, receive, send)
        return self._app(scope, receive, send)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def only_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                scope["method"] = "HEAD"
                await send(message)
                # At once: the body of a stream of events has no end.
                await send({"type": "http.response.body"})

        scope["method"] = "GET"
        try:
            await self._app(scope, receive, only_headers)
        finally:
            scope["method"] = "HEAD"

    async def _options(self, scope: Scope, receive: Receive, send: Send) -> None:
        """No path takes OPTIONS by itself, so each says which methods it does take."""
        is_refused = False

        async def allowed(message: Message) -> None:
            nonlocal is_refused
            if message["type"] == "http.response.start":
                is_refused = message["status"] == 405
                if is_refused:
                    await _allow(send, message["headers"])
                    return
            if not is_refused:
                await send(message)

        await self._app(scope, receive, allowed)


async def _allow(send: Send, headers: Any) -> None:
    kept = [header for header in headers if header[0] == b"allow"]
    await send({"type": "http.response.start", "status": 204, "headers": kept})
    await send({"type": "http.response.body"})


def with_head_and_options(methods: set[str]) -> str:
    """The Allow header of a path that takes these methods by itself."""
    more = {"OPTIONS", "HEAD"} if "GET" in methods else {"OPTIONS"}
    return ", ".join(sorted(methods | more))
