"""Questions that wait at the same time are answered together, as heartbeats are committed."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

_Question = TypeVar("_Question")
_Answer = TypeVar("_Answer")


@dataclass
class _Group(Generic[_Question, _Answer]):
    """Questions that gather, and the task that answers them once those before are answered."""

    questions: set[_Question] = field(default_factory=set)
    task: "asyncio.Task[Mapping[_Question, _Answer]] | None" = None


class RequestBatcher(Generic[_Question, _Answer]):
    """One group of questions after the other; alone, a question waits for nobody.

    The work on a group begins after each of its questions was asked. What it raises is raised to
    each who asked.
    """

    def __init__(
        self,
        answer: Callable[[set[_Question]], Awaitable[Mapping[_Question, _Answer]]],
        most: int,
    ) -> None:
        """`answer` has an answer for each question of a group, which has at most `most`."""
        self._answer, self._most = answer, most
        self._gathering: _Group[_Question, _Answer] | None = None
        self._newest: asyncio.Task[Mapping[_Question, _Answer]] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for an answer."""
        return self._newest is None

    async def submit(self, question: _Question) -> _Answer:
        """The answer to one question."""
        group = self._gathering
        if group is None or len(group.questions) >= self._most:
            group = self._gathering = _Group()
            group.task = asyncio.create_task(self._run(group, self._newest))
            self._newest = group.task
        group.questions.add(question)
        assert group.task is not None, "a group is made with its task"
        # Who goes away takes no answer from the others.
        return (await asyncio.shield(group.task))[question]

    async def _run(
        self,
        group: _Group[_Question, _Answer],
        before: "asyncio.Task[Mapping[_Question, _Answer]] | None",
    ) -> Mapping[_Question, _Answer]:
        if before is not None:
            await asyncio.wait([before])
        if self._gathering is group:
            self._gathering = None
        try:
            return await self._answer(group.questions)
        finally:
            if self._newest is group.task:
                self._newest = None
