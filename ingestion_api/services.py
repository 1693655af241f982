"""The services that the requests of one process share."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from ingestion_api.alerts.service import Alerts
from ingestion_api.analytics.live_states import LiveStateReader
from ingestion_api.analytics.performance.service import PerformanceService
from ingestion_api.auth.api_keys import ApiKeyCache
from ingestion_api.auth.new_device_limit import NewDeviceLimiter
from ingestion_api.background_tasks import Supervisor
from ingestion_api.commit.group_commit import GroupCommit
from ingestion_api.database.pool import ReadPool
from ingestion_api.observability.freshness import Figures
from ingestion_api.outbox.backlog import OutboxMonitor
from ingestion_api.outbox.lake_writer import LakeWriter
from ingestion_api.rejections.recorder import RejectionRecorder
from ingestion_api.rest.request_bodies import RequestBodies
from ingestion_api.settings import CollectorSettings
from lake import EnergySettings, Lake
from lake.costs import Tariffs
from lake.reads import TableReader


@dataclass(frozen=True)
class Services:
    """Made once at start, closed at the end."""

    dsn: str
    settings: CollectorSettings
    energy: EnergySettings
    lake: Lake
    group_commit: GroupCommit
    lake_writer: LakeWriter
    pool: ReadPool
    replica_pool: ReadPool  # of answers that may be a moment behind; `pool` without a replica
    monitor_pool: ReadPool  # of what must go on while readers have all connections of the other
    bodies: RequestBodies
    outbox: OutboxMonitor
    rejections: RejectionRecorder
    keys: ApiKeyCache
    new_devices: NewDeviceLimiter
    alerts: Alerts
    performance: PerformanceService
    live_states: LiveStateReader
    tables: TableReader
    tariffs: Tariffs | None
    supervisor: Supervisor

    def now(self) -> datetime:
        """The collector's clock."""
        return now()

    def believed_until(self, now: datetime) -> datetime:
        """The latest event time that is believed; a state beyond came while a clock was ahead."""
        return now + timedelta(seconds=self.settings.future_tolerance_seconds)

    def figures(self, now: datetime) -> Figures | None:
        """Return the freshness of the computed figures; None before the database was asked."""
        if self.outbox.figures is None:
            return None
        backlog = self.outbox.backlog
        return self.outbox.figures.assess(
            now,
            self.settings.hours_lag_warning_seconds,
            backlog.age_seconds(now) if backlog else 0.0,
        )


def now() -> datetime:
    """The collector's clock."""
    return datetime.now(UTC)


async def services_of(request: Request) -> Services:
    """The services of the app that answers this request.

    A plain function would be called in a thread, for each request.
    """
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


ServicesDep = Annotated[Services, Depends(services_of)]
