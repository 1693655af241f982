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
from ingestion_api.analytics.losses import GROUPS, LOSS_COLUMNS, By, LossTables, Part, losses, worst
from ingestion_api.rest.etags import (
    NOT_MODIFIED,
    IfNoneMatch,
    etag_headers,
    etag_matches,
    fingerprint,
    not_modified,
)
from ingestion_api.rest.parameters import End, Period, Start
from ingestion_api.rest.problems import Problem, problem_responses
from ingestion_api.rest.table_formats import (
    JSON,
    camel_case_rows,
    negotiate_format,
    render_table,
    row_schema,
    table_content,
)
from ingestion_api.routes.device_filter import DeviceFilter, DeviceFilterDep, placed_devices
from ingestion_api.routes.live import Kind
from ingestion_api.routes.pricing import current_pricing
from ingestion_api.routes.table_pages import newest_tables, table_window
from ingestion_api.services import Services, ServicesDep
from lake import Column
from lake.costs import Pricing
from lake.schema import (
    CHARGER_EFFICIENCY_HOURLY,
    FLEET_EFFICIENCY_HOURLY,
    VEHICLE_EFFICIENCY_HOURLY,
)

Of = Literal["vehicles", "chargers"]

_DEVICES: Final[dict[Of, tuple[Kind, By]]] = {
    "vehicles": ("vehicle", "vehicle"),
    "chargers": ("meter", "charger"),
}
_CURRENCY: Final = {
    "type": ["string", "null"],
    "description": "ISO 4217; null: there is no TARIFF_FILE and no cost, or several currencies",
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

# What rows are about that the fleet's table does not know.
_OF: Final = ("vehicle", "charger", "depot", "group")

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
    where: DeviceFilterDep,
    of: Annotated[Of, Query(description="vehicles or chargers")] = "vehicles",
    count: Annotated[int, Query(ge=1, le=1000, description="so many")] = 20,
    start: Start = None,
    end: End = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The worst of the window, by default of the last 24 hours, with what their losses cost.

    By the ratio of the sums of all rated hours that begin in the window, the lowest first; of equal
    ones the one that lost more.
    """
    kind, device = negotiate_format(request), GROUPS[_DEVICES[of][1]]
    period = table_window(services, FLEET_EFFICIENCY_HOURLY, start, end)
    tables, pricing = await _tables(services), await current_pricing(services)
    part = await _part(services, tables, where, of)
    tag = _tag(services, kind, period, part.table.number, part.ids, pricing, of, count)
    if etag_matches(tag, if_none_match):
        return not_modified(tag)
    rows = await in_lake_thread(worst, tables, part, period, count, pricing)
    currency = _currency(pricing, rows["currency"].drop_nulls().unique().to_list())
    return await _answer(
        kind, tag, {"period": period, "currency": currency}, rows, [device, *LOSS_COLUMNS]
    )


@router.get(
    "/losses",
    response_class=Response,
    responses=_responses(
        list(GROUPS),
        {
            "total": row_schema(LOSS_COLUMNS),
            "totals": {
                "type": "array",
                "items": row_schema(LOSS_COLUMNS),
                "description": "of each currency; costs of several are never added up",
            },
            "onePercentagePointPerYear": _POINT,
        },
    ),
    name="Losses and their cost",
)
async def fleet_losses(
    request: Request,
    services: ServicesDep,
    where: DeviceFilterDep,
    by: Annotated[By, Query(description="what a row is about; hours and days are UTC")] = "day",
    of: Annotated[
        Of | None,
        Query(
            description="whose energies a depot or a group has, and hours and days of one: those "
            "of its chargers (the default) or those of its vehicles, wherever these charge"
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="most rows in the answer")] = 1000,
    start: Start = None,
    end: End = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Energy in, energy lost and its cost, over the hours that begin in the window.

    By default the last 24 hours. Hours and days come in their order, all others by greater loss;
    `total` and `onePercentagePointPerYear` are of the whole fleet, or of the depots and groups that
    are asked for, whatever `by` and `limit` are. A cost is that of each hour by the price of its
    time, in the tariff of the charger's depot. Where there are several currencies a row is of one,
    and `totals` has a total of each; `total` has no cost.
    """
    kind = negotiate_format(request)
    period = table_window(services, FLEET_EFFICIENCY_HOURLY, start, end)
    tables, pricing = await _tables(services), await current_pricing(services)
    part = None
    if where.is_set or by in _OF:
        part = await _part(services, tables, where, _whose(by, of), by)
    about = part and (part.ids, part.places, part.device)
    tag = _tag(services, kind, period, tables.numbers, about, pricing, by, limit)
    if etag_matches(tag, if_none_match):
        return not_modified(tag)
    found = await in_lake_thread(losses, tables, part, period, by, limit, pricing)
    point = found.point
    of_currencies = [one["currency"] for one in found.totals]
    members = {
        "period": period,
        "currency": _currency(pricing, of_currencies),
        "total": _camel_case(found.total),
        "totals": [_camel_case(one) for one in found.totals],
        "onePercentagePointPerYear": point
        and {
            "energyKwh": round(point.energy_kwh, 3),
            "cost": None if point.cost is None else float(round(point.cost, 2)),
        },
    }
    return await _answer(kind, tag, members, found.rows, [GROUPS[by], *LOSS_COLUMNS])


async def _tables(services: Services) -> LossTables:
    return LossTables(
        *await newest_tables(
            services, FLEET_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_HOURLY, CHARGER_EFFICIENCY_HOURLY
        )
    )


def _currency(pricing: Pricing | None, found: Sequence[str]) -> str | None:
    """The currency of all costs, also where there is no energy yet; None: none, or several."""
    known = set(found) or (
        {tariff.currency for tariff in pricing.tariffs.tariffs.values()} if pricing else set()
    )
    return known.pop() if len(known) == 1 else None


async def _part(
    services: Services, tables: LossTables, where: DeviceFilter, of: Of, by: By | None = None
) -> Part:
    """The devices of a filter; names of depots or groups where rows are about these."""
    stream, group = _DEVICES[of]
    is_placed = by in ("depot", "group")
    rows = await placed_devices(services, where) if where.is_set or is_placed else []
    of_kind = [row for row in rows if row["stream"] == stream]
    return Part(
        tables.vehicles if of == "vehicles" else tables.chargers,
        GROUPS[group].name,
        [row["device_id"] for row in of_kind] if where.is_set else None,
        {row["device_id"]: row[by] for row in of_kind if row[by]} if by and is_placed else {},
    )


def _whose(by: By, of: Of | None) -> Of:
    """Whose energies rows have; Problem 422 where `of` says another kind than `by`."""
    if by not in ("vehicle", "charger"):
        return of or "chargers"
    said: Of = "vehicles" if by == "vehicle" else "chargers"
    if of not in (None, said):
        raise Problem(422, f"of: by={by} is of {said}; leave it out")
    return said


def _tag(services: Services, kind: str, period: Period, *parts: object) -> str:
    return fingerprint(kind, period, services.energy, *parts)


async def _answer(
    kind: str,
    tag: str,
    members: Mapping[str, Any],
    rows: pl.DataFrame,
    columns: Sequence[Column],
) -> Response:
    def body() -> bytes:
        if kind != JSON:
            return render_table(rows, columns, kind)
        return to_json({**members, "rows": camel_case_rows(rows)})

    return Response(await asyncio.to_thread(body), headers=etag_headers(tag), media_type=kind)


def _camel_case(row: Mapping[str, Any]) -> dict[str, Any]:
    return {to_camel(name): value for name, value in row.items()}
