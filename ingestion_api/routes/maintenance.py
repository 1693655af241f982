"""Maintenance: whom to visit, the condition of one device, and what people decide."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Final, Literal

import polars as pl
from fastapi import APIRouter, Depends, Path, Query, Request
from psycopg.rows import DictRow
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic_core import to_json
from starlette.responses import Response

from ingestion_api.analytics.lake_access import in_lake_thread, reading_the_lake
from ingestion_api.heartbeats.contract import ID_PATTERN
from ingestion_api.rest.cursors import read_cursor, write_cursor
from ingestion_api.rest.json_body import describe_record, read_record
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
from ingestion_api.routes.alerts import caller_of
from ingestion_api.routes.device_filter import DeviceFilterDep
from ingestion_api.routes.efficiency import Cursor
from ingestion_api.routes.live import Kind, unknown_device
from ingestion_api.services import Services, ServicesDep
from lake import DAY
from lake.schema import (
    DEVICE_ANOMALY,
    EFFICIENCY_TREND,
    MAINTENANCE_VISIT,
    TableSpec,
    text_column,
)
from warehouse_sql.named_queries import query

State = Literal["waiting", "open", "closed"]
Fault = Literal[
    "slow_drift",
    "sudden_drop",
    "always_low",
    "stuck_register",
    "slipping_register",
    "wrong_scale",
    "clock_error",
    "missing_phase",
    "swapped_link",
]
_KindOf = Annotated[Kind, Path(description="meter or vehicle", examples=["meter"])]
_Id = Annotated[
    str,
    Path(alias="id", pattern=ID_PATTERN, description="id of the device", examples=["METER001"]),
]
_COLUMNS: Final = (
    *MAINTENANCE_VISIT.columns,
    text_column("depot", "id of the depot where it belongs", nullable=True),
    text_column("group", "its group", nullable=True),
)
_TYPES: Final = {
    **pl.DataFrame(MAINTENANCE_VISIT.schema.empty_table()).schema,
    "depot": pl.String(),
    "group": pl.String(),
}
_POSITION: Final = TypeAdapter(tuple[float | None, float, Kind, str])
_KNOWN: Final = {
    "date": {
        "type": ["string", "null"],
        "format": "date",
        "description": "newest UTC day whose condition is known; null: none yet",
    },
    "computedAt": {
        "type": ["string", "null"],
        "format": "date-time",
        "description": "when its computation began",
    },
    "sessions": {
        "type": "integer",
        "description": "charging sessions of the year before its end that it rests on",
    },
    "firstSessionAt": {
        "type": ["string", "null"],
        "format": "date-time",
        "description": "begin of the first of them",
    },
}
_VISIT: Final = row_schema(_COLUMNS)
_TOTALS: Final = {
    "type": "array",
    "description": "all rows of the answer's pages together, by kind of device and currency",
    "items": {
        "type": "object",
        "properties": {
            "deviceKind": {"type": "string", "enum": ["meter", "vehicle"]},
            "currency": {"type": ["string", "null"], "description": "null: no price is known"},
            "visits": {"type": "integer", "description": "rows"},
            **{
                f"{what}KwhAYear": {"type": "number", "description": "kWh"}
                for what in ("atStake", "mendingSaves")
            },
            **{
                f"{what}AYear": {"type": ["number", "null"], "description": "in the currency"}
                for what in ("atStake", "mendingSaves")
            },
        },
    },
}
_PAGE: Final = {
    "type": "object",
    "properties": {
        **_KNOWN,
        "totals": _TOTALS,
        "rows": {"type": "array", "items": _VISIT},
        "nextCursor": {
            "type": ["string", "null"],
            "description": "`cursor` of the next page; null at the end",
        },
    },
    "required": [*_KNOWN, "totals", "rows", "nextCursor"],
}


def _or_null(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}], "description": description}


_CONDITION: Final = {
    "type": "object",
    "properties": {
        **_KNOWN,
        "visit": _or_null(_VISIT, "its row in the list; null: there is none"),
        "anomaly": _or_null(
            row_schema(DEVICE_ANOMALY.columns), "what is wrong by that day; null: nothing"
        ),
        "trend": _or_null(
            row_schema(EFFICIENCY_TREND.columns),
            "its trend by that day; null: less than eight weeks with sessions, or what measures "
            "them is at fault",
        ),
    },
    "required": [*_KNOWN, "visit", "anomaly", "trend"],
}

router = APIRouter(prefix="/v1/maintenance", tags=["maintenance"])


class Closing(BaseModel):
    """Why a visit is closed."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    reason: str = Field(min_length=1, max_length=500, description="what was found or done")


