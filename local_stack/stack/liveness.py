"""Liveness checks of processes that run.

`python -m local_stack.stack.liveness` is that of Dagster's daemon: exit code 0 if it works.
"""

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx
import psycopg
from pydantic import ValidationError

from warehouse_sql.named_queries import query
from warehouse_sql.settings import DatabaseSettings, settings_fault

_PATIENCE_SECONDS: Final = 5
_NEWEST_HEARTBEAT: Final = timedelta(minutes=3)  # each of the daemon's threads sends two a minute
_OLDEST_HEARTBEAT: Final = timedelta(minutes=30)  # as of `dagster-daemon liveness-check`


def url_answers(url: str) -> Callable[[], bool]:
    """Return a check that a GET of this URL has an answer that is no error."""

    def ask() -> bool:
        try:
            return httpx.get(url, timeout=_PATIENCE_SECONDS).is_success
        except httpx.HTTPError:
            return False

    return ask


def daemon_works(dsn: str) -> Callable[[], bool]:
    """Return a check that Dagster's daemon sends the heartbeats that it keeps in the database.

    Where the database does not tell, the daemon is not at fault.
    """

    def ask() -> bool:
        try:
            with psycopg.connect(dsn, connect_timeout=_PATIENCE_SECONDS) as conn:
                row = conn.execute(query("daemon_heartbeats")).fetchone()
        except (psycopg.Error, OSError):
            return True
        if row is None or row[0] is None:
            return False
        now = datetime.now(UTC).replace(tzinfo=None)
        newest, oldest = row
        return bool(now - newest < _NEWEST_HEARTBEAT and now - oldest < _OLDEST_HEARTBEAT)

    return ask


if __name__ == "__main__":
    try:
        dsn = DatabaseSettings().dsn
    except ValidationError as error:
        sys.exit(settings_fault(error))
    sys.exit(not daemon_works(dsn)())
