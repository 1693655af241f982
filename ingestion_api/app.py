"""Composition root: the services, routes and error handlers of the collector."""

import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, cast

import structlog
from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp

from ingestion_api.alerts.rules import RuleFile
from ingestion_api.alerts.service import Alerts
from ingestion_api.analytics.live_states import LiveStateReader
from ingestion_api.analytics.performance.service import PerformanceService
from ingestion_api.analytics.prewarming import CacheWarmer
from ingestion_api.auth.api_keys import ApiKeyCache
from ingestion_api.auth.middleware import ApiKeyMiddleware, describe_keys
from ingestion_api.auth.new_device_limit import NewDeviceLimiter
from ingestion_api.background_tasks import Supervisor
from ingestion_api.cells.service import Cells
from ingestion_api.commit.group_commit import GroupCommit
from ingestion_api.database.dedicated_connection import DedicatedConnection
from ingestion_api.database.pool import read_pool
from ingestion_api.ingest.endpoints import IngestEndpoints
from ingestion_api.ingest.openapi import describe_ingest
from ingestion_api.outbox.backlog import OutboxMonitor
from ingestion_api.outbox.lake_writer import LakeWriter
from ingestion_api.rejections.recorder import RejectionRecorder
from ingestion_api.report_delivery.service import ReportDelivery
from ingestion_api.rest.http_methods import HeadOptionsMiddleware
from ingestion_api.rest.problems import ProblemDetails, add_problem_handlers, problem_responses
from ingestion_api.rest.request_bodies import RequestBodies
from ingestion_api.rest.unknown_parameters import reject_unknown_parameters
from ingestion_api.routes import (
    alert_dead_letters,
    alert_silences,
    alert_streams,
    alerts,
    curve,
    dashboard,
    depots,
    devices,
    efficiency,
    health,
    links,
    live,
    live_fleet,
    losses,
    maintenance,
    overview,
    page,
    performance,
    rejections,
    report_subscriptions,
    reports,
    sessions,
    status,
)
from ingestion_api.routes.cell_reads import CellReads
from ingestion_api.routes.fast_path import FastReadPath
from ingestion_api.server.compression import GzipMiddleware
from ingestion_api.server.cors import CorsMiddleware
from ingestion_api.server.request_metrics import RequestMetricsMiddleware
from ingestion_api.services import Services, now
from ingestion_api.settings import CollectorSettings
from lake import EnergySettings, Lake
from lake.costs import Tariffs
from lake.reads import DeviceReader, HourIndex, TableReader
from warehouse_sql.settings import DatabaseSettings

log = structlog.get_logger(__name__)

_MONITOR_CONNECTIONS: Final = 3  # one each for readiness, the API keys and the outbox watch


