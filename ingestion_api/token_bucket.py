"""Token bucket: a rate limit in records a second."""

import time
from collections.abc import Callable
from typing import Final

BURST_SECONDS: Final = 10


class TokenBucket:
    """In any t seconds it gives `per_second` * t records and a burst; None: ten seconds' worth.

    A request larger than the burst goes through once the bucket is full, and the bucket then owes
    the rest: over time the rate holds, and no request waits forever. Not for several threads.
    """

    def __init__(
        self,
        per_second: float,
        burst: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.per_second = per_second
        self.burst = BURST_SECONDS * per_second if burst is None else burst
        self._clock = clock
        self._tokens, self._at = self.burst, clock()
        self.given = 0
        """All that it ever gave."""

    def try_acquire(self, records: int) -> float:
        """Take them and return 0, or take nothing and return the seconds until they are there."""
        wait = self.seconds_until(records)
        if not wait:
            self._tokens -= records
            self.given += records
        return wait

    def charge(self, records: int) -> None:
        """Owe what others gave by the same limit."""
        self._fill()
        self._tokens -= records

    def acquire_available(self, records: int) -> int:
        """Take as many of them as there are; how many that was."""
        self._fill()
        taken = max(0, min(records, int(self._tokens)))
        self._tokens -= taken
        self.given += taken
        return taken

    def seconds_until(self, records: int) -> float:
        """Seconds until they are there, or as many as ever are."""
        self._fill()
        return max(0.0, min(records, self.burst) - self._tokens) / self.per_second

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.per_second)
        self._at = now
