"""Performance of vehicles: requests about one window are batched.

What one answer costs is mostly the same for twenty: a snapshot of Postgres, a look at the lake, a
plan.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeAlias, TypeVar

from ingestion_api.analytics.batching import RequestBatcher
from ingestion_api.analytics.lake_access import in_lake_thread, reading_the_lake
from ingestion_api.analytics.performance.compute import Performance, compute_performances
from ingestion_api.analytics.performance.kept_vehicles import KeptVehicles
from ingestion_api.analytics.performance.long_windows import LongWindows
from ingestion_api.analytics.performance.snapshot import Near, read_contexts
from ingestion_api.analytics.performance.vehicle_context import (
    UnknownVehicle,
    VehicleContext,
    VehicleContexts,
)
from ingestion_api.database.dedicated_connection import DedicatedConnection
from ingestion_api.rest.etags import fingerprint
from ingestion_api.rest.parameters import BadWindow
from lake import EnergySettings
from lake.reads import DeviceReader, LakeSnapshot, LruCache

_MOST_VEHICLES: Final = 32

_T = TypeVar("_T")
_Window: TypeAlias = tuple[datetime | None, datetime | None]
_Answer: TypeAlias = Performance | UnknownVehicle | BadWindow


class PerformanceService:
    """Answers for vehicles, each exact as of a moment after it was asked for.

    They raise UnknownVehicle, BadWindow, LakeError, and what Postgres fails with.
    """

    def __init__(
        self,
        connection: DedicatedConnection,
        reader: DeviceReader,
        energy: EnergySettings,
        longest_days: int,
        future_tolerance_seconds: float,
        cache_bytes: int,
        now: Callable[[], datetime],
    ) -> None:
        self._connection, self._reader, self._energy = connection, reader, energy
        self._longest_days, self._now = longest_days, now
        self._long = LongWindows(energy, cache_bytes // 4)
        self._kept = KeptVehicles(energy, cache_bytes)
        self._near: LruCache[str, Near] = LruCache(cache_bytes // 16)
        self._tolerance = timedelta(seconds=future_tolerance_seconds)
        self._windows: dict[_Window, RequestBatcher[str, _Answer]] = {}

    async def performance_for(
        self, vehicle_id: str, start: datetime | None, end: datetime | None
    ) -> Performance:
        """The performance in a window; without `end` it ends now, without `start` it is a day."""
        window = start, end
        batcher = self._windows.get(window)
        if batcher is None:
            answer = partial(self._answer, window)
            batcher = self._windows[window] = RequestBatcher(answer, _MOST_VEHICLES)
        try:
            found = await batcher.submit(vehicle_id)
        finally:
            if batcher.is_idle and self._windows.get(window) is batcher:
                del self._windows[window]
        if isinstance(found, Performance):
            return found
        raise found

    async def if_changed(
        self,
        vehicle_id: str,
        start: datetime | None,
        end: datetime,
        is_known: Callable[[str], bool],
    ) -> tuple[str, Performance | None]:
        """The tag of a closed window's answer, and the answer unless its tag is known."""
        found = await self._contexts({vehicle_id}, start, end)
        for refused in found.refused.values():
            raise refused
        (context,) = found.contexts
        return await in_lake_thread(self._if_changed, context, is_known)

    async def with_context(
        self,
        vehicle_id: str,
        start: datetime | None,
        end: datetime | None,
        compute: Callable[[LakeSnapshot, VehicleContext], _T],
    ) -> _T:
        """Run a function on the lake and the context of one vehicle, in a thread."""
        found = await self._contexts({vehicle_id}, start, end)
        for refused in found.refused.values():
            raise refused
        (context,) = found.contexts

        @reading_the_lake()
        def computed() -> _T:
            return compute(self._reader.snapshot(), context)

        return await in_lake_thread(computed)

    async def _answer(self, window: _Window, vehicles: set[str]) -> Mapping[str, _Answer]:
        found = await self._contexts(vehicles, *window)
        answers: dict[str, _Answer] = dict(found.refused)
        for context in found.contexts:
            answers |= await in_lake_thread(self._compute, context)
        return answers

    async def _contexts(
        self, vehicles: set[str], start: datetime | None, end: datetime | None
    ) -> VehicleContexts:
        now, longest, energy = self._now(), self._longest_days, self._energy
        until = now + self._tolerance
        return await self._connection.run(
            lambda queries: read_contexts(
                queries, vehicles, start, end, now, longest, energy, until, self._near
            )
        )

    @reading_the_lake()
    def _compute(self, context: VehicleContext) -> dict[str, Performance]:
        view = self._reader.snapshot()
        return compute_performances(view, context, self._energy, self._long, self._kept)

    def _if_changed(
        self, context: VehicleContext, is_known: Callable[[str], bool]
    ) -> tuple[str, Performance | None]:
        (found,) = self._compute(context).values()
        tag = fingerprint(context.asked, found.period, found.row, found.links, self._energy)
        return tag, None if is_known(tag) else found
