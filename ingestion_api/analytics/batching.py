"""Request batching: requests that wait at the same time are answered by one call."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")


@dataclass
class _Group(Generic[_Request, _Answer]):
    """Requests that gather, and the task that answers them after the group before."""

    requests: set[_Request] = field(default_factory=set)
    task: "asyncio.Task[Mapping[_Request, _Answer]] | None" = None


class RequestBatcher(Generic[_Request, _Answer]):
    """Answers one group of requests after the other; a single request waits for nobody.

    The work on a group begins after each of its requests was submitted. Its error is raised to each
    of them.
    """

    def __init__(
        self,
        answer: Callable[[set[_Request]], Awaitable[Mapping[_Request, _Answer]]],
        most: int,
    ) -> None:
        """`answer` returns an answer to each request of a group, of at most `most`."""
        self._answer, self._most = answer, most
        self._gathering: _Group[_Request, _Answer] | None = None
        self._newest: asyncio.Task[Mapping[_Request, _Answer]] | None = None

    @property
    def is_idle(self) -> bool:
        """True while nobody waits for an answer."""
        return self._newest is None

    async def submit(self, request: _Request) -> _Answer:
        """Return the answer to one request."""
        group = self._gathering
        if group is None or len(group.requests) >= self._most:
            group = self._gathering = _Group()
            group.task = asyncio.create_task(self._run(group, self._newest))
            self._newest = group.task
        group.requests.add(request)
        assert group.task is not None, "a group is made with its task"
        # Who goes away takes no answer from the others.
        return (await asyncio.shield(group.task))[request]

    async def _run(
        self,
        group: _Group[_Request, _Answer],
        before: "asyncio.Task[Mapping[_Request, _Answer]] | None",
    ) -> Mapping[_Request, _Answer]:
        if before is not None:
            await asyncio.wait([before])
        if self._gathering is group:
            self._gathering = None
        try:
            return await self._answer(group.requests)
        finally:
            if self._newest is group.task:
                self._newest = None
