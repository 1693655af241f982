"""The cadence of a device, and the interval that a reading of energy speaks for by it.

Explained in docs/energy.md. Times are whole microseconds, sorted by channel, then time.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

_Integers = npt.NDArray[np.int64]
_Flags = npt.NDArray[np.bool_]

_SECOND: Final = 1_000_000
_STEPS: Final = 6  # a cadence is learned from so many steps,
_FEWEST: Final = 3  # at least from so many,
_ALIKE: Final = 0.2  # if half of them are alike: within 20 % and a second
_REACH: Final = 1.5  # cadences, that a reading may reach back to the one before
_NEVER: Final = np.iinfo(np.int64).max // 4
_TRIES: Final = 7  # newest readings of a channel, of which one may tell its cadence
MOST_READINGS: Final = _TRIES + _STEPS
"""The newest readings of a channel that tell its cadence; the others do not matter."""


def interval_starts(
    channel: _Integers,
    time: _Integers,
    declared: _Integers,
    cadence: _Integers,
    nominal: int,
) -> _Integers:
    """Return where the interval of each reading begins; it ends at the reading.

    It begins at the reading before if that is not further back than the cadence allows, else one
    cadence before the reading. `declared` is the stated length of the interval, 0 where it is not
    stated, and counts before any guess; `cadence` is that of each channel by registry or class, 0
    where there is none, and counts before what is learned.

    A start depends on the six steps to either side of a reading and on nothing else, so two
    windows that cut one reading agree.
    """
    is_first = _changes(channel)
    before = np.where(is_first, -_NEVER, np.concatenate((time[:1], time[:-1])))
    step = np.where(is_first, _NEVER, time - before)
    start = before.copy()
    is_plain = _is_regular(step) & (declared == 0)
    if cadence.any():
        of_channel = cadence[channel]
        is_plain &= (of_channel == 0) | (step <= _REACH * of_channel)
    rest = np.flatnonzero(~is_plain)
    if rest.size:
        start[rest] = _guessed(rest, channel, time, step, cadence, nominal)
        stated = rest[declared[rest] > 0]
        start[stated] = time[stated] - declared[stated]
    return np.maximum(start, before)  # never over the reading before


def newest_cadences(channel: _Integers, time: _Integers, tries: int = _TRIES) -> _Integers:
    """Return for each channel, in their order, the cadence that it last had; 0: none is learned.

    That learned from the steps that end at the newest of its readings at which one can be; `tries`
    are looked at.
    """
    if not len(time):
        return np.zeros(0, np.int64)
    is_first = _changes(channel)
    step = np.where(is_first, _NEVER, np.diff(time, prepend=time[:1]))
    first = np.flatnonzero(is_first)
    last = np.append(first[1:], len(time)) - 1
    found = np.zeros(len(first), np.int64)
    for ago in range(tries):
        lacking = np.flatnonzero((found == 0) & (last - ago > first))
        if not lacking.size:
            break
        found[lacking], _ = _learned(last[lacking] - ago, channel, step)
    return found


def is_alike(cadence: _Integers, other: int) -> _Flags:
    """Tell which cadences are within 20 % and a second of another one."""
    alike: _Flags = np.abs(cadence - other) <= _ALIKE * other + _SECOND
    return alike


def _changes(channel: _Integers) -> _Flags:
    is_first = np.ones(len(channel), np.bool_)
    is_first[1:] = channel[1:] != channel[:-1]
    return is_first


def _is_regular(step: _Integers) -> _Flags:
    """Tell readings that end six steps of nearly one length: no guess is needed for them."""
    if len(step) < _STEPS:
        return np.zeros(len(step), np.bool_)
    shortest, longest = step.copy(), step.copy()
    for ago in range(1, _STEPS):
        np.minimum(shortest[ago:], step[:-ago], out=shortest[ago:])
        np.maximum(longest[ago:], step[:-ago], out=longest[ago:])
    regular: _Flags = (longest < _NEVER) & (longest - shortest <= shortest // 10)
    regular[: _STEPS - 1] = False
    return regular


def _guessed(
    rest: _Integers,
    channel: _Integers,
    time: _Integers,
    step: _Integers,
    cadence: _Integers,
    nominal: int,
) -> _Integers:
    ahead, either = _cadences(rest, channel, step, cadence, nominal)
    reaches = (step[rest] <= _REACH * either) | (step[rest] <= _REACH * ahead)
    started: _Integers = np.where(reaches, time[rest] - step[rest], time[rest] - either)
    return started


def _cadences(
    rest: _Integers, channel: _Integers, step: _Integers, cadence: _Integers, nominal: int
) -> tuple[_Integers, _Integers]:
    """The cadence ahead of each reading, and the one believed: behind it, ahead, nominal."""
    known = cadence[channel[rest]]
    back, ahead = np.where(known > 0, known, _learned(rest, channel, step))
    return ahead, np.where(back > 0, back, np.where(ahead > 0, ahead, nominal))


def _learned(rest: _Integers, channel: _Integers, step: _Integers) -> _Integers:
    """The lower median of the steps that end at each reading, and of those from it on; 0: none.

    Readings that are lost make steps longer and never shorter: of six at most one may be clearly
    shorter than the median.
    """
    n = len(step)
    ahead = np.arange(_STEPS)
    at = np.concatenate((rest[:, None] - ahead, rest[:, None] + ahead))
    is_inside = (at >= 0) & (at < n)
    at = np.clip(at, 0, n - 1)
    own = np.concatenate((channel[rest], channel[rest]))
    is_inside &= (channel[at] == own[:, None]) & (step[at] < _NEVER)
    steps = np.sort(np.where(is_inside, step[at], _NEVER), axis=1)
    count = is_inside.sum(axis=1)
    median = np.take_along_axis(steps, np.maximum(count - 1, 0)[:, None] // 2, axis=1)
    allowed = _ALIKE * median + _SECOND
    alike = (np.abs(steps - median) <= allowed).sum(axis=1)
    shorter = (steps < median - allowed).sum(axis=1)
    is_learned = (count >= _FEWEST) & (2 * alike >= count) & (shorter <= count // _STEPS)
    learned: _Integers = np.where(is_learned, median[:, 0], 0)
    return learned.reshape(2, -1)
