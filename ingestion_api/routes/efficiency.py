"""Endpoints for rows of the computed tables: vehicles, chargers, fleet, and all others."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from ingestion_api.rest.etags import IfNoneMatch
from ingestion_api.rest.parameters import End, OptionalMeterId, OptionalVehicleId, Start
from ingestion_api.rest.problems import Problem, problem_responses
from ingestion_api.routes.device_filter import DeviceFilterDep
from ingestion_api.routes.table_pages import answer_table, table_responses
from ingestion_api.services import ServicesDep
from lake.schema import (
    CHARGER_EFFICIENCY_DAILY,
    CHARGER_EFFICIENCY_HOURLY,
    DAILY_EFFICIENCY,
    DERIVED_TABLES,
    FLEET_EFFICIENCY_DAILY,
    FLEET_EFFICIENCY_HOURLY,
    HOURLY_EFFICIENCY,
    VEHICLE_EFFICIENCY_DAILY,
    VEHICLE_EFFICIENCY_HOURLY,
)

Status = Literal[
    "excellent",
    "good",
    "warning",
    "critical",
    "idle",
    "insufficient_data",
    "unmapped",
    "implausible",
]
Limit = Annotated[int, Query(ge=1, le=10_000, description="most rows in the answer")]
Cursor = Annotated[str | None, Query(description="nextCursor of the page before")]
OfStatus = Annotated[
    list[Status] | None,
    Query(description="only rows of this status; repeat it for several; not for the fleet"),
]

_TABLES: Final = {spec.name: spec for spec in DERIVED_TABLES}
_EFFICIENCY: Final = {
    ("vehicles", "hour"): VEHICLE_EFFICIENCY_HOURLY,
    ("vehicles", "day"): VEHICLE_EFFICIENCY_DAILY,
    ("chargers", "hour"): CHARGER_EFFICIENCY_HOURLY,
    ("chargers", "day"): CHARGER_EFFICIENCY_DAILY,
    ("fleet", "hour"): FLEET_EFFICIENCY_HOURLY,
    ("fleet", "day"): FLEET_EFFICIENCY_DAILY,
}

router = APIRouter(prefix="/v1/analytics", tags=["efficiency"])


@router.get(
    "/efficiency/{of}",
    response_class=Response,
    responses=table_responses([*HOURLY_EFFICIENCY, *DAILY_EFFICIENCY]),
    name="Efficiency by hour or day",
)
async def efficiency(
    request: Request,
    services: ServicesDep,
    where: DeviceFilterDep,
    of: Annotated[Literal["vehicles", "chargers", "fleet"], Path(description="of what")],
    by: Annotated[Literal["hour", "day"], Query(description="UTC hours or days")] = "hour",
    start: Start = None,
    end: End = None,
    vehicle_id: OptionalVehicleId = None,
    meter_id: OptionalMeterId = None,
    status: OfStatus = None,
    limit: Limit = 1000,
    cursor: Cursor = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Hours or days that begin in the window, newest first, then by device.

    By default those of the last 24 hours or 31 days, the running one included. With `depot` or
    `group` the fleet is added up from its vehicles and chargers, each where it belongs. As JSON,
    CSV or an Arrow stream, by `Accept`; the header `Link` names the next page, and `If-None-Match`
    with the `ETag` of an answer is 304 as long as nothing was computed anew.
    """
    filters = _filters(vehicle_id, meter_id, status)
    table = _EFFICIENCY[of, by]
    return await answer_table(
        request, services, table, start, end, filters, where, limit, cursor, if_none_match
    )


@router.get(
    "/tables/{name}",
    response_class=Response,
    responses={**table_responses(DERIVED_TABLES), **problem_responses(404)},
    name="Rows of a computed table",
)
async def table_rows(
    request: Request,
    services: ServicesDep,
    where: DeviceFilterDep,
    name: Annotated[
        str, Path(description="name of the table in the lake", examples=["grid_health_hourly"])
    ],
    start: Start = None,
    end: End = None,
    vehicle_id: OptionalVehicleId = None,
    meter_id: OptionalMeterId = None,
    status: OfStatus = None,
    limit: Limit = 1000,
    cursor: Cursor = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The same of every table that is computed, by its name: also the health of grid and batteries,
    and how complete the heartbeats are.
    """
    if name not in _TABLES:
        raise Problem(404, f"there is no table {name}; there are {', '.join(_TABLES)}; see /docs")
    filters = _filters(vehicle_id, meter_id, status)
    return await answer_table(
        request, services, _TABLES[name], start, end, filters, where, limit, cursor, if_none_match
    )


def _filters(
    vehicle_id: str | None, meter_id: str | None, status: list[Status] | None
) -> dict[str, Sequence[str] | None]:
    return {
        "vehicleId": vehicle_id and [vehicle_id],
        "meterId": meter_id and [meter_id],
        "status": status,
    }
