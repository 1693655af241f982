"""Conversion of local times, without a zone, to moments in UTC.

In the hour that comes twice when the clock goes back, the order of a device's rows tells which of
the two a time is: in rising order the first pass is summer time, the second pass winter time.
"""

import re
from bisect import bisect_right
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lake.time_zones import time_zone

LOCAL_TIME: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]"
    r"(?::[0-5][0-9](?:\.[0-9]{1,9})?)?$"
)
"""A text that is a time without a zone."""

Micros = npt.NDArray[np.int64]
_1970: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # of any clock
_MICROSECOND: Final = timedelta(microseconds=1)
_YEARS: Final = (1999, 2100)  # no heartbeat is older, no zone is known so far ahead
_NEAR: Final = 26 * 3_600_000_000  # rows so near to a repeated hour are looked at
_LOCAL: Final = re.compile(LOCAL_TIME)


def no_zone_fault(time: object) -> str:
    """Return the fault of a file whose times have no zone."""
    return (
        f"has times without a zone ({time}): add --assume-utc if they are UTC, or say their zone, "
        "such as --time-zone Europe/Amsterdam"
    )


def local_micros(time: str | datetime) -> int | None:
    """Return a local time as microseconds of its clock since 1970; None for any other text."""
    if isinstance(time, str):
        if not _LOCAL.match(time):
            return None
        try:
            time = datetime.fromisoformat(time)
        except ValueError:
            return None
    return None if time.tzinfo is not None else (time - _1970) // _MICROSECOND


@dataclass
class _Repeated:
    """Rows of a device within one repeated hour, one after the other; and the time before them."""

    hour: int
    before: int | None
    rows: list[tuple[int, int]] = field(default_factory=list)  # row and time


class LocalTimes:
    """The clock of a zone. Local times are in microseconds of its clock since 1970.

    Give every row near a repeated hour to `add_row`, in order, then call `finish`: from then on
    `moment` returns the moments. ValueError for a zone that there is none.
    """

    def __init__(self, zone: str) -> None:
        self.zone = zone
        changes = list(_changes(zone))
        self._offsets = [changes[0][1], *(after for _, _, after in changes)]
        self._firsts = [at + max(before, after) for at, before, after in changes]
        self._seconds = [at + min(before, after) for at, before, after in changes]
        self._skips = [after > before for _, before, after in changes]
        self._open: dict[Hashable, _Repeated] = {}
        self._last: dict[Hashable, int] = {}
        self._is_second: dict[int, bool] = {}

    @property
    def repeats(self) -> bool:
        """True if any hour of this clock comes twice."""
        return any(
            first != second for first, second in zip(self._firsts, self._seconds, strict=True)
        )

    def near_repeated(self, times: Micros) -> npt.NDArray[np.bool_]:
        """Return a mask of the times near a repeated hour, which `add_row` needs."""
        near = np.zeros(len(times), np.bool_)
        for first, second, skips in zip(self._firsts, self._seconds, self._skips, strict=True):
            if not skips:
                near |= (times >= second - _NEAR) & (times < first + _NEAR)
        return near

    def is_near_repeated(self, time: int) -> bool:
        """Tell whether one time is near a repeated hour."""
        return bool(self.near_repeated(np.array([time], np.int64))[0])

    def add_row(self, row: int, device: Hashable, time: int) -> None:
        """Add the next row of a device."""
        hour = self._repeated_hour(time)
        open_ = self._open.get(device)
        if open_ is not None and open_.hour != hour:
            self._close(self._open.pop(device), time)
            open_ = None
        if hour is not None:
            if open_ is None:
                open_ = self._open[device] = _Repeated(hour, self._last.get(device))
            open_.rows.append((row, time))
        self._last[device] = time

    def finish(self) -> None:
        """Close the last repeated hours: there are no more rows."""
        for open_ in self._open.values():
            self._close(open_, None)
        self._open.clear()
        self._last.clear()

    def moment(self, row: int, time: int) -> int | str:
        """Return a row's time in microseconds since 1970 in UTC, or a fault."""
        first = bisect_right(self._firsts, time)
        second = bisect_right(self._seconds, time)
        if first == second:
            return time - self._offsets[first]
        if self._skips[first]:
            return f"does not exist in {self.zone}, where the clock goes forward over it"
        if row in self._is_second:
            return time - self._offsets[second if self._is_second[row] else first]
        return (
            f"comes twice in {self.zone}, where the clock goes back, and the rows around it don't "
            "tell which of the two it is: write it with its offset"
        )

    def moments(self, rows: Iterable[int], times: Micros) -> tuple[Micros, dict[int, str]]:
        """Return the moments of many rows, and by place the faults of those without one."""
        first = np.searchsorted(self._firsts, times, side="right")
        second = np.searchsorted(self._seconds, times, side="right")
        moments = times - np.array(self._offsets, np.int64)[first]
        faults: dict[int, str] = {}
        numbers: Any = np.asarray(rows)
        for place in np.flatnonzero(first != second).tolist():
            moment = self.moment(int(numbers[place]), int(times[place]))
            if isinstance(moment, str):
                faults[place] = moment
            else:
                moments[place] = moment
        return moments, faults

    def _repeated_hour(self, time: int) -> int | None:
        first = bisect_right(self._firsts, time)
        is_one = first < bisect_right(self._seconds, time) and not self._skips[first]
        return first if is_one else None

    def _close(self, repeated: _Repeated, following: int | None) -> None:
        """Tell both passes from each other where the order does."""
        times = [time for _, time in repeated.rows]
        steps = list(pairwise(times))
        outer = [(repeated.before, times[0]), (times[-1], following)]
        signs = {
            1 if earlier < later else -1
            for earlier, later in outer
            if earlier is not None and later is not None
        }
        found: list[tuple[int, int]] = []  # direction, and where the second of both passes begins
        for direction in (1, -1):
            turns = [
                place
                for place, (earlier, later) in enumerate(steps, start=1)
                if (later - earlier) * direction <= 0
            ]
            if len(turns) == 1 and (not signs or direction in signs):
                found.append((direction, turns[0]))
        if len(found) == 1:
            ((direction, turn),) = found
            for place, (row, _) in enumerate(repeated.rows):
                self._is_second[row] = (place >= turn) == (direction == 1)


def _changes(zone: str) -> Iterable[tuple[int, int, int]]:
    """Each change of the zone's offset: the moment, and the offsets before and after it.

    At least one, if only a change that changes nothing.
    """
    clock = time_zone(zone)

    def offset(minute: int) -> int:
        moment = datetime(_YEARS[0], 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
        shift = moment.astimezone(clock).utcoffset()
        assert shift is not None, "a zone has an offset at any time"
        return shift // _MICROSECOND

    first = (datetime(_YEARS[0], 1, 1) - _1970) // _MICROSECOND  # noqa: DTZ001  # in UTC
    minutes = (datetime(_YEARS[1], 1, 1) - datetime(_YEARS[0], 1, 1)) // timedelta(minutes=1)  # noqa: DTZ001
    before = offset(0)
    yield first, before, before
    half_day = 720
    for start in range(0, minutes, half_day):
        after = offset(start + half_day)
        if after != before:
            low, high = start, start + half_day
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(middle) == before else (low, middle)
            yield first + high * 60_000_000, before, after
            before = after
