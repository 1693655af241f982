"""Live state of the fleet: the newest heartbeats of many devices."""

from typing import Annotated, Any, Final, Literal, TypeAlias

from fastapi import APIRouter, Depends, Query
from pydantic import Field, TypeAdapter

from ingestion_api.heartbeats.contract import ID_PATTERN
from ingestion_api.rest.cursors import read_cursor, write_cursor
from ingestion_api.rest.models import Answer
from ingestion_api.rest.problems import problem_responses
from ingestion_api.rest.table_formats import require_json
from ingestion_api.routes.device_filter import DeviceFilterDep
from ingestion_api.routes.live import (
    Connection,
    Kind,
    LiveMeter,
    LiveVehicle,
    connection_limits,
    live_fields,
)
from ingestion_api.services import ServicesDep
from warehouse_sql.named_queries import query

Sort = Literal["id", "age", "soc", "temperature", "voltage"]
Order = Literal["asc", "desc"]
DeviceId = Annotated[str, Field(pattern=ID_PATTERN)]

MOST_IDS: Final = 500
# Filters that may let only few devices through, wherever these are in the order of ids.
_SPARSE: Final = ("flags", "linked", "soc_below", "temperature_above", "depots", "groups")

router = APIRouter(prefix="/v1/analytics", tags=["live state"])

# Whether the last device of a page lacks the value, the value, its kind and id.
_Position: TypeAlias = tuple[bool, float, Kind, DeviceId]
_POSITION: Final[TypeAdapter[_Position]] = TypeAdapter(_Position)
_MODELS: Final[dict[str, type[LiveMeter | LiveVehicle]]] = {
    "meter": LiveMeter,
    "vehicle": LiveVehicle,
}


class LiveFleet(Answer):
    """A page of devices."""

    devices: list[LiveMeter | LiveVehicle]
    next_cursor: str | None = Field(description="`cursor` of the next page; null at the end")


@router.get(
    "/fleet/live",
    responses=problem_responses(406, 410, 422, 503),
    dependencies=[Depends(require_json)],
    name="Live state of the fleet",
)
async def live_fleet(
    services: ServicesDep,
    where: DeviceFilterDep,
    kind: Annotated[Kind | None, Query(description="only meters, or only vehicles")] = None,
    connection: Annotated[
        list[Connection] | None, Query(description="only these; repeat it for several")
    ] = None,
    ids: Annotated[
        list[DeviceId] | None,
        Query(max_length=MOST_IDS, description="only these devices; repeat it for each"),
    ] = None,
    prefix: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=64,
            pattern=ID_PATTERN,
            description="only devices whose id begins so; GET /v1/analytics/devices finds a part",
        ),
    ] = None,
    linked: Annotated[
        bool | None,
        Query(
            description="only devices that a charging link of this moment or the newest heartbeat "
            "of a vehicle joins with another, or only the others; the rule of trailing numbers "
            "joins nobody here"
        ),
    ] = None,
    soc_below: Annotated[
        float | None,
        Query(
            alias="socBelow", ge=0, le=1000, description="only vehicles with less charge, percent"
        ),
    ] = None,
    temperature_above: Annotated[
        float | None,
        Query(
            alias="temperatureAbove",
            ge=-1000,
            le=1000,
            description="only vehicles with a warmer battery, degrees Celsius",
        ),
    ] = None,
    sort: Annotated[
        Sort,
        Query(
            description="id: meters by id, then vehicles by id; otherwise by that value, devices "
            "without it last"
        ),
    ] = "id",
    order: Annotated[Order, Query(description="asc begins with the least, or youngest")] = "asc",
    limit: Annotated[int, Query(ge=1, le=1000, description="devices on a page")] = 100,
    cursor: Annotated[str | None, Query(description="nextCursor of the page before")] = None,
) -> LiveFleet:
    """The newest heartbeat of many devices, page by page.

    A page begins after the last device of the page before, wherever that is now. By id each
    device comes once, however many come and go meanwhile. By a value a device comes twice, or not
    at all, if its value passes the end of a page before the next is asked for.
    """
    now = services.now()
    filters: dict[str, Any] = {
        "kind": kind,
        "flags": sorted(set(connection)) if connection else None,
        "ids": sorted(set(ids)) if ids else None,
        "prefix": prefix,
        "linked": linked,
        "soc_below": soc_below,
        "temperature_above": temperature_above,
        "depots": where.depots,
        "groups": where.groups,
    }
    question = ["fleet/live", *filters.values(), sort, order]
    after: _Position | tuple[None, None, None, None] = (None, None, None, None)
    if cursor:
        after = read_cursor(cursor, question, _POSITION, now)
    names = ("after_missing", "after_place", "after_kind", "after_id")
    async with services.replica_pool.connection() as conn:
        rows = await conn.execute(
            query("live_fleet"),
            {
                **filters,
                "is_placed": where.is_set,
                **dict(zip(names, after, strict=True)),
                **connection_limits(services, now),
                "sort": sort,
                "sign": 1 if order == "asc" else -1,
                "falling": sort == "id" and order == "desc",
                "is_walked": not any(filters[name] is not None for name in _SPARSE),
                "limit": limit + 1,
            },
            prepare=False,  # planned for the filters that are given
        )
        found = await rows.fetchall()
    page = found[:limit]
    following = None
    if len(found) > limit:
        last = page[-1]
        place = last["place"]
        position = [place is None, place or 0.0, last["kind"], last["device_id"]]
        following = write_cursor(question, position, now)
    return LiveFleet(
        devices=[
            (LiveMeter if row["kind"] == "meter" else LiveVehicle)(
                **live_fields(services, row, now)
            )
            for row in page
        ],
        next_cursor=following,
    )
