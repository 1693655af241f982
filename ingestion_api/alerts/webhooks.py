"""Delivery of alert events to a webhook: in order, signed, retried, then dead-lettered."""

import hashlib
import hmac
import random
import time
from typing import Final

import httpx
import structlog
from psycopg.rows import DictRow

from ingestion_api.alerts.models import event_json
from ingestion_api.alerts.store import Connection
from ingestion_api.observability.metrics import ALERT_WEBHOOK_POSTS
from ingestion_api.settings import AlertWebhook
from warehouse_sql.named_queries import query

log = structlog.get_logger(__name__)

_TIMEOUT_SECONDS: Final = 10.0
_LONGEST_PAUSE_SECONDS: Final = 300.0
_RUN_SECONDS: Final = 10.0


class Webhook:
    """Delivers to one URL. Its position is in the database, so that a restart goes on from there.

    Events of devices that do not belong to its depots and groups are passed over.

    An event whose answer was lost is delivered again, with the same Idempotency-Key.
    """

    def __init__(self, webhook: AlertWebhook, secret: str, attempts: int) -> None:
        self.name = webhook_name(webhook.url)
        self._url, self._secret, self._attempts = webhook.url, secret.encode(), attempts
        self._key = {"webhook": self.name}
        self._wanted = {"depots": webhook.depots, "groups": webhook.groups}

    def begin(self, conn: Connection) -> None:
        """Register a webhook that is new."""
        conn.execute(query("register_webhook"), self._key)

    def deliver_due(self, conn: Connection) -> None:
        """Deliver what is due until nothing is, or for some seconds."""
        until = time.monotonic() + _RUN_SECONDS
        with httpx.Client(timeout=_TIMEOUT_SECONDS) as client:
            while self._deliver_next(conn, client) and time.monotonic() < until:
                pass
            while self._redeliver(conn, client) and time.monotonic() < until:
                pass

    def _deliver_next(self, conn: Connection, client: httpx.Client) -> bool:
        event = conn.execute(query("next_webhook_event"), self._key | self._wanted).fetchone()
        if event is None or event["id"] is None:
            return False
        if not event["is_wanted"]:
            conn.execute(query("webhook_delivered"), self._key | {"id": event["id"]})
            return True
        if not event["is_due"]:
            return False
        error = self._post(client, event)
        if error is None:
            conn.execute(query("webhook_delivered"), self._key | {"id": event["id"]})
            return True
        attempts = event["attempts"] + 1
        failure = self._key | {"id": event["id"], "attempts": attempts, "error": error}
        if attempts < self._attempts:
            conn.execute(query("webhook_failed"), failure | {"pause": backoff_seconds(attempts)})
            return False
        log.warning("a webhook does not take an alert event", webhook=self.name, error=error)
        with conn.transaction():
            conn.execute(query("insert_dead_letter"), failure)
            conn.execute(query("webhook_delivered"), failure)
        return True

    def _redeliver(self, conn: Connection, client: httpx.Client) -> bool:
        letter = conn.execute(query("next_redelivery"), self._key).fetchone()
        if letter is None:
            return False
        error = self._post(client, letter)
        outcome = "dead_letter_delivered" if error is None else "dead_letter_failed"
        conn.execute(query(outcome), {"letter": letter["letter"], "error": error})
        return True

    def _post(self, client: httpx.Client, event: DictRow) -> str | None:
        """Why it was not taken, if it was not. The URL, a secret, stays unsaid."""
        body = event_json(event).encode()
        headers = {"content-type": "application/json", "Idempotency-Key": str(event["id"])}
        if self._secret:
            headers["Wattlake-Signature"] = signature(self._secret, int(time.time()), body)
        error: str | None = None
        try:
            answer = client.post(self._url, content=body, headers=headers)
            if not answer.is_success:
                error = f"HTTP {answer.status_code}"
        except httpx.HTTPError as problem:
            error = type(problem).__name__
        ALERT_WEBHOOK_POSTS.labels("failed" if error else "taken").inc()
        return error


def signature(secret: bytes, moment: int, body: bytes) -> str:
    """`t=` Unix time, `v1=` HMAC-SHA256 of that time, a dot and the body, in hexadecimals."""
    mac = hmac.new(secret, b"%d." % moment + body, hashlib.sha256)
    return f"t={moment},v1={mac.hexdigest()}"


def backoff_seconds(attempts: int) -> float:
    """Seconds after so many failures: 1, 2, 4 and so on up to five minutes, less up to a half."""
    longest = min(2.0 ** min(attempts - 1, 30), _LONGEST_PAUSE_SECONDS)
    return longest * random.uniform(0.5, 1)


def webhook_name(url: str) -> str:
    """Name a webhook without its URL, of which path and query may be secrets."""
    return f"{httpx.URL(url).host} {hashlib.sha256(url.encode()).hexdigest()[:8]}"