@router.get(
    "",
    response_class=Response,
    responses={
        200: page_of_table("a page of the list, the most at stake first", _PAGE),
        **problem_responses(406, 410, 422, 503),
    },
    name="Whom to visit",
)
async def list_visits(
    request: Request,
    services: ServicesDep,
    where: DeviceFilterDep,
    state: Annotated[
        list[State] | None,
        Query(description="rows of this state, left out only open ones; repeat it for several"),
    ] = None,
    kind: Annotated[
        list[Fault] | None, Query(description="only of this kind; repeat it for several")
    ] = None,
    device_kind: Annotated[
        Kind | None, Query(alias="deviceKind", description="only meters, or only vehicles")
    ] = None,
    device_id: Annotated[
        str | None, Query(alias="deviceId", pattern=ID_PATTERN, description="only this device")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="most rows in the answer")] = 100,
    cursor: Cursor = None,
) -> Response:
    """Chargers and vehicles to visit, the most money at stake in a year first.

    As they stand at the end of the newest day that was computed, and with what people have closed
    since. As JSON, CSV or an Arrow stream, by `Accept`; the header `Link` names the next page. The
    list of each day is in `/v1/analytics/tables/maintenance_visit`.
    """
    media_type, now = negotiate_format(request), services.now()
    filters = {
        "states": sorted(set(state)) if state else ["open"],
        "kinds": sorted(set(kind)) if kind else None,
        "device_kind": device_kind,
        "device_id": device_id,
        **where.parameters,
    }
    question = ["maintenance", *filters.values()]
    position: dict[str, object] = dict.fromkeys(_AFTER)
    if cursor is not None:
        after = read_cursor(cursor, question, _POSITION, now)
        position = dict(zip(_AFTER, after, strict=True))
    async with services.pool.connection() as conn:
        known = await (await conn.execute(query("newest_condition_day"))).fetchone()
        # Planned for the filters that are given.
        asked = {**filters, **position, "limit": limit + 1}
        found = await conn.execute(query("list_maintenance"), asked, prepare=False)
        rows = await found.fetchall()
        added = await conn.execute(query("maintenance_totals"), filters, prepare=False)
        totals = await added.fetchall()
    following, headers = None, {}
    if len(rows) > limit:
        rows = rows[:limit]
        following = write_cursor(question, [rows[-1][name] for name in _ORDER], now)
        url = request.url.include_query_params(cursor=following)
        headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
    table = _table(rows)
    if media_type != JSON:
        content = render_table(table, _COLUMNS, media_type)
        return Response(content, headers=headers, media_type=media_type)
    answer = {
        **_known(known),
        "totals": camel_case_rows(pl.DataFrame(totals, infer_schema_length=None)),
        "rows": camel_case_rows(table),
        "nextCursor": following,
    }
    return Response(to_json(answer), headers=headers, media_type=JSON)


@router.post(
    "/{kind}/{id:path}/close",
    response_class=Response,
    responses={
        200: {"description": "the row, closed", "content": {JSON: {"schema": _VISIT}}},
        **problem_responses(400, 404, 408, 409, 413, 415, 422, 503),
    },
    openapi_extra=describe_record(Closing, {"reason": "contactor replaced"}),
    name="Close a visit",
)
async def close_visit(
    kind: _KindOf,
    device: _Id,
    request: Request,
    services: ServicesDep,
) -> Response:
    """Say that a device was visited, or need not be. The name of the API key is kept.

    It stays closed for 90 days, unless it is half as large again by then.
    """
    reason = (await read_record(request, services.bodies, Closing)).reason
    return await _decide(services, kind, device, request, reason, closes=True)


