"""Monitor of the outbox: its bound, its metrics, its readiness.

It also tells the rate of heartbeats of all collectors, the freshness of computed figures, how many
hours wait, and which cells are seen.
"""

import asyncio
import contextlib
import math
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import psycopg
from psycopg.rows import DictRow

from ingestion_api.background_tasks import Service, cancel_task, start_task
from ingestion_api.database.pool import ReadPool
from ingestion_api.observability.freshness import FiguresRow, read_figures
from ingestion_api.observability.metrics import (
    CELL_UNSEEN,
    HOURS_REFINED,
    HOURS_WAITING,
    HOURS_WAITING_SECONDS,
    OUTBOX_AGE,
    OUTBOX_BYTES,
    OUTBOX_ROWS,
)
from ingestion_api.settings import CollectorSettings
from warehouse_sql.named_queries import query

_LEAST_SECONDS: Final = 2.0
_MOST_SECONDS: Final = 60.0  # a database that hangs must not hold up the next reading
_SHARE: Final = 0.05  # of the time may go into reading, however long that takes
_MISSED_LOOKS: Final = 3  # so many in a row may fail before it is said
_RATE_SECONDS: Final = 60.0  # devices send once a minute, and many of them at once


@dataclass(frozen=True)
class Backlog:
    """Acknowledged heartbeats that the lake does not hold yet, as of `seen_at`."""

    rows: int
    bytes: int
    oldest: datetime | None
    seen_at: datetime

    def age_seconds(self, now: datetime) -> float:
        """Age of the oldest of them; 0 where there is none."""
        return max(0.0, (now - self.oldest).total_seconds()) if self.oldest else 0.0


@dataclass(frozen=True)
class Cell:
    """Another database of this lake, and up to when its changes are merged here; None: never."""

    name: str
    seen_at: datetime | None
    is_seen: bool
    unseen_seconds: float | None


class OutboxMonitor(Service):
    """Reads the size of the outbox every other second, or less often once that takes long.

    Counting is a scan: the outbox has no index, because every heartbeat would pay for it. While
    the database is away the last figures stand.
    """

    def __init__(self, pool: ReadPool, settings: CollectorSettings) -> None:
        self._pool, self._settings = pool, settings
        self._task: asyncio.Task[None] | None = None
        self._acknowledged: deque[tuple[float, int]] = deque()
        self.backlog: Backlog | None = None
        self.figures: FiguresRow | None = None
        self.cells: list[Cell] = []
        self.is_full = False
        self._seen_at = self._next_looks_until = math.inf

    async def start(self) -> None:
        """Read once, and go on reading; psycopg.Error if the first reading fails."""
        await self._read_backlog()
        self._note_look(0.0)
        self._task = start_task(self._watch(), "outbox-watch")

    async def stop(self) -> None:
        """End the reading."""
        await cancel_task(self._task)

    @property
    def is_alive(self) -> bool:
        """True while it monitors."""
        return self._task is not None and not self._task.done()

    @property
    def unseen_seconds(self) -> float | None:
        """Seconds since the last look; None where the next is not overdue."""
        now = time.monotonic()
        return now - self._seen_at if now > self._next_looks_until else None

    @property
    def records_per_second(self) -> float | None:
        """Heartbeats acknowledged a second, over the last minute; None right after the start."""
        if len(self._acknowledged) < 2:
            return None
        (since, before), (until, after) = self._acknowledged[0], self._acknowledged[-1]
        return max(0.0, (after - before) / (until - since))

    async def _watch(self) -> None:
        took = 0.0
        while True:
            await asyncio.sleep(max(_LEAST_SECONDS, took / _SHARE))
            started = time.monotonic()
            # While the database is away the last figures stand; wattlake_database_up tells.
            with contextlib.suppress(psycopg.Error, OSError):
                async with asyncio.timeout(_MOST_SECONDS):
                    await self._read_backlog()
                self._note_look(time.monotonic() - started)
            took = time.monotonic() - started

    def _note_look(self, took: float) -> None:
        self._seen_at = time.monotonic()
        pause = max(_LEAST_SECONDS, took / _SHARE)
        self._next_looks_until = self._seen_at + _MISSED_LOOKS * pause + _MOST_SECONDS

    async def _read_backlog(self) -> None:
        async with self._pool.connection() as conn:
            found = await (await conn.execute(query("outbox_backlog"))).fetchall()
        for row in found:
            OUTBOX_ROWS.labels(row["stream"]).set(row["rows"])
        times = [row["oldest"] for row in found if row["oldest"] is not None]
        now = datetime.now(UTC)
        backlog = Backlog(
            rows=sum(row["rows"] for row in found),
            bytes=sum(row["bytes"] for row in found),
            oldest=min(times, default=None),
            seen_at=now,
        )
        OUTBOX_BYTES.set(backlog.bytes)
        OUTBOX_AGE.set(backlog.age_seconds(now))
        self.backlog = backlog
        self._count(backlog.rows + sum(row["rows_in_lake"] for row in found))
        self.is_full = (
            backlog.rows >= self._settings.outbox_rows
            or backlog.bytes >= self._settings.outbox_bytes
        )
        if self._settings.home_url:
            return  # where hours are computed
        # A database from before the newest migrations lacks what this asks: /readyz says so.
        with contextlib.suppress(psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedTable):
            async with self._pool.connection() as conn:
                await self._read_hours(conn, now)

    async def _read_hours(self, conn: psycopg.AsyncConnection[DictRow], now: datetime) -> None:
        waiting = await (await conn.execute(query("hours_waiting"))).fetchone()
        assert waiting is not None, "the query always has one row"
        HOURS_WAITING.set(waiting["hours"])
        HOURS_WAITING_SECONDS.set(math.nan if waiting["seconds"] is None else waiting["seconds"])
        refined = await (await conn.execute(query("refinements"))).fetchone()
        HOURS_REFINED.set(refined["hours"] if refined else 0)
        self.figures = await read_figures(conn, now, self._settings)
        self.cells = [Cell(**row) for row in await (await conn.execute(query("cells"))).fetchall()]
        for cell in self.cells:
            unseen = math.inf if cell.unseen_seconds is None else cell.unseen_seconds
            CELL_UNSEEN.labels(cell.name).set(unseen)

    def _count(self, acknowledged: int) -> None:
        readings, now = self._acknowledged, time.monotonic()
        readings.append((now, acknowledged))
        while len(readings) > 2 and readings[1][0] <= now - _RATE_SECONDS:
            readings.popleft()
