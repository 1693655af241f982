"""The collector's application: its services, routes and errors put together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi_offline import FastAPIOffline
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingestion_api.database import read_pool
from ingestion_api.group_commit import GroupCommit
from ingestion_api.lake_writer import LakeWriter
from ingestion_api.metrics import REQUESTS
from ingestion_api.problems import ProblemDetails, add_problem_handlers
from ingestion_api.routes import (
    efficiency,
    health,
    ingest,
    links,
    live,
    performance,
    reports,
    status,
)
from ingestion_api.services import Services
from ingestion_api.settings import CollectorSettings
from lake import EnergySettings, Lake

log = structlog.get_logger(__name__)


def create_app(
    dsn: str, lake: Lake, settings: CollectorSettings, energy: EnergySettings
) -> FastAPI:
    """The application; its lifespan connects, starts the lake writer, and ends both in order."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        writer = LakeWriter(dsn, lake, settings)
        committer = GroupCommit(dsn, settings, on_commit=writer.committed)
        await committer.start()
        pool = read_pool(dsn, settings.read_connections)
        await pool.open()
        writer.start()
        app.state.services = Services(settings, energy, lake, committer, writer, pool)
        log.info("collector started", lake=lake.uri)
        yield
        await committer.stop()
        if not await asyncio.to_thread(writer.stop, settings.last_flush_seconds):
            log.warning("the last flush was too slow; the outbox keeps the rest")
        await pool.close()
        log.info("collector stopped")

    app = FastAPIOffline(
        redoc_url=None,
        title="Wattlake",
        summary="Heartbeats of meters and vehicles in; live state, energy and efficiency out.",
        version="1",
        lifespan=lifespan,
    )
    for router in (
        *ingest.routers,
        live.router,
        performance.router,
        efficiency.router,
        links.router,
        reports.router,
        status.router,
        health.router,
    ):
        app.include_router(router)
    app.add_api_route("/", _index, include_in_schema=False)
    add_problem_handlers(app, settings.retry_after_seconds)
    app.add_middleware(CountRequests)
    _describe_errors(app)
    return app


class CountRequests:
    """Counts answers by route; plain ASGI, because every heartbeat passes here."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, and count the start of the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def count(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path_format", "none")
                REQUESTS.labels(scope["method"], route, message["status"]).inc()
            await send(message)

        await self._app(scope, receive, count)


async def _index() -> JSONResponse:
    """Where to go from here."""
    return JSONResponse(
        {
            "service": "wattlake collector",
            "docs": "/docs",
            "openapi": "/openapi.json",
            "status": "/v1/status",
            "fleet": "/v1/analytics/fleet/live",
            "efficiency": "/v1/analytics/efficiency/fleet",
            "reports": "/v1/reports",
            "ready": "/readyz",
            "metrics": "/metrics",
        }
    )


def _describe_errors(app: FastAPI) -> None:
    """Let OpenAPI show the problem details that really come, not FastAPI's own error form."""

    def openapi() -> dict[str, Any]:
        if not app.openapi_schema:
            schema = get_openapi(
                title=app.title, version=app.version, summary=app.summary, routes=app.routes
            )
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            schemas.pop("HTTPValidationError", None)
            schemas.pop("ValidationError", None)
            schemas["ProblemDetails"] = ProblemDetails.model_json_schema()
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way
