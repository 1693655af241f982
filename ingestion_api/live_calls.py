"""The live state of one device, as plain ASGI: screens ask for it thousands of times a second.

It is answered before FastAPI's routing and dependencies, which take several times as long as the
answer. routes/live.py describes it for OpenAPI, and answers whatever is not a plain success.
"""

import re
from typing import Final

import psycopg
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from ingestion_api.heartbeats import ID_PATTERN
from ingestion_api.routes.live import LiveMeter, LiveVehicle, live_fields
from ingestion_api.services import Services

_PREFIX: Final = "/v1/analytics/"
_SUFFIX: Final = "/live"
_MODELS: Final = {"meter": LiveMeter, "vehicle": LiveVehicle}
_ID: Final = re.compile(ID_PATTERN)
_JSON: Final = (b"content-type", b"application/json")


class LiveCalls:
    """Answers them; everything else is passed on."""

    def __init__(self, app: ASGIApp, state_of: FastAPI) -> None:
        """`state_of` has the services."""
        self._app, self._state_of = app, state_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the live state of a device that is known, or pass on what is something else."""
        path: str = scope.get("path", "")
        body = None
        if path.startswith(_PREFIX) and path.endswith(_SUFFIX) and scope.get("method") == "GET":
            body = await self._live(scope, path[len(_PREFIX) : -len(_SUFFIX)])
        if body is None:
            await self._app(scope, receive, send)
            return
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": 200, "headers": [_JSON, length]})
        await send({"type": "http.response.body", "body": body})

    async def _live(self, scope: Scope, named: str) -> bytes | None:
        kind, _, device = named.partition("/")
        model = _MODELS.get(kind)
        if model is None or not _ID.fullmatch(device):
            return None
        services: Services = self._state_of.state.services
        try:
            row = await services.live_states.of(kind, device)
        except psycopg.Error:
            return None  # the route meets it as well, and says so
        if row is None:
            return None
        scope["ingest_path"] = f"{_PREFIX}{kind}/{{{kind}_id}}{_SUFFIX}"
        live: LiveMeter | LiveVehicle = model(**live_fields(services, row, services.now()))
        return live.model_dump_json(by_alias=True).encode()
