"""Charging sessions: lists of them, and one with where to look further."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode
from uuid import UUID

import polars as pl
from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import Field, TypeAdapter
from pydantic_core import to_json
from starlette.responses import Response

from ingestion_api.rest.cursors import read_cursor, write_cursor
from ingestion_api.rest.parameters import (
    BadWindow,
    End,
    Moment,
    OptionalMeterId,
    OptionalVehicleId,
    Period,
    Start,
    window,
)
from ingestion_api.rest.problems import Problem, problem_responses
from ingestion_api.rest.table_formats import (
    JSON,
    camel_case_rows,
    negotiate_format,
    page_of_table,
    render_table,
    require_json,
    row_schema,
)
from ingestion_api.routes.efficiency import Cursor, OfStatus
from ingestion_api.services import ServicesDep
from lake import HOUR, hour_of
from lake.energy import REASONS
from lake.schema import CHARGING_SESSION
from lake.sessions import LONGEST_SESSION
from warehouse_sql.named_queries import query

_COLUMNS: Final = CHARGING_SESSION.columns
_TYPES: Final = pl.DataFrame(CHARGING_SESSION.schema.empty_table()).schema
_POSITION: Final = TypeAdapter(tuple[Moment, Moment, Moment, Annotated[str, Field(max_length=64)]])
_PAGE: Final = {
    "type": "object",
    "properties": {
        "period": Period.model_json_schema(),
        "computedUntil": {
            "type": ["string", "null"],
            "format": "date-time",
            "description": "end of the newest computed hour; null: none yet. What has begun since "
            "is in the list once its hour is over and computed",
        },
        "rows": {"type": "array", "items": row_schema(_COLUMNS)},
        "nextCursor": {
            "type": ["string", "null"],
            "description": "`cursor` of the next page; null at the end",
        },
    },
    "required": ["period", "computedUntil", "rows", "nextCursor"],
}
_ONE: Final = row_schema(_COLUMNS)
_LINKS: Final = ("curve", "performance", "hours", "stretches")
_SESSION: Final = {
    "type": "object",
    "properties": {
        **_ONE["properties"],
        "reasonText": {"type": "string", "description": "the reason as a sentence"},
        "links": {
            "type": "object",
            "description": "calls about the time of the session, whole hours of it for tables",
            "properties": {name: {"type": "string"} for name in _LINKS},
            "required": list(_LINKS),
        },
    },
    "required": [*_ONE["required"], "reasonText", "links"],
}

router = APIRouter(prefix="/v1/sessions", tags=["charging sessions"])


@router.get(
    "",
    response_class=Response,
    responses={
        200: page_of_table("a page of sessions, newest first", _PAGE),
        **problem_responses(406, 410, 422, 503),
    },
    name="Charging sessions",
)
async def list_sessions(
    request: Request,
    services: ServicesDep,
    start: Start = None,
    end: End = None,
    vehicle_id: OptionalVehicleId = None,
    meter_id: OptionalMeterId = None,
    status: OfStatus = None,
    ongoing: Annotated[
        bool | None,
        Query(description="true: only those that go on; false: only those that have ended"),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="most sessions in the answer")] = 100,
    cursor: Cursor = None,
) -> Response:
    """Sessions that have a part in the window, by default in the last 24 hours, newest first.

    As JSON, CSV or an Arrow stream, by `Accept`; the header `Link` names the next page. They are
    those of the last `MART_RETENTION_DAYS`, until `computedUntil`: of a vehicle that has been
    charging for an hour what is computed of it, with `ends` null. The lake has older ones:
    `/v1/analytics/tables/charging_session`.
    """
    kind, now = negotiate_format(request), services.now()
    statuses = sorted(set(status)) if status else None
    question = ["sessions", start, end, vehicle_id, meter_id, statuses, ongoing]
    after_begin, after_id = None, None
    if cursor is not None:
        start, end, after_begin, after_id = read_cursor(cursor, question, _POSITION, now)
    try:
        period = window(start, end, now, services.settings.longest_window_days)
    except BadWindow as error:
        raise Problem(422, str(error)) from None
    asked = {
        "start": period.start,
        "end": period.end,
        "since": period.start - LONGEST_SESSION,
        "vehicle_id": vehicle_id,
        "meter_id": meter_id,
        "statuses": statuses,
        "ongoing": ongoing,
        "after_begin": after_begin,
        "after_id": after_id,
        "limit": limit + 1,
    }
    async with services.replica_pool.connection() as conn:
        # Planned for the filters that are given.
        found = await conn.execute(query("list_sessions"), asked, prepare=False)
        rows = await found.fetchall()
        newest = await (await conn.execute(query("newest_published_hour"), {"now": now})).fetchone()
    following = None
    if len(rows) > limit:
        rows = rows[:limit]
        position = [period.start, period.end, rows[-1]["begins"], rows[-1]["session_id"]]
        following = write_cursor(question, position, now)
    headers = {}
    if following is not None:
        url = request.url.include_query_params(cursor=following)
        headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
    table = _table(rows)
    if kind != JSON:
        return Response(render_table(table, _COLUMNS, kind), headers=headers, media_type=kind)
    answer = {
        "period": period,
        "computedUntil": newest["hour"] + HOUR if newest and newest["hour"] else None,
        "rows": camel_case_rows(table),
        "nextCursor": following,
    }
    return Response(to_json(answer), headers=headers, media_type=kind)


@router.get(
    "/{session_id}",
    response_class=Response,
    responses={
        200: {"description": "the session", "content": {JSON: {"schema": _SESSION}}},
        **problem_responses(404, 406, 422, 503),
    },
    dependencies=[Depends(require_json)],
    name="A charging session",
)
async def read_session(
    session_id: Annotated[
        UUID,
        Path(
            description="id of a session, also of one that was superseded",
            examples=["7d444840-9dc0-51d1-b245-5ffdce74fad2"],
        ),
    ],
    services: ServicesDep,
) -> Response:
    """One session, and the calls that tell more about its time.

    An id that was superseded, because its session turned out to be a part of another one, is
    answered with that: look at `sessionId`.
    """
    async with services.replica_pool.connection() as conn:
        found = await conn.execute(query("session_of_id"), {"session_id": str(session_id)})
        rows = await found.fetchall()
    if not rows:
        raise Problem(
            404,
            f"there is no session {session_id} in the last MART_RETENTION_DAYS; GET /v1/sessions "
            "lists those of a vehicle or a meter, GET /v1/analytics/tables/charging_session older "
            "ones. Late heartbeats or another link may have shown that it was none",
        )
    (session,) = camel_case_rows(_table(rows))
    answer = {
        **session,
        "reasonText": REASONS[session["reason"]],
        "links": _links(session),
    }
    return Response(to_json(answer), media_type=JSON)


def _table(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """The rows with the columns and types of the lake's table."""
    names = CHARGING_SESSION.names
    return pl.DataFrame(
        [[row[name] for name in names] for row in rows],
        schema={name: _TYPES[name] for name in names},
        orient="row",
    )


def _links(session: Mapping[str, Any]) -> dict[str, str]:
    """Calls about the time of a session."""
    begins, until = session["begins"], session["lastEnergyAt"]
    vehicle = session["vehicleId"]
    exact = urlencode({"start": _text(begins), "end": _text(until)})
    hours = {"start": _text(hour_of(begins)), "end": _text(hour_of(until) + HOUR)}
    of_vehicle = urlencode({"vehicleId": vehicle, **hours})
    path = quote(vehicle, safe="")
    return {
        "curve": f"/v1/analytics/vehicle/{path}/curve?{exact}",
        "performance": f"/v1/analytics/performance/{path}?{exact}",
        "hours": f"/v1/analytics/efficiency/vehicles?{of_vehicle}",
        "stretches": f"/v1/analytics/tables/charging_stretch_hourly?{of_vehicle}",
    }


def _text(moment: Any) -> str:
    text: str = moment.isoformat().replace("+00:00", "Z")
    return text
