"""Dead letters, alert events that a webhook did not take: list, send again."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from ingestion_api.alerts.models import AlertEvent
from ingestion_api.rest.models import Answer
from ingestion_api.rest.problems import Problem, problem_responses
from ingestion_api.services import ServicesDep
from warehouse_sql.named_queries import query

router = APIRouter(prefix="/v1/alerts/dead-letters", tags=["alerts"])


class DeadLetter(Answer):
    """An event that a webhook did not take."""

    id: int
    webhook: str = Field(description="host of the URL, and a hash of all of it")
    attempts: int
    last_error: str
    died_at: datetime = Field(description="when the last of the attempts of itself failed")
    is_wanted: bool = Field(description="it waits to be sent again")
    event: AlertEvent


class DeadLetters(Answer):
    """A page of dead letters, oldest first."""

    dead_letters: list[DeadLetter]
    next_after: int | None = Field(description="`after` of the next page; null at the end")


class Asked(Answer):
    """The outcome of the request."""

    id: int
    is_wanted: bool


@router.get("", responses=problem_responses(422, 503), name="Events that a webhook did not take")
async def list_dead_letters(
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[
        int, Query(ge=0, le=2**63 - 1, description="nextAfter of the page before")
    ] = 0,
) -> DeadLetters:
    """Oldest first. One that is taken when it is sent again is gone."""
    async with services.pool.connection() as conn:
        parameters = {"after": after, "limit": limit + 1}
        rows = await (await conn.execute(query("list_dead_letters"), parameters)).fetchall()
    letters = [
        DeadLetter(**row, event=AlertEvent(**(row | {"id": row["event_id"]}))) for row in rows
    ]
    page = letters[:limit]
    return DeadLetters(dead_letters=page, next_after=page[-1].id if len(letters) > limit else None)


@router.post(
    "/{id}/resend",
    status_code=202,
    responses=problem_responses(404, 422, 503),
    name="Send a dead letter again",
)
async def resend(
    services: ServicesDep,
    number: Annotated[
        int, Path(alias="id", ge=1, le=2**63 - 1, description="of the letter", examples=[1])
    ],
) -> Asked:
    """Send it to its webhook once more, within seconds; it stays here if that fails."""
    async with services.pool.connection() as conn:
        row = await (await conn.execute(query("request_redelivery"), {"id": number})).fetchone()
    if row is None:
        raise Problem(
            404, f"there is no dead letter {number}; GET /v1/alerts/dead-letters lists them"
        )
    return Asked(id=number, is_wanted=True)
