"""Readings of one series as amounts over intervals: sections 2 to 5 of docs/energy.md.

Times are microseconds, energies microwatt-hours (10^-9 kWh), both whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
KWH = 10**9
CORRECTION = 1 * KWH


@dataclass(frozen=True)
class Reading:
    """A heartbeat with a known energy."""

    at: int
    energy: int
    declared: int | None = None
    other: int | None = None
    """The energy that conflicts with `energy`."""


@dataclass(frozen=True)
class Interval:
    """A counted energy over `(start, end]`; unplaced: it counts at `end`, and covers no time."""

    start: int
    end: int
    energy: int
    placed: bool = True


@dataclass(frozen=True)
class Event:
    """What counts at a moment: a conflict, a reset, or what was left out."""

    at: int
    left_out: int = 0
    left_out_energy: int = 0
    conflicts: int = 0
    conflicting_energy: int = 0
    resets: int = 0


@dataclass
class Amounts:
    """What a series says: intervals by time, and events."""

    intervals: list[Interval] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


@dataclass(frozen=True)
class Limits:
    """Limits of one device; times and energies as everywhere here, power in kW."""

    power: Fraction
    noise: int
    size: int | None
    cadence: int | None
    nominal: int

    def most(self, dt: int) -> Fraction:
        """Energy of the greatest power in `dt`."""
        return self.power * KWH * dt / HOUR

    def room(self, dt: int) -> Fraction:
        """The largest rise in `dt` that is believed."""
        return self.most(dt) + self.noise


def rint(value: Fraction) -> int:
    """Round to the nearest whole number, halves to the even one."""
    return round(value)


def interval_amounts(readings: Sequence[Reading], limits: Limits) -> Amounts:
    """Section 3."""
    amounts = Amounts()
    for i, reading in enumerate(readings):
        before = readings[i - 1].at if i else None
        cadence, ahead = cadences(readings, i, limits)
        if reading.declared is not None:
            start = reading.at - reading.declared
        elif before is not None and (
            2 * (reading.at - before) <= 3 * cadence or 2 * (reading.at - before) <= 3 * ahead
        ):
            start = before
        else:
            start = reading.at - cadence
        if before is not None:
            start = max(start, before)
        amounts.intervals.append(Interval(start, reading.at, reading.energy))
        if reading.other is not None:
            amounts.events.append(_conflict(reading))
    return amounts


def cadences(readings: Sequence[Reading], i: int, limits: Limits) -> tuple[int, int]:
    """Section 4: `cadence` and `ahead` of reading i."""
    if limits.cadence is not None:
        return limits.cadence, limits.cadence

    def steps(indices: range) -> list[int]:
        return [readings[k].at - readings[k - 1].at for k in indices if 1 <= k < len(readings)]

    back = learned(steps(range(i - 5, i + 1)))
    ahead = learned(steps(range(i, i + 6)))
    return back or ahead or limits.nominal, ahead


def learned(steps: Sequence[int]) -> int:
    """The cadence that up to six steps tell, zero if none."""
    n = len(steps)
    if n < 3:
        return 0
    median = sorted(steps)[(n - 1) // 2]
    alike = sum(5 * abs(step - median) <= median + 5 * SECOND for step in steps)
    shorter = sum(5 * step < 4 * median - 5 * SECOND for step in steps)
    if 2 * alike < n or shorter > (1 if n == 6 else 0):
        return 0
    return median


@dataclass
class _Head:
    value: int
    since: int = 0


def register_amounts(values: Sequence[Reading], limits: Limits) -> Amounts:
    """Section 5."""
    if not values:
        return Amounts()
    return _Chain(values, limits).amounts()


class _Chain:
    def __init__(self, values: Sequence[Reading], limits: Limits) -> None:
        self.values = values
        self.limits = limits
        self.kept: list[Reading] = [values[0]]
        self.heads: list[_Head] = []
        self.counted: list[tuple[int, int, int]] = []
        """Start, end, energy."""
        self.conflicts: dict[int, int] = {}
        """By the time of the value at which the step ends: by how much the two differ."""
        self.resets: list[int] = []
        self.left_out: list[tuple[int, int]] = []
        self.unplaced: set[int] = set()

    def fits(self, b: Reading, a: Reading) -> bool:
        return -self.limits.noise <= b.energy - a.energy <= self.limits.room(b.at - a.at)

    def amounts(self) -> Amounts:
        i = 1
        while i < len(self.values):
            i = self.judge(i)
        intervals = [
            Interval(max(start, end - 100 * DAY), end, energy)
            if (end - start <= HOUR or energy <= 0) and end not in self.unplaced
            else Interval(start, end, energy, placed=False)
            for start, end, energy in self.counted
        ]
        events = [
            *(Event(at, left_out=1, left_out_energy=energy) for at, energy in self.left_out),
            *(Event(at, conflicts=1, conflicting_energy=e) for at, e in self.conflicts.items()),
            *(Event(at, resets=1) for at in self.resets),
        ]
        return Amounts(intervals, events)

    def judge(self, index: int) -> int:  # noqa: PLR0912 - a branch for each rule of the page
        """Judge a value; return the index of the next one to judge."""
        row = self.values[index]
        while True:
            p = self.kept[-1]
            q = self.kept[-2] if len(self.kept) > 1 else None
            i, conflict = self.decided(row, p)
            dt = i.at - p.at
            room = self.limits.room(dt)
            size = self.limits.size

            if self.fits(i, p):  # 1
                self.count(p, i, i.energy - p.energy)
            elif (back := self.returns(index, p)) is not None:  # 2
                for value in self.values[index:back]:
                    self.left_out.append((value.at, 0))
                return back
            elif index == len(self.values) - 1:  # 2b
                self.left_out.append((i.at, 0))
                return index + 1
            elif q is not None and p.energy - i.energy > CORRECTION and self.fits(i, q):  # 3
                self.take_back(p)
                self.left_out.append((p.at, 0))
                self.kept.pop()
                continue
            elif i.energy > p.energy and (first := self.stood_still(i)) is not None:  # 4
                if first == 0 or self.kept[first - 1].energy != p.energy:
                    self.thaw(first)
                    continue
                self.count(p, i, i.energy - p.energy)
                self.unplaced.add(i.at)
            elif (
                size is not None
                and i.energy < p.energy <= size
                and size - p.energy + i.energy <= min(Fraction(size // 16), room)
            ):  # 5
                self.count(p, i, size - p.energy + i.energy)
            elif i.energy - p.energy > room and (head := self.taking(i, room)) is not None:  # 6
                self.count(p, i, i.energy - head.value - head.since)
                if head in self.heads:
                    self.heads.remove(head)
            elif 0 < p.energy - i.energy <= CORRECTION and i.energy >= p.energy - i.energy:  # 7
                self.left_out.append((i.at, p.energy - i.energy))
            elif i.energy < p.energy and i.energy <= self.limits.most(dt):  # 8
                self.heads.append(_Head(p.energy))
                self.count(p, i, i.energy)
                self.resets.append(i.at)
            else:  # 9
                self.heads.append(_Head(p.energy))
                self.left_out.append((i.at, abs(i.energy - p.energy)))

            self.kept.append(i)
            if conflict:
                self.conflicts[i.at] = conflict
            return index + 1

    def decided(self, row: Reading, p: Reading) -> tuple[Reading, int]:
        """The value with the energy that counts, and by how much another one differs (or 0)."""
        if row.other is None:
            return row, 0
        other = Reading(row.at, row.other)
        if self.fits(row, p) == self.fits(other, p):
            return row, abs(row.energy - row.other)
        return (row if self.fits(row, p) else other), 0

    def count(self, p: Reading, i: Reading, energy: int) -> None:
        self.counted.append((p.at, i.at, energy))
        self.heads = self.heads[-2:]
        for head in self.heads:
            head.since += energy

    def take_back(self, p: Reading) -> None:
        for interval in [c for c in self.counted if c[1] == p.at]:
            self.counted.remove(interval)
            for head in self.heads:
                head.since -= interval[2]
        self.unplaced.discard(p.at)
        self.conflicts.pop(p.at, None)

    def returns(self, index: int, p: Reading) -> int | None:
        for j in range(index + 1, min(index + 4, len(self.values))):
            value = self.values[j]
            if self.fits(value, p) and (
                not self.fits(value, self.values[j - 1])
                or (j == index + 1 and value.energy >= p.energy)
            ):
                return j
        return None

    def stood_still(self, i: Reading) -> int | None:
        """Index in `kept` of the first value of the standstill."""
        first = None
        for k in range(len(self.kept) - 1, -1, -1):
            if self.kept[k].energy != self.kept[-1].energy or self.kept[k].at < i.at - HOUR:
                break
            first = k
        if first is None or first == len(self.kept) - 1 or not self.fits(i, self.kept[first]):
            return None
        return first

    def thaw(self, first: int) -> None:
        begin = self.kept[first].at
        for interval in [c for c in self.counted if c[0] >= begin and c[2] == 0]:
            self.counted.remove(interval)
            self.conflicts.pop(interval[1], None)
        del self.kept[first + 1 :]

    def taking(self, i: Reading, room: Fraction) -> _Head | None:
        for head in reversed(self.heads):
            if -self.limits.noise <= i.energy - head.value - head.since <= room and (
                i.energy >= head.value
            ):
                return head
        return None


def _conflict(reading: Reading) -> Event:
    assert reading.other is not None
    return Event(reading.at, conflicts=1, conflicting_energy=abs(reading.energy - reading.other))
