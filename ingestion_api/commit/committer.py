"""Committer: a database connection that commits one group after the other, and reconnects."""

import asyncio
import random
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg
import structlog

from ingestion_api.commit.commit_queue import Group
from ingestion_api.commit.receipt_clock import ReceiptClock
from ingestion_api.commit.transaction import (
    LOST_RACES,
    NamedPairs,
    committer_settings,
    statements,
    transactions,
    unknown_pairs,
)
from ingestion_api.database.pool import abort, abort_after, prepare_threshold
from ingestion_api.errors import NotCommitted
from ingestion_api.heartbeats.batch import HeartbeatBatch
from ingestion_api.observability.metrics import COMMIT_FAILURES, COMMIT_ROWS, COMMIT_SECONDS
from ingestion_api.settings import CollectorSettings
from lake import VEHICLE
from warehouse_sql.statement_pipeline import StatementPipeline

log = structlog.get_logger(__name__)

_ATTEMPTS: Final = 10  # of a transaction that lost to another one
_PAIRS_REMEMBERED: Final = 500_000
_PAIRS_SECONDS: Final = 3_600  # a pair that was removed is stored again after so long
_CONNECT_SECONDS: Final = 5


class Committer:
    """One of a collector's committers; each remembers the named pairs that it has stored."""

    def __init__(
        self, dsn: str, settings: CollectorSettings, clock: ReceiptClock, *, is_pooled: bool
    ) -> None:
        """`clock` is the same for all committers of a process."""
        self._dsn, self._settings, self._clock = dsn, settings, clock
        self._is_pooled = is_pooled
        self._tolerance = timedelta(seconds=settings.future_tolerance_seconds)
        self._conn: psycopg.AsyncConnection | None = None
        self._pipeline: StatementPipeline | None = None
        self._pairs_known: NamedPairs = {}
        self._pairs_since = time.monotonic()
        self._is_aborted = False  # by a commit that took too long

    @property
    def is_connected(self) -> bool:
        """True if the database answered last time."""
        return self._conn is not None

    async def connect(self) -> None:
        """Connect; psycopg.OperationalError where no database answers."""
        conn = await psycopg.AsyncConnection.connect(
            self._dsn,
            autocommit=True,
            connect_timeout=_CONNECT_SECONDS,
            prepare_threshold=prepare_threshold(self._is_pooled),
            application_name="wattlake collector",
        )
        pipeline = StatementPipeline(conn)
        async with AsyncExitStack() as on_failure:
            on_failure.push_async_callback(conn.close)
            with abort_after(_CONNECT_SECONDS, conn):
                await pipeline.commit([committer_settings(is_local=self._is_pooled)])
            on_failure.pop_all()
        # Pairs that were known to another database, as before a restore, are no pairs of this one.
        self._pairs_known.clear()
        self._conn, self._pipeline = conn, pipeline

    async def try_connect(self) -> bool:
        """Connect; return whether that worked."""
        try:
            await self.connect()
        except (psycopg.Error, OSError):
            return False
        return True

    async def close(self) -> None:
        """End the connection."""
        if self._conn is not None:
            await self._conn.close()

    async def commit(self, group: Group) -> NotCommitted | None:
        """Commit the group; return the reason if it is not acknowledged."""
        started = time.perf_counter()
        rows = {name: self._clock.stamp(some) for name, some in group.rows.items()}
        self._is_aborted = False
        loop = asyncio.get_running_loop()
        failure: NotCommitted | None = None
        watchdog = loop.call_later(self._settings.commit_timeout_seconds, self._abort)
        try:
            for part in transactions(rows):
                failure = await self._write(part)
                if failure is not None:
                    break  # what is stored counts once when it is sent again
        finally:
            watchdog.cancel()
        if failure is not None and self._is_aborted:
            failure = NotCommitted("timeout", "the commit took too long; send again")
        COMMIT_SECONDS.observe(time.perf_counter() - started)
        COMMIT_ROWS.observe(group.count)
        if failure is not None:
            COMMIT_FAILURES.labels(failure.cause).inc()
        return failure

    async def _write(self, rows: Mapping[str, HeartbeatBatch]) -> NotCommitted | None:
        reconnected = False
        for attempt in range(1, _ATTEMPTS + 1):
            conn, pipeline = self._conn, self._pipeline
            if conn is None or pipeline is None or self._is_aborted:
                break
            pairs = unknown_pairs(rows.get(VEHICLE.name), self._pairs_known)
            until = datetime.now(UTC) + self._tolerance
            parts = statements(rows, pairs, self._settings.statement_rows, until)
            if self._is_pooled:  # what another transaction has set is not of this session
                parts = [committer_settings(is_local=True), *parts]
            try:
                await pipeline.commit(parts)
            except LOST_RACES as error:
                log.info("commit lost to another transaction", kind=type(error).__name__)
                await asyncio.sleep(random.uniform(0, 0.02) * attempt)
            except (psycopg.Error, OSError) as error:
                # Perhaps only this connection is gone, as after a restart of the server. Rows
                # that were committed after all have the same identity and time of receipt.
                self._conn = None
                await conn.close()
                if self._is_aborted or reconnected or not await self.try_connect():
                    log.warning("database is away", kind=type(error).__name__, error=str(error))
                    break
                reconnected = True
            else:
                self._remember(pairs)
                return None
        return NotCommitted("database", "the database can't store this now; send again later")

    def _remember(self, pairs: NamedPairs) -> None:
        now = time.monotonic()
        is_old = now - self._pairs_since > _PAIRS_SECONDS
        if is_old or len(self._pairs_known) > _PAIRS_REMEMBERED:
            self._pairs_known.clear()
            self._pairs_since = now
        self._pairs_known |= pairs

    def _abort(self) -> None:
        self._is_aborted = True
        if self._conn is not None:
            abort(self._conn)
