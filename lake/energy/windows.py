"""The facts of windows of time, computed from the energies and heartbeats of their owners.

Explained in docs/energy.md; what the facts are is in lake/energy/facts.py. Times are whole
microseconds, energies whole microwatt-hours. A window is (start, end] for energy that flowed in
known time, before it was told; and [start, end) for heartbeats and for what counts at the time of
a heartbeat.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from lake.energy.facts import Facts, SideFacts, WindowEnergy
from lake.energy.intervals import KNOWN, LEFT_OUT, UNPLACED, Flags, Integers, expand_ranges, part_of
from lake.energy.pieces import Heartbeats, Pieces, SideReadings, Spans, Windows
from lake.energy.timeline import Axis, Moments, Timeline, running_sums

# A reading is divided as the energy of the other side was if that had at least this part of it.
_TELLING_SHARE: Final = 10


class RunningFacts(NamedTuple):
    """Facts of owners as sums along their time: those of a window are differences of two."""

    ac: "_RunningSide"
    dc: "_RunningSide"
    temperature: "_Marks"

    @classmethod
    def of(
        cls,
        ac: SideReadings,
        dc: SideReadings,
        within: Windows,
        temperature: tuple[Integers, Integers, Integers],
    ) -> "RunningFacts":
        """Return what tells the facts of windows within these, one for each owner.

        `temperature` are owner, time and thousandths of a degree. The pieces hold what crosses the
        edges of the windows, and, where a reading of the other side does, all of that time.
        """
        owners = len(within.start)
        axis = Axis.of(ac.pieces, dc.pieces, within)
        (own_ac, shared_ac), (own_dc, shared_dc) = (
            Timeline.of(side, axis, owners) for side in (ac, dc)
        )
        owner, time, degrees = temperature
        return cls(
            _RunningSide.of(ac, own_ac, own_dc, shared_ac, within),
            _RunningSide.of(dc, own_dc, own_ac, shared_dc, within),
            _Marks.of(owner, time, [degrees], within, axis),
        )

    def between(self, windows: Windows, owner: Integers | None = None) -> Facts:
        """Return the facts of each window, which is of this owner; else of its own number."""
        owner = np.arange(len(windows.start)) if owner is None else owner
        who, edges = np.concatenate((owner, owner)), np.concatenate(windows)
        ac, dc = (side.own.at(who, edges) for side in (self.ac, self.dc))
        (degrees,), first, after = self.temperature.between(windows, owner)
        return Facts(
            windows.start,
            windows.end,
            self.ac.between(windows, owner, ac, dc, self.dc.own),
            self.dc.between(windows, owner, dc, ac, self.ac.own),
            degrees,
            after - first,
        )

    def greatest_energy(
        self, windows: Windows, owner: Integers, length: int
    ) -> tuple[Integers, Integers]:
        """Return the most AC and DC energy in a time of `length` that ends in each window.

        Only ends of readings are looked at; what began before the window counts as well.
        """
        ac, dc = (side.own.greatest_energy(windows, owner, length) for side in (self.ac, self.dc))
        return ac, dc

    def of_owner(self, owner: int) -> "RunningFacts":
        """Return those of one owner, who is the only one then, without those of others."""
        return RunningFacts(
            self.ac.of_owner(owner), self.dc.of_owner(owner), self.temperature.of_owner(owner)
        )

    @property
    def bytes(self) -> int:
        """The memory that they take."""
        sides = sum(array.nbytes for side in (self.ac, self.dc) for array in side.arrays)
        return sides + self.temperature.key.nbytes + self.temperature.sums.nbytes


def energy_in(pieces: Pieces, windows: Windows, spans: Spans | None = None) -> WindowEnergy:
    """Return the energy of each owner in its window, also what nobody can place, and known time."""
    owners = len(windows.start)
    if not len(pieces.owner) or not owners:
        return WindowEnergy(np.zeros(owners, np.int64), np.zeros(owners, np.int64))
    nobody = Heartbeats(*(np.zeros(0, np.int64) for _ in Heartbeats._fields))
    axis = Axis.of(pieces, pieces, windows)
    side, _ = Timeline.of(SideReadings(pieces, spans, nobody), axis, owners)
    return WindowEnergy(total_in(pieces, windows), _known(side, windows))


def total_in(pieces: Pieces, windows: Windows) -> Integers:
    """Return the energy of each owner in its window, also what nobody can place."""
    total, unplaced = _placed(pieces, windows), pieces.kind == UNPLACED
    if unplaced.any():
        unplaced &= _is_in(pieces.end, pieces.owner, windows)
        total += _sums(pieces.owner[unplaced], pieces.energy[unplaced], len(windows.start))
    return total


class _RunningSide(NamedTuple):
    """Sums of a side along the time of its owners."""

    own: Timeline
    sums: Integers
    """Before each row: matched and unmatched energy; both again without signs if any has one."""
    shared: Flags
    pieces: Pieces | None
    """Those of shared owners, if there are any: their rows are divided in other steps."""
    heard: "_Marks"
    step: Integers
    """The time from the heartbeat before to each, and one more."""
    marks: "_Marks | None"
    """Unplaced energy, left out energy and count, conflicts, by how much, and resets."""

    @classmethod
    def of(
        cls, side: SideReadings, own: Timeline, other: Timeline, shared: Flags, within: Windows
    ) -> "_RunningSide":
        pieces, heard = side.pieces, side.heard
        marks = _marks(pieces, within, own.axis)
        counted = _Marks.of(heard.owner, heard.time, [heard.duplicates], within, own.axis)
        return cls(
            own,
            _matched(own, other, within),
            shared,
            Pieces(*(column[shared[pieces.owner]] for column in pieces)) if shared.any() else None,
            counted,
            np.diff(counted.key, prepend=0, append=0),
            marks if len(marks.key) else None,
        )

    def of_owner(self, owner: int) -> "_RunningSide":
        """Return those of one owner, who is number 0 then."""
        first, after = np.searchsorted(self.own.owner, (owner, owner + 1)).tolist()
        pieces = None
        if self.pieces is not None and self.shared[owner]:
            mine = self.pieces.owner == owner
            pieces = Pieces(*(column[mine] for column in self.pieces))
            pieces = pieces._replace(owner=np.zeros_like(pieces.owner))
        heard = self.heard.of_owner(owner)
        marks = self.marks.of_owner(owner) if self.marks else None
        return _RunningSide(
            self.own.of_owner(owner),
            self.sums[:, first : after + 1].copy(),
            self.shared[owner : owner + 1].copy(),
            pieces,
            heard,
            np.diff(heard.key, prepend=0, append=0),
            marks if marks and len(marks.key) else None,
        )

    @property
    def arrays(self) -> "Iterator[npt.NDArray[Any]]":
        """All arrays that it holds."""
        for part in (self.own, self.pieces, self.heard, self.marks, (self.sums, self.step)):
            yield from (array for array in part or () if isinstance(array, np.ndarray))

    def between(
        self, windows: Windows, owner: Integers, at: Moments, other_at: Moments, other: Timeline
    ) -> SideFacts:
        """Return the facts of an owner in each window, whose edges are these moments."""
        count = len(owner)
        placed = at.energy[count:] - at.energy[:count]
        if self.pieces is not None:
            pieces = _of_windows(self.pieces, owner)
            placed = np.where(self.shared[owner], _placed(pieces, windows), placed)
        sums = self._until(at, np.concatenate(windows), other_at, other)
        matched, unmatched, *gross = sums[:, count:] - sums[:, :count]
        gross_matched, gross_unmatched = gross or (matched, unmatched)
        nothing = np.zeros(count, np.int64)
        unplaced = left_out = left_out_count = conflicts = conflicting = resets = nothing
        if self.marks:
            found, _, _ = self.marks.between(windows, owner)
            unplaced, left_out, left_out_count, conflicts, conflicting, resets = found
        return SideFacts(
            placed=placed,
            unplaced=unplaced,
            known=at.known[count:] - at.known[:count],
            matched=matched,
            unmatched=unmatched,
            gross=gross_matched + gross_unmatched,
            gross_matched=gross_matched,
            left_out=left_out,
            left_out_count=left_out_count,
            conflicts=conflicts,
            conflicting=conflicting,
            resets=resets,
            **self._heard(windows, owner),
        )

    def _until(self, at: Moments, time: Integers, other_at: Moments, other: Timeline) -> Integers:
        """The sums until these moments.

        A reading during which the other side is known all the time, by no longer readings, is
        divided as the energy of that side was; else by time.
        """
        sums = self.sums[:, at.row]
        if not at.partly.size:
            return sums
        row = at.row[at.partly]
        who, start, end = self.own.owner[row], self.own.start[row], self.own.end[row]
        energy, length = self.own.energy[row], end - start
        ends = other.at(np.concatenate((who, who)), np.concatenate((start, end)))
        flowed_0, flowed_1 = ends.energy.reshape(2, -1)
        known_0, known_1 = ends.known.reshape(2, -1)
        flowed = flowed_1 - flowed_0
        tells = (known_1 - known_0 >= length) & (_TELLING_SHARE * flowed >= np.abs(energy))
        tells &= flowed > 0
        beside = other.length_at(np.concatenate((who, who)), np.concatenate((start + 1, end)))
        tells &= (beside.reshape(2, -1) <= length).all(axis=0)
        matched = part_of(
            energy,
            np.where(
                tells, other_at.energy[at.partly] - flowed_0, other_at.known[at.partly] - known_0
            ),
            np.where(tells, flowed, length),
        )
        is_known = self.own.is_known[row]
        matched = np.where(is_known, matched, 0)
        by_time = part_of(energy, time[at.partly] - start, length)
        parts = np.array((matched, np.where(is_known & tells, 0, by_time - matched)))
        sums[:2, at.partly] += parts
        if len(sums) > len(parts):
            sums[2:, at.partly] += np.sign(energy) * parts
        return sums

    def _heard(self, windows: Windows, owner: Integers) -> Mapping[str, Integers]:
        """Count heartbeats in [start, end), and the times that tell the longest gap."""
        (duplicates,), first, after = self.heard.between(windows, owner)
        count = after - first
        found = {"data_points": count, "duplicates": duplicates}
        last = len(self.step) - 2
        if last < 0:
            nothing = np.zeros(len(count), np.int64)
            return {**found, "first": windows.end, "last": windows.start, "inner_gap": nothing}
        ranges = np.array((np.minimum(first, last) + 1, after)).T.ravel()
        longest = np.maximum.reduceat(self.step, ranges)[::2]
        axis, key = self.heard.axis, self.heard.key
        who = owner * axis.span - axis.base
        return {
            **found,
            "first": np.where(count > 0, key[np.minimum(first, last)] - who, windows.end),
            "last": np.where(count > 0, key[after - 1] - who, windows.start),
            "inner_gap": np.where(count > 1, longest, 0),
        }


class _Marks(NamedTuple):
    """What counts at its time, as heartbeats do, by owner and time."""

    key: Integers
    sums: Integers
    """Of each amount, before each time."""
    axis: Axis

    @classmethod
    def of(
        cls,
        owner: Integers,
        time: Integers,
        amounts: Sequence[Integers],
        within: Windows,
        axis: Axis,
    ) -> "_Marks":
        here = _is_in(time, owner, within)
        if not here.all():
            owner, time = owner[here], time[here]
            amounts = [amount[here] for amount in amounts]
        return cls(axis.key(owner, time), np.array([*map(running_sums, amounts)]), axis)

    def of_owner(self, owner: int) -> "_Marks":
        """Return those of one owner, who is number 0 then."""
        span = self.axis.span
        first, after = np.searchsorted(self.key, (owner * span, (owner + 1) * span)).tolist()
        key = self.key[first:after] - owner * span
        return _Marks(key, self.sums[:, first : after + 1].copy(), self.axis)

    def between(self, windows: Windows, owner: Integers) -> tuple[Integers, Integers, Integers]:
        """Return the sums of each amount in each window of an owner, and its range of times."""
        first, after = (
            np.searchsorted(self.key, self.axis.key(owner, edge), side="left") for edge in windows
        )
        return self.sums[:, after] - self.sums[:, first], first, after


def _marks(pieces: Pieces, within: Windows, axis: Axis) -> _Marks:
    """What pieces tell at their end."""
    marked = np.flatnonzero((pieces.kind != KNOWN) | (pieces.conflict > 0) | (pieces.resets > 0))
    kind, energy, conflict = (
        column[marked] for column in (pieces.kind, pieces.energy, pieces.conflict)
    )
    amounts = [
        np.where(kind == UNPLACED, energy, 0),
        np.where(kind == LEFT_OUT, energy, 0),
        (kind == LEFT_OUT).astype(np.int64),
        (conflict > 0).astype(np.int64),
        conflict,
        pieces.resets[marked],
    ]
    return _Marks.of(pieces.owner[marked], pieces.end[marked], amounts, within, axis)


def _of_windows(pieces: Pieces, owner: Integers) -> Pieces:
    """Return the pieces of each window's owner, by the number of the window."""
    first = np.searchsorted(pieces.owner, owner)
    window, row = expand_ranges(first, np.searchsorted(pieces.owner, owner, "right") - first)
    return Pieces(window, *(column[row] for column in pieces[1:]))


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


