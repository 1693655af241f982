"""Services that run in the background of a collector: if one of them ends, the process has to."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Protocol, Self

import structlog

log = structlog.get_logger(__name__)

_POLL_SECONDS: Final = 0.5


class Part(Protocol):
    """Something with a task or a thread of its own."""

    @property
    def is_alive(self) -> bool:
        """True while it works; a part that recovers by itself does."""
        ...


class Service(ABC):
    """Base of what is started and stopped with the collector, in an `async with` block.

    A start that fails or is cancelled is followed by a stop, so that it leaves nothing open.
    """

    @abstractmethod
    async def start(self) -> None:
        """Open what it needs, and begin to work."""

    @abstractmethod
    async def stop(self) -> None:
        """End the work and close everything; possible after half a start, too."""

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.stop)
            await self.start()
            stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()


class Supervisor(Service):
    """Watches all parts, by their names.

    Each part sits out what the outside world does to it, such as a database that is away. What
    else ends one is a fault that nobody foresaw, and a fresh process is the only known cure.
    """

    def __init__(self, parts: Mapping[str, Part], on_end: Callable[[str], None]) -> None:
        """`on_end` is called once, with the part that has ended."""
        self._parts, self._on_end = parts, on_end
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to watch."""
        self._task = start_task(self._watch(), "parts")

    async def stop(self) -> None:
        """End the watching, before the parts are stopped."""
        await cancel_task(self._task)

    @property
    def failed_part(self) -> str | None:
        """Name of a part that has ended, if any has."""
        return next((name for name, part in self._parts.items() if not part.is_alive), None)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            if (name := self.failed_part) is not None:
                log.critical("a part has ended, so the collector ends", part=name)
                self._on_end(name)
                return


def start_task(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Start a task whose unexpected end is logged at once."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_log_failure)
    return task


async def cancel_task(task: asyncio.Task[None] | None) -> None:
    """Cancel a task, if there is one, and wait for its end, whatever that is."""
    if task is not None:
        task.cancel()
        await asyncio.wait([task])


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("a task died", task=task.get_name(), exc_info=error)
