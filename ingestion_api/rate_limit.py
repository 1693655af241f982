"""How many records a second: a token bucket."""

import time
from collections.abc import Callable
from typing import Final

BURST_SECONDS: Final = 10


class TokenBucket:
    """In any t seconds it gives `per_second` * t records and a burst of ten seconds' worth.

    A request larger than the burst goes through once the bucket is full, and the bucket then owes
    the rest: over time the rate holds, and no request waits forever. Not for several threads.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second = per_second
        self.burst = BURST_SECONDS * per_second
        self._clock = clock
        self._tokens, self._at = self.burst, clock()

    def take(self, records: int) -> float:
        """Take them and return 0, or take nothing and return the seconds until they are there."""
        now = self._clock()
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.per_second)
        self._at = now
        missing = min(records, self.burst) - self._tokens
        if missing > 0:
            return missing / self.per_second
        self._tokens -= records
        return 0.0
