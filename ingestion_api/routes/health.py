"""Whether the collector lives, whether it can take heartbeats, and what it has counted."""

from datetime import datetime
from typing import Any

import psycopg
import psycopg_pool
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from psycopg.rows import DictRow
from pydantic import Field
from starlette.responses import JSONResponse, Response

from ingestion_api.database import missing_migrations
from ingestion_api.metrics import LAKE_ROWS, OUTBOX_AGE, OUTBOX_ROWS, REGISTRY
from ingestion_api.parameters import Answer, Shared
from ingestion_api.services import Services
from warehouse_sql.queries import query

router = APIRouter(tags=["health"])


class Alive(Answer):
    """The process answers and can commit."""

    status: str


class Readiness(Answer):
    """Whether heartbeats can be taken right now, and what lies between them and the lake."""

    ready: bool
    reasons: list[str] = Field(description="why it is not ready")
    warnings: list[str] = Field(description="what needs a look while heartbeats are still taken")
    outbox_rows: int | None = Field(description="acknowledged heartbeats outside the lake")
    outbox_age_seconds: float | None = Field(description="age of the oldest of them")
    lake_writer: bool = Field(description="whether this collector writes the lake")


@router.get("/healthz", responses={503: {"model": Alive}}, name="Liveness")
async def liveness(services: Shared) -> Response:
    """503 only where a restart is the cure."""
    alive = services.committer.is_alive and services.writer.is_alive
    return JSONResponse({"status": "ok" if alive else "restart me"}, 200 if alive else 503)


@router.get(
    "/readyz",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "heartbeats can't be taken"}},
    name="Readiness",
)
async def readiness(services: Shared) -> Response:
    """503 while heartbeats can't be taken. A lake that is away is a warning: they still can."""
    reasons, warnings = [], []
    backlog: dict[str, Any] | None = None
    try:
        async with services.pool.connection() as conn:
            applied = await (await conn.execute(query("applied_migrations"))).fetchall()
            if missing := missing_migrations([row["name"] for row in applied]):
                reasons.append(f"migration {missing[0]} is missing; run: wattlake migrate")
            backlog = await (await conn.execute(query("outbox_backlog"))).fetchone()
    except (psycopg.Error, psycopg_pool.PoolTimeout):
        reasons.append("the database does not answer")
    if not services.committer.is_connected:
        reasons.append("the committer has no database connection; it keeps trying")
    if not services.committer.is_alive or not services.writer.is_alive:
        reasons.append("a part has ended; restart the collector")
    age = _age_seconds(services, backlog)
    if age is not None and age > services.settings.lake_lag_warning_seconds:
        warnings.append("heartbeats wait long for the lake; see the log of the lake writer")
    if services.writer.state.error:
        warnings.append("the last flush to the lake failed; see the log")
    answer = Readiness(
        ready=not reasons,
        reasons=reasons,
        warnings=warnings,
        outbox_rows=backlog["meter_rows"] + backlog["vehicle_rows"] if backlog else None,
        outbox_age_seconds=age,
        lake_writer=services.writer.state.is_writer,
    )
    return JSONResponse(answer.model_dump(mode="json", by_alias=True), 503 if reasons else 200)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    name="Metrics",
)
async def metrics(services: Shared) -> Response:
    """Everything counted, in the text format of Prometheus."""
    try:
        async with services.pool.connection() as conn:
            backlog = await (await conn.execute(query("outbox_backlog"))).fetchone()
    except (psycopg.Error, psycopg_pool.PoolTimeout):
        pass  # wattlake_database_up tells; the last known backlog stands
    else:
        assert backlog is not None
        OUTBOX_ROWS.labels("meter").set(backlog["meter_rows"])
        OUTBOX_ROWS.labels("vehicle").set(backlog["vehicle_rows"])
        OUTBOX_AGE.set(_age_seconds(services, backlog) or 0)
    LAKE_ROWS.set(services.writer.state.rows_flushed)
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


def _age_seconds(services: Services, backlog: DictRow | None) -> float | None:
    if backlog is None or backlog["oldest"] is None:
        return None
    oldest: datetime = backlog["oldest"]
    return max(0.0, (services.now() - oldest).total_seconds())
