"""Supervision: processes are started again once they end, and killed once they don't answer."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from local_stack.errors import LocalStackError

_LONGEST_PAUSE: Final = 15.0
_STEADY_SECONDS: Final = 60.0  # who lived so long starts again at once
_LOOK_SECONDS: Final = 5.0
_LOOK_COUNTS_AT_MOST: Final = 15.0  # a machine may sleep in between
_SILENT_SECONDS: Final = 60.0
_SILENT_SECONDS_AT_START: Final = 300.0


class Supervised(ABC):
    """Process that is supervised by calling `watch` again and again."""

    def __init__(self, name: str, is_alive: Callable[[], bool] = lambda: True) -> None:
        """`is_alive` asks it, within some seconds; a process that ended is noticed without."""
        self.name, self._is_alive = name, is_alive
        self._started_at = self._next_look = self._last_look = 0.0
        self._start_again_at: float | None = None
        self._pause = 1.0
        self._silent, self._has_answered = 0.0, False
        self._last_refusal = ""

    @property
    @abstractmethod
    def pid(self) -> int | None:
        """Process id; None if it was not started."""

    @property
    @abstractmethod
    def running(self) -> bool:
        """True while the process lives."""

    @abstractmethod
    def exit_reason(self) -> str:
        """Reason of its end, in a few words."""

    @abstractmethod
    def kill(self) -> None:
        """End it and whatever it started, at once."""

    @abstractmethod
    def _launch(self) -> None:
        """Start the process, without waiting for it. Raises OSError or LocalStackError."""

    def watch(self) -> str | None:
        """Start it again after growing pauses, whatever ended it or is in the way of a start.

        One that has not answered for about a minute (after a start: five) is ended. Says what
        happened.
        """
        if self.running:
            return self._look()
        if self._start_again_at is None:
            return self._note_end() if self._started_at else None
        return self._try() if time.monotonic() >= self._start_again_at else None

    def _note_end(self) -> str:
        how = self.exit_reason()
        self.kill()  # what it has started
        if time.monotonic() - self._started_at > _STEADY_SECONDS:
            self._pause = 1.0
        self._plan()
        return f"{self.name} ended ({how}) and starts again"

    def _try(self) -> str | None:
        try:
            self._launch()
        except (OSError, LocalStackError) as error:
            self._plan()
            if str(error) == self._last_refusal:
                return None
            self._last_refusal = str(error)
            return f"{self.name} can't be started ({error}); it is tried again"
        self._note_start()
        return None

    def _note_start(self) -> None:
        self._started_at, self._start_again_at = time.monotonic(), None
        self._last_look = self._started_at
        self._silent, self._has_answered, self._last_refusal = 0.0, False, ""

    def _plan(self) -> None:
        self._start_again_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _look(self) -> str | None:
        if time.monotonic() < self._next_look:
            return None
        is_alive = self._is_alive()
        now = time.monotonic()
        passed, self._last_look = now - self._last_look, now
        self._next_look = now + _LOOK_SECONDS
        if is_alive:
            self._silent, self._has_answered = 0.0, True
            return None
        self._silent += min(passed, _LOOK_COUNTS_AT_MOST)
        if self._silent < (_SILENT_SECONDS if self._has_answered else _SILENT_SECONDS_AT_START):
            return None
        self.kill()
        self._plan()
        return f"{self.name} does not answer any more, so it was killed and starts again"
