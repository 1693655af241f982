"""The alert service of a collector: evaluation, webhooks and the event feed."""

import time
from collections.abc import Callable
from typing import Final

import structlog

from ingestion_api.alerts.event_feed import AlertEventFeed
from ingestion_api.alerts.hourly_evaluator import evaluate_hours
from ingestion_api.alerts.leased_worker import LeasedWorker, stop_all
from ingestion_api.alerts.live_evaluator import LiveEvaluator
from ingestion_api.alerts.rules import RuleFile
from ingestion_api.alerts.store import Connection, end_silences
from ingestion_api.alerts.visit_evaluator import evaluate_visits
from ingestion_api.alerts.webhooks import Webhook, webhook_name
from ingestion_api.background_tasks import Service
from ingestion_api.database.pool import ReadPool
from ingestion_api.observability.metrics import ALERT_EVALUATION_SECONDS
from ingestion_api.settings import CollectorSettings
from lake import EnergySettings
from warehouse_sql.named_queries import query

log = structlog.get_logger(__name__)

_HOURS_SECONDS: Final = 5.0
_WEBHOOK_SECONDS: Final = 0.5
_FORGET_SECONDS: Final = 3600.0
_STOP_SECONDS: Final = 15.0  # a post to a webhook takes ten at most


class Alerts(Service):
    """Evaluates rules, delivers events and feeds streams; each worker has a lease of its own."""

    def __init__(
        self,
        dsn: str,
        pool: ReadPool,
        rules: RuleFile,
        settings: CollectorSettings,
        energy: EnergySettings,
        *,
        has_cells: bool = False,
    ) -> None:
        self.rules = rules
        self._is_cell = bool(settings.home_url)  # its rules are those of the home
        self.feed = AlertEventFeed(dsn, pool)
        live = LiveEvaluator(
            rules,
            energy,
            settings.future_tolerance_seconds,
            settings.silent_intervals,
            has_cells=has_cells,
        )
        forget = {
            "seconds": settings.alert_days * 86_400,
            "webhooks": [webhook_name(one.url) for one in settings.alert_webhooks],
        }
        next_forgetting = 0.0

        def evaluate_hours_and_clean_up(conn: Connection) -> None:
            nonlocal next_forgetting
            evaluate_hours(conn, rules, energy)
            evaluate_visits(conn, rules)
            end_silences(conn)
            if time.monotonic() >= next_forgetting:
                conn.execute(query("forget_alerts"), forget)
                next_forgetting = time.monotonic() + _FORGET_SECONDS

        self._workers = [
            LeasedWorker(
                "alerts live",
                dsn,
                settings.alert_seconds,
                _timed("live", live.evaluate),
                live.begin,
            ),
            LeasedWorker(
                "alerts hours", dsn, _HOURS_SECONDS, _timed("hours", evaluate_hours_and_clean_up)
            ),
        ]
        secret = settings.alert_webhook_secret.get_secret_value()
        for one in settings.alert_webhooks:
            webhook = Webhook(one, secret, settings.alert_webhook_attempts)
            self._workers.append(
                LeasedWorker(
                    f"alerts {webhook.name}",
                    dsn,
                    _WEBHOOK_SECONDS,
                    webhook.deliver_due,
                    webhook.begin,
                )
            )

    async def start(self) -> None:
        """Start everything; psycopg.Error if the database does not answer."""
        if not self.rules.rules and not self._is_cell:
            log.warning("there are no alert rules: no alert opens, and those that are open resolve")
        await self.feed.start()
        for worker in self._workers:
            worker.start()

    async def stop(self) -> None:
        """End everything; what is under way is finished, or done again by whoever comes next."""
        await stop_all(self._workers, _STOP_SECONDS)
        await self.feed.stop()

    @property
    def is_alive(self) -> bool:
        """True while all of it runs."""
        return self.feed.is_alive and all(worker.is_alive for worker in self._workers)


def _timed(what: str, work: Callable[[Connection], None]) -> Callable[[Connection], None]:
    timer = ALERT_EVALUATION_SECONDS.labels(what)

    def timed(conn: Connection) -> None:
        with timer.time():
            work(conn)

    return timed
