"""Refused records, for the operator."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import Field, TypeAdapter

from ingestion_api.rejections.text import DEVICE_CHARACTERS, printable_text
from ingestion_api.rest.cursors import read_cursor, write_cursor
from ingestion_api.rest.models import Answer
from ingestion_api.rest.parameters import Moment
from ingestion_api.rest.problems import problem_responses
from ingestion_api.rest.table_formats import require_json
from ingestion_api.rest.validation_messages import FAULT_CODE
from ingestion_api.services import ServicesDep
from warehouse_sql.named_queries import query

_POSITION: Final = TypeAdapter(tuple[Moment, UUID])

router = APIRouter(prefix="/v1/rejections", tags=["rejections"])


class KeptRejection(Answer):
    """Why a record was refused. Its texts are cut, and all but printable ASCII is escaped."""

    id: UUID
    received_at: datetime = Field(description="when it was refused")
    stream: str | None = Field(description="meter or vehicle; null where that could not be told")
    device: str | None = Field(description="the id as sent; null if none was given")
    field: str | None = Field(description="the field at fault; null for the whole record")
    code: str = Field(description="kind of fault, as in the metric wattlake_rejects_total")
    reason: str = Field(description="what the answer said")
    record: str = Field(description="the record as JSON text, 2,000 characters at most")
    sender: str = Field(description="name of the API key, or the address of the client")
    request_id: str | None = Field(description="the request's id, as in the log")


class Rejections(Answer):
    """A page of rejections, newest first."""

    rejections: list[KeptRejection]
    next_cursor: str | None = Field(description="`cursor` of the next page; null at the end")


@router.get(
    "",
    responses=problem_responses(406, 410, 422, 503),
    dependencies=[Depends(require_json)],
    name="Refused records",
)
async def list_rejections(
    services: ServicesDep,
    device: Annotated[
        str | None, Query(description="only records with this id, as sent or as shown here")
    ] = None,
    stream: Annotated[
        Literal["meter", "vehicle"] | None, Query(description="only of meters, or of vehicles")
    ] = None,
    code: Annotated[
        str | None, Query(pattern=FAULT_CODE, description="only this kind of fault")
    ] = None,
    since: Annotated[
        Moment | None, Query(description="only refused since then; ISO 8601 with a zone")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="rejections on a page")] = 100,
    cursor: Annotated[str | None, Query(description="nextCursor of the page before")] = None,
) -> Rejections:
    """The newest refused records, page by page.

    Of each device the newest are kept, of records without an id the newest of each sender; a
    flood is only counted. One record has several rejections if several fields are at fault.
    """
    now, question = services.now(), ["rejections", device, stream, code, since]
    before, before_id = None, None
    if cursor is not None:
        before, before_id = read_cursor(cursor, question, _POSITION, now)
    async with services.pool.connection() as conn:
        rows = await conn.execute(
            query("list_rejections"),
            {
                "device": None if device is None else printable_text(device, DEVICE_CHARACTERS),
                "stream": stream,
                "code": code,
                "since": since,
                "before": before,
                "before_id": before_id,
                "limit": limit + 1,
            },
            prepare=False,  # planned for the filters that are given
        )
        found = await rows.fetchall()
    page = [KeptRejection(**row) for row in found[:limit]]
    following = None
    if len(found) > limit:
        following = write_cursor(question, [page[-1].received_at, page[-1].id], now)
    return Rejections(rejections=page, next_cursor=following)
