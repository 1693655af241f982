"""Cache warming: reads of the lake ahead of the requests that will need them."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import psycopg
import structlog

from ingestion_api.analytics.lake_access import in_lake_thread, reading_the_lake
from ingestion_api.background_tasks import Service, cancel_task, start_task
from ingestion_api.database.dedicated_connection import DedicatedConnection, Row
from ingestion_api.observability.metrics import INDEXED_HOURS
from lake import STREAMS, LakeError
from lake.reads import DeviceReader
from warehouse_sql.binary_parameters import timestamp

log = structlog.get_logger(__name__)


class CacheWarmer(Service):
    """First the newest hours that wait for their compaction, then those to be indexed.

    Without it all answers are the same, and those that come first take longer.
    """

    def __init__(
        self,
        connection: DedicatedConnection,
        reader: DeviceReader,
        index_seconds: float,
        now: Callable[[], datetime],
    ) -> None:
        """Hours that are compacted later are looked for every `index_seconds`."""
        self._connection, self._reader, self._now = connection, reader, now
        self._pause = index_seconds
        self._is_failing = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin."""
        self._task = start_task(self._run(), "reading-ahead")

    async def stop(self) -> None:
        """Stop."""
        await cancel_task(self._task)

    @property
    def is_alive(self) -> bool:
        """True while the task runs."""
        return self._task is not None and not self._task.done()

    async def _run(self) -> None:
        await self._load_waiting_hours()
        while True:
            began = time.monotonic()
            is_complete = not await self._index_one()
            # The other half of a processor is for those who ask and report meanwhile.
            await asyncio.sleep(self._pause if is_complete else time.monotonic() - began)

    async def _load_waiting_hours(self) -> None:
        now = self._now()
        window = [timestamp(now - timedelta(hours=3)), timestamp(now)]
        try:
            (rows,) = await self._connection.run(
                lambda queries: queries.fetch(("dirty_hours_between", window))
            )
            if rows:
                await in_lake_thread(self._load, rows)
        except (psycopg.Error, OSError, LakeError) as error:
            log.warning("hours not read ahead, the first question will", reason=str(error))

    @reading_the_lake()
    def _load(self, dirty_hours: list[Row]) -> None:
        view = self._reader.snapshot()
        for name, stream in STREAMS.items():
            view.preload(stream, {row["hour"] for row in dirty_hours if row["stream"] == name})

    async def _index_one(self) -> bool:
        """Index an hour; True where there may be more."""
        try:
            is_one = await in_lake_thread(
                reading_the_lake()(self._reader.index_next_hour), self._now()
            )
        except LakeError as error:
            if not self._is_failing:
                log.warning("hours are not indexed, answers take longer", reason=str(error))
            self._is_failing = True
            return False
        self._is_failing = False
        INDEXED_HOURS.set(self._reader.indexed_hours)
        return is_one
