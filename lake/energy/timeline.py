"""Energy and known time of a side as functions of time, of all owners on one axis.

Times are whole microseconds, energies whole microwatt-hours.
"""

from typing import NamedTuple

import numpy as np

from lake.energy.intervals import KNOWN, Flags, Integers, expand_ranges, part_of
from lake.energy.pieces import INACTIVE, Pieces, SideReadings, Spans, Windows


class Axis(NamedTuple):
    """One axis for the times of all owners, one owner after another."""

    base: int
    span: int

    @classmethod
    def of(cls, ac: Pieces, dc: Pieces, windows: Windows) -> "Axis":
        """Return one that has room for all these times of each owner; else raise ValueError."""
        if not len(windows.start):  # nobody, so nothing of theirs either
            return cls(0, 3)
        known = [side.start[side.kind == KNOWN] for side in (ac, dc)]
        first = min((int(s.min()) for s in (windows.start, *known) if s.size), default=0)
        last = max((int(s.max()) for s in (windows.end, ac.end, dc.end) if s.size), default=0)
        span = last - first + 3
        if span * (len(windows.start) + 1) >= 2**63:
            raise ValueError("too many owners for windows of this length")
        return cls(first - 1, span)

    def key(self, owner: Integers, time: Integers) -> Integers:
        """Return the place of moments of owners."""
        key: Integers = owner * self.span + (time - self.base)
        return key


class Timeline(NamedTuple):
    """Energy and known time of a side as functions of time: disjoint rows by owner and end."""

    owner: Integers
    start: Integers
    end: Integers
    energy: Integers
    is_known: Flags
    key: Integers
    energy_before: Integers
    known_before: Integers
    axis: Axis

    @classmethod
    def of(cls, side: SideReadings, axis: Axis, owners: int) -> "tuple[Timeline, Flags]":
        """Return the rows of a side, and the owners that several channels feed at one time."""
        rows = side.pieces.kind == KNOWN
        owner, start, end, energy, channel = (
            column if rows.all() else column[rows]
            for column in (
                side.pieces.owner,
                side.pieces.start,
                side.pieces.end,
                side.pieces.energy,
                side.pieces.channel,
            )
        )
        is_known = np.ones(len(owner), np.bool_)
        shared = _owners_of_several(owner, start, end, side.spans, owners)
        shared[owner[channel == INACTIVE]] = True
        if shared.any():
            several = shared[owner]
            cells = _cells(
                owner[several],
                start[several],
                end[several],
                energy[several],
                channel[several],
                side.spans,
                shared,
                axis,
            )
            alone = ~several
            joined = [
                np.concatenate((column[alone], of_cells))
                for column, of_cells in zip(
                    (owner, start, end, energy, is_known), cells, strict=True
                )
            ]
            order = np.argsort(axis.key(joined[0], joined[2]), kind="stable")
            owner, start, end, energy, is_known = (column[order] for column in joined)
        rows_of_side = cls(
            owner,
            start,
            end,
            energy,
            is_known,
            axis.key(owner, end),
            running_sums(energy),
            running_sums((end - start) * is_known),
            axis,
        )
        return rows_of_side, shared

    def at(self, owner: Integers, time: Integers) -> "Moments":
        """Return where moments lie; their sums mean something as differences of one owner."""
        row, partly, cut, done = self._place(owner, time)
        energy, known = self.energy_before[row], self.known_before[row]
        if partly.size:
            energy[partly] += part_of(self.energy[cut], done, self.end[cut] - self.start[cut])
            known[partly] += done * self.is_known[cut]
        return Moments(row, partly, energy, known)

    def greatest_energy(self, windows: Windows, owner: Integers, length: int) -> Integers:
        """Return the most energy of each window's owner in `length` up to a row's end in it."""
        first, after = (
            np.searchsorted(self.key, self.axis.key(owner, edge), side="right") for edge in windows
        )
        most = np.zeros(len(owner), np.int64)
        window, row = expand_ranges(first, after - first)
        if not len(row):
            return most
        since = np.maximum(self.end[row] - length, self.axis.base)
        energy = self.energy_before[row + 1] - self.at(self.owner[row], since).energy
        begins = np.flatnonzero(np.diff(window, prepend=-1))
        most[window[begins]] = np.maximum(np.maximum.reduceat(energy, begins), 0)
        return most

    def known_at(self, owner: Integers, time: Integers) -> Integers:
        """Return the known time until moments, as `at` does."""
        row, partly, cut, done = self._place(owner, time)
        known = self.known_before[row]
        known[partly] += done * self.is_known[cut]
        return known

    def _place(
        self, owner: Integers, time: Integers
    ) -> tuple[Integers, Integers, Integers, Integers]:
        """Return the row of each moment, the moments within one, their rows, and for how long."""
        row = np.searchsorted(self.key, self.axis.key(owner, time), side="right")
        found = np.minimum(row, max(len(self.key) - 1, 0))
        inside = row < len(self.key)
        if inside.any():
            inside &= (self.owner[found] == owner) & (self.start[found] < time)
        partly = np.flatnonzero(inside)
        cut = row[partly]
        return row, partly, cut, time[partly] - self.start[cut]

    def of_owner(self, owner: int) -> "Timeline":
        """Return the rows of one owner, who is number 0 then."""
        first, after = np.searchsorted(self.owner, (owner, owner + 1)).tolist()
        rows, sums = slice(first, after), slice(first, after + 1)
        return Timeline(
            np.zeros(after - first, np.int64),
            self.start[rows].copy(),
            self.end[rows].copy(),
            self.energy[rows].copy(),
            self.is_known[rows].copy(),
            self.key[rows] - owner * self.axis.span,
            self.energy_before[sums].copy(),
            self.known_before[sums].copy(),
            self.axis,
        )

    def length_at(self, owner: Integers, time: Integers) -> Integers:
        """Return the length of the row that a moment lies in; 0 without one."""
        if not len(self.key):
            return np.zeros(len(time), np.int64)
        at = np.searchsorted(self.key, self.axis.key(owner, time), side="left")
        row = np.minimum(at, len(self.key) - 1)
        inside = (at < len(self.key)) & (self.owner[row] == owner) & (self.start[row] < time)
        return np.where(inside, self.end[row] - self.start[row], 0)


