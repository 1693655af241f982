"""Fast path of two GETs, as plain ASGI: live state and the last day of one device.

They are answered before FastAPI's routing and dependencies, which take several times as long as
the live state. The routes describe them for OpenAPI, and answer whatever is not a plain success.
"""

import re
from typing import Final

import psycopg
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from ingestion_api.analytics.performance.vehicle_context import UnknownVehicle
from ingestion_api.heartbeats.contract import ID_PATTERN
from ingestion_api.rest.parameters import BadWindow
from ingestion_api.routes.live import LiveMeter, LiveVehicle, live_fields
from ingestion_api.routes.performance import performance_answer
from ingestion_api.services import Services
from lake import LakeError

_PREFIX: Final = "/v1/analytics/"
_SUFFIX: Final = "/live"
_PERFORMANCE: Final = f"{_PREFIX}performance/"
_MODELS: Final = {"meter": LiveMeter, "vehicle": LiveVehicle}
_ID: Final = re.compile(ID_PATTERN)
_JSON: Final = (b"content-type", b"application/json")


class FastReadPath:
    """Answers them; everything else is passed on."""

    def __init__(self, app: ASGIApp, state_of: FastAPI) -> None:
        """`state_of` has the services."""
        self._app, self._state_of = app, state_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for a device that is known, or pass on what is something else."""
        path: str = scope.get("path", "")
        body = None
        if path.startswith(_PREFIX) and scope.get("method") == "GET" and not scope["query_string"]:
            if path.endswith(_SUFFIX):
                body = await self._live(scope, path[len(_PREFIX) : -len(_SUFFIX)])
            elif path.startswith(_PERFORMANCE):
                body = await self._performance(scope, path[len(_PERFORMANCE) :])
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
            row = await services.live_states.get(kind, device)
        except psycopg.Error:
            return None  # the route meets it as well, and says so
        if row is None:
            return None
        scope["ingest_path"] = f"{_PREFIX}{kind}/{{{kind}_id}}{_SUFFIX}"
        live: LiveMeter | LiveVehicle = model(**live_fields(services, row, services.now()))
        return live.model_dump_json(by_alias=True).encode()

    async def _performance(self, scope: Scope, vehicle: str) -> bytes | None:
        if not _ID.fullmatch(vehicle):
            return None
        services: Services = self._state_of.state.services
        try:
            found = await services.performance.performance_for(vehicle, None, None)
        except (psycopg.Error, LakeError, UnknownVehicle, BadWindow):
            return None
        scope["ingest_path"] = f"{_PERFORMANCE}{{vehicle_id}}"
        answer = performance_answer(vehicle, found)
        return answer.model_dump_json(by_alias=True).encode()
