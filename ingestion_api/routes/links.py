"""Links of meters to vehicles: list, make, end, import, remove."""

import asyncio
from datetime import datetime
from typing import Annotated, Any, Final

import psycopg
from fastapi import APIRouter, Depends, Path, Query, Request
from psycopg.rows import DictRow
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel
from pydantic_core import to_json
from starlette.responses import Response

from ingestion_api.heartbeats.strict_decoder import (
    BatchTooLarge,
    Refusal,
    UnreadableBody,
    WrongShape,
)
from ingestion_api.ingest.openapi import IngestAnswer
from ingestion_api.rest.cursors import read_cursor, write_cursor
from ingestion_api.rest.json_body import JSON, describe_record, media_type, read_record
from ingestion_api.rest.models import Answer
from ingestion_api.rest.parameters import Moment, OptionalMeterId, OptionalVehicleId, PathId
from ingestion_api.rest.problems import Problem, problem_response, problem_responses
from ingestion_api.rest.table_formats import require_json
from ingestion_api.routes.link_bodies import CSV_COLUMNS, LinkToMake, read_links
from ingestion_api.routes.live import Kind
from ingestion_api.services import ServicesDep
from warehouse_sql.named_queries import query

_CSV: Final = "text/csv"
_EXAMPLE: Final[dict[str, object]] = {
    "meterId": "METER001",
    "vehicleId": "VEH001",
    "validFrom": "2026-03-01T00:00:00Z",
    "validTo": None,
}
_END: Final = "2026-04-01T00:00:00Z"
_MOST: Final = 2**63 - 1
_POSITION: Final = TypeAdapter(tuple[Annotated[int, Field(ge=1, le=_MOST)]])
_METER_POSITION: Final = TypeAdapter(tuple[str])
_CSV_EXAMPLE: Final = ",".join(CSV_COLUMNS) + "\nMETER001,VEH001,2026-03-01T00:00:00Z,\n"

router = APIRouter(prefix="/v1/links", tags=["links"])


class Link(Answer):
    """A meter feeds a vehicle over a half-open time range."""

    id: int
    meter_id: str
    vehicle_id: str
    valid_from: datetime = Field(description="included")
    valid_to: datetime | None = Field(description="excluded; null: open")


class Links(Answer):
    """A page of links."""

    links: list[Link]
    next_cursor: str | None = Field(description="`cursor` of the next page; null at the end")


class GuessedLink(Answer):
    """A pair that the rule of the trailing number has made, and that nothing else has linked."""

    meter_id: str
    vehicle_id: str
    made_at: datetime = Field(description="when the second of the two was first heard")


class UnpairedDevice(Answer):
    """A device that the rule pairs with nobody: its number was taken, or several had it at once."""

    kind: Kind
    id: str
    noted_at: datetime = Field(description="when it was first heard")


class GuessedLinks(Answer):
    """A page of the guessed links, and the devices that the rule left alone."""

    is_on: bool = Field(
        description="false: LINK_BY_TRAILING_NUMBER is off, and none of them counts"
    )
    links: list[GuessedLink]
    next_cursor: str | None = Field(description="`cursor` of the next page; null at the end")
    unpaired: list[UnpairedDevice] = Field(description="the newest first, at most `limit`")


