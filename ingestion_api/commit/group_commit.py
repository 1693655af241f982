"""Group commit: requests in flight share one transaction, and are answered after its COMMIT."""

import asyncio
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from ingestion_api.background_tasks import Service, start_task
from ingestion_api.commit.commit_queue import CommitQueue, Group
from ingestion_api.commit.committer import Committer
from ingestion_api.commit.receipt_clock import ReceiptClock
from ingestion_api.errors import NotCommitted
from ingestion_api.heartbeats.batch import HeartbeatBatch, Limits
from ingestion_api.observability.metrics import DATABASE_UP
from ingestion_api.outbox.backlog import OutboxMonitor
from ingestion_api.settings import CollectorSettings

log = structlog.get_logger(__name__)

_STOPPING: Final = "the collector is stopping; send again"
# Heartbeats that are worth a commit of their own while another one is under way.
_SECOND_COMMITTER_ROWS: Final = 500


class GroupCommit(Service):
    """The group commit of a process: a queue, and two committers with a connection and task each.

    The first one takes whatever waits. The second one helps while the first is busy and much waits,
    so that the database works on one group while the next is prepared.
    """

    def __init__(
        self,
        dsn: str,
        settings: CollectorSettings,
        outbox: OutboxMonitor,
        on_commit: Callable[[int], None] = lambda rows: None,
        *,
        is_pooled: bool = False,
    ) -> None:
        """`on_commit` is called with the number of rows of each commit."""
        self._settings, self._outbox, self._on_commit = settings, outbox, on_commit
        self._queue = CommitQueue(self._limits)
        clock = ReceiptClock(settings.future_tolerance_seconds)
        self._committer, self._second_committer = (
            Committer(dsn, settings, clock, is_pooled=is_pooled) for _ in range(2)
        )
        self._wake, self._wake_help = asyncio.Event(), asyncio.Event()
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect and start to commit; psycopg.OperationalError where no database answers."""
        await self._committer.connect()
        DATABASE_UP.set(1)
        self._tasks = {
            start_task(self._run(), "group-commit"),
            start_task(self._help(), "group-commit-help"),
        }
        for task in self._tasks:
            task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Take nothing more, commit what is pending, and end."""
        self._stopping = True
        self._wake.set()
        self._wake_help.set()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for committer in (self._committer, self._second_committer):
            await committer.close()

    @property
    def is_alive(self) -> bool:
        """True while the tasks run; if not, only a restart of the process helps."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    @property
    def is_connected(self) -> bool:
        """True if the database answered last time."""
        return self._committer.is_connected

    @property
    def is_crowded(self) -> bool:
        """True while the queue is nearly full."""
        return self._queue.rows > 0.8 * self._settings.queue_rows

    async def submit(self, rows: Mapping[str, HeartbeatBatch]) -> None:
        """Return when rows that break no rule are durable; else NotCommitted."""
        count = sum(len(some) for some in rows.values())
        if count:
            self._require_room(count)
            done = self._queue.enqueue(rows, count)
            self._notify()
            await done

    async def submit_one(self, stream: str, record: Any) -> bool:
        """Return True when the record is durable, False if it breaks a rule; else NotCommitted."""
        self._require_room(1)
        done = self._queue.enqueue_one(stream, record)
        self._notify()
        return await done

    def _require_room(self, count: int) -> None:
        if self._stopping or not self.is_alive:
            raise NotCommitted("stopping", _STOPPING)
        if not self.is_connected:
            raise NotCommitted("database", "the database does not answer; send again later")
        if self._outbox.is_full:
            raise NotCommitted("outbox", "the lake is away, the outbox is full; send again later")
        if self._queue.rows and self._queue.rows + count > self._settings.queue_rows:
            raise NotCommitted("queue", "too many heartbeats wait to be stored; send again later")

    def _notify(self) -> None:
        self._wake.set()
        if self._queue.waiting_rows >= _SECOND_COMMITTER_ROWS:
            self._wake_help.set()

    async def _run(self) -> None:
        while not (self._stopping and not self._queue.waiting_rows):
            if not self._committer.is_connected:
                await self._reconnect()
            elif self._queue.waiting_rows:
                failure = await self._commit(
                    self._committer, self._queue.next_group(self._settings.commit_rows)
                )
                if failure is not None and not self.is_connected:
                    DATABASE_UP.set(0)
                    self._queue.reject_all(failure)  # nobody waits for a database that is away
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _help(self) -> None:
        committer = self._second_committer
        while not self._stopping:
            await self._wake_help.wait()
            self._wake_help.clear()
            while self._queue.waiting_rows >= _SECOND_COMMITTER_ROWS and self.is_connected:
                if not committer.is_connected and not await committer.try_connect():
                    break
                await self._commit(committer, self._queue.next_group(self._settings.commit_rows))

    async def _commit(self, committer: Committer, group: Group) -> NotCommitted | None:
        if not group.count:
            return None
        failure: NotCommitted | None = NotCommitted("stopping", _STOPPING)
        try:
            failure = await committer.commit(group)
        finally:
            self._queue.resolve(group, failure)
        if failure is None:
            self._on_commit(group.count)
        return failure

    async def _reconnect(self) -> None:
        pause = 0.05
        while not self._stopping:
            if await self._committer.try_connect():
                DATABASE_UP.set(1)
                log.info("database is back")
                return
            await asyncio.sleep(random.uniform(0.5, 1) * pause)
            pause = min(2 * pause, self._settings.reconnect_max_seconds)
        self._queue.reject_all(NotCommitted("stopping", _STOPPING))

    def _limits(self) -> Limits:
        tolerance = self._settings.future_tolerance_seconds
        return Limits.from_clock(datetime.now(UTC), tolerance, self._settings.commit_rows)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not self._stopping or task.cancelled() or task.exception() is not None:
            self._queue.reject_all(NotCommitted("stopping", _STOPPING))
