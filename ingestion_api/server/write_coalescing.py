"""Write coalescing: the head and the body of an answer go out as one packet."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

_ENOUGH_BYTES: Final = 65_536


class CoalescedWrites(asyncio.Transport):
    """A transport that holds what is written until `flush`, or the next turn of the event loop.

    uvicorn writes the head of an answer before the body; each of them would wake up the client.
    """

    def __init__(
        self,
        under: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        end: Callable[[], None] | None = None,
    ) -> None:
        """`under` takes what is written here; `end`, if given, closes it."""
        super().__init__()
        self.under, self._loop, self._end = under, loop, end or under.close
        self._is_closed = False
        self._held: list[bytes] = []
        self._held_bytes = 0

    def write(self, data: Any) -> None:
        """Hold some bytes, or pass them on where much is held."""
        if self._is_closed:
            return
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > _ENOUGH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Pass on what is held."""
        if self._held:
            held, self._held, self._held_bytes = self._held, [], 0
            if not self.under.is_closing():
                self.under.writelines(held)

    def close(self) -> None:
        """Close once everything is written."""
        if not self._is_closed:
            self.flush()
            self._is_closed = True
            self._end()

    def abort(self) -> None:
        """Close at once."""
        self.under.abort()

    def is_closing(self) -> bool:
        """Return whether it was closed."""
        return self._is_closed or self.under.is_closing()

    def pause_reading(self) -> None:
        """Read no more for now."""
        self.under.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self.under.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return information about the connection."""
        return self.under.get_extra_info(name, default)