class LinkEnd(BaseModel):
    """When a link ends."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    valid_to: Moment | None = Field(
        description="excluded; ISO 8601 with a zone; null: it goes on for good"
    )


class ImportAnswer(IngestAnswer):
    """The outcome of the links; `accepted` includes those that were there already."""

    existing: int = Field(description="accepted links that were there before, unchanged")


@router.get(
    "",
    responses=problem_responses(406, 410, 422, 503),
    dependencies=[Depends(require_json)],
    name="Links there are",
)
async def list_links(
    services: ServicesDep,
    vehicle_id: OptionalVehicleId = None,
    meter_id: OptionalMeterId = None,
    at: Annotated[Moment | None, Query(description="only links that hold at this time")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    cursor: Annotated[str | None, Query(description="nextCursor of the page before")] = None,
) -> Links:
    """Explicit links in the order they were made."""
    now, question = services.now(), ["links", vehicle_id, meter_id, at]
    after = read_cursor(cursor, question, _POSITION, now)[0] if cursor is not None else 0
    parameters = {
        "vehicle_id": vehicle_id,
        "meter_id": meter_id,
        "at": at,
        "after": after,
        "limit": limit + 1,
    }
    async with services.pool.connection() as conn:
        rows = await (await conn.execute(query("list_links"), parameters)).fetchall()
    links = [Link(**row) for row in rows[:limit]]
    following = write_cursor(question, [links[-1].id], now) if len(rows) > limit else None
    return Links(links=links, next_cursor=following)


@router.get(
    "/guessed",
    responses=problem_responses(406, 410, 422, 503),
    dependencies=[Depends(require_json)],
    name="Links by the rule of the trailing number",
)
async def list_guessed_links(
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    cursor: Annotated[str | None, Query(description="nextCursor of the page before")] = None,
) -> GuessedLinks:
    """Pairs by equal trailing numbers, by meter, and devices whose number was taken.

    To confirm one, make a link of the two from their first day on. Such a link decides also for a
    device that is unpaired. To say that a guess is wrong, dissolve it.
    """
    now, question = services.now(), ["guessed links"]
    after = read_cursor(cursor, question, _METER_POSITION, now)[0] if cursor is not None else ""
    async with services.pool.connection() as conn:
        found = await conn.execute(query("guessed_links"), {"after": after, "limit": limit + 1})
        rows = await found.fetchall()
        found = await conn.execute(query("unpaired_devices"), {"limit": limit})
        unpaired = [UnpairedDevice(**row) for row in await found.fetchall()]
    links = [GuessedLink(**row) for row in rows[:limit]]
    following = write_cursor(question, [links[-1].meter_id], now) if len(rows) > limit else None
    is_on = services.energy.link_by_trailing_number
    return GuessedLinks(is_on=is_on, links=links, next_cursor=following, unpaired=unpaired)


@router.delete(
    "/guessed/{meter_id}",
    responses=problem_responses(404, 422, 503),
    name="Dissolve a guessed link",
)
async def dissolve_guessed_link(meter_id: PathId, services: ServicesDep) -> GuessedLink:
    """Say that the pair of a meter by its trailing number is wrong; the answer is what it was.

    It counts in no hour any more and is never made again; its published hours are computed again.
    """
    async with services.pool.connection() as conn, conn.transaction():
        await conn.execute(query("reopen_hours_of_pair"), {"meter_id": meter_id})
        found = await conn.execute(query("dissolve_pair"), {"meter_id": meter_id})
        row = await found.fetchone()
        if row is None:
            raise Problem(
                404,
                f"the rule has made no pair of meter {meter_id}; GET /v1/links/guessed lists those "
                "there are",
            )
    return GuessedLink(**row)


@router.post(
    "",
    status_code=201,
    responses={
        200: {"model": Link, "description": "the very link was there before"},
        **problem_responses(400, 408, 409, 413, 415, 422, 503),
    },
    openapi_extra=describe_record(LinkToMake, _EXAMPLE),
    name="Make a link",
)
async def make_link(request: Request, services: ServicesDep, response: Response) -> Link:
    """Say that a meter feeds a vehicle. A meter feeds one vehicle at a time: else 409.

    Published hours from `validFrom` on are computed again.
    """
    link = await read_record(request, services.bodies, LinkToMake)
    async with services.pool.connection() as conn, conn.transaction():
        made = await _insert(conn, link)
        if not isinstance(made, list) and not made[1]:
            await conn.execute(query("reopen_hours"), {"since": link.valid_from})
    if isinstance(made, list):
        raise _collides(made)
    identity, existed = made
    if existed:
        response.status_code = 200
    return Link(id=identity, **link.model_dump())


@router.put(
    "/{link_id}/end",
    responses=problem_responses(400, 404, 408, 409, 413, 415, 422, 503),
    openapi_extra=describe_record(LinkEnd, {"validTo": _END}),
    name="End a link",
)
async def end_link(
    link_id: Annotated[int, Path(ge=1, le=_MOST, description="id of the link", examples=[1])],
    request: Request,
    services: ServicesDep,
) -> Link:
    """Say when a link ends, or that it goes on; not into the next link of its meter: 409.

    Published hours from the earlier of both ends on are computed again.
    """
    valid_to = (await read_record(request, services.bodies, LinkEnd)).valid_to
    async with services.pool.connection() as conn, conn.transaction():
        row = await (await conn.execute(query("lock_link"), {"id": link_id})).fetchone()
        if row is None:
            raise _no_link(link_id)
        if valid_to is not None and valid_to <= row["valid_from"]:
            raise Problem(422, f"validTo must be after validFrom, {row['valid_from'].isoformat()}")
        ended = {**row, "valid_to": valid_to}
        try:
            async with conn.transaction():
                await conn.execute(query("end_link"), {"id": link_id, "valid_to": valid_to})
        except psycopg.errors.ExclusionViolation:
            found = await (await conn.execute(query("overlapping_links"), ended)).fetchall()
            others = [other for other in found if other["id"] != link_id]
            raise _collides(others) from None
        ends = [end for end in (row["valid_to"], valid_to) if end is not None]
        if row["valid_to"] != valid_to:
            await conn.execute(query("reopen_hours"), {"since": min(ends)})
    return Link(**ended)


@router.post(
    "/import",
    response_class=Response,
    status_code=201,
    responses={
        201: {"model": ImportAnswer, "description": "every link holds"},
        207: {"model": ImportAnswer, "description": "some links hold, the others are refused"},
        **problem_responses(400, 408, 413, 415, 422, 503),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                JSON: {
                    "schema": {
                        "type": "array",
                        "items": LinkToMake.model_json_schema(),
                        "minItems": 1,
                    },
                    "example": [_EXAMPLE],
                },
                _CSV: {"schema": {"type": "string"}, "example": _CSV_EXAMPLE},
            },
        }
    },
    name="Import links",
)
async def import_links(request: Request, services: ServicesDep) -> Response:
    """Make many links, from a JSON list or from CSV; each stands alone.

    An import can be repeated: a link that is there already counts as accepted. Published hours
    from the earliest link that is made are computed again.
    """
    is_csv = media_type(request, JSON, _CSV) == _CSV
    body = await services.bodies.read(request.scope, request.receive)
    try:
        most = services.settings.max_batch_records
        links, refusals = await asyncio.to_thread(read_links, body, is_csv=is_csv, most=most)
    except UnreadableBody as error:
        raise Problem(400, str(error)) from None
    except BatchTooLarge as error:
        raise Problem(413, str(error)) from None
    except WrongShape as error:
        raise Problem(422, str(error)) from None
    accepted = existing = 0
    begins: list[datetime] = []
    async with services.pool.connection() as conn, conn.transaction():
        for index, link in links:
            made = await _insert(conn, link)
            if isinstance(made, list):
                refusals.append(Refusal(index, None, _collision(made[0]), "collides"))
            else:
                accepted += 1
                existing += made[1]
                if not made[1]:
                    begins.append(link.valid_from)
        if begins:
            await conn.execute(query("reopen_hours"), {"since": min(begins)})
    refusals.sort(key=lambda refusal: refusal.index)
    counts: dict[str, Any] = {
        "accepted": accepted,
        "rejected": len({refusal.index for refusal in refusals}),
        "errors": refusals,
        "existing": existing,
    }
    if not accepted:
        return problem_response(422, "every link was refused; errors says why", **counts)
    return Response(to_json(counts), 207 if refusals else 201, media_type=JSON)


@router.delete("/{link_id:int}", responses=problem_responses(404, 422, 503), name="Remove a link")
async def remove_link(
    link_id: Annotated[int, Path(ge=1, le=_MOST, description="id of the link", examples=[2])],
    services: ServicesDep,
) -> Link:
    """Take back a link that never held, as if it had not been made; the answer is what it was.

    A link that held and is over is ended, not removed. Published hours from `validFrom` on are
    computed again.
    """
    async with services.pool.connection() as conn, conn.transaction():
        row = await (await conn.execute(query("remove_link"), {"id": link_id})).fetchone()
        if row is None:
            raise _no_link(link_id)
        await conn.execute(query("reopen_hours"), {"since": row["valid_from"]})
    return Link(**row)


async def _insert(
    conn: psycopg.AsyncConnection[DictRow], link: LinkToMake
) -> tuple[int, bool] | list[DictRow]:
    """The id of the link and whether it was there before, or the links it collides with."""
    values = link.model_dump()
    others: list[DictRow] = []
    while not others:  # a link that was in the way may have gone in between
        row = await (await conn.execute(query("insert_link_if_free"), values)).fetchone()
        if row is not None:
            return row["id"], False
        others = await (await conn.execute(query("overlapping_links"), values)).fetchall()
    same = [other for other in others if all(other[name] == values[name] for name in values)]
    return (same[0]["id"], True) if same else others


def _no_link(link_id: int) -> Problem:
    return Problem(404, f"there is no link {link_id}; GET /v1/links lists those there are")


def _collides(others: list[DictRow]) -> Problem:
    if not others:  # what was in the way has gone in between
        return Problem(409, "another request changes links of this meter; send it again")
    return Problem(409, _collision(others[0]), collidesWith=[_json(other) for other in others])


def _collision(other: DictRow) -> str:
    until = other["valid_to"].isoformat() if other["valid_to"] else "on"
    return (
        f"link {other['id']}: meter {other['meter_id']} feeds vehicle {other['vehicle_id']} from "
        f"{other['valid_from'].isoformat()} {'to ' if other['valid_to'] else ''}{until}; "
        "a meter feeds one vehicle at a time"
    )


def _json(link: DictRow) -> dict[str, Any]:
    return Link(**link).model_dump(mode="json", by_alias=True)
