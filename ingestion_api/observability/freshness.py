"""Freshness of computed figures: how far they go, and the hours that wait for computation.

By the ledger and the clock alone, whatever state the runs are in.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from psycopg import AsyncConnection
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from ingestion_api.settings import CollectorSettings
from lake import hour_of
from warehouse_sql.named_queries import query


class FiguresState(Enum):
    """The state of the computed figures."""

    CURRENT = "current"
    LATE = "late"
    SILENT = "silent"
    NONE = "none"


class Figures(BaseModel):
    """The end of the computed hours, and the hours that wait."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    state: FiguresState = Field(
        description="current: every hour that is due is computed; late: hours after the newest "
        "computed one wait for longer than HOURS_LAG_WARNING_SECONDS; silent: no heartbeat has "
        "come for as long, so there is nothing to compute; none: no hour was ever due"
    )
    end_at: datetime | None = Field(description="end of the newest computed hour")
    waiting_hour: datetime | None = Field(
        description="closed hour that waits the longest for its computation, of those of the last "
        "day and those after the newest computed hour"
    )
    waiting_since: datetime | None = Field(description="since when it waits")
    older_hours_waiting: int = Field(
        description="older closed hours that wait, as after an import of old heartbeats"
    )
    last_heartbeat_at: datetime | None = Field(description="when a heartbeat was last received")


@dataclass(frozen=True)
class FiguresRow:
    """The database's figures at one moment."""

    end_at: datetime | None
    late: bool
    waiting_hour: datetime | None
    waiting_since: datetime | None
    older_waiting: int
    last_heartbeat_at: datetime | None

    def assess(self, now: datetime, longest_seconds: float, outbox_seconds: float) -> Figures:
        """The figures at a moment; `outbox_seconds` is the age of the oldest heartbeat in there."""
        longest = timedelta(seconds=longest_seconds)
        is_due = self.end_at is None or self.end_at < hour_of(now - longest)
        state = FiguresState.CURRENT
        # Of heartbeats that the lake does not have yet the ledger knows nothing.
        if self.late or (is_due and outbox_seconds > longest_seconds):
            state = FiguresState.LATE
        elif self.last_heartbeat_at is not None and now - self.last_heartbeat_at > longest:
            state = FiguresState.SILENT
        elif self.end_at is None:
            state = FiguresState.NONE
        return Figures(
            state=state,
            end_at=self.end_at,
            waiting_hour=self.waiting_hour,
            waiting_since=self.waiting_since,
            older_hours_waiting=self.older_waiting,
            last_heartbeat_at=self.last_heartbeat_at,
        )

    def waiting_seconds(self, now: datetime) -> float:
        """Waiting time of the hour that waits the longest; 0 where none does."""
        since = self.waiting_since
        return max(0.0, (now - since).total_seconds()) if since else 0.0


async def read_figures(
    conn: AsyncConnection[dict[str, Any]], now: datetime, settings: CollectorSettings
) -> FiguresRow:
    """Read the figures from the ledger and live state; raises psycopg.Error."""
    asked = {
        "now": now,
        "late": now - timedelta(seconds=settings.hours_lag_warning_seconds),
        "believed_until": now + timedelta(seconds=settings.future_tolerance_seconds),
    }
    row = await (await conn.execute(query("figures"), asked)).fetchone()
    assert row is not None, "the query always has one row"
    return FiguresRow(**row)


def freshness_warning(figures: Figures, now: datetime, longest_seconds: float) -> str | None:
    """Return the warning for a person; None where all is well."""
    since = f" since {clock(figures.waiting_since, now)}" if figures.waiting_since else ""
    if figures.state is FiguresState.LATE:
        waits = (
            f"later hours wait for their computation{since}; see the runs of `hourly` in Dagster"
            if figures.waiting_hour
            else "later heartbeats wait for the lake"
        )
        return f"{_end(figures, now)}: {waits}"
    if figures.state is FiguresState.SILENT and figures.last_heartbeat_at:
        last = clock(figures.last_heartbeat_at, now)
        return f"no heartbeat has come since {last}; {_end(figures, now)}"
    waiting_hour, waits_since = figures.waiting_hour, figures.waiting_since
    if waiting_hour and waits_since and (now - waits_since).total_seconds() > longest_seconds:
        return (
            f"the hour from {clock(waiting_hour, now)} waits for its computation{since}, others "
            "are computed; see its runs in Dagster"
        )
    return None


def clock(moment: datetime, now: datetime) -> str:
    """A time in UTC, with its date unless that is today."""
    is_today = moment.date() == now.date()
    return f"{moment:%H:%M} UTC" if is_today else f"{moment:%Y-%m-%d %H:%M} UTC"


def _end(figures: Figures, now: datetime) -> str:
    if figures.end_at is None:
        return "no figures are computed yet"
    return f"figures end at {clock(figures.end_at, now)}"