def _owners_of_several(
    owner: Integers, start: Integers, end: Integers, spans: Spans | None, owners: int
) -> Flags:
    """Tell the owners that several channels feed at one time."""
    several = np.zeros(owners, np.bool_)
    overlaps = (owner[1:] == owner[:-1]) & (start[1:] < end[:-1])
    several[owner[1:][overlaps]] = True
    if spans is not None:
        order = np.lexsort((spans.start, spans.owner))
        who, begins, ends = (column[order] for column in spans)
        meets = (who[1:] == who[:-1]) & (begins[1:] < ends[:-1])
        several[who[1:][meets]] = True
    return several


def _cells(
    owner: Integers,
    start: Integers,
    end: Integers,
    energy: Integers,
    channel: Integers,
    spans: Spans | None,
    shared: Flags,
    axis: Axis,
) -> tuple[Integers, Integers, Integers, Integers, Flags]:
    """Cut the time of owners where anything of them begins or ends.

    Return owner, start, end, energy and whether it is known: from every channel that feeds then.
    """
    low, high = axis.key(owner, start), axis.key(owner, end)
    edges = [low, high]
    if spans is not None:
        own = shared[spans.owner]
        who = spans.owner[own]
        # Cut to the axis: a link may be open.
        most = axis.base + axis.span - 2
        begins = axis.key(who, np.clip(spans.start[own], axis.base + 1, most))
        ends = axis.key(who, np.clip(spans.end[own], axis.base + 1, most))
        edges += [begins, ends]
    cuts = np.unique(np.concatenate(edges))
    row, cell = _cells_between(low, high, cuts)
    length = (end - start)[row]
    at = cuts[cell] - low[row]
    to = cuts[cell + 1] - low[row]
    parts = part_of(energy[row], to, length) - part_of(energy[row], at, length)
    total, known = np.zeros(len(cuts), np.int64), np.zeros(len(cuts), np.int64)
    np.add.at(total, cell, parts)
    # A channel with readings of both types is one.
    active = channel[row] != INACTIVE
    once = np.unique(np.stack((cell[active], channel[row][active]), 1), axis=0)
    np.add.at(known, once[:, 0], 1)
    needed = np.zeros(len(cuts), np.int64)
    if spans is not None:
        _, fed = _cells_between(begins, ends, cuts)
        np.add.at(needed, fed, 1)
    needed = np.maximum(needed, 1)
    used = np.unique(cell)
    who = cuts[used] // axis.span
    first = cuts[used] - who * axis.span + axis.base
    return who, first, first + cuts[used + 1] - cuts[used], total[used], known[used] >= needed[used]


def _cells_between(low: Integers, high: Integers, cuts: Integers) -> tuple[Integers, Integers]:
    """Return row and cell of every cell between `low` and `high` of a row."""
    first, last = np.searchsorted(cuts, low), np.searchsorted(cuts, high)
    return expand_ranges(first, last - first)


class Moments(NamedTuple):
    """Moments on a side: the row in which each lies or which follows it, and the sums until it."""

    row: Integers
    partly: Integers
    """Those of the moments that lie within a row."""
    energy: Integers
    known: Integers


def running_sums(amount: Integers) -> Integers:
    """The sum before each, and of all."""
    sums = np.zeros(len(amount) + 1, np.int64)
    np.cumsum(amount, out=sums[1:])
    return sums
