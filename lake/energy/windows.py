"""The facts of windows of time, computed from the energies and heartbeats of their owners.

Explained in docs/energy.md; what the facts are is in lake/energy/facts.py. Times are whole
microseconds, energies whole microwatt-hours. A window is (start, end] for energy that flowed in
known time, before it was told; and [start, end) for heartbeats and for what counts at the time of
a heartbeat.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final, NamedTuple

import numpy as np

from lake.energy.facts import Facts, SideFacts, WindowEnergy
from lake.energy.intervals import KNOWN, LEFT_OUT, UNPLACED, Flags, Integers, expand_ranges, part_of

# A reading is divided as the energy of the other side was if that had at least this part of it.
_TELLING_SHARE: Final = 10


# The channel of a piece whose energy counts, but which makes no time known.
INACTIVE: Final = -1


class Pieces(NamedTuple):
    """Intervals, or parts of them, by owner; sorted by owner, then end."""

    owner: Integers
    start: Integers
    end: Integers
    energy: Integers
    kind: Integers
    conflict: Integers
    resets: Integers
    channel: Integers


class Spans(NamedTuple):
    """The time in which one channel feeds an owner; several may at once."""

    owner: Integers
    start: Integers
    end: Integers


class Heartbeats(NamedTuple):
    """All heartbeats of a side by owner, sorted by owner, then time."""

    owner: Integers
    time: Integers
    duplicates: Integers


class Windows(NamedTuple):
    """The window of each owner."""

    start: Integers
    end: Integers

    @classmethod
    def alike(cls, owners: int, start: int, end: int) -> "Windows":
        """Return one window for all."""
        return cls(np.full(owners, start), np.full(owners, end))


@dataclass(frozen=True)
class SideReadings:
    """Pieces and heartbeats of a side; `spans` has one for each channel that feeds an owner."""

    pieces: Pieces
    spans: Spans | None
    """None: each owner has one channel, all the time."""
    heard: Heartbeats


def window_facts(
    ac: SideReadings,
    dc: SideReadings,
    windows: Windows,
    temperature: tuple[Integers, Integers, Integers],
) -> Facts:
    """Return the facts of each owner.

    `temperature` are owner, time and thousandths of a degree. The pieces hold what crosses the
    edges of the windows, and, where a reading of the other side does, all of that time.
    """
    owners = len(windows.start)
    if not owners:
        return _facts_of_nobody()
    axis = _Axis.of(ac.pieces, dc.pieces, windows)
    side_ac, side_dc = (_Side.of(side, axis, owners) for side in (ac, dc))
    owner, time, degrees = temperature
    here = _is_in(time, owner, windows)
    return Facts(
        windows.start,
        windows.end,
        _side_facts(ac, side_ac, side_dc, windows, axis),
        _side_facts(dc, side_dc, side_ac, windows, axis),
        _sums(owner[here], degrees[here], owners),
        np.bincount(owner[here], minlength=owners),
    )


def _facts_of_nobody() -> Facts:
    nobody = np.zeros(0, np.int64)
    side = SideFacts(**{f.name: nobody for f in fields(SideFacts)})
    return Facts(nobody, nobody, side, side, nobody, nobody)


def energy_in(pieces: Pieces, windows: Windows, spans: Spans | None = None) -> WindowEnergy:
    """Return the energy of each owner in its window, also what nobody can place, and known time."""
    owners = len(windows.start)
    if not len(pieces.owner) or not owners:
        return WindowEnergy(np.zeros(owners, np.int64), np.zeros(owners, np.int64))
    nobody = Heartbeats(*(np.zeros(0, np.int64) for _ in Heartbeats._fields))
    axis = _Axis.of(pieces, pieces, windows)
    side = _Side.of(SideReadings(pieces, spans, nobody), axis, owners)
    return WindowEnergy(total_in(pieces, windows), _known(side, windows))


def total_in(pieces: Pieces, windows: Windows) -> Integers:
    """Return the energy of each owner in its window, also what nobody can place."""
    total, unplaced = _placed(pieces, windows), pieces.kind == UNPLACED
    if unplaced.any():
        unplaced &= _is_in(pieces.end, pieces.owner, windows)
        total += _sums(pieces.owner[unplaced], pieces.energy[unplaced], len(windows.start))
    return total


def greatest_energy(side: SideReadings, windows: Windows, length: int) -> Integers:
    """Return the most energy of each owner in a time of `length` that ends in its window.

    Only ends of readings are looked at; what began before the window counts as well.
    """
    owners = len(windows.start)
    most = np.zeros(owners, np.int64)
    axis = _Axis.of(side.pieces, side.pieces, windows)
    own = _Side.of(side, axis, owners)
    here = (own.end > windows.start[own.owner]) & (own.end <= windows.end[own.owner])
    row = np.flatnonzero(here)
    if not len(row):
        return most
    owner = own.owner[row]
    before, _ = own.until(owner, np.maximum(own.end[row] - length, axis.base))
    begins = np.flatnonzero(np.diff(owner, prepend=-1))
    energy = own.energy_before[row + 1] - before
    most[owner[begins]] = np.maximum(np.maximum.reduceat(energy, begins), 0)
    return most


class _Axis(NamedTuple):
    """One axis for the times of all owners, one owner after another."""

    base: int
    span: int

    @classmethod
    def of(cls, ac: Pieces, dc: Pieces, windows: Windows) -> "_Axis":
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
        key: Integers = owner * self.span + (time - self.base)
        return key


class _Side(NamedTuple):
    """Energy and known time of a side as functions of time: disjoint rows by owner and end."""

    owner: Integers
    start: Integers
    end: Integers
    energy: Integers
    is_known: Flags
    key: Integers
    energy_before: Integers
    known_before: Integers
    axis: _Axis

    @classmethod
    def of(cls, side: SideReadings, axis: _Axis, owners: int) -> "_Side":
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
        return cls(
            owner,
            start,
            end,
            energy,
            is_known,
            axis.key(owner, end),
            np.concatenate(([0], np.cumsum(energy))),
            np.concatenate(([0], np.cumsum((end - start) * is_known))),
            axis,
        )

    def until(self, owner: Integers, time: Integers) -> tuple[Integers, Integers]:
        """Return energy and known time before a time; differences of one owner mean something."""
        at = np.searchsorted(self.key, self.axis.key(owner, time), side="right")
        energy, known = self.energy_before[at], self.known_before[at]
        if not len(self.key):
            return energy, known
        row = np.minimum(at, len(self.key) - 1)
        inside = (at < len(self.key)) & (self.owner[row] == owner)
        done = np.where(inside, np.maximum(time - self.start[row], 0), 0)
        partly = done > 0
        if partly.any():
            cut = row[partly]
            length = self.end[cut] - self.start[cut]
            energy[partly] += part_of(self.energy[cut], done[partly], length)
            known[partly] += done[partly] * self.is_known[cut]
        return energy, known

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
    axis: _Axis,
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


def _side_facts(
    readings: SideReadings, own: _Side, other: _Side, windows: Windows, axis: _Axis
) -> SideFacts:
    owners = len(windows.start)
    pieces = readings.pieces
    marked = np.flatnonzero((pieces.kind != KNOWN) | (pieces.conflict > 0) | (pieces.resets > 0))
    owner, end = pieces.owner[marked], pieces.end[marked]
    marked = marked[_is_in(end, owner, windows)]
    owner, kind, energies = pieces.owner[marked], pieces.kind[marked], pieces.energy[marked]
    out, unplaced = kind == LEFT_OUT, kind == UNPLACED
    matched, unmatched, gross_matched, gross_unmatched = _matched(own, other, windows)
    return SideFacts(
        placed=_placed(pieces, windows),
        unplaced=_sums(owner[unplaced], energies[unplaced], owners),
        known=_known(own, windows),
        matched=matched,
        unmatched=unmatched,
        gross=gross_matched + gross_unmatched,
        gross_matched=gross_matched,
        left_out=_sums(owner[out], energies[out], owners),
        left_out_count=np.bincount(owner[out], minlength=owners),
        conflicts=np.bincount(owner[pieces.conflict[marked] > 0], minlength=owners),
        conflicting=_sums(owner, pieces.conflict[marked], owners),
        resets=_sums(owner, pieces.resets[marked], owners),
        **_heard(readings.heard, windows, axis),
    )


def _placed(pieces: Pieces, windows: Windows) -> Integers:
    """Energy of known time in the window, divided by time."""
    low, high = windows.start[pieces.owner], windows.end[pieces.owner]
    here = np.flatnonzero((pieces.kind == KNOWN) & (pieces.end > low) & (pieces.start < high))
    owner, start, end, energy = (column[here] for column in pieces[:4])
    low, high = low[here], high[here]
    cut = np.flatnonzero((start < low) | (end > high))
    if cut.size:
        since, length, whole = start[cut], (end - start)[cut], energy[cut]
        begins, ends = np.maximum(since, low[cut]), np.minimum(end[cut], high[cut])
        energy = energy.copy()
        energy[cut] = part_of(whole, ends - since, length) - part_of(whole, begins - since, length)
    return _sums(owner, energy, len(windows.start))


def _known(side: _Side, windows: Windows) -> Integers:
    owners = len(windows.start)
    who = np.arange(owners)
    _, known = side.until(np.concatenate((who, who)), np.concatenate(windows))
    time: Integers = known[owners:] - known[:owners]
    return time


def _matched(
    own: _Side, other: _Side, windows: Windows
) -> tuple[Integers, Integers, Integers, Integers]:
    """Energy in the window while the other side is known, and the rest; both again without signs.

    A reading during which the other side is known all the time, by no longer readings, is divided
    as the energy of that side was; else by time.
    """
    owners = len(windows.start)
    low, high = windows.start[own.owner], windows.end[own.owner]
    row = np.flatnonzero((own.end > low) & (own.start < high))
    who, start, end, energy = own.owner[row], own.start[row], own.end[row], own.energy[row]
    is_known = own.is_known[row]
    flows_1, known_1 = other.until(who, end)
    flows_0, known_0 = np.empty_like(flows_1), np.empty_like(known_1)
    flows_0[1:], known_0[1:] = flows_1[:-1], known_1[:-1]
    # Most begin where the one before ended.
    alone = np.ones(len(row), np.bool_)
    alone[1:] = (who[1:] != who[:-1]) | (start[1:] != end[:-1])
    flows_0[alone], known_0[alone] = other.until(who[alone], start[alone])
    length, flowed, known = end - start, flows_1 - flows_0, known_1 - known_0
    matched, inside = np.where(known >= length, energy, 0), energy
    partly = np.flatnonzero((known > 0) & (known < length))
    matched[partly] = part_of(energy[partly], known[partly], length[partly])
    tells = (known >= length) & (_TELLING_SHARE * flowed >= np.abs(energy)) & (flowed > 0)
    cut = np.flatnonzero((start < windows.start[who]) | (end > windows.end[who]))
    if cut.size:
        inside = energy.copy()
        begins = np.maximum(start, windows.start[who])[cut]
        ends = np.minimum(end, windows.end[who])[cut]
        whole, since = energy[cut], start[cut]
        inside[cut] = _between(whole, begins - since, ends - since, length[cut])
        of_cut, both = who[cut], np.concatenate((begins, ends))
        flows, known_time = other.until(np.concatenate((of_cut, of_cut)), both)
        flows_a, flows_b = flows.reshape(2, -1)
        known_a, known_b = known_time.reshape(2, -1)
        by_flow = tells[cut]
        for edge in (since + 1, end[cut]):
            by_flow &= other.length_at(who[cut], edge) <= length[cut]
        tells[cut] = by_flow
        matched[cut] = _between(
            whole,
            np.where(by_flow, flows_a - flows_0[cut], known_a - known_0[cut]),
            np.where(by_flow, flows_b - flows_0[cut], known_b - known_0[cut]),
            np.where(by_flow, flowed[cut], length[cut]),
        )
    matched = np.where(is_known, matched, 0)
    rest = np.where(is_known & tells, 0, inside - matched)
    sign = np.sign(energy)
    return (
        _sums(who, matched, owners),
        _sums(who, rest, owners),
        _sums(who, sign * matched, owners),
        _sums(who, sign * rest, owners),
    )


def _heard(heard: Heartbeats, windows: Windows, axis: _Axis) -> Mapping[str, Integers]:
    """Count heartbeats in [start, end), and the times that tell the longest gap."""
    owners = len(windows.start)
    if not len(heard.time):
        nothing = np.zeros(owners, np.int64)
        return {
            "data_points": nothing,
            "duplicates": nothing,
            "first": windows.end,
            "last": windows.start,
            "inner_gap": nothing,
        }
    here = _is_in(heard.time, heard.owner, windows)
    owner, time = heard.owner[here], heard.time[here]
    count = np.bincount(owner, minlength=owners)
    first, last = windows.end.copy(), windows.start.copy()
    begins = np.flatnonzero(np.diff(owner, prepend=-1))
    ends = np.append(begins[1:], len(owner)) - 1
    inner = np.zeros(owners, np.int64)
    if len(owner):
        first[owner[begins]], last[owner[begins]] = time[begins], time[ends]
        step = np.diff(time, prepend=time[:1])
        step[begins] = 0
        inner[owner[begins]] = np.maximum.reduceat(step, begins)
    return {
        "data_points": count,
        "duplicates": _sums(owner, heard.duplicates[here], owners),
        "first": first,
        "last": last,
        "inner_gap": inner,
    }


def _between(energy: Integers, since: Integers, until: Integers, whole: Integers) -> Integers:
    part: Integers = part_of(energy, until, whole) - part_of(energy, since, whole)
    return part


def _is_in(time: Integers, owner: Integers, windows: Windows) -> Flags:
    """Tell what counts at its time in the window of its owner, as heartbeats do."""
    inside: Flags = (time >= windows.start[owner]) & (time < windows.end[owner])
    return inside


def _sums(owner: Integers, value: Integers, owners: int) -> Integers:
    """Add up by owner; exact below 2^53, 9 GWh."""
    if owners == 1:
        return np.array([value.sum()])
    sums: Integers = np.bincount(owner, value.astype(np.float64), owners).astype(np.int64)
    return sums
