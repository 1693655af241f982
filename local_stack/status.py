"""How the whole is, as the collector tells it."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from local_stack.collector import Collector


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


class Readiness(BaseModel):
    """GET /readyz, where heartbeats are taken."""

    warnings: list[str]


def read_warnings(collector: Collector) -> list[str]:
    """What needs a look while heartbeats are taken; CollectorError if they are not."""
    return collector.read(Readiness, "/readyz").warnings


def read_status(collector: Collector) -> Status:
    """The collector's status; CollectorError if it has none."""
    return collector.read(Status, "/v1/status")
