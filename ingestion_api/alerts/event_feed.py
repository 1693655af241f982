"""Feed of new alert events, read once from the database for all streams of a process."""

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from typing import Final

import psycopg
import structlog
from psycopg.rows import DictRow, dict_row

from ingestion_api.alerts.models import event_json
from ingestion_api.background_tasks import Service, cancel_task, start_task
from ingestion_api.database.pool import ReadPool, with_keepalives
from ingestion_api.observability.metrics import ALERT_DEAD_LETTERS, ALERTS_OPEN
from warehouse_sql.named_queries import query

log = structlog.get_logger(__name__)

_HELD: Final = 10_000  # newest events in memory; who is further behind reads the database
_PAGE: Final = 1_000
_POLL_SECONDS: Final = 2.0  # without a notification, which a broken connection may lose
_PAUSE_SECONDS: Final = 1.0


class PositionExpired(Exception):
    """There is no such position to resume from; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event as every stream sends it: `text` is its JSON. It is about one device."""

    id: int
    type: str
    text: str
    device_kind: str
    device_id: str


class AlertEventFeed(Service):
    """Reads events as they come, by notification and by poll, on one connection.

    A stream holds nothing but its position, so a slow client costs no memory.
    """

    def __init__(self, dsn: str, pool: ReadPool) -> None:
        self._dsn, self._pool = with_keepalives(dsn), pool
        self._held: deque[Event] = deque(maxlen=_HELD)
        self._begin = 0  # every event after it, up to newest, is held
        self.newest = 0
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin behind the newest event; psycopg.Error if the database does not say which it is."""
        async with self._pool.connection(30) as conn:
            self._begin = self.newest = (await _bounds(conn))["newest"]
        self._task = start_task(self._run(), "alert events")

    async def stop(self) -> None:
        """End the reading."""
        await cancel_task(self._task)

    @property
    def is_alive(self) -> bool:
        """True while the reading task runs."""
        return self._task is not None and not self._task.done()

    async def check_position(self, after: int) -> None:
        """Raise PositionExpired unless every event after this one can be had."""
        async with self._pool.connection() as conn:
            bounds = await _bounds(conn)
        if after > bounds["newest"]:
            raise PositionExpired(
                f"there is no event {after} yet, the newest is {bounds['newest']}; begin without "
                "a position, and read GET /v1/alerts?state=open"
            )
        if after < bounds["forgotten_event"]:
            raise PositionExpired(
                f"some events after {after} are deleted; begin without a position, and read "
                "GET /v1/alerts?state=open"
            )

    async def events_after(self, position: int, patience: float) -> list[Event]:
        """The next events, at most a page; none if none came within so many seconds."""
        if position >= self.newest:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._news.wait()
        if position >= self._begin:
            ahead = 0
            for event in reversed(self._held):
                if event.id <= position:
                    break
                ahead += 1
            first = len(self._held) - ahead
            return [self._held[index] for index in range(first, min(first + _PAGE, first + ahead))]
        async with self._pool.connection() as conn:
            return await _read(conn, position)

    async def _run(self) -> None:
        is_away = False
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._dsn,
                    autocommit=True,
                    row_factory=dict_row,
                    connect_timeout=5,
                    options="-c TimeZone=UTC",
                    application_name="wattlake alert events",
                ) as conn:
                    await conn.execute(query("listen_to_alerts"))
                    if is_away:
                        log.info("alert events are read again")
                    is_away = False
                    while True:
                        await self._catch_up(conn)
                        async for _ in conn.notifies(timeout=_POLL_SECONDS, stop_after=1):
                            pass
            except (psycopg.Error, OSError) as error:
                if not is_away:
                    log.warning("alert events can't be read; streams wait", error=str(error))
                is_away = True
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _catch_up(self, conn: psycopg.AsyncConnection[DictRow]) -> None:
        more = True
        while more:
            events = await _read(conn, self.newest)
            more = len(events) == _PAGE
            for event in events:
                if len(self._held) == _HELD:
                    self._begin = self._held[0].id
                self._held.append(event)
            if events:
                self.newest = events[-1].id
                self._news.set()
                self._news = asyncio.Event()
        counts = await (await conn.execute(query("count_open_alerts"))).fetchall()
        by_severity = {row["severity"]: row["alerts"] for row in counts}
        for severity in ("info", "warning", "critical"):
            ALERTS_OPEN.labels(severity).set(by_severity.get(severity, 0))
        letters = await (await conn.execute(query("count_dead_letters"))).fetchone()
        assert letters is not None, "a count has its row"
        ALERT_DEAD_LETTERS.set(letters["letters"])


async def _read(conn: psycopg.AsyncConnection[DictRow], after: int) -> list[Event]:
    found = await conn.execute(query("alert_events_after"), {"after": after, "limit": _PAGE})
    return [
        Event(
            row["id"],
            row["type"],
            event_json(row),
            row["alert"]["deviceKind"],
            row["alert"]["deviceId"],
        )
        for row in await found.fetchall()
    ]


async def _bounds(conn: psycopg.AsyncConnection[DictRow]) -> DictRow:
    found = await (await conn.execute(query("alert_event_bounds"))).fetchone()
    assert found is not None, "alert_progress has its row from the migration on"
    return found
