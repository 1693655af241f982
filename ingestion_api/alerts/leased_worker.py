"""Background worker under a lease: one collector at a time runs it, on a thread."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import psycopg
import structlog
from psycopg.rows import dict_row

from ingestion_api.alerts.store import Connection
from ingestion_api.database.pool import with_keepalives
from warehouse_sql.named_queries import query

log = structlog.get_logger(__name__)

_LEASE_POLL_SECONDS: Final = 0.5
_SHARE: Final = 0.5  # of the time may go into the work, however long it takes


class LeasedWorker:
    """Calls `work` about every `seconds` for as long as this collector holds the lease of `name`.

    The lease is an advisory lock of the very connection that `work` gets: who loses it can't write
    any more, and another collector takes over. A database that is away is tried again.
    """

    def __init__(
        self,
        name: str,
        dsn: str,
        seconds: float,
        work: Callable[[Connection], None],
        begin: Callable[[Connection], None] = lambda conn: None,
    ) -> None:
        """`begin` is called once with every new lease; both leave no transaction open."""
        self._name, self._dsn, self._seconds = name, with_keepalives(dsn), seconds
        self._work, self._begin = work, begin
        self._stopping = threading.Event()
        self._error: str | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_alive(self) -> bool:
        """True while the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def request_stop(self) -> None:
        """Begin no further work."""
        self._stopping.set()

    def stop(self, timeout: float) -> None:
        """Wait for the end of the work at hand, at most so many seconds."""
        self._stopping.set()
        if self._thread.is_alive():  # or it was never started
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with psycopg.connect(
                    self._dsn,
                    autocommit=True,
                    row_factory=dict_row,
                    connect_timeout=5,
                    # Workers of a parallel plan would take longer to start than these queries run.
                    options="-c TimeZone=UTC -c max_parallel_workers_per_gather=0",
                    application_name=f"wattlake {self._name}"[:63],
                ) as conn:
                    if self._take_lease(conn):
                        self._begin(conn)
                        self._go_on(conn)
            except (psycopg.Error, OSError) as error:
                text = f"{type(error).__name__}: {error}"
                if text != self._error:
                    log.warning("waits and tries again", work=self._name, error=text)
                self._error = text
            self._stopping.wait(_LEASE_POLL_SECONDS)

    def _take_lease(self, conn: Connection) -> bool:
        conn.execute(query("notice_lost_client"))
        while not self._stopping.is_set():
            found = conn.execute(query("try_alert_lease"), {"work": self._name}).fetchone()
            self._error = None
            if found is not None and found["is_taken"]:
                return True
            self._stopping.wait(_LEASE_POLL_SECONDS)
        return False

    def _go_on(self, conn: Connection) -> None:
        while not self._stopping.is_set():
            started = time.monotonic()
            self._work(conn)
            took = time.monotonic() - started
            self._stopping.wait(max(self._seconds - took, took * (1 / _SHARE - 1)))


async def stop_all(workers: Sequence[LeasedWorker], seconds: float) -> None:
    """Let all end their work at hand, for at most so many seconds together."""
    for worker in workers:
        worker.request_stop()
    deadline = time.monotonic() + seconds
    for worker in workers:
        await asyncio.to_thread(worker.stop, max(0.0, deadline - time.monotonic()))
