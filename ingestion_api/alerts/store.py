"""Changes of alerts, written in one transaction with their events."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import DictRow

from ingestion_api.alerts.rules import Rule
from ingestion_api.alerts.state_machine import Condition
from warehouse_sql.named_queries import query

Connection = psycopg.Connection[DictRow]


@dataclass(frozen=True, slots=True)
class Subject:
    """A rule at a device, and the open alert that it has, if any."""

    rule: Rule
    device_kind: str
    device_id: str
    alert_id: int | None


@dataclass
class Changes:
    """Gathered row by row, written at once."""

    pending: list[tuple[Any, ...]] = field(default_factory=list)
    no_longer_pending: list[tuple[Any, ...]] = field(default_factory=list)
    opened: list[tuple[Any, ...]] = field(default_factory=list)
    updated: list[tuple[Any, ...]] = field(default_factory=list)
    resolved: list[tuple[Any, ...]] = field(default_factory=list)
    events: list[tuple[int, str]] = field(default_factory=list)
    """Alerts with an event of a type each, beside those that follow from the above."""

    def __bool__(self) -> bool:
        return any((self.pending, self.no_longer_pending, self.opened, self.updated, self.resolved))

    def apply_step(
        self, subject: Subject, before: Condition | None, after: Condition | None, message: str
    ) -> None:
        """Record the outcome of a step of the state machine; an end is recorded by `resolve`."""
        key = subject.rule.name, subject.device_kind, subject.device_id
        if before is not None and not before.is_open and (after is None or after.is_open):
            self.no_longer_pending.append(key)
        if after is None:
            return
        held = after.since, after.observed_at, after.value, after.worst
        if subject.alert_id is not None:
            self.updated.append((subject.alert_id, *held[1:], message))
            if before is not None and after.worst != before.worst:
                self.events.append((subject.alert_id, "worsened"))
        elif after.is_open:
            rule = subject.rule
            self.opened.append((*key, *held, rule.kind, rule.severity, message))
        else:
            self.pending.append((*key, *held))

    def resolve(self, alert_id: int, last: Condition) -> None:
        """An alert ends with this observation."""
        self.resolved.append((alert_id, last.observed_at, last.value, last.worst))

    def write(self, conn: Connection) -> None:
        """Write everything; to be called in a transaction, as the last of its locks."""
        _run(conn, "drop_pending_alerts", self.no_longer_pending)
        _run(conn, "upsert_pending_alerts", self.pending)
        _run(conn, "update_alerts", self.updated)
        opened = _ids(conn, "open_alerts", self.opened)
        resolved = _ids(conn, "resolve_alerts", self.resolved)
        events = [*self.events, *((number, "opened") for number in opened)]
        events += [(number, "resolved") for number in resolved]
        if events:
            conn.execute(query("lock_alert_events"))
            ids, types = zip(*events, strict=True)
            values = {"ids": list(ids), "types": list(types), "by": None}
            conn.execute(query("insert_alert_events"), values)
            conn.execute(query("notify_alert_events"))


def end_silences(conn: Connection) -> None:
    """Tell of every open alert whose silence is over; webhooks may never have heard of it."""
    with conn.transaction():
        over = conn.execute(query("end_silences")).fetchall()
        Changes(events=[(row["id"], "unsilenced") for row in over]).write(conn)


def _run(conn: Connection, name: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        conn.execute(query(name), [list(column) for column in zip(*rows, strict=True)])


def _ids(conn: Connection, name: str, rows: Sequence[tuple[Any, ...]]) -> list[int]:
    if not rows:
        return []
    found = conn.execute(query(name), [list(column) for column in zip(*rows, strict=True)])
    return sorted(row["id"] for row in found)
