"""Depots: places where chargers stand and vehicles are at home."""

from datetime import datetime
from typing import Annotated, Any, Final

import psycopg
from fastapi import APIRouter, Depends, Path, Request
from pydantic import Field

from ingestion_api.rest.json_body import describe_record, read_record
from ingestion_api.rest.models import Answer
from ingestion_api.rest.problems import Problem, problem_responses
from ingestion_api.rest.table_formats import require_json
from ingestion_api.rest.validation_messages import unknown_name
from ingestion_api.services import Services, ServicesDep
from warehouse_sql.device_attributes import DEPOT_PATTERN, Place, Text
from warehouse_sql.named_queries import query

_Id = Annotated[
    str,
    Path(alias="id", pattern=DEPOT_PATTERN, description="id of the depot", examples=["north"]),
]
_EXAMPLE: Final[dict[str, object]] = {
    "name": "Depot North",
    "timeZone": "Europe/Berlin",
    "latitude": 52.52,
    "longitude": 13.4,
}

router = APIRouter(prefix="/v1/depots", tags=["devices"])


class DepotAttributes(Place):
    """Attributes of a depot that people set."""

    name: Text | None = Field(default=None, description="what people call it")
    tariff: Text | None = Field(
        default=None,
        description="name of a tariff of TARIFF_FILE, by which the energy of its chargers is "
        "billed; null: the default one",
    )


class Depot(Answer):
    """A depot and how many devices belong to it."""

    id: str
    name: str | None
    tariff: str | None
    time_zone: str | None
    latitude: float | None
    longitude: float | None
    updated_at: datetime
    meters: int
    vehicles: int


class Depots(Answer):
    """All depots, by id."""

    depots: list[Depot]


@router.get(
    "",
    responses=problem_responses(406, 503),
    dependencies=[Depends(require_json)],
    name="Depots there are",
)
async def list_depots(services: ServicesDep) -> Depots:
    """All depots, by id."""
    return Depots(depots=await _depots(services, None))


@router.get("/{id}", responses=problem_responses(404, 422, 503), name="A depot")
async def one_depot(depot: _Id, services: ServicesDep) -> Depot:
    """A depot."""
    found = await _depots(services, depot)
    if not found:
        raise _no_depot(depot)
    return found[0]


@router.put(
    "/{id}",
    responses=problem_responses(400, 408, 413, 415, 422, 503),
    openapi_extra=describe_record(DepotAttributes, _EXAMPLE),
    name="Make or change a depot",
)
async def put_depot(depot: _Id, request: Request, services: ServicesDep) -> Depot:
    """Make a depot, or set all that is said of it: what is left out is cleared.

    With another tariff the days on which its meters sent an energy are priced again.
    """
    sent = await read_record(request, services.bodies, DepotAttributes)
    known = services.tariffs.tariffs if services.tariffs else {}
    if sent.tariff is not None and sent.tariff not in known:
        reason = f"{unknown_name('tariff', sent.tariff, sorted(known))}; TARIFF_FILE describes them"
        errors = [{"field": "tariff", "reason": reason}]
        raise Problem(422, f"tariff: {reason}", errors=errors)
    values: dict[str, Any] = {"id": depot, **sent.model_dump()}
    async with services.pool.connection() as conn, conn.transaction():
        await conn.execute(query("lock_depot"), values)
        await conn.execute(query("reprice_days_of_depot"), values)
        await conn.execute(query("put_depot"), values)
    (found,) = await _depots(services, depot)
    return found


@router.delete("/{id}", responses=problem_responses(404, 409, 422, 503), name="Remove a depot")
async def remove_depot(depot: _Id, services: ServicesDep) -> Depot:
    """Remove a depot to which no device belongs, else 409; the answer is what it was."""
    found = await _depots(services, depot)
    if not found:
        raise _no_depot(depot)
    try:
        async with services.pool.connection() as conn:
            await conn.execute(query("remove_depot"), {"id": depot})
    except psycopg.errors.ForeignKeyViolation:
        raise Problem(
            409,
            f"devices belong to depot {depot}; GET /v1/devices?depot={depot} lists them, say of "
            "each that it belongs elsewhere",
        ) from None
    return found[0]


async def _depots(services: Services, depot: str | None) -> list[Depot]:
    async with services.pool.connection() as conn:
        rows = await (await conn.execute(query("list_depots"), {"id": depot})).fetchall()
    return [Depot(**row) for row in rows]


def _no_depot(depot: str) -> Problem:
    return Problem(404, f"there is no depot {depot}; GET /v1/depots lists those there are")
