"""API models of alerts and their events, and the queries that read and change them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal

import psycopg
from psycopg.rows import DictRow
from pydantic import Field

from ingestion_api.alerts.rules import DeviceKind, Severity
from ingestion_api.rest.models import Answer
from ingestion_api.rest.problems import Problem
from warehouse_sql.named_queries import query

State = Literal["open", "resolved"]

UNITS: Final = (
    "battery_temperature: degrees Celsius; voltage: percent off the nominal voltage; silent: "
    "seconds; soc_falling: points; efficiency_status: percent; efficiency_drop: points; "
    "maintenance_visit: kWh a year at stake"
)


class Alert(Answer):
    """A finding of a rule at a device."""

    id: int
    rule: str = Field(description="name of the rule")
    kind: str = Field(description="kind of the rule")
    device_kind: DeviceKind
    device_id: str
    severity: Severity
    state: State
    since: datetime = Field(description="event time from which on the condition held")
    observed_at: datetime = Field(description="event time of the last observation")
    opened_at: datetime
    updated_at: datetime = Field(description="when value, severity or message last changed")
    resolved_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None = Field(description="name of the API key")
    silenced_until: datetime | None = Field(description="until then no webhook is told")
    value: float | None = Field(description=f"the last value; {UNITS}")
    worst_value: float | None = Field(description="the worst value since then")
    message: str


class AlertEvent(Answer):
    """Something that happened to an alert."""

    id: int = Field(description="position in the stream of events")
    type: Literal[
        "opened", "worsened", "updated", "resolved", "acknowledged", "silenced", "unsilenced"
    ]
    at: datetime
    by: str | None = Field(description="name of the API key; null: the rule did it")
    alert: Alert = Field(description="the alert right after it")


def event_json(row: DictRow) -> str:
    """Return an event as JSON for streams and webhooks, written as in the answers of the calls."""
    event = AlertEvent(**{name: row[name] for name in AlertEvent.model_fields})
    return event.model_dump_json(by_alias=True)


async def read_alert(conn: psycopg.AsyncConnection[DictRow], number: int) -> Alert:
    """The alert, or Problem 404."""
    row = await (await conn.execute(query("one_alert"), {"id": number})).fetchone()
    if row is None:
        raise Problem(
            404, f"there is no alert {number}; GET /v1/alerts lists those there are and were"
        )
    return Alert(**row)


async def add_events(
    conn: psycopg.AsyncConnection[DictRow], ids: Sequence[int], kind: str, by: str
) -> None:
    """Insert events of what somebody did; call it in a transaction, as the last of its locks."""
    if ids:
        values: dict[str, Any] = {"ids": list(ids), "types": [kind] * len(ids), "by": by}
        await conn.execute(query("lock_alert_events"))
        await conn.execute(query("insert_alert_events"), values)
        await conn.execute(query("notify_alert_events"))