def create_app(
    database: DatabaseSettings,
    lake: Lake,
    settings: CollectorSettings,
    energy: EnergySettings,
    rules: RuleFile,
    tariffs: Tariffs | None = None,
    on_end: Callable[[str], None] = lambda part: None,
) -> ASGIApp:
    """The application; its lifespan connects, starts the lake writer, and ends both in order.

    `on_end` is told which part has ended by itself: then the process has to.
    """

    if settings.home_url:  # of what the home answers nothing has to be known here
        rules, settings = RuleFile(rules=()), settings.model_copy(update={"index_hours": 0})
    # What holds a session goes to the server itself, each short transaction by way of the pooler.
    dsn, pooled, is_pooled = database.dsn, database.database_url, database.is_pooled
    bodies = RequestBodies(settings)
    pool, monitor_pool = (
        read_pool(pooled, most, is_pooled=is_pooled)
        for most in (settings.read_connections, _MONITOR_CONNECTIONS)
    )
    replica, replica_pool = database.replica_url, pool
    if replica != pooled:
        replica_pool = read_pool(replica, settings.read_connections, is_pooled=is_pooled)
    keys = ApiKeyCache(monitor_pool, settings.key_refresh_seconds)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Each is stopped before those above it, whatever fails. So what the committer stores last
        # is in the last flush, and nobody loses the pool.
        async with AsyncExitStack() as stack:
            for connections in dict.fromkeys((pool, replica_pool, monitor_pool)):
                stack.push_async_callback(connections.close)
                await connections.open()
            live_states = LiveStateReader(replica, is_pooled=is_pooled)
            stack.push_async_callback(live_states.stop)
            performance_facts = DedicatedConnection(replica, "performance", is_pooled=is_pooled)
            stack.push_async_callback(performance_facts.stop)
            index = HourIndex(lake, settings.index_folder, settings.index_hours)
            stack.callback(index.close)
            reader = DeviceReader(lake, settings.answer_cache_bytes, index)
            performance = PerformanceService(
                performance_facts,
                reader,
                energy,
                settings.longest_window_days,
                settings.future_tolerance_seconds,
                settings.answer_cache_bytes // 4,
                now,
            )
            cache_warmer = await stack.enter_async_context(
                CacheWarmer(performance_facts, reader, settings.index_seconds, now)
            )
            await stack.enter_async_context(keys)
            new_devices = NewDeviceLimiter(settings.new_devices_per_hour)
            await new_devices.start(monitor_pool)
            cell_urls = database.cell_database_urls
            cells = await stack.enter_async_context(Cells(dsn, monitor_pool, cell_urls, settings))
            outbox = await stack.enter_async_context(OutboxMonitor(monitor_pool, settings))
            rejected = await stack.enter_async_context(RejectionRecorder(pooled, settings))
            alerting = await stack.enter_async_context(
                Alerts(dsn, pool, rules, settings, energy, has_cells=bool(cell_urls))
            )
            deliveries = await stack.enter_async_context(ReportDelivery(dsn, lake, settings))
            writer = LakeWriter(dsn, lake, settings)
            await stack.enter_async_context(writer.running(settings.last_flush_seconds))
            committer = await stack.enter_async_context(
                GroupCommit(
                    pooled, settings, outbox, on_commit=writer.committed, is_pooled=is_pooled
                )
            )
            supervisor = await stack.enter_async_context(
                Supervisor(
                    {
                        "the committer": committer,
                        "the lake writer": writer,
                        "the outbox watch": outbox,
                        "the rejection log": rejected,
                        "the reading of API keys": keys,
                        "reading ahead": cache_warmer,
                        "alerts": alerting,
                        "the cells": cells,
                        "reports": deliveries,
                    },
                    on_end,
                )
            )
            app.state.services = Services(
                dsn=dsn,
                settings=settings,
                energy=energy,
                lake=lake,
                group_commit=committer,
                lake_writer=writer,
                pool=pool,
                replica_pool=replica_pool,
                monitor_pool=monitor_pool,
                bodies=bodies,
                outbox=outbox,
                rejections=rejected,
                keys=keys,
                new_devices=new_devices,
                alerts=alerting,
                performance=performance,
                live_states=live_states,
                tables=TableReader(lake),
                tariffs=tariffs,
                supervisor=supervisor,
            )
            # What was made until here lives as long as the process: no collection has to look.
            gc.collect()
            gc.freeze()
            log.info("collector started", lake=lake.uri)
            yield
        log.info("collector stopped")

    app = FastAPIOffline(
        redoc_url=None,
        redirect_slashes=False,
        title="Wattlake",
        summary="Heartbeats of meters and vehicles in; live state, energy and efficiency out.",
        version="1",
        lifespan=lifespan,
    )
    _add_routes(app)
    # The committer has a connection of its own: it tells a busy pool from one without a server, but
    # not from one without a replica.
    add_problem_handlers(
        app,
        settings.retry_after_seconds,
        lambda: (
            replica_pool is pool and cast("Services", app.state.services).group_commit.is_connected
        ),
    )
    _describe_errors(app)
    return _served(app, settings, bodies, keys)


def _add_routes(app: FastAPI) -> None:
    for router in (
        live.router,
        live_fleet.router,
        dashboard.router,
        performance.router,
        curve.router,
        overview.router,
        losses.router,
        efficiency.router,
        sessions.router,
        maintenance.router,
        links.router,
        devices.router,
        depots.router,
        alert_streams.router,
        alert_silences.router,
        alert_dead_letters.router,
        alerts.router,
        report_subscriptions.router,
        reports.router,
        rejections.router,
        status.router,
    ):
        app.include_router(
            router,
            dependencies=[Depends(reject_unknown_parameters)],
            responses=problem_responses(422),
        )
    for lenient in (health.router, page.router):
        app.include_router(lenient)


def _served(
    app: FastAPI, settings: CollectorSettings, bodies: RequestBodies, keys: ApiKeyCache
) -> ASGIApp:
    """Stand around FastAPI: as its own middleware, every heartbeat would pay for its layers."""
    # What screens ask for all the time is too small to be packed.
    reads: ASGIApp = FastReadPath(GzipMiddleware(app), app)
    if settings.home_url:
        reads = CellReads(reads, settings.home_url)
    calls = IngestEndpoints(reads, app, settings, bodies)
    served = RequestMetricsMiddleware(ApiKeyMiddleware(HeadOptionsMiddleware(calls), keys))
    return CorsMiddleware(served, settings.cors_origins) if settings.cors_origins else served


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
            describe_ingest(schema)
            describe_keys(schema)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way
