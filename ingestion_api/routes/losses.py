"""Losses between meters and batteries: by device, their cost, and the worth of a point."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import polars as pl
from fastapi import APIRouter, Query, Request
from pydantic.alias_generators import to_camel
from pydantic_core import to_json
from starlette.responses import Response

from ingestion_api.analytics.lake_access import in_lake_thread
from ingestion_api.analytics.losses import GROUPS, LOSS_COLUMNS, By, losses, worst
from ingestion_api.rest.etags import (
    NOT_MODIFIED,
    IfNoneMatch,
    etag_headers,
    etag_matches,
    fingerprint,
    not_modified,
)
from ingestion_api.rest.parameters import End, Period, Start
from ingestion_api.rest.problems import problem_responses
from ingestion_api.rest.table_formats import (
    JSON,
    camel_case_rows,
    negotiate_format,
    render_table,
    row_schema,
    table_content,
)
from ingestion_api.routes.table_pages import newest_tables, table_window
from ingestion_api.services import Services, ServicesDep
from lake import Column
from lake.schema import (
    CHARGER_EFFICIENCY_HOURLY,
    FLEET_EFFICIENCY_HOURLY,
    VEHICLE_EFFICIENCY_HOURLY,
)

_TABLES: Final = {
    "hour": FLEET_EFFICIENCY_HOURLY,
    "day": FLEET_EFFICIENCY_HOURLY,
    "vehicle": VEHICLE_EFFICIENCY_HOURLY,
    "charger": CHARGER_EFFICIENCY_HOURLY,
}
_KINDS: Final[dict[str, By]] = {"vehicles": "vehicle", "chargers": "charger"}
_CURRENCY: Final = {
    "type": ["string", "null"],
    "description": "ISO 4217; null: there is no TARIFF_FILE, and no cost",
}
_POINT: Final = {
    "type": ["object", "null"],
    "description": "what the fleet would save in a year with one percentage point more efficiency, "
    "if it goes on as in the window; null: nothing was rated",
    "properties": {
        "energyKwh": {"type": "number"},
        "cost": {"type": ["number", "null"], "description": "in the currency, to 2 decimals"},
    },
}

router = APIRouter(prefix="/v1/analytics", tags=["losses"])


def _responses(by: Sequence[By], members: Mapping[str, Any]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses`; rows may be of any of these groups."""
    rows = [row_schema([GROUPS[one], *LOSS_COLUMNS]) for one in by]
    properties = {
        "period": Period.model_json_schema(),
        "currency": _CURRENCY,
        **members,
        "rows": {"type": "array", "items": {"anyOf": rows}},
    }
    page = {"type": "object", "properties": properties, "required": list(properties)}
    return {
        200: {"description": "the rows", "content": table_content(page)},
        **NOT_MODIFIED,
        **problem_responses(406, 422, 503),
    }


@router.get(
    "/efficiency/worst",
    response_class=Response,
    responses=_responses(["vehicle", "charger"], {}),
    name="Vehicles or chargers of lowest efficiency",
)
async def lowest_efficiency(
    request: Request,
    services: ServicesDep,
    of: Annotated[
        Literal["vehicles", "chargers"], Query(description="vehicles or chargers")
    ] = "vehicles",
    count: Annotated[int, Query(ge=1, le=1000, description="so many")] = 20,
    start: Start = None,
    end: End = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The worst of the window, by default of the last 24 hours, with what their losses cost.

    By the ratio of the sums of all rated hours that begin in the window, the lowest first; of equal
    ones the one that lost more.
    """
    kind, by = negotiate_format(request), _KINDS[of]
    period = table_window(services, _TABLES[by], start, end)
    (table,) = await newest_tables(services, _TABLES[by])
    tag = _tag(services, kind, period, table.number, of, count)
    if etag_matches(tag, if_none_match):
        return not_modified(tag)
    device = GROUPS[by]
    rows = await in_lake_thread(worst, table, period, device.name, count, services.tariff)
    return await _answer(services, kind, tag, period, {}, rows, [device, *LOSS_COLUMNS])


@router.get(
    "/losses",
    response_class=Response,
    responses=_responses(
        list(GROUPS),
        {"total": row_schema(LOSS_COLUMNS), "onePercentagePointPerYear": _POINT},
    ),
    name="Losses and their cost",
)
async def fleet_losses(
    request: Request,
    services: ServicesDep,
    by: Annotated[By, Query(description="what a row is about; hours and days are UTC")] = "day",
    limit: Annotated[int, Query(ge=1, le=10_000, description="most rows in the answer")] = 1000,
    start: Start = None,
    end: End = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Energy in, energy lost and its cost, over the hours that begin in the window.

    By default the last 24 hours. Hours and days come in their order, vehicles and chargers by
    greater loss; `total` and `onePercentagePointPerYear` are of the whole fleet, whatever `by` and
    `limit` are. A cost is that of each hour by the price of its time.
    """
    kind = negotiate_format(request)
    period = table_window(services, FLEET_EFFICIENCY_HOURLY, start, end)
    fleet, grouped = await newest_tables(services, FLEET_EFFICIENCY_HOURLY, _TABLES[by])
    tag = _tag(services, kind, period, fleet.number, grouped.number, by, limit)
    if etag_matches(tag, if_none_match):
        return not_modified(tag)
    found = await in_lake_thread(losses, fleet, grouped, period, by, limit, services.tariff)
    point = found.point
    members = {
        "total": {to_camel(name): value for name, value in found.total.items()},
        "onePercentagePointPerYear": point
        and {
            "energyKwh": round(point.energy_kwh, 3),
            "cost": None if point.cost is None else float(round(point.cost, 2)),
        },
    }
    columns = [GROUPS[by], *LOSS_COLUMNS]
    return await _answer(services, kind, tag, period, members, found.rows, columns)


def _tag(services: Services, kind: str, period: Period, *parts: object) -> str:
    return fingerprint(kind, period, services.tariff, services.energy, *parts)


async def _answer(
    services: Services,
    kind: str,
    tag: str,
    period: Period,
    members: Mapping[str, Any],
    rows: pl.DataFrame,
    columns: Sequence[Column],
) -> Response:
    tariff = services.tariff

    def body() -> bytes:
        if kind != JSON:
            return render_table(rows, columns, kind)
        head = {"period": period, "currency": tariff.currency if tariff else None}
        return to_json({**head, **members, "rows": camel_case_rows(rows)})

    return Response(await asyncio.to_thread(body), headers=etag_headers(tag), media_type=kind)
