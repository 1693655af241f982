"""How often a device sends, and what is expected of it: section 15 of docs/energy.md."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from lake import Stream
from tests.oracle.intervals import DAY, HOUR, SECOND, learned
from tests.oracle.rows import micro

NOMINAL = 60 * SECOND


def cadence_of(
    rows: Iterable[Mapping[str, Any]], stream: Stream, start: int, of_class: int | None = None
) -> tuple[int | None, int | None]:
    """The cadence at the end of the hour from `start` by a device's heartbeats, and its newest one.

    Microseconds; None where nothing tells.
    """
    series: dict[Any, dict[int, int | None]] = defaultdict(dict)
    for row in sorted(rows, key=lambda row: row.get("interval_seconds") or 0):
        at, declared = micro(row["timestamp"]), row.get("interval_seconds")
        if start - 8 * DAY <= at < start + HOUR:
            known = row.get(stream.energy) is not None
            name = (row.get("reading_type", "interval"), row.get("phase")) if known else None
            series[name][at] = None if declared is None else round(declared * SECOND)
    if not series:
        return None, None
    newest = max(max(moments) for moments in series.values())
    told = [
        _told(moments, of_class)
        for moments in series.values()
        if max(moments) >= min(start, newest)
    ]
    return min((cadence for cadence in told if cadence), default=None), newest


def _told(moments: Mapping[int, int | None], of_class: int | None) -> int | None:
    times = sorted(moments)
    own = of_class or _learned(times)
    declared = moments[times[-1]]
    return declared if declared and 10 * declared >= (own or NOMINAL) else own


def _learned(times: Sequence[int]) -> int | None:
    steps = [after - before for before, after in pairwise(times)]
    for last in range(len(steps), max(len(steps) - 7, 0), -1):
        if cadence := learned(steps[max(last - 6, 0) : last]):
            return NOMINAL if 5 * abs(cadence - NOMINAL) <= NOMINAL + 5 * SECOND else cadence
    return None
