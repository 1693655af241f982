"""Delivery of new versions of reports: once each, at the hour that was asked for, with retries."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import httpx
import structlog
from psycopg.rows import DictRow

from ingestion_api.alerts.leased_worker import LeasedWorker, stop_all
from ingestion_api.alerts.store import Connection
from ingestion_api.alerts.webhooks import backoff_seconds, webhook_name
from ingestion_api.analytics.lake_access import LakeUnreadable, reading_the_lake
from ingestion_api.background_tasks import Service
from ingestion_api.report_delivery.outgoing import OutgoingReport, post_webhook, send_mail
from ingestion_api.settings import CollectorSettings
from lake import DAY, Lake, LakeDamaged
from lake.reports import (
    ReportFolder,
    ReportVersion,
    Scope,
    changed_figures,
    list_reports,
    read_file,
    read_note,
)
from warehouse_sql.named_queries import query

log = structlog.get_logger(__name__)

_STOP_SECONDS: Final = 25.0  # a mail takes twenty at most


class ReportDelivery(Service):
    """One collector at a time delivers; a recipient that takes nothing holds up no other report."""

    def __init__(self, dsn: str, lake: Lake, settings: CollectorSettings) -> None:
        self._lake, self._settings = lake, settings
        # Versions never change; a damaged one may be mended, and is said to be damaged once.
        self._notes: dict[tuple[ReportFolder, int], Mapping[str, Any]] = {}
        self._damaged: set[tuple[ReportFolder, int]] = set()
        self._worker = LeasedWorker(
            "reports", dsn, settings.report_delivery_seconds, self.deliver_due
        )

    async def start(self) -> None:
        """Start to deliver."""
        self._worker.start()

    async def stop(self) -> None:
        """End what is under way; what is not delivered is so later."""
        await stop_all([self._worker], _STOP_SECONDS)

    @property
    def is_alive(self) -> bool:
        """True while it works."""
        return self._worker.is_alive

    def deliver_due(self, conn: Connection) -> None:
        """Deliver every report that is due, one attempt for each."""
        try:
            self._deliver_all(conn, datetime.now(UTC))
        except LakeUnreadable as error:
            log.warning("reports can't be read, and wait", error=str(error))

    @reading_the_lake()
    def _deliver_all(self, conn: Connection, now: datetime) -> None:
        for subscription in conn.execute(query("report_subscriptions"), {"id": None}).fetchall():
            known = {
                row["report"]: row
                for row in conn.execute(query("report_deliveries"), subscription).fetchall()
            }
            scope = Scope(subscription["depot"])
            reports = list_reports(self._lake.file_system(), subscription["period"], scope)
            for period, versions in reports.items():
                folder = ReportFolder(period, scope)
                self._deliver(conn, subscription, folder, versions, known.get(period.key), now)

    def _deliver(
        self,
        conn: Connection,
        subscription: DictRow,
        folder: ReportFolder,
        versions: Sequence[ReportVersion],
        known: DictRow | None,
        now: datetime,
    ) -> None:
        settled = known["version"] if known else 0
        if (known and not known["is_due"]) or versions[-1].number <= settled:
            return
        notes = {
            version.number: note
            for version in versions
            if version.number > settled and (note := self._note(folder, version.number))
        }
        made = [datetime.fromisoformat(note["madeAt"]) for note in notes.values()]
        due = [moment for moment in made if moment >= subscription["created_at"]]
        if not due or _sent_at(min(due), subscription["hour_utc"]) > now:
            return
        newest = versions[-1]
        if newest.number not in notes:
            return
        key = {"id": subscription["id"], "report": folder.period.key, "version": newest.number}
        before = self._note(folder, settled) if settled else None
        # Against what the recipient has, which may be older than the version before.
        changed = changed_figures(before, notes[newest.number]["figures"]) if before else []
        if before and not changed:
            conn.execute(query("report_settled"), key | {"error": None})
            return
        error = self._send(subscription, folder, newest, notes[newest.number], changed)
        attempts = (known["attempts"] if known else 0) + 1
        if error is None:
            conn.execute(query("report_settled"), key | {"error": None})
            return
        told = {"report": key["report"], "version": newest.number, "error": error}
        if attempts >= self._settings.report_delivery_attempts:
            log.warning("a report was not taken and is given up", **told)
            conn.execute(query("report_settled"), key | {"error": f"given up: {error}"})
        else:
            log.warning("a report was not taken and is sent again", attempts=attempts, **told)
            pause = backoff_seconds(attempts)
            conn.execute(query("report_not_delivered"), key | {"pause": pause, "error": error})

    def _send(
        self,
        subscription: DictRow,
        folder: ReportFolder,
        version: ReportVersion,
        note: Mapping[str, Any],
        changed: Sequence[str],
    ) -> str | None:
        files, number = self._lake.file_system(), version.number
        wanted = {
            form: read_file(files, folder.file(number, form)) for form in subscription["formats"]
        }
        report = OutgoingReport(
            subscription=subscription["id"],
            period=subscription["period"],
            report=folder.period.key,
            depot=subscription["depot"],
            version=number,
            title=note["title"],
            name=note["name"],
            figures=note["figures"],
            changed=changed,
            files={form: content for form, content in wanted.items() if content is not None},
        )
        send = send_mail if is_mail(subscription["recipient"]) else post_webhook
        return send(report, subscription["recipient"], self._settings)

    def _note(self, folder: ReportFolder, version: int) -> Mapping[str, Any] | None:
        """What is known of a version; None where there is none, or it is damaged, which is said."""
        key = folder, version
        if key not in self._notes:
            try:
                note = read_note(self._lake.file_system(), folder, version)
            except LakeDamaged as error:
                if key not in self._damaged:
                    log.warning("a report can't be delivered", error=str(error))
                self._damaged.add(key)
                return None
            if note is None:
                return None
            self._notes[key] = note
            self._damaged.discard(key)
        return self._notes[key]


def is_mail(recipient: str) -> bool:
    """Tell a mail address from a URL."""
    return "://" not in recipient


def recipient_fault(recipient: str) -> str | None:
    """Say why nothing can be sent there; None where it can."""
    if is_mail(recipient):
        return None
    try:
        return None if httpx.URL(recipient).host else "must be a URL with a host"
    except httpx.InvalidURL as error:
        return f"must be a URL: {error}"


def recipient_name(recipient: str) -> str:
    """Name a recipient without what may be a secret of a URL."""
    return recipient if is_mail(recipient) else webhook_name(recipient)


def _sent_at(made: datetime, hour: int) -> datetime:
    """The first moment from then on at which the hour of a day begins."""
    moment = made.astimezone(UTC).replace(hour=hour, minute=0, second=0, microsecond=0)
    return moment if moment >= made else moment + DAY
