"""The lake writer: a thread that moves acknowledged heartbeats from the outbox to the lake."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol, Self

import adbc_driver_manager
import psycopg
import structlog
from deltalake.exceptions import DeltaError

from ingestion_api.database.pool import with_keepalives
from ingestion_api.observability.metrics import (
    FLUSH_FAILURES,
    FLUSH_ROWS,
    FLUSH_SECONDS,
    LAKE_ROWS,
    LAST_FLUSH,
    WRITES_THE_LAKE,
)
from ingestion_api.outbox.flush import OutboxFlush
from ingestion_api.outbox.lake_binding import create_tables
from lake import STREAMS, Lake, LakeError, Stream
from warehouse_sql.named_queries import query

log = structlog.get_logger(__name__)

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0  # each attempt may leave files that no commit names
_LONGEST_DATABASE_PAUSE: Final = 2.0  # of which there are none while the database is away
_LOCK_POLL_SECONDS: Final = 0.5


class FlushSettings(Protocol):
    """The settings that the writer needs."""

    @property
    def flush_seconds(self) -> float: ...
    @property
    def flush_rows(self) -> int: ...


@dataclass
class WriterState:
    """The outcome of the writer's last work; readiness reads it."""

    is_writer: bool = False
    error: str | None = None
    refusal: str | None = None
    """What is wrong with the lake, where a person has to act; no secrets are in it."""


class LakeWriter:
    """Flushes every `flush_seconds`, or earlier once `flush_rows` were committed.

    Any number of collectors may run one; only the holder of an advisory lock writes, the others
    wait to take over. A database or a lake that is away does not end it: the outbox keeps what
    was acknowledged, and the writer tries again until it succeeds.
    """

    def __init__(
        self,
        dsn: str,
        lake: Lake,
        settings: FlushSettings,
        at_step: Callable[[str], None] = lambda step: None,
    ) -> None:
        """`at_step` is called at every step of a flush (flush.STEPS), for fault tests."""
        self.state = WriterState()
        self._dsn, self._lake, self._settings, self._at_step = dsn, lake, settings, at_step
        self._stopping, self._wake = threading.Event(), threading.Event()
        self._committed_rows = 0
        self._epochs = set[str]()
        self._pause = _FIRST_PAUSE
        self._thread = threading.Thread(target=self._run, name="lake-writer", daemon=True)

    @property
    def is_alive(self) -> bool:
        """True while the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread; it creates the lake's tables where they are missing."""
        self._thread.start()

    def committed(self, rows: int) -> None:
        """Tell that `rows` more wait in the outbox; enough of them make it flush at once."""
        self._committed_rows += rows
        if self._committed_rows >= self._settings.flush_rows:
            self._wake.set()

    def stop(self, timeout: float) -> bool:
        """Flush once more and end; False if that took longer than `timeout` seconds."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():  # or it was never started
            self._thread.join(timeout)
        return not self._thread.is_alive()

    @asynccontextmanager
    async def running(self, last_flush_seconds: float) -> AsyncIterator[Self]:
        """Start the thread, and at the end flush once more, for at most so many seconds."""
        try:
            self.start()
            yield self
        finally:
            if not await asyncio.to_thread(self.stop, last_flush_seconds):
                log.warning("the last flush was too slow; the outbox keeps the rest")

    def _run(self) -> None:
        while True:
            try:
                with psycopg.connect(
                    with_keepalives(self._dsn), autocommit=True, connect_timeout=10
                ) as conn:
                    if self._take_lock(conn):
                        self._write(conn)
            except (psycopg.Error, adbc_driver_manager.Error) as error:
                self._report(error)
                self._pause = min(self._pause, _LONGEST_DATABASE_PAUSE)
            except (DeltaError, LakeError, OSError) as error:
                self._report(error)
            self._set_role(is_writer=False)
            if self._stopping.wait(self._pause):
                return
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _take_lock(self, conn: psycopg.Connection) -> bool:
        conn.execute(query("notice_lost_client"))
        started = time.monotonic()
        while not self._stopping.is_set():
            row = conn.execute(query("try_writer_lock")).fetchone()
            if row and row[0]:
                return True
            if time.monotonic() - started > self._pause:
                # Another one writes, and has not failed for as long as we would wait.
                self.state.error = self.state.refusal = None
                self._pause = _FIRST_PAUSE
            self._stopping.wait(_LOCK_POLL_SECONDS)
        return False

    def _write(self, conn: psycopg.Connection) -> None:
        create_tables(conn, self._lake)
        with OutboxFlush(
            self._dsn, conn, self._lake, self._settings.flush_rows, self._at_step, self._epochs
        ) as flush:
            self._set_role(is_writer=True)
            log.info("this collector writes the lake", lake=self._lake.uri)
            while True:
                # Read before flushing: what was committed before the stop is flushed after it.
                last = self._stopping.is_set()
                self._flush_all(flush)
                if last:
                    return
                self._wake.wait(self._settings.flush_seconds)
                self._wake.clear()

    def _flush_all(self, flush: OutboxFlush) -> None:
        self._committed_rows = 0
        more = True
        while more:
            # In turn: a stream with a long backlog does not hold up the other.
            more = any([self._flush_one(flush, stream) for stream in STREAMS.values()])
            LAST_FLUSH.set_to_current_time()
            self.state.error = self.state.refusal = None
            self._pause = _FIRST_PAUSE

    def _flush_one(self, flush: OutboxFlush, stream: Stream) -> bool:
        """One flush of a stream; whether more waits."""
        started = time.monotonic()
        rows, more = flush.flush(stream)
        if rows:
            FLUSH_SECONDS.labels(stream.name).observe(time.monotonic() - started)
            FLUSH_ROWS.labels(stream.name).observe(rows)
            LAKE_ROWS.labels(stream.name).inc(rows)
        return more

    def _set_role(self, *, is_writer: bool) -> None:
        self.state.is_writer = is_writer
        WRITES_THE_LAKE.set(is_writer)

    def _report(self, error: Exception) -> None:
        """Count an error, and log it when it is first met, not at every retry."""
        by_database = isinstance(error, (psycopg.Error, adbc_driver_manager.Error))
        FLUSH_FAILURES.labels("database" if by_database else "lake").inc()
        text = f"{type(error).__name__}: {error}"
        if self.state.error != text:
            log.warning("lake writer waits and tries again", error=text)
        self.state.error = text
        self.state.refusal = " ".join(str(error).split()) if isinstance(error, LakeError) else None
