"""Reads of a cell: what its own database can answer; for all else its home is named."""

import re
from http import HTTPStatus
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from ingestion_api.rest.problems import problem_response

_OWN: Final = re.compile(
    r"/(healthz|readyz|metrics|openapi\.json|docs(/.*)?|static-offline-docs/.*"
    r"|v1/analytics/(meter|vehicle)/[^/]+/live/?|v1/rejections(/.*)?)"
)
_POLICY_VIOLATION: Final = 1008


class CellReads:
    """Passes on live states and health; links, figures and all that rests on them are at home."""

    def __init__(self, app: ASGIApp, home_url: str) -> None:
        self._app, self._home_url = app, home_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """421 for what only the home can answer, or the close of a WebSocket."""
        if scope["type"] not in ("http", "websocket") or _OWN.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        asked = scope["query_string"].decode("latin-1")
        detail = (
            "this collector takes heartbeats and tells live states; for all else ask "
            f"{self._home_url}{scope['path']}{'?' if asked else ''}{asked}"
        )
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": detail})
            return
        await problem_response(HTTPStatus.MISDIRECTED_REQUEST, detail)(scope, receive, send)