@router.post(
    "/{kind}/{id:path}/reopen",
    response_class=Response,
    responses={
        200: {"description": "the row", "content": {JSON: {"schema": _VISIT}}},
        **problem_responses(404, 409, 422, 503),
    },
    name="Take a closing back",
)
async def reopen_visit(
    kind: _KindOf,
    device: _Id,
    request: Request,
    services: ServicesDep,
) -> Response:
    """Open what a person has closed, as if nobody had."""
    return await _decide(services, kind, device, request, "opened again", closes=False)


# Behind the calls whose paths begin like its own: an id may have slashes.
@router.get(
    "/{kind}/{id:path}",
    response_class=Response,
    responses={
        200: {"description": "its condition", "content": {JSON: {"schema": _CONDITION}}},
        **problem_responses(404, 406, 422, 503),
    },
    dependencies=[Depends(require_json)],
    name="The condition of a device",
)
async def read_condition(kind: _KindOf, device: _Id, services: ServicesDep) -> Response:
    """The trend of a charger or a vehicle, what is wrong with it, and its visit."""
    asked = {"device_kind": kind, "device_id": device}
    async with services.pool.connection() as conn:
        known = await (await conn.execute(query("newest_condition_day"))).fetchone()
        visits = await (await conn.execute(query("one_maintenance"), asked)).fetchall()
    of_day: list[dict[str, Any] | None] = [None, None]
    if known is not None:
        of_day = await in_lake_thread(_rows_of_day, services, kind, device, known["day"])
    anomaly, trend = of_day
    visit = camel_case_rows(_table(visits))[0] if visits else None
    is_told = visit is not None or anomaly is not None or trend is not None
    if not is_told and await services.live_states.get(kind, device) is None:
        raise unknown_device(kind, device)
    answer = {**_known(known), "visit": visit, "anomaly": anomaly, "trend": trend}
    return Response(to_json(answer), media_type=JSON)


_ORDER: Final = ("at_stake_a_year", "at_stake_kwh_a_year", "device_kind", "device_id")
_AFTER: Final = ("after_money", "after_energy", "after_kind", "after_id")


async def _decide(
    services: Services, kind: Kind, device: str, request: Request, reason: str, *, closes: bool
) -> Response:
    of_device = {"device_kind": kind, "device_id": device}
    decision = {"by": caller_of(request).name, "closes": closes, "reason": reason}
    async with services.pool.connection() as conn:
        done = await (
            await conn.execute(query("decide_maintenance"), {**of_device, **decision})
        ).fetchone()
        rows = await (await conn.execute(query("one_maintenance"), of_device)).fetchall()
    if not rows:
        raise Problem(
            404, f"{kind} {device} is not in the list; GET /v1/maintenance lists whom to visit"
        )
    if done is None:
        state, by = rows[0]["state"], rows[0]["closed_by"]
        what = "open" if closes else "closed by a person"
        how = f"{state} by itself" if state == "closed" and by is None else state
        raise Problem(409, f"the visit of {kind} {device} is not {what}: it is {how}")
    return Response(to_json(camel_case_rows(_table(rows))[0]), media_type=JSON)


@reading_the_lake()
def _rows_of_day(
    services: Services, kind: Kind, device: str, day: date
) -> list[dict[str, Any] | None]:
    """The anomaly and the trend of a device on a day."""
    start = datetime.combine(day, time(), UTC)

    def of_device(spec: TableSpec) -> dict[str, Any] | None:
        rows = services.tables.newest_version(spec).scan(start, start + DAY)
        is_it = (pl.col("device_kind") == kind) & (pl.col("device_id") == device)
        return next(iter(camel_case_rows(rows.filter(is_it).collect())), None)

    return [of_device(DEVICE_ANOMALY), of_device(EFFICIENCY_TREND)]


def _table(rows: Sequence[DictRow]) -> pl.DataFrame:
    names = [column.name for column in _COLUMNS]
    schema = {name: _TYPES[name] for name in names}
    return pl.DataFrame([[row[name] for name in names] for row in rows], schema, orient="row")


def _known(row: DictRow | None) -> dict[str, Any]:
    """What the newest list rests on."""
    if row is None:
        return {"date": None, "computedAt": None, "sessions": 0, "firstSessionAt": None}
    return {
        "date": row["day"],
        "computedAt": row["computed_at"],
        "sessions": row["sessions"],
        "firstSessionAt": row["first_session_at"],
    }
