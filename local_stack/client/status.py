"""State of the installation, read from the collector."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from local_stack.client.collector import Collector


class Figures(BaseModel):
    """Range of the computed figures."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore")

    state: str
    end_at: datetime | None
    last_heartbeat_at: datetime | None

    def delay_text(self, now: datetime) -> str | None:
        """Reason why they are not those of now; None if they are."""
        end = f"figures end at {clock(self.end_at, now)}" if self.end_at else "no figures yet"
        if self.state == "silent" and self.last_heartbeat_at:
            return f"no heartbeat since {clock(self.last_heartbeat_at, now)}, {end}"
        return end if self.state == "late" else None


class AlikeIds(BaseModel):
    """Ids that differ in letter case only."""

    stream: str
    ids: list[str]


class GuessedLinks(BaseModel):
    """Links by the rule of the trailing number."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore")

    links: int
    unpaired: int
    hint: str | None


class Status(BaseModel):
    """GET /v1/status."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore")

    records_acknowledged: int
    rows_in_lake: int
    outbox_rows: int
    hours_compacted: int
    hours_waiting: int
    hours_never_computed: int
    waiting_seconds: float | None
    vehicles_by_status: dict[str, int]
    ids_alike: list[AlikeIds]
    guessed_links: GuessedLinks
    figures: Figures | None


class Readiness(BaseModel):
    """GET /readyz, where heartbeats are taken."""

    warnings: list[str]


def read_warnings(collector: Collector) -> list[str]:
    """Read the warnings of a collector; CollectorError if it takes no heartbeats."""
    return collector.read(Readiness, "/readyz").warnings


def read_status(collector: Collector) -> Status:
    """Read the collector's status; CollectorError if it has none."""
    return collector.read(Status, "/v1/status")


def clock(moment: datetime, now: datetime) -> str:
    """Text of a time in UTC, with its date unless that is today."""
    is_today = moment.date() == now.date()
    return f"{moment:%H:%M} UTC" if is_today else f"{moment:%Y-%m-%d %H:%M} UTC"
