"""Subscriptions of reports: who is sent which, by mail or by webhook."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import psycopg
from fastapi import APIRouter, Path, Request
from psycopg.rows import DictRow
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from ingestion_api.report_delivery.service import is_mail, recipient_fault, recipient_name
from ingestion_api.rest.json_body import describe_record, read_record
from ingestion_api.rest.models import Answer
from ingestion_api.rest.problems import Problem, problem_responses
from ingestion_api.routes.alerts import caller_of
from ingestion_api.services import Services, ServicesDep
from lake.reports import Kind
from warehouse_sql.device_attributes import DEPOT_PATTERN
from warehouse_sql.named_queries import query

# An address as people have it, or a URL with a host.
_RECIPIENT: Final = (
    r"^([A-Za-z0-9.!#$%&'*+=?^_{|}~-]+@[A-Za-z0-9.-]+"
    r"|https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?([/?][!-~]*)?)$"
)
_EXAMPLE: Final[dict[str, object]] = {
    "period": "week",
    "depot": None,
    "recipient": "https://example.com/reports",
    "formats": ["pdf"],
    "hourUtc": 6,
}
_Form = Literal["html", "pdf", "xlsx", "csv", "parquet"]
_Id = Annotated[
    int, Path(alias="id", ge=1, le=2**63 - 1, description="id of the subscription", examples=[1])
]

router = APIRouter(prefix="/v1/report-subscriptions", tags=["reports"])


class SubscriptionToKeep(BaseModel):
    """Whom to send which reports."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)

    period: Kind = Field(description="reports of a day, an ISO week or a month")
    depot: Annotated[str, Field(pattern=DEPOT_PATTERN)] | None = Field(
        default=None, description="id of the depot; null: the fleet"
    )
    recipient: str = Field(
        pattern=_RECIPIENT, max_length=500, description="a mail address, or the URL of a webhook"
    )
    formats: list[_Form] = Field(
        default=["pdf"], min_length=1, max_length=5, description="what is attached, or linked"
    )
    hour_utc: int = Field(
        default=6, ge=0, le=23, description="what is new is sent at this hour of each day, UTC"
    )


class Delivered(Answer):
    """The report that was sent last."""

    report: str = Field(examples=["2026-W03"])
    version: int
    at: datetime


class NotDelivered(Answer):
    """A report that was not taken."""

    report: str
    error: str = Field(description="why; it begins with 'given up' if it is not tried again")
    attempts: int = Field(description="failed attempts so far; 0: it was given up")


class Subscription(Answer):
    """A subscription, and how it goes."""

    id: int
    period: Kind
    depot: str | None
    recipient: str = Field(description="of a webhook its host and a hash: the URL may be a secret")
    formats: list[str]
    hour_utc: int
    created_at: datetime
    created_by: str | None = Field(description="name of the API key")
    last_delivered: Delivered | None
    not_delivered: NotDelivered | None


class Subscriptions(Answer):
    """All subscriptions, the oldest first."""

    subscriptions: list[Subscription]


@router.get("", responses=problem_responses(503), name="Subscriptions of reports")
async def list_subscriptions(services: ServicesDep) -> Subscriptions:
    """Subscriptions, with what was sent last and what was not taken."""
    return Subscriptions(subscriptions=await _read(services, None))


@router.post(
    "",
    responses=problem_responses(400, 408, 413, 415, 422, 503),
    openapi_extra=describe_record(SubscriptionToKeep, _EXAMPLE),
    name="Subscribe to reports",
)
async def subscribe(request: Request, services: ServicesDep) -> Subscription:
    """Send the reports that are made from now on; each version once, also one that changed later.

    A mail needs SMTP_URL. A webhook is posted the figures and the paths of the files.
    """
    wanted = await read_record(request, services.bodies, SubscriptionToKeep)
    if (fault := recipient_fault(wanted.recipient)) is not None:
        raise Problem(422, f"recipient: {fault}")
    if is_mail(wanted.recipient) and not services.settings.smtp_url.get_secret_value():
        raise Problem(422, "recipient: SMTP_URL is not set, so no mail can be sent")
    values: Mapping[str, Any] = {
        **wanted.model_dump(),
        "formats": list(dict.fromkeys(wanted.formats)),
        "by": caller_of(request).name,
    }
    try:
        async with services.pool.connection() as conn:
            found = await conn.execute(query("add_report_subscription"), values)
            row = await found.fetchone()
    except psycopg.errors.ForeignKeyViolation:
        raise Problem(
            422, f"depot: there is no depot {wanted.depot}; GET /v1/depots lists those there are"
        ) from None
    assert row is not None
    (made,) = await _read(services, row["id"])
    return made


@router.delete("/{id}", responses=problem_responses(404, 422, 503), name="End a subscription")
async def unsubscribe(number: _Id, services: ServicesDep) -> Subscription:
    """End a subscription; the answer is what it was."""
    found = await _read(services, number)
    if not found:
        lists = "GET /v1/report-subscriptions lists those there are"
        raise Problem(404, f"there is no subscription {number}; {lists}")
    async with services.pool.connection() as conn:
        await conn.execute(query("remove_report_subscription"), {"id": number})
    return found[0]


async def _read(services: Services, number: int | None) -> list[Subscription]:
    async with services.pool.connection() as conn:
        rows = await (await conn.execute(query("report_subscriptions"), {"id": number})).fetchall()
    return [_subscription(row) for row in rows]


def _subscription(row: DictRow) -> Subscription:
    delivered, failed = row["delivered_report"], row["failed_report"]
    return Subscription(
        **{name: row[name] for name in ("id", "period", "depot", "formats", "hour_utc")},
        recipient=recipient_name(row["recipient"]),
        created_at=row["created_at"],
        created_by=row["created_by"],
        last_delivered=delivered
        and Delivered(report=delivered, version=row["delivered_version"], at=row["delivered_at"]),
        not_delivered=failed
        and NotDelivered(report=failed, error=row["last_error"], attempts=row["failed_attempts"]),
    )
