"""Alerts: list, read, acknowledge, silence."""

from typing import Annotated, Any, Final

import psycopg
from fastapi import APIRouter, Depends, Path, Query, Request
from psycopg.rows import DictRow
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from ingestion_api.alerts.models import Alert, AlertEvent, State, add_events, read_alert
from ingestion_api.alerts.rules import DeviceKind, RuleFile, Severity
from ingestion_api.auth.api_keys import Caller
from ingestion_api.heartbeats.contract import ID_PATTERN
from ingestion_api.rest.cursors import read_cursor, write_cursor
from ingestion_api.rest.json_body import describe_record, read_record
from ingestion_api.rest.models import Answer
from ingestion_api.rest.parameters import Moment
from ingestion_api.rest.problems import Problem, problem_responses
from ingestion_api.rest.table_formats import require_json
from ingestion_api.rest.validation_messages import RULE_NAME
from ingestion_api.routes.device_filter import DeviceFilterDep
from ingestion_api.services import ServicesDep
from warehouse_sql.named_queries import query

router = APIRouter(prefix="/v1/alerts", tags=["alerts"])

_POSITION: Final = TypeAdapter(tuple[Annotated[int, Field(ge=1, le=2**63 - 1)]])

AlertId = Annotated[
    int,
    Path(alias="id", ge=1, le=2**63 - 1, description="id of the alert", examples=[1]),
]


class Alerts(Answer):
    """A page of alerts, newest first."""

    alerts: list[Alert]
    next_cursor: str | None = Field(description="`cursor` of the next page; null at the end")


class AlertHistory(Alert):
    """An alert with what happened to it."""

    history: list[AlertEvent] = Field(description="oldest first, the newest 1,000")


class Until(BaseModel):
    """The end of a silence."""

    model_config = ConfigDict(extra="forbid")

    until: Moment = Field(description="until then no webhook is told; ISO 8601 with a zone")


@router.get(
    "",
    responses=problem_responses(406, 410, 422, 503),
    dependencies=[Depends(require_json)],
    name="Alerts there are and were",
)
async def list_alerts(
    services: ServicesDep,
    where: DeviceFilterDep,
    state: Annotated[State | None, Query(description="only open ones, or only resolved")] = None,
    severity: Annotated[
        list[Severity] | None, Query(description="only these; repeat it for several")
    ] = None,
    rule: Annotated[
        list[Annotated[str, Field(pattern=RULE_NAME)]] | None,
        Query(max_length=100, description="only of this rule; repeat it for several"),
    ] = None,
    device_kind: Annotated[
        DeviceKind | None, Query(alias="deviceKind", description="only of meters, or of vehicles")
    ] = None,
    device_id: Annotated[
        str | None, Query(alias="deviceId", pattern=ID_PATTERN, description="only of this device")
    ] = None,
    acknowledged: Annotated[bool | None, Query(description="only these, or only others")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="alerts on a page")] = 100,
    cursor: Annotated[str | None, Query(description="nextCursor of the page before")] = None,
) -> Alerts:
    """Alerts, newest first, page by page."""
    filters = {
        "state": state,
        "severities": sorted(set(severity)) if severity else None,
        "rules": sorted(set(rule)) if rule else None,
        "device_kind": device_kind,
        "device_id": device_id,
        "acknowledged": acknowledged,
        **where.parameters,
    }
    now, question = services.now(), ["alerts", *filters.values()]
    before = 2**63 - 1 if cursor is None else read_cursor(cursor, question, _POSITION, now)[0]
    parameters = filters | {"before": before, "limit": limit + 1}
    async with services.pool.connection() as conn:
        # Planned for the filters that are given.
        rows = await (
            await conn.execute(query("list_alerts"), parameters, prepare=False)
        ).fetchall()
    page = [Alert(**row) for row in rows[:limit]]
    following = write_cursor(question, [page[-1].id], now) if len(rows) > limit else None
    return Alerts(alerts=page, next_cursor=following)


@router.get("/rules", responses=problem_responses(503), name="The alert rules of this collector")
async def list_rules(services: ServicesDep) -> dict[str, Any]:
    """The rules of ALERT_RULES_FILE, or those that are shipped. Durations are ISO 8601."""
    return services.alerts.rules.model_dump(mode="json", by_alias=True)


@router.get(
    "/rules/schema", responses=problem_responses(503), name="JSON schema of a file of rules"
)
async def rule_schema() -> dict[str, Any]:
    """For editors of ALERT_RULES_FILE."""
    return RuleFile.model_json_schema(by_alias=True)


@router.get("/{id}", responses=problem_responses(404, 422, 503), name="An alert with its history")
async def one_alert(number: AlertId, services: ServicesDep) -> AlertHistory:
    """An alert and its events."""
    async with services.pool.connection() as conn:
        alert = await read_alert(conn, number)
        found = await conn.execute(query("newest_events_of_alert"), {"id": number})
        events = [AlertEvent(**row) for row in await found.fetchall()]
    return AlertHistory(**alert.model_dump(), history=events[::-1])


@router.post(
    "/{id}/acknowledge", responses=problem_responses(404, 422, 503), name="Acknowledge an alert"
)
async def acknowledge(number: AlertId, request: Request, services: ServicesDep) -> Alert:
    """Say that somebody cares. The first one stays; a repeat changes nothing."""
    by = caller_of(request).name
    async with services.pool.connection() as conn, conn.transaction():
        await _change(conn, "acknowledge_alert", "acknowledged", {"id": number, "by": by}, by)
        return await read_alert(conn, number)


@router.post(
    "/{id}/silence",
    responses=problem_responses(400, 404, 408, 409, 413, 415, 422, 503),
    openapi_extra=describe_record(Until, {"until": "2030-01-01T00:00:00Z"}),
    name="Silence an alert",
)
async def silence(number: AlertId, request: Request, services: ServicesDep) -> Alert:
    """Tell no webhook of this alert until a time. It is listed and streamed as before."""
    until = (await read_record(request, services.bodies, Until)).until
    if until <= services.now():
        raise Problem(422, "until: must lie in the future; unsilence ends a silence")
    values = {"id": number, "until": until}
    async with services.pool.connection() as conn, conn.transaction():
        alert = await read_alert(conn, number)
        if alert.state != "open":
            raise Problem(409, f"alert {number} is resolved; there is nothing to silence")
        await _change(conn, "silence_alert", "silenced", values, caller_of(request).name)
        return await read_alert(conn, number)


@router.post("/{id}/unsilence", responses=problem_responses(404, 422, 503), name="End a silence")
async def unsilence(number: AlertId, request: Request, services: ServicesDep) -> Alert:
    """Tell webhooks of it again. A repeat changes nothing."""
    async with services.pool.connection() as conn, conn.transaction():
        values = {"id": number}
        await _change(conn, "unsilence_alert", "unsilenced", values, caller_of(request).name)
        return await read_alert(conn, number)


def caller_of(request: Request) -> Caller:
    """Return the caller of a request."""
    caller = request.scope["caller"]
    assert isinstance(caller, Caller)
    return caller


async def _change(
    conn: psycopg.AsyncConnection[DictRow],
    name: str,
    event: str,
    values: dict[str, Any],
    by: str,
) -> None:
    rows = await (await conn.execute(query(name), values)).fetchall()
    await add_events(conn, [row["id"] for row in rows], event, by)
