"""Recorder of refused records: all are counted, some are kept for the operator."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import uuid4

import psycopg
import structlog

from ingestion_api.background_tasks import Service, cancel_task, start_task
from ingestion_api.observability.metrics import REJECTIONS_DROPPED, REJECTS
from ingestion_api.rejections.store import PRUNE_SECONDS, RejectionStore, Row
from ingestion_api.rejections.text import DEVICE_CHARACTERS, printable_text
from ingestion_api.settings import CollectorSettings

log = structlog.get_logger(__name__)

WRITE_SECONDS: Final = 1.0  # least time between two writes
_HELD_SECONDS: Final = 10  # of rejections at their full rate fit in memory
_ROWS: Final = 1000  # in one transaction
_ATTEMPT_SECONDS: Final = 10  # of connection and transaction together
_STOP_SECONDS: Final = 5
_QUIET_SECONDS: Final = 60  # without a loss make the next one news


class Rejection(NamedTuple):
    """Why a record was refused; a tuple, because a flood makes very many."""

    stream: str | None
    """`meter` or `vehicle`; None where it can't be told."""
    device: object
    """The id as sent, of whatever type; None if none was given."""
    field: str | None
    """The field at fault; None for the whole record."""
    code: str
    """The kind of fault, one of few: it is a label of a metric."""
    reason: str
    """The text of the answer."""
    record: object
    """The record: JSON text, or its parsed value, of which text is made only if it is kept."""
    sender: str
    """Name of the API key, or the client's address where there is none."""
    request_id: str | None


class RejectionRecorder(Service):
    """Counts every rejection, and keeps the newest in the database within the settings' bounds.

    `record` only fills a bounded buffer, which a task writes about once a second. While the
    database is away the buffer keeps the newest. To be used on the event loop alone.
    """

    def __init__(self, dsn: str, settings: CollectorSettings) -> None:
        self._settings, self._store = settings, RejectionStore(dsn, settings)
        self._held: deque[Row] = deque()
        self._most_held = settings.rejections_per_second * _HELD_SECONDS
        self._noted, self._stopping = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._second_ends = 0.0
        self._room = 0  # in this second
        self._origins: Counter[str] = Counter()  # what of it each has taken
        self._last_time = datetime.min.replace(tzinfo=UTC)
        self._last_loss = float("-inf")
        self._is_away = False

    def record(self, rejections: Iterable[Rejection]) -> None:
        """Count them all, and hold some of them for the next write; returns at once.

        Of one device (or, where no id was given, of one sender) a second keeps no more than the
        database would, so that one device does not take the place of all others.
        """
        self._begin_second()
        counts: Counter[tuple[str | None, str]] = Counter()
        late = of_device = 0
        for rejection in rejections:
            counts[rejection.stream, rejection.code] += 1
            if not self._room:
                late += 1
            elif not self._hold(rejection):
                of_device += 1
        for (stream, code), count in counts.items():
            REJECTS.labels(stream or "unknown", code).inc(count)
        if of_device:
            REJECTIONS_DROPPED.labels("device").inc(of_device)
        if late:
            self._lose("rate", late)

    async def start(self) -> None:
        """Start to write; a database that is away is tried again."""
        self._task = start_task(self._run(), "rejections")

    async def stop(self) -> None:
        """Write what is held, and end; what can't be written in time is given up."""
        self._stopping.set()
        self._noted.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_STOP_SECONDS)
            await cancel_task(self._task)
        if self._held:
            self._lose("database", len(self._held))
            self._held.clear()

    @property
    def is_alive(self) -> bool:
        """True while it writes."""
        return self._task is not None and not self._task.done()

    def _begin_second(self) -> None:
        now = time.monotonic()
        if now >= self._second_ends:
            self._second_ends = now + 1
            self._room = self._settings.rejections_per_second
            self._origins.clear()

    def _hold(self, rejection: Rejection) -> bool:
        device = _shown(rejection.device, DEVICE_CHARACTERS)
        sender = printable_text(rejection.sender, 100)
        origin = f"sender {sender}" if device is None else f"device {device}"
        if self._origins[origin] >= self._settings.rejections_per_device:
            return False
        self._origins[origin] += 1
        self._room -= 1
        self._last_time = self._time_after(self._last_time)
        self._held.append(
            Row(
                uuid4(),
                self._last_time,
                _shown(rejection.stream, 20),
                device,
                _shown(rejection.field, 64),
                printable_text(rejection.code, 40),
                printable_text(rejection.reason, 500),
                printable_text(rejection.record, 2000),
                sender,
                _shown(rejection.request_id, 100),
            )
        )
        self._keep_newest()
        self._noted.set()
        return True

    def _time_after(self, last: datetime) -> datetime:
        """Now, but later than the last, so that the order of arrival shows.

        A clock that is set back by more than the tolerance was wrong before, and is followed.
        """
        now = datetime.now(UTC)
        if last - now > timedelta(seconds=self._settings.future_tolerance_seconds):
            return now
        return max(now, last + timedelta(microseconds=1))

    def _keep_newest(self) -> None:
        too_many = len(self._held) - self._most_held
        if too_many > 0:
            for _ in range(too_many):
                self._held.popleft()
            self._lose("database", too_many)

    async def _run(self) -> None:
        while True:
            is_last = self._stopping.is_set()
            self._noted.clear()
            await self._write_held()
            if is_last:
                return
            await _set_within(self._noted, PRUNE_SECONDS)
            await _set_within(self._stopping, WRITE_SECONDS)

    async def _write_held(self) -> None:
        while self._held or self._store.is_prune_due:
            rows = [self._held.popleft() for _ in range(min(len(self._held), _ROWS))]
            is_written = False
            try:
                async with asyncio.timeout(_ATTEMPT_SECONDS):
                    await self._store.write(rows)
                is_written = True
            except (psycopg.Error, OSError) as error:
                if not self._is_away:
                    log.warning(
                        "rejections can't be stored; the newest wait",
                        kind=type(error).__name__,
                        error=str(error),
                    )
                self._is_away = True
                self._noted.set()  # try again
                return
            finally:
                if not is_written:
                    self._held.extendleft(reversed(rows))
                    self._keep_newest()
            if self._is_away:
                log.info("rejections are stored again")
            self._is_away = False

    def _lose(self, cause: str, count: int) -> None:
        REJECTIONS_DROPPED.labels(cause).inc(count)
        now = time.monotonic()
        if now - self._last_loss >= _QUIET_SECONDS:
            log.warning("rejections are counted but not kept", cause=cause)
        self._last_loss = now


def _shown(value: object, most: int) -> str | None:
    return None if value is None else printable_text(value, most)


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    """Return when the event is set, or after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
