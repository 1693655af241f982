"""Requests for one window are answered together, as heartbeats are committed together.

What one answer costs is mostly the same for twenty: a snapshot of Postgres, a look at the lake, a
plan. While one group is computed, the next one gathers; alone, a request waits for nobody.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias, TypeVar

from ingestion_api.database import ReadPool
from ingestion_api.lake_reading import reading_the_lake
from ingestion_api.parameters import BadWindow
from ingestion_api.performance import Performance, performances
from ingestion_api.performance_facts import Facts, FoundFacts, UnknownVehicle, read_facts
from lake import EnergySettings
from lake.device_reading import DeviceReader, LakeView

_MOST_VEHICLES: Final = 32

_T = TypeVar("_T")
_Window: TypeAlias = tuple[datetime | None, datetime | None]
_Answer: TypeAlias = Performance | UnknownVehicle | BadWindow
_Answers: TypeAlias = Mapping[str, _Answer]


@dataclass
class _Group:
    """Vehicles of one window, until its task has begun to answer all of them."""

    vehicles: set[str] = field(default_factory=set)
    task: "asyncio.Task[_Answers] | None" = None


class Performances:
    """Answers for vehicles, each exact as of a moment after it was asked for.

    They raise UnknownVehicle, BadWindow, LakeError, and what Postgres fails with.
    """

    def __init__(
        self,
        pool: ReadPool,
        reader: DeviceReader,
        energy: EnergySettings,
        longest_days: int,
        now: Callable[[], datetime],
    ) -> None:
        self._pool, self._reader, self._energy = pool, reader, energy
        self._longest_days, self._now = longest_days, now
        self._gathering: dict[_Window, _Group] = {}
        self._newest: dict[_Window, asyncio.Task[_Answers]] = {}

    async def of(
        self, vehicle_id: str, start: datetime | None, end: datetime | None
    ) -> Performance:
        """The performance in a window; without `end` it ends now, without `start` it is a day."""
        key = start, end
        group = self._gathering.get(key)
        if group is None or len(group.vehicles) >= _MOST_VEHICLES:
            group = self._gathering[key] = _Group()
            group.task = asyncio.create_task(self._answer(key, group, self._newest.get(key)))
            self._newest[key] = group.task
        group.vehicles.add(vehicle_id)
        assert group.task is not None, "a group is made with its task"
        # Who goes away takes no answer from the others.
        answer = (await asyncio.shield(group.task))[vehicle_id]
        if isinstance(answer, Performance):
            return answer
        raise answer

    async def unless_known(
        self,
        vehicle_id: str,
        start: datetime | None,
        end: datetime,
        is_known: Callable[[str], bool],
    ) -> tuple[str, Performance | None]:
        """The tag of a closed window's answer, and the answer unless its tag is known."""
        found = await self._facts({vehicle_id}, start, end)
        for refused in found.refused.values():
            raise refused
        (facts,) = found.facts
        return await asyncio.to_thread(self._unless_known, facts, is_known)

    async def alone(
        self,
        vehicle_id: str,
        start: datetime | None,
        end: datetime | None,
        compute: Callable[[LakeView, Facts], _T],
    ) -> _T:
        """What a function makes of the lake and the facts of one vehicle, in a thread."""
        found = await self._facts({vehicle_id}, start, end)
        for refused in found.refused.values():
            raise refused
        (facts,) = found.facts

        @reading_the_lake()
        def computed() -> _T:
            return compute(self._reader.look(), facts)

        return await asyncio.to_thread(computed)

    async def _answer(
        self, key: _Window, group: _Group, before: "asyncio.Task[_Answers] | None"
    ) -> _Answers:
        if before is not None:
            await asyncio.wait([before])
        if self._gathering.get(key) is group:
            del self._gathering[key]
        try:
            found = await self._facts(group.vehicles, *key)
            answers: dict[str, _Answer] = dict(found.refused)
            for facts in found.facts:
                answers |= await asyncio.to_thread(self._compute, facts)
            return answers
        finally:
            if self._newest.get(key) is group.task:
                del self._newest[key]

    async def _facts(
        self, vehicles: set[str], start: datetime | None, end: datetime | None
    ) -> FoundFacts:
        async with self._pool.connection() as conn:
            return await read_facts(
                conn, vehicles, start, end, self._now(), self._longest_days, self._energy
            )

    @reading_the_lake()
    def _compute(self, facts: Facts) -> dict[str, Performance]:
        return performances(self._reader.look(), facts, self._energy)

    @reading_the_lake()
    def _unless_known(
        self, facts: Facts, is_known: Callable[[str], bool]
    ) -> tuple[str, Performance | None]:
        view = self._reader.look()
        tag = facts.fingerprint(view, self._energy)
        if is_known(tag):
            return tag, None
        (found,) = performances(view, facts, self._energy).values()
        return tag, found
