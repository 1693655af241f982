"""Health: liveness, readiness and metrics."""

import asyncio
from typing import Final

import psycopg
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from psycopg.rows import DictRow
from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ingestion_api.database.pool import missing_migrations
from ingestion_api.observability.freshness import Figures, freshness_warning
from ingestion_api.observability.metrics import (
    FIGURES_END,
    HOURS_WARNING,
    OLDEST_WAITING_HOUR,
    OUTBOX_AGE,
    OUTBOX_AGE_WARNING,
    OUTBOX_LIMIT_BYTES,
    OUTBOX_LIMIT_ROWS,
    QUEUE_LIMIT_ROWS,
    REGISTRY,
)
from ingestion_api.outbox.backlog import Cell
from ingestion_api.rest.models import Answer
from ingestion_api.rest.problems import Problem, problem_responses
from ingestion_api.services import ServicesDep
from warehouse_sql.named_queries import query

_TIMEOUT_SECONDS: Final = 3  # a database that hangs is one that does not answer

router = APIRouter(tags=["health"])


class Alive(Answer):
    """The process answers and can commit."""

    status: str


class Readiness(Answer):
    """Readiness to take heartbeats, and the backlog between them and the lake."""

    ready: bool
    reasons: list[str] = Field(description="why it is not ready")
    warnings: list[str] = Field(description="what needs a look while heartbeats are still taken")
    outbox_rows: int | None = Field(description="acknowledged heartbeats outside the lake")
    outbox_bytes: int | None = Field(description="what they take in Postgres")
    outbox_age_seconds: float | None = Field(description="age of the oldest of them")
    figures: Figures | None = Field(
        description="how far the computed figures go; null before the database was asked"
    )
    lake_writer: bool = Field(description="whether this collector writes the lake")


@router.get(
    "/healthz",
    response_model=Alive,
    responses={
        503: {"model": Alive, "description": "a part has ended, and this process is about to"}
    },
    name="Liveness",
)
async def liveness(services: ServicesDep) -> Response:
    """503 only where a restart is the cure."""
    alive = services.supervisor.failed_part is None
    return JSONResponse({"status": "ok" if alive else "restart me"}, 200 if alive else 503)


@router.get(
    "/readyz",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "heartbeats can't be taken"}},
    name="Readiness",
)
async def readiness(services: ServicesDep) -> Response:
    """503 while heartbeats can't be taken. A lake that is away is a warning: they still can."""
    reasons, warnings = [], []
    longest = services.settings.lake_lag_warning_seconds
    backlog = services.outbox.backlog
    age = backlog.age_seconds(services.now()) if backlog else None
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS), services.monitor_pool.connection() as conn:
            applied = await (await conn.execute(query("applied_migrations"))).fetchall()
            if missing := missing_migrations([row["name"] for row in applied]):
                reasons.append(f"migration {missing[0]} is missing; run: wattlake migrate")
            early = None if services.settings.home_url else await _early_hours(conn)
            if early:
                warnings.append(early)
            if age is not None and age > longest:
                warnings.append("heartbeats wait long for the lake; see the log of the lake writer")
                held = await (await conn.execute(query("oldest_writing_transaction"))).fetchone()
                if held is not None and held["seconds"] > longest:
                    warnings.append(
                        f"a transaction of {held['name']} (process {held['pid']} of the database) "
                        f"is open for {held['seconds']:.0f} seconds; no flush goes beyond it"
                    )
    except (psycopg.Error, TimeoutError):
        reasons.append("the database does not answer")
    if not services.group_commit.is_connected:
        reasons.append("the committer has no database connection; it keeps trying")
    if (part := services.supervisor.failed_part) is not None:
        reasons.append(f"{part} ended by a fault, so this process ends, to be started again")
    if services.outbox.unseen_seconds:
        warnings.append(
            f"the outbox was last looked at {services.outbox.unseen_seconds:.0f} seconds ago, for "
            "counting takes too long: its size and the end of the figures are of then"
        )
    if services.outbox.is_full:
        reasons.append("the outbox is full; it takes again once the lake is back")
    if services.group_commit.is_crowded:
        warnings.append("nearly as many heartbeats wait for their commit as may; see QUEUE_ROWS")
    if services.lake_writer.state.error:
        refusal = services.lake_writer.state.refusal
        why = f": {refusal}" if refusal else "; see the log"
        warnings.append(f"the last flush to the lake failed{why}")
    warnings += [_lost(cell) for cell in services.outbox.cells if not cell.is_seen]
    figures = services.figures(services.now())
    if figures is not None:
        late = freshness_warning(
            figures, services.now(), services.settings.hours_lag_warning_seconds
        )
        warnings += [late] if late else []
    answer = Readiness(
        ready=not reasons,
        reasons=reasons,
        warnings=warnings,
        outbox_rows=backlog.rows if backlog else None,
        outbox_bytes=backlog.bytes if backlog else None,
        outbox_age_seconds=age,
        figures=figures,
        lake_writer=services.lake_writer.state.is_writer,
    )
    return JSONResponse(answer.model_dump(mode="json", by_alias=True), 503 if reasons else 200)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **problem_responses(404),
    },
    name="Metrics",
)
def metrics(
    services: ServicesDep, request: Request
) -> Response:  # in a thread of its own: writing it takes milliseconds
    """Everything counted by this process, in the text format of Prometheus."""
    settings, backlog = services.settings, services.outbox.backlog
    if settings.own_port and request.scope["server"][1] != settings.own_port:
        # Whoever answered would be another one each time, and no counter would go on.
        raise Problem(
            404,
            f"several collectors share this port, and each has metrics of its own: ask each at its "
            f"OWN_PORT, {settings.own_port} of the one that answers now",
        )
    QUEUE_LIMIT_ROWS.set(settings.queue_rows)
    OUTBOX_LIMIT_ROWS.set(settings.outbox_rows)
    OUTBOX_LIMIT_BYTES.set(settings.outbox_bytes)
    OUTBOX_AGE_WARNING.set(settings.lake_lag_warning_seconds)
    HOURS_WARNING.set(settings.hours_lag_warning_seconds)
    if (figures := services.outbox.figures) is not None:
        FIGURES_END.set(figures.end_at.timestamp() if figures.end_at else 0)
        OLDEST_WAITING_HOUR.set(figures.waiting_seconds(services.now()))
    if backlog is not None:  # it ages while the database is away and nobody can look
        OUTBOX_AGE.set(backlog.age_seconds(services.now()))
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


def _lost(cell: Cell) -> str:
    seen = f"{cell.seen_at:%Y-%m-%d %H:%M:%S} UTC" if cell.seen_at else "never"
    return (
        f"nothing is heard of the cell {cell.name}, and its devices are shown as they were (last "
        f"seen: {seen}); see CELL_DATABASE_URLS"
    )


async def _early_hours(conn: psycopg.AsyncConnection[DictRow]) -> str | None:
    """Return the advice on hours that are never computed; None where there is none."""
    found = await (await conn.execute(query("hours_never_computed"))).fetchone()
    if found is None or not found["hours"]:
        return None
    warning = f"{found['hours']} hours before {found['begin']:%Y-%m-%d} are not computed"
    if found["advised"]:
        warning += f": set PARTITIONS_START to {found['advised']:%Y-%m-%d} and restart Dagster"
    if found["too_early"]:
        warning += (
            f"; {found['too_early']} of them, from {found['first']:%Y-%m-%d} on, are of more than "
            "the 100,000 hours ago that Dagster advises, as a clock tells that was wrong"
        )
    return warning
