"""Table of alerts for a terminal."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from rich import box
from rich.table import Table
from rich.text import Text

from local_stack.client.collector import Collector

# the gravest first, with the colour of each
_SEVERITY_STYLES: Mapping[str, str] = {"critical": "red", "warning": "yellow", "info": "cyan"}
_MOST_ON_A_PAGE = 1_000


class OpenAlert(BaseModel):
    """Open alert at a device, and whether it is acknowledged."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore")

    id: int
    severity: str
    since: datetime
    device_kind: str
    device_id: str
    rule: str
    message: str
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    silenced_until: datetime | None


class _Page(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore")

    alerts: list[OpenAlert]
    next_cursor: str | None


def open_alerts(collector: Collector, count: int) -> list[OpenAlert]:
    """At most so many open alerts, the gravest first and of these the newest."""
    found: list[OpenAlert] = []
    for severity in _SEVERITY_STYLES:
        asked: dict[str, str | int] = {"state": "open", "severity": severity}
        while len(found) < count:
            asked["limit"] = min(count - len(found), _MOST_ON_A_PAGE)
            page = collector.read(_Page, "/v1/alerts", **asked)
            found += page.alerts
            if page.next_cursor is None:
                break
            asked["cursor"] = page.next_cursor
    return found


def alert_table(alerts: Sequence[OpenAlert]) -> Table:
    """A row for each alert; times are UTC."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("id", "severity", "since (UTC)"):
        table.add_column(name, no_wrap=True)
    for name in ("device", "rule", "what", "people"):
        table.add_column(name, overflow="fold")
    for alert in alerts:
        table.add_row(
            str(alert.id),
            Text(alert.severity, style=_SEVERITY_STYLES.get(alert.severity, "")),
            f"{alert.since:%Y-%m-%d %H:%M}",
            Text(f"{alert.device_kind} {alert.device_id}"),
            alert.rule,
            Text(alert.message),
            Text(_people(alert)),
        )
    return table


def _people(alert: OpenAlert) -> str:
    done = []
    if alert.acknowledged_at is not None:
        done.append(f"acknowledged by {alert.acknowledged_by}")
    if alert.silenced_until is not None:
        done.append(f"silenced until {alert.silenced_until:%Y-%m-%d %H:%M}")
    return ", ".join(done)
