"""Questions that wait at the same time are answered in groups."""

import asyncio
from collections.abc import Mapping

import pytest

from ingestion_api.analytics.batching import RequestBatcher


class Desk:
    """Answers a question with itself, once it is let."""

    def __init__(self) -> None:
        self.groups: list[set[int]] = []
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def answer(self, questions: set[int]) -> Mapping[int, int]:
        self.groups.append(set(questions))
        await self.gate.wait()
        if self.error:
            raise self.error
        return {question: question for question in questions}


async def asked(together: RequestBatcher[int, int], *questions: int) -> list[asyncio.Task[int]]:
    """Tasks that wait for answers."""
    tasks = [asyncio.create_task(together.submit(question)) for question in questions]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


def test_what_is_asked_during_an_answer_is_answered_together_after_it() -> None:
    async def run() -> None:
        desk = Desk()
        together = RequestBatcher(desk.answer, 3)
        tasks = await asked(together, 1)
        tasks += await asked(together, 2, 3, 2, 4, 5)
        desk.gate.set()
        assert await asyncio.gather(*tasks) == [1, 2, 3, 2, 4, 5]
        assert desk.groups == [{1}, {2, 3, 4}, {5}]
        assert together.is_idle

    asyncio.run(run())


def test_who_goes_away_takes_no_answer_from_the_others() -> None:
    async def run() -> None:
        desk = Desk()
        together = RequestBatcher(desk.answer, 9)
        gone, stays = await asked(together, 1, 2)
        gone.cancel()
        desk.gate.set()
        assert await stays == 2

    asyncio.run(run())


def test_an_error_is_raised_to_all_of_its_group_and_to_no_other() -> None:
    async def run() -> None:
        desk = Desk()
        together = RequestBatcher(desk.answer, 2)
        desk.error = ValueError("wrong")
        tasks = await asked(together, 1, 2)
        desk.gate.set()
        for task in tasks:
            with pytest.raises(ValueError, match="wrong"):
                await task
        desk.error = None
        assert await together.submit(3) == 3

    asyncio.run(run())
