"""Fast path of two GETs, as plain ASGI: live state and the last day of one device.

They are answered before FastAPI's routing and dependencies, which take several times as long as
the live state. The routes describe them for OpenAPI, and answer whatever a database or a lake that
is away makes of them.
"""

import re
from typing import Final

import psycopg
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from ingestion_api.analytics.performance.vehicle_context import UnknownVehicle
from ingestion_api.heartbeats.contract import ID_PATTERN
from ingestion_api.rest.parameters import BadWindow
from ingestion_api.rest.problems import Problem, problem_response
from ingestion_api.routes.live import Kind, LiveMeter, LiveVehicle, live_fields, unknown_device
from ingestion_api.routes.performance import performance_answer
from ingestion_api.services import Services
from lake import LakeError

_PREFIX: Final = "/v1/analytics/"
_SUFFIX: Final = "/live"
_PERFORMANCE: Final = f"{_PREFIX}performance/"
_PERFORMANCE_ROUTE: Final = f"{_PERFORMANCE}{{vehicle_id}}"
_MODELS: Final[dict[str, tuple[Kind, type[LiveMeter | LiveVehicle]]]] = {
    "meter": ("meter", LiveMeter),
    "vehicle": ("vehicle", LiveVehicle),
}
_ID: Final = re.compile(ID_PATTERN)
_JSON: Final = (b"content-type", b"application/json")


class FastReadPath:
    """Answers these reads; everything else is passed on."""

    def __init__(self, app: ASGIApp, state_of: FastAPI) -> None:
        """`state_of` has the services."""
        self._app, self._state_of = app, state_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for a device, known or not, or pass on what is something else."""
        path: str = scope.get("path", "")
        try:
            body = await self._body(scope, path)
        except Problem as problem:
            answer = problem_response(problem.status, problem.detail)
            await answer(scope, receive, send)
            return
        if body is None:
            await self._app(scope, receive, send)
            return
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": 200, "headers": [_JSON, length]})
        await send({"type": "http.response.body", "body": body})

    async def _body(self, scope: Scope, path: str) -> bytes | None:
        """Return the answer; None where the route is to give it."""
        if path.startswith(_PREFIX) and scope.get("method") == "GET" and not scope["query_string"]:
            if path.endswith(_SUFFIX):
                return await self._live(scope, path[len(_PREFIX) : -len(_SUFFIX)])
            if path.startswith(_PERFORMANCE):
                return await self._performance(scope, path[len(_PERFORMANCE) :])
        return None

    async def _live(self, scope: Scope, named: str) -> bytes | None:
        name, _, device = named.partition("/")
        if name not in _MODELS or not _ID.fullmatch(device):
            return None
        kind, model = _MODELS[name]
        services: Services = self._state_of.state.services
        try:
            row = await services.live_states.get(kind, device)
        except psycopg.Error:
            return None  # the route meets it as well, and says so
        scope["route_path"] = f"{_PREFIX}{kind}/{{{kind}_id}}{_SUFFIX}"
        if row is None:
            raise unknown_device(kind, device)
        live: LiveMeter | LiveVehicle = model(**live_fields(services, row, services.now()))
        return live.model_dump_json(by_alias=True).encode()

    async def _performance(self, scope: Scope, vehicle: str) -> bytes | None:
        if not _ID.fullmatch(vehicle):
            return None
        services: Services = self._state_of.state.services
        try:
            found = await services.performance.performance_for(vehicle, None, None)
        except (psycopg.Error, LakeError, BadWindow):
            return None
        except UnknownVehicle:
            scope["route_path"] = _PERFORMANCE_ROUTE
            raise unknown_device("vehicle", vehicle) from None
        scope["route_path"] = _PERFORMANCE_ROUTE
        answer = performance_answer(vehicle, found, services.energy)
        return answer.model_dump_json(by_alias=True).encode()
