"""What the requests of one process share."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from starlette.requests import Request

from ingestion_api.bodies import Bodies
from ingestion_api.database import ReadPool
from ingestion_api.figures import Figures
from ingestion_api.group_commit import GroupCommit
from ingestion_api.key_ring import KeyRing
from ingestion_api.lake_writer import LakeWriter
from ingestion_api.live_states import LiveStates
from ingestion_api.new_devices import NewDevices
from ingestion_api.outbox_watch import OutboxWatch
from ingestion_api.parts import Parts
from ingestion_api.rejections import RejectionLog
from ingestion_api.settings import CollectorSettings
from lake import EnergySettings, Lake
from lake.table_reader import TableReader
from lake.tariff import Tariff

if TYPE_CHECKING:  # which themselves take parameters, and those take the services
    from ingestion_api.alerts.service import Alerts
    from ingestion_api.performance_groups import Performances


@dataclass(frozen=True)
class Services:
    """Made once at start, closed at the end."""

    settings: CollectorSettings
    energy: EnergySettings
    lake: Lake
    committer: GroupCommit
    writer: LakeWriter
    pool: ReadPool
    bodies: Bodies
    outbox: OutboxWatch
    rejections: RejectionLog
    keys: KeyRing
    new_devices: NewDevices
    alerts: "Alerts"
    performances: "Performances"
    live_states: LiveStates
    tables: TableReader
    tariff: Tariff | None
    parts: Parts

    def now(self) -> datetime:
        """The collector's clock."""
        return now()

    def believed_until(self, now: datetime) -> datetime:
        """The latest event time that is believed; a state beyond came while a clock was ahead."""
        return now + timedelta(seconds=self.settings.future_tolerance_seconds)

    def figures(self, now: datetime) -> Figures | None:
        """How far the computed figures go; None before the database was asked."""
        if self.outbox.figures is None:
            return None
        backlog = self.outbox.backlog
        return self.outbox.figures.judged(
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
