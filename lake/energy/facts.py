"""Facts of windows of time, that add up: what is known of both sides of an owner.

An owner is a vehicle, or a charger: its AC side is the energy of meters, its DC side that of
vehicles. Explained in docs/energy.md. Times are whole microseconds, energies whole
microwatt-hours. They are computed in lake/energy/windows.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from lake.energy.intervals import Flags, Integers


@dataclass(frozen=True)
class SideFacts:
    """Facts of a side of each owner. All but the last three add up."""

    placed: Integers
    """Energy of which it is known when it flowed, divided by time."""
    unplaced: Integers
    """Energy of which only the end of its interval is known."""
    known: Integers
    """Time with known energy."""
    matched: Integers
    """Energy that flowed while the other side was known."""
    unmatched: Integers
    """Energy that flowed while it was not."""
    gross: Integers
    """Matched and unmatched energy without the signs of the readings."""
    gross_matched: Integers
    left_out: Integers
    """Energy of readings that are not believed."""
    left_out_count: Integers
    conflicts: Integers
    """Times with two energies that could not be told apart, and by how much they differ."""
    conflicting: Integers
    resets: Integers
    data_points: Integers
    duplicates: Integers
    first: Integers
    """Time of the first heartbeat, the window's end without one."""
    last: Integers
    """Time of the last heartbeat, the window's start without one."""
    inner_gap: Integers
    """The longest time between two heartbeats."""


@dataclass(frozen=True)
class Facts:
    """Facts of each owner in its window."""

    start: Integers
    end: Integers
    ac: SideFacts
    dc: SideFacts
    temperature_sum: Integers
    """Of the battery, thousandths of a degree Celsius."""
    temperature_count: Integers

    def longest_gap(self, side: SideFacts) -> Integers:
        """Return the longest time without a heartbeat, from the start and to the end as well."""
        edges = np.maximum(side.first - self.start, self.end - side.last)
        longest: Integers = np.maximum(side.inner_gap, edges)
        return longest

    def of(self, owners: Integers | Flags) -> "Facts":
        """Return the facts of some owners."""
        ac, dc = (
            SideFacts(**{f.name: getattr(side, f.name)[owners] for f in fields(SideFacts)})
            for side in (self.ac, self.dc)
        )
        return Facts(
            self.start[owners],
            self.end[owners],
            ac,
            dc,
            self.temperature_sum[owners],
            self.temperature_count[owners],
        )


class WindowEnergy(NamedTuple):
    """Energy and known time of each owner in its window."""

    total: Integers
    known: Integers

    def of(self, owners: Integers) -> "WindowEnergy":
        """Return those of some owners."""
        return WindowEnergy(self.total[owners], self.known[owners])


def merge_facts(
    facts: Facts, owner: Integers, begins: int | Integers, ends: int | Integers
) -> Facts:
    """Merge the windows of each owner, sorted by owner and time, to one from `begins` to `ends`.

    `owner` numbers them from 0. They do not overlap; where one is missing, nothing was heard.
    """
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    start, end = np.full(len(first), begins), np.full(len(first), ends)

    def merged(side: SideFacts) -> SideFacts:
        added = {
            f.name: np.add.reduceat(getattr(side, f.name), first)
            for f in fields(SideFacts)
            if f.name not in ("first", "last", "inner_gap")
        }
        return SideFacts(**added, **_merged_gaps(side, owner, first, start, end))

    return Facts(
        start,
        end,
        merged(facts.ac),
        merged(facts.dc),
        np.add.reduceat(facts.temperature_sum, first),
        np.add.reduceat(facts.temperature_count, first),
    )


def packed_facts(facts: Facts) -> Integers:
    """Return facts as one array, a column for each owner."""
    sides = (getattr(side, f.name) for side in (facts.ac, facts.dc) for f in fields(SideFacts))
    temperature = facts.temperature_sum, facts.temperature_count
    return np.array([facts.start, facts.end, *temperature, *sides])


def unpacked_facts(packed: Integers) -> Facts:
    """Return the facts that `packed_facts` has packed, or several of them side by side."""
    start, end, temperature_sum, temperature_count, *sides = packed
    count = len(sides) // 2
    ac, dc = SideFacts(*sides[:count]), SideFacts(*sides[count:])
    return Facts(start, end, ac, dc, temperature_sum, temperature_count)


def _merged_gaps(
    side: SideFacts, owner: Integers, first: Integers, start: Integers, end: Integers
) -> Mapping[str, Integers]:
    heard = np.flatnonzero(side.data_points > 0)
    who = owner[heard]
    between = np.zeros(len(heard), np.int64)
    goes_on = who[1:] == who[:-1]
    between[1:][goes_on] = (side.first[heard][1:] - side.last[heard][:-1])[goes_on]
    inner = side.inner_gap.copy()
    inner[heard] = np.maximum(inner[heard], between)
    found = {"first": end.copy(), "last": start.copy()}
    begins = np.flatnonzero(np.diff(who, prepend=-1))
    ends = np.append(begins[1:], len(who)) - 1
    if len(who):
        found["first"][who[begins]] = side.first[heard][begins]
        found["last"][who[begins]] = side.last[heard][ends]
    return {**found, "inner_gap": np.maximum.reduceat(inner, first)}
