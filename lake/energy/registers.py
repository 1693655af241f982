"""The energy of the steps of cumulative registers. Explained in docs/energy.md.

Times are whole microseconds, energies whole microwatt-hours, sorted by channel, then time.
"""

from collections.abc import Iterator
from operator import sub
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

_Integers = npt.NDArray[np.int64]
_Flags = npt.NDArray[np.bool_]

KNOWN: Final = 0
UNPLACED: Final = 1
LEFT_OUT: Final = 2

_KWH: Final = 1_000_000_000
_HOUR: Final = 3_600_000_000  # microseconds
_CORRECTION: Final = _KWH  # a register that falls by no more may have been corrected
_RETURNS_WITHIN: Final = 3  # samples, from a false one
_ROLL_OVER: Final = 16  # a register rolls over by at most this part of its size
_REGISTERS_LEFT: Final = 2  # that are remembered, where several are mixed
_FROZEN_FOR: Final = _HOUR


class RegisterSteps(NamedTuple):
    """Energy between two values, in (start, end]; `kind` as of `Intervals`."""

    channel: _Integers
    start: _Integers
    end: _Integers
    energy: _Integers
    kind: _Integers
    conflict: _Integers
    resets: _Integers


def register_steps(
    channel: _Integers,
    time: _Integers,
    value: _Integers,
    other: _Integers,
    power_kw: npt.NDArray[np.float64],
    size: _Integers,
    noise: int,
) -> RegisterSteps:
    """Return the steps of all registers; the first value of a channel ends none.

    `other` is the second value of a time that has two, else the same as `value`; `power_kw` is the
    greatest power and `size` the value at which the register goes on from zero (0: it does not),
    both by channel; `noise` is how far it may step back.
    """
    inside, has_conflict = channel[1:] == channel[:-1], value != other
    rise, length = np.diff(value), np.diff(time)
    limit = power_kw[channel[1:]] * _KWH * length / _HOUR + noise
    fits = (rise >= -noise) & (rise <= limit)
    is_odd = inside & ~fits
    is_odd |= inside & (has_conflict[1:] | has_conflict[:-1])
    if not is_odd.any():
        return _plain(channel, time, rise, np.flatnonzero(inside))
    odd = np.unique(channel[1:][is_odd])
    is_of_odd = np.isin(channel, odd)
    parts = [_plain(channel, time, rise, np.flatnonzero(inside & ~is_of_odd[1:]))]
    rows = np.flatnonzero(is_of_odd)
    for own in np.split(rows, np.flatnonzero(np.diff(channel[rows])) + 1):
        one = int(channel[own[0]])
        register = _Register(
            time[own].tolist(),
            value[own].tolist(),
            other[own].tolist(),
            np.append(fits[own[:-1]] & ~has_conflict[own[:-1]] & ~has_conflict[own[1:]], False),
            float(power_kw[one]) * _KWH,
            int(size[one]),
            noise,
        )
        steps = sorted(register.steps(), key=lambda step: step.end)
        if steps:
            columns = (np.array(column, np.int64) for column in zip(*steps, strict=True))
            parts.append(RegisterSteps(np.full(len(steps), one), *columns))
    joined = RegisterSteps(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    order = np.argsort(joined.channel, kind="stable")
    return RegisterSteps(*(column[order] for column in joined))


def _plain(channel: _Integers, time: _Integers, rise: _Integers, at: _Integers) -> RegisterSteps:
    """Steps that all fit."""
    nothing = np.zeros(len(at), np.int64)
    return RegisterSteps(
        channel[at + 1], time[at], time[at + 1], rise[at], nothing, nothing, nothing
    )


class _Step(NamedTuple):
    start: int
    end: int
    energy: int
    kind: int = KNOWN
    conflict: int = 0
    reset: int = 0


class _Left(NamedTuple):
    """A register that the values have left: its last value, and the energy counted since."""

    value: int
    since: int


class _Register:
    """One register, judged step by step where not all of its steps fit."""

    def __init__(
        self,
        time: list[int],
        value: list[int],
        other: list[int],
        goes_on: _Flags,
        greatest: float,
        size: int,
        noise: int,
    ) -> None:
        """`goes_on` tells for each value whether the next follows it as it should.

        `greatest` is the greatest power in microwatt-hours an hour.
        """
        self._time, self._value, self._other = time, value, other
        self._breaks = np.flatnonzero(~goes_on).tolist()
        self._greatest, self._size, self._noise = greatest, size, noise
        self._found: list[_Step] = []
        self._kept = [0]
        self._left: list[_Left] = []

    def steps(self) -> list[_Step]:
        """Return its steps, in any order."""
        for i in self._unjudged():
            self._judge(i)
        return self._found

    def _unjudged(self) -> Iterator[int]:
        """The values that need a judgement; runs that go on as they should are counted at once."""
        self._next, place = 1, 0
        while self._next < len(self._time):
            i, last = self._next, self._kept[-1]
            if last == i - 1:
                while self._breaks[place] < last:
                    place += 1
                until = self._breaks[place]
                if until > last:
                    self._count_run(last, until)
                    self._next = until + 1
                    continue
            yield i

    def _judge(self, i: int) -> None:
        """Judge value i, the first that none of the rules has taken or left out yet."""
        last = self._kept[-1]
        conflict = self._decide_conflict(last, i)
        if self._fits(last, i):
            self._take(i, self._value[i] - self._value[last], conflict=conflict)
        elif (back := self._return(last, i)) is not None or i == len(self._time) - 1:
            # A false sample; or the last one, of which nobody knows yet.
            until = i + 1 if back is None else back
            for j in range(i, until):
                self._found.append(_Step(self._time[j], self._time[j], 0, LEFT_OUT))
            self._next = until
        elif not (self._was_spike(last, i) or self._was_frozen(last, i, conflict)):
            self._judge_jump(last, i, conflict)

    def _judge_jump(self, last: int, i: int, conflict: int) -> None:
        before, value = self._value[last], self._value[i]
        drop, most = before - value, self._most(last, i)
        home = self._home(i, most)
        if self._rolls_over(before, value, most):
            self._take(i, self._size - before + value, conflict=conflict)
        elif home is not None and -drop > most:
            energy = value - home.value - home.since
            self._take(i, energy, conflict=conflict)
            self._left = [left for left in self._left if left.value != home.value]
        elif 0 < drop <= min(_CORRECTION, value):
            # The register goes on from here; what flowed in this step is not known.
            self._take(i, drop, LEFT_OUT, conflict)
        elif drop > 0 and value <= most - self._noise:
            self._left.append(_Left(before, 0))
            self._take(i, value, conflict=conflict, reset=1)
        else:
            self._left.append(_Left(before, 0))
            self._take(i, abs(drop), LEFT_OUT, conflict)

    def _fits(self, a: int, b: int) -> bool:
        return self._allows(a, b, self._value[b])

    def _allows(self, a: int, b: int, value: int) -> bool:
        return -self._noise <= value - self._value[a] <= self._most(a, b)

    def _most(self, a: int, b: int) -> float:
        return self._greatest * (self._time[b] - self._time[a]) / _HOUR + self._noise

    def _decide_conflict(self, last: int, i: int) -> int:
        """Of two values of one time take the one that fits; return their difference if both do."""
        own, other = self._fits(last, i), self._allows(last, i, self._other[i])
        if other and not own:
            self._value[i], self._other[i] = self._other[i], self._value[i]
        return abs(self._value[i] - self._other[i]) if own == other else 0

    def _return(self, last: int, i: int) -> int | None:
        """The value with which the register returns to where it was, if it does soon."""
        for j in range(i + 1, min(i + _RETURNS_WITHIN + 1, len(self._time))):
            is_jump = not self._fits(j - 1, j)
            rose = j == i + 1 and self._value[j] >= self._value[last]
            if self._fits(last, j) and (is_jump or rose):
                return j
        return None

    def _was_spike(self, last: int, i: int) -> bool:
        """Leave the value before out if the register falls back to the one before that."""
        if len(self._kept) < 2 or self._value[last] - self._value[i] <= _CORRECTION:
            return False
        if not self._fits(self._kept[-2], i):
            return False
        places = range(len(self._found) - 1, -1, -1)
        place = next(n for n in places if self._found[n].kind != LEFT_OUT)
        energy = self._found.pop(place).energy
        self._left = [_Left(left.value, left.since - energy) for left in self._left]
        self._found.append(_Step(self._time[last], self._time[last], 0, LEFT_OUT))
        self._kept.pop()
        return True

    def _was_frozen(self, last: int, i: int, conflict: int) -> bool:
        """Spread a rise over the time in which the register stood still, if that explains it.

        It counts at its end if that time is longer than an hour.
        """
        first, earliest = len(self._kept) - 1, self._time[i] - _FROZEN_FOR
        while self._stood(first - 1, last) and self._time[self._kept[first - 1]] >= earliest:
            first -= 1
        since = self._kept[first]
        if since == last or self._value[i] <= self._value[last] or not self._fits(since, i):
            return False
        if self._stood(first - 1, last):  # for longer: nobody knows when it flowed
            self._take(i, self._value[i] - self._value[last], UNPLACED, conflict)
            return True
        del self._kept[first + 1 :]
        begins = self._time[since]
        self._found = [
            step for step in self._found if step.start < begins or step.energy or step.kind != KNOWN
        ]
        return True

    def _stood(self, place: int, last: int) -> bool:
        """Whether there is such a kept value, and it is that of `last`."""
        return place >= 0 and self._value[self._kept[place]] == self._value[last]

    def _rolls_over(self, before: int, value: int, most: float) -> bool:
        if not self._size or value >= before or before > self._size:
            return False
        return self._size - before + value <= min(self._size // _ROLL_OVER, most)

    def _home(self, i: int, most: float) -> _Left | None:
        """The register, of those left behind, that value i goes on from."""
        for left in reversed(self._left):
            rise = self._value[i] - left.value - left.since
            if -self._noise <= rise <= most and self._value[i] >= left.value:
                return left
        return None

    def _take(
        self, i: int, energy: int, kind: int = KNOWN, conflict: int = 0, reset: int = 0
    ) -> None:
        self._count(self._kept[-1], i, energy, kind, conflict, reset)
        self._kept.append(i)
        self._next = i + 1

    def _count(
        self, a: int, b: int, energy: int, kind: int = KNOWN, conflict: int = 0, reset: int = 0
    ) -> None:
        self._found.append(_Step(self._time[a], self._time[b], energy, kind, conflict, reset))
        if kind != LEFT_OUT:
            self._count_beside(energy)

    def _count_run(self, first: int, last: int) -> None:
        """Keep the values from `first` to `last`, of which each follows the one before it."""
        time, value = self._time[first : last + 1], self._value[first : last + 1]
        energies = map(sub, value[1:], value)
        self._found.extend(map(_Step, time, time[1:], energies))
        self._kept.extend(range(first + 1, last + 1))
        self._count_beside(value[-1] - value[0])

    def _count_beside(self, energy: int) -> None:
        """Count energy since the registers that were left."""
        if self._left:
            self._left = [
                _Left(left.value, left.since + energy) for left in self._left[-_REGISTERS_LEFT:]
            ]
