"""Times of receipt that don't repeat or step back, so that "the latest received" is one row."""

import time
from collections.abc import Callable

import numpy as np

from ingestion_api.heartbeats.batch import HeartbeatBatch


class ReceiptClock:
    """The clock of one process; not for use from several threads.

    A machine's clock that is set back by more than the tolerance was wrong before: it is followed,
    or its error would last in the times of receipt for as long.
    """

    def __init__(self, tolerance_seconds: float, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._tolerance = int(tolerance_seconds * 1_000_000)
        self._now_ns = now_ns
        self._last = 0

    def stamp(self, rows: HeartbeatBatch) -> HeartbeatBatch:
        """The rows with their time of receipt, later than on any row that was stamped before.

        Rows of one call share a time, which packs well in the lake; only repeats of an identity
        are a microsecond apart, in the order of arrival.
        """
        now = self._now_ns() // 1000
        start = now if now < self._last - self._tolerance else max(now, self._last + 1)
        micros = np.full(len(rows), start, np.int64)
        if len(set(rows.devices)) < len(rows):
            micros += _repeats(rows)
        self._last = int(micros.max())
        return rows.with_receipt_times(micros)


def _repeats(rows: HeartbeatBatch) -> list[int]:
    """Count for each row the earlier rows with its identity."""
    seen: dict[tuple[str, int], int] = {}
    counts = []
    for identity in zip(rows.devices, rows.times.tolist(), strict=True):
        before = seen.get(identity, 0)
        counts.append(before)
        seen[identity] = before + 1
    return counts
