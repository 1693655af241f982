"""Times of receipt that never repeat or step back, so that "the latest received" is one row."""

import time
from collections.abc import Callable

import numpy as np

from ingestion_api.columns import Heartbeats


class ReceiptClock:
    """The clock of one process; not for use from several threads."""

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self._last = 0

    def stamp(self, rows: Heartbeats) -> Heartbeats:
        """The rows with their time of receipt, later than on any row that was stamped before.

        Rows of one call share a time, which packs well in the lake; only repeats of an identity
        are a microsecond apart, in the order of arrival.
        """
        start = max(self._now_ns() // 1000, self._last + 1)
        micros = np.full(len(rows), start, np.int64)
        if len(set(rows.devices)) < len(rows):
            micros += _repeats(rows)
        self._last = int(micros.max())
        return rows.stamped(micros)


def _repeats(rows: Heartbeats) -> list[int]:
    """How often each row's identity came before it."""
    seen: dict[tuple[str, int], int] = {}
    counts = []
    for identity in zip(rows.devices, rows.times.tolist(), strict=True):
        before = seen.get(identity, 0)
        counts.append(before)
        seen[identity] = before + 1
    return counts