def _known(side: Timeline, windows: Windows) -> Integers:
    owners = len(windows.start)
    known = side.known_at(np.tile(np.arange(owners), 2), np.concatenate(windows))
    time: Integers = known[owners:] - known[:owners]
    return time


def _matched(own: Timeline, other: Timeline, within: Windows) -> Integers:
    """Energy of whole readings while the other side is known, and the rest, before each of them.

    Both again without signs if there are any. Only what lies in the windows is looked at.
    """
    row = np.flatnonzero((own.end > within.start[own.owner]) & (own.start < within.end[own.owner]))
    who, start, end, energy = own.owner[row], own.start[row], own.end[row], own.energy[row]
    known_1 = other.known_at(who, end)
    known_0 = np.empty_like(known_1)
    known_0[1:] = known_1[:-1]
    # Most begin where the one before ended.
    alone = np.ones(len(row), np.bool_)
    alone[1:] = (who[1:] != who[:-1]) | (start[1:] != end[:-1])
    known_0[alone] = other.known_at(who[alone], start[alone])
    length, known = end - start, known_1 - known_0
    matched = np.where(known >= length, energy, 0)
    partly = np.flatnonzero((known > 0) & (known < length))
    matched[partly] = part_of(energy[partly], known[partly], length[partly])
    matched = np.where(own.is_known[row], matched, 0)
    parts = [matched, energy - matched]
    if (energy < 0).any():
        sign = np.sign(energy)
        parts += [sign * matched, sign * parts[1]]
    sums = np.zeros((len(parts), len(own.key) + 1), np.int64)
    for sum_, part in zip(sums, parts, strict=True):
        sum_[row + 1] = part
        np.cumsum(sum_, out=sum_)
    return sums


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
