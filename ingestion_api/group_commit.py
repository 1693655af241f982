"""Group commit: requests in flight share one transaction, and are answered after its COMMIT."""

import asyncio
import contextlib
import os
import random
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import psycopg
import pyarrow as pa
import structlog

from ingestion_api.metrics import (
    COMMIT_FAILURES,
    COMMIT_ROWS,
    COMMIT_SECONDS,
    DATABASE_UP,
    QUEUED_ROWS,
)
from ingestion_api.receipt_clock import ReceiptClock
from ingestion_api.settings import CollectorSettings
from ingestion_api.transaction import NamedPairs, write_heartbeats
from lake import STREAMS
from warehouse_sql.arrays import register_arrays

log = structlog.get_logger(__name__)

_ATTEMPTS: Final = 5  # of a transaction that lost to another one
_PAIRS_REMEMBERED: Final = 500_000
_CONNECT_SECONDS: Final = 5
_STOPPING: Final = "the collector is stopping; send again"


class NotCommitted(Exception):
    """The heartbeats are not acknowledged; the client sends them again."""

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(text)
        self.cause = cause


@dataclass
class _Pending:
    rows: Mapping[str, pa.Table]
    count: int
    done: asyncio.Future[None]


class GroupCommit:
    """The one committer of a process: a queue, a database connection and a task."""

    def __init__(
        self,
        dsn: str,
        settings: CollectorSettings,
        on_commit: Callable[[int], None] = lambda rows: None,
    ) -> None:
        """`on_commit` is told the number of rows of each commit."""
        self._dsn, self._settings, self._on_commit = dsn, settings, on_commit
        self._clock = ReceiptClock()
        self._queue: deque[_Pending] = deque()
        self._queued_rows = 0  # waiting or being committed
        self._wake = asyncio.Event()
        self._stopping = False
        self._conn: psycopg.AsyncConnection | None = None
        self._pairs_known: NamedPairs = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect and start to commit; psycopg.OperationalError where no database answers."""
        await self._connect()
        self._task = asyncio.create_task(self._run(), name="group-commit")
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Take nothing more, commit what is pending, and end."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait({self._task})
        if self._conn is not None:
            await self._conn.close()

    @property
    def is_alive(self) -> bool:
        """Whether the task runs; if not, only a restart of the process helps."""
        return self._task is not None and not self._task.done()

    @property
    def is_connected(self) -> bool:
        """Whether the database answered last time."""
        return self._conn is not None

    async def submit(self, rows: Mapping[str, pa.Table]) -> None:
        """Return when the rows (columns without `received_at`) are durable; else NotCommitted."""
        count = sum(table.num_rows for table in rows.values())
        if not count:
            return
        if self._stopping or not self.is_alive:
            raise NotCommitted("stopping", _STOPPING)
        if self._conn is None:
            raise NotCommitted("database", "the database does not answer; send again later")
        if self._queued_rows and self._queued_rows + count > self._settings.queue_rows:
            raise NotCommitted("queue", "too many heartbeats wait to be stored; send again later")
        stamped = {name: self._clock.stamp(STREAMS[name], table) for name, table in rows.items()}
        pending = _Pending(stamped, count, asyncio.get_running_loop().create_future())
        self._queue.append(pending)
        self._count_rows(count)
        self._wake.set()
        await pending.done

    async def _run(self) -> None:
        while not (self._stopping and not self._queue):
            if self._conn is None:
                await self._reconnect()
            elif self._queue:
                await self._commit(self._take())
            else:
                self._wake.clear()
                await self._wake.wait()

    def _take(self) -> list[_Pending]:
        """What is pending, up to the size of a commit, but at least one request."""
        group = [self._queue.popleft()]
        rows = group[0].count
        while self._queue and rows + self._queue[0].count <= self._settings.commit_rows:
            group.append(self._queue.popleft())
            rows += group[-1].count
        return group

    async def _commit(self, group: list[_Pending]) -> None:
        failure: NotCommitted | None = NotCommitted("stopping", _STOPPING)
        started = time.perf_counter()
        write = asyncio.create_task(self._write(group))
        try:
            await asyncio.wait({write}, timeout=self._settings.commit_timeout_seconds)
            if not write.done():
                self._cut_connection()  # which ends the task, too
                await write
                failure = NotCommitted("timeout", "the commit took too long; send again")
            else:
                failure = write.result()
        finally:
            self._answer(group, failure)
        rows = sum(pending.count for pending in group)
        COMMIT_SECONDS.observe(time.perf_counter() - started)
        COMMIT_ROWS.observe(rows)
        if failure is None:
            self._on_commit(rows)
        elif self._conn is None:  # nobody waits for a database that is away
            self._answer_all(failure)

    async def _write(self, group: list[_Pending]) -> NotCommitted | None:
        """Commit the group; says why it is not acknowledged, if it is not."""
        rows = {
            name: pa.concat_tables(tables)
            for name in STREAMS
            if (tables := [p.rows[name] for p in group if name in p.rows])
        }
        reconnected = False
        for attempt in range(1, _ATTEMPTS + 1):
            conn = self._conn
            if conn is None:
                break
            try:
                pairs = await write_heartbeats(
                    conn, rows, self._settings.statement_rows, self._pairs_known
                )
            except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure) as error:
                log.info("commit lost to another transaction", kind=type(error).__name__)
                await asyncio.sleep(random.uniform(0, 0.02) * attempt)
            except psycopg.Error as error:
                # Perhaps only this connection is gone, as after a restart of the server. Rows
                # that were committed after all have the same identity and time of receipt.
                cut_by_timeout = self._conn is None
                self._conn = None
                await conn.close()
                if cut_by_timeout or reconnected or not await self._connected():
                    DATABASE_UP.set(0)
                    log.warning("database is away", kind=type(error).__name__, error=str(error))
                    break
                reconnected = True
            else:
                self._remember(pairs)
                return None
        return NotCommitted("database", "the database can't store this now; send again later")

    def _answer(self, group: list[_Pending], failure: NotCommitted | None) -> None:
        if failure is not None:
            COMMIT_FAILURES.labels(failure.cause).inc()
        for pending in group:
            self._count_rows(-pending.count)
            if pending.done.done():  # its client has gone
                continue
            if failure is None:
                pending.done.set_result(None)
            else:
                pending.done.set_exception(failure)

    def _answer_all(self, failure: NotCommitted) -> None:
        waiting, self._queue = list(self._queue), deque()
        if waiting:
            self._answer(waiting, failure)

    def _count_rows(self, change: int) -> None:
        self._queued_rows += change
        QUEUED_ROWS.set(self._queued_rows)

    def _remember(self, pairs: NamedPairs) -> None:
        if len(self._pairs_known) > _PAIRS_REMEMBERED:
            self._pairs_known.clear()
        self._pairs_known |= pairs

    async def _connect(self) -> None:
        conn = await psycopg.AsyncConnection.connect(
            self._dsn,
            autocommit=True,
            connect_timeout=_CONNECT_SECONDS,
            application_name="wattlake collector",
            options="-c synchronous_commit=on",
        )
        register_arrays(conn)
        self._conn = conn
        DATABASE_UP.set(1)

    async def _connected(self) -> bool:
        try:
            await self._connect()
        except psycopg.Error:
            return False
        return True

    async def _reconnect(self) -> None:
        pause = 0.05
        while not self._stopping:
            if await self._connected():
                log.info("database is back")
                return
            await asyncio.sleep(random.uniform(0.5, 1) * pause)
            pause = min(2 * pause, self._settings.reconnect_max_seconds)

    def _cut_connection(self) -> None:
        """Cut the connection at its socket: a server that hangs would keep `close` waiting."""
        conn, self._conn = self._conn, None
        if conn is not None and not conn.closed:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(conn.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._answer_all(NotCommitted("stopping", _STOPPING))
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("the committer ended; restart the collector", exc_info=error)
