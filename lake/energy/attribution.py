"""Whose energy it is: the vehicle's that a meter feeds, the charger's that feeds a vehicle.

Explained in docs/energy.md. A link is a range (start, end] in which a meter feeds a vehicle; at any
time a meter feeds at most one vehicle, a vehicle may be fed by several meters.
"""

from typing import Final, NamedTuple, TypeVar

import numpy as np

from lake.energy.intervals import KNOWN, Integers, Intervals, expand_ranges, part_of
from lake.energy.pieces import Heartbeats, Pieces, Spans

_NEVER: Final = np.iinfo(np.int64).max


class Feeds(NamedTuple):
    """The others at the end of a device's links, between two changes of them.

    Segments are sorted by device and start; segment n has the others from `first[n]` on to
    `first[n + 1]`, each with the part from `since` to `until`, of `total`, of what is to be shared.
    """

    device: Integers
    start: Integers
    end: Integers
    first: Integers
    other: Integers
    since: Integers
    until: Integers
    total: Integers

    @property
    def is_single(self) -> bool:
        """True where each segment has one other, as nearly always: it has all there is to share."""
        return len(self.other) == len(self.device)


def feeds_of(device: Integers, other: Integers, start: Integers, end: Integers) -> Feeds:
    """Return the segments of links; the first of several others has all that is to be shared."""
    order = np.lexsort((start, device))
    device, other, start, end = (column[order] for column in (device, other, start, end))
    overlaps = (device[1:] == device[:-1]) & (start[1:] < end[:-1])
    if not overlaps.any():
        count = len(device)
        one, nothing = np.ones(count, np.int64), np.zeros(count, np.int64)
        return Feeds(device, start, end, np.arange(count + 1), other, nothing, one, one)
    cuts = np.unique(
        np.concatenate((np.stack((device, start), 1), np.stack((device, end), 1))), axis=0
    )
    segments: list[tuple[int, int, int]] = []
    others: list[list[int]] = []
    for (one, begins), (same, ends) in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        if one != same:
            continue
        low, high = np.searchsorted(device, (one, one + 1))
        feeds = (start[low:high] < ends) & (end[low:high] > begins)
        if feeds.any():
            segments.append((one, begins, ends))
            others.append(sorted(set(other[low:high][feeds].tolist())))
    sizes = [len(names) for names in others]
    first = np.concatenate(([0], np.cumsum(sizes)))
    is_first = np.zeros(int(first[-1]), np.bool_)
    is_first[first[:-1]] = True
    devices, starts, ends = np.array(segments, np.int64).reshape(-1, 3).T
    return Feeds(
        devices,
        starts,
        ends,
        first,
        np.array([name for names in others for name in names], np.int64),
        (~is_first).astype(np.int64),
        np.ones(len(is_first), np.int64),
        np.ones(len(is_first), np.int64),
    )


def share(feeds: Feeds, weight: Integers) -> Feeds:
    """Share in proportion to a weight of each other, by its number; less than zero as zero.

    Where none has any, the first has all.
    """
    weight = np.maximum(weight[feeds.other], 0)
    segment = np.repeat(np.arange(len(feeds.device)), np.diff(feeds.first))
    until = np.concatenate(([0], np.cumsum(weight)))
    total = (until[feeds.first[1:]] - until[feeds.first[:-1]])[segment]
    before, has_any = until[feeds.first[:-1]][segment], total > 0
    return feeds._replace(
        since=np.where(has_any, until[:-1] - before, feeds.since),
        until=np.where(has_any, until[1:] - before, feeds.until),
        total=np.where(has_any, total, feeds.total),
    )


def attribute(intervals: Intervals, device: Integers, feeds: Feeds) -> tuple[Pieces, Pieces]:
    """Cut intervals at the links of their devices; return the pieces by other, and what is left.

    `device` is that of each channel, the number by which `feeds` knows it. An interval that is cut
    is divided by time in whole microwatt-hours that add up. What is left has no link; its owner is
    the device.
    """
    owner = device[intervals.channel]
    fed = _fed_all_the_time(owner, intervals, feeds)[owner]
    is_whole = fed >= 0
    if is_whole.all():
        pieces = _as_pieces(intervals, fed)
        return _sorted(pieces), Pieces(*(column[:0] for column in pieces))
    if not is_whole.any():
        return _attribute_parts(owner, intervals, feeds)
    whole, others = np.flatnonzero(is_whole), np.flatnonzero(~is_whole)
    given, rest = _attribute_parts(owner[others], intervals.of(others), feeds)
    return _sorted(joined(_as_pieces(intervals.of(whole), fed[whole]), given)), rest


def _fed_all_the_time(owner: Integers, intervals: Intervals, feeds: Feeds) -> Integers:
    """Return the other of each device that has one alone during all of its intervals, else -1."""
    devices = max(int(owner.max(initial=-1)), int(feeds.device.max(initial=-1))) + 1
    other = np.full(devices, -1)
    if not len(owner):
        return other
    runs = np.flatnonzero(np.diff(owner, prepend=-1))
    first, last = np.full(devices, _NEVER), np.full(devices, -_NEVER)
    np.minimum.at(first, owner[runs], np.minimum.reduceat(intervals.start, runs))
    np.maximum.at(last, owner[runs], np.maximum.reduceat(intervals.end, runs))
    segments = np.bincount(feeds.device, minlength=devices)
    is_alone = (segments[feeds.device] == 1) & (np.diff(feeds.first) == 1)
    is_alone &= (feeds.start < first[feeds.device]) & (feeds.end >= last[feeds.device])
    other[feeds.device[is_alone]] = feeds.other[feeds.first[:-1][is_alone]]
    return other


def _attribute_parts(owner: Integers, intervals: Intervals, feeds: Feeds) -> tuple[Pieces, Pieces]:
    pieces = _cut(owner, intervals, feeds)
    at = _segment_at(feeds, pieces.owner, pieces.start, pieces.end)
    linked = at >= 0
    if linked.all():
        own, segment, rest = pieces, at, Pieces(*(column[:0] for column in pieces))
    else:
        rest = Pieces(*(column[~linked] for column in pieces))
        own, segment = Pieces(*(column[linked] for column in pieces)), at[linked]
    if feeds.is_single:
        return _sorted(own._replace(owner=feeds.other[segment])), rest
    row, place = _others_of(feeds, segment)
    energy = own.energy[row]
    total = feeds.total[place]
    parts = part_of(energy, feeds.until[place], total)
    parts -= part_of(energy, feeds.since[place], total)
    shared = Pieces(
        feeds.other[place],
        own.start[row],
        own.end[row],
        parts,
        own.kind[row],
        own.conflict[row],
        own.resets[row],
        own.channel[row],
    )
    return _sorted(shared), rest


def own_pieces(intervals: Intervals, device: Integers) -> Pieces:
    """Return the intervals as pieces of their own devices."""
    return _sorted(_as_pieces(intervals, device[intervals.channel]))


def attribute_heartbeats(heard: Heartbeats, feeds: Feeds) -> Heartbeats:
    """Return the heartbeats of devices by other; a link has those from its start on."""
    at = _segment_at(feeds, heard.owner, heard.time, heard.time + 1)
    linked = at >= 0
    segment = at[linked]
    row, place = _others_of(feeds, segment)
    row = np.flatnonzero(linked)[row]
    owner, moment = feeds.other[place], heard.time[row]
    return in_order(Heartbeats(owner, moment, heard.duplicates[row]), owner, moment)


def spans_of(owner: Integers, start: Integers, end: Integers, channels: Integers) -> Spans:
    """Return the times of links once for each of the `channels` of their feeding devices."""
    row = np.repeat(np.arange(len(owner)), np.maximum(channels, 1))
    return Spans(owner[row], start[row], end[row])


def _others_of(feeds: Feeds, segment: Integers) -> tuple[Integers, Integers]:
    """Return for each other of these segments the row that it is of, and its place in `feeds`."""
    if feeds.is_single:
        return np.arange(len(segment)), segment
    return expand_ranges(feeds.first[segment], feeds.first[segment + 1] - feeds.first[segment])


def _as_pieces(intervals: Intervals, owner: Integers) -> Pieces:
    return Pieces(owner, *intervals[1:], intervals.channel)


def _cut(owner: Integers, intervals: Intervals, feeds: Feeds) -> Pieces:
    """Cut what is known of the intervals where a segment begins or ends."""
    whole = _as_pieces(intervals, owner)
    if not len(feeds.device) or not len(owner):
        return whole
    base = min(int(intervals.start.min()), int(feeds.start.min()))
    most = max(int(intervals.end.max()), int(feeds.end.max()))
    span = most - base + 2
    edges = np.unique(
        np.concatenate(
            (feeds.device * span + feeds.start - base, feeds.device * span + feeds.end - base)
        )
    )
    low = np.searchsorted(edges, owner * span + intervals.start - base, side="right")
    high = np.searchsorted(edges, owner * span + intervals.end - base, side="left")
    inside = np.where(intervals.kind == KNOWN, np.maximum(high - low, 0), 0)
    if not inside.any():
        return whole
    row, number = expand_ranges(np.zeros(len(owner), np.int64), inside + 1)
    is_last = number == inside[row]
    edge = np.clip(low[row] + number, 0, len(edges) - 1)
    who = owner[row]
    stop = np.where(is_last, intervals.end[row], edges[edge] - who * span + base)
    start = np.where(number == 0, intervals.start[row], np.concatenate((stop[:1], stop[:-1])))
    length = np.maximum(intervals.end - intervals.start, 1)[row]
    energy, since = intervals.energy[row], intervals.start[row]

    def until(moment: Integers) -> Integers:
        return part_of(energy, moment - since, length)

    parts = np.where(is_last & (number == 0), energy, until(stop) - until(start))
    zero = np.int64(0)
    return Pieces(
        who,
        start,
        stop,
        parts,
        intervals.kind[row],
        np.where(is_last, intervals.conflict[row], zero),
        np.where(is_last, intervals.resets[row], zero),
        intervals.channel[row],
    )


def _segment_at(feeds: Feeds, device: Integers, start: Integers, end: Integers) -> Integers:
    """Return the segment in which each piece lies, by its end; -1: in none."""
    if not len(feeds.device) or not len(device):
        return np.full(len(device), -1)
    base = min(int(start.min()), int(feeds.start.min()))
    span = max(int(end.max()), int(feeds.end.max())) - base + 2
    key = feeds.device * span + feeds.start - base
    at = np.searchsorted(key, device * span + end - base, side="left") - 1
    found = np.maximum(at, 0)
    is_in = (at >= 0) & (feeds.device[found] == device) & (end <= feeds.end[found])
    return np.where(is_in, at, -1)


def _sorted(pieces: Pieces) -> Pieces:
    return in_order(pieces, pieces.owner, pieces.end)


_Rows = TypeVar("_Rows", Pieces, Heartbeats)


def in_order(rows: _Rows, owner: Integers, time: Integers) -> _Rows:
    """Sort rows by owner and time, equal ones as they are; most are in order already."""
    same, rises = owner[1:] == owner[:-1], owner[1:] > owner[:-1]
    follows = rises | (same & (time[1:] >= time[:-1]))
    if follows.all():
        return rows
    if (same | rises).all():  # but for the times of a few owners
        is_wrong = np.zeros(int(owner[-1]) + 1, np.bool_)
        is_wrong[owner[1:][~follows]] = True
        wrong = np.flatnonzero(is_wrong[owner])
        right = wrong[np.lexsort((time[wrong], owner[wrong]))]
        columns = [column.copy() for column in rows]
        for sorted_, column in zip(columns, rows, strict=True):
            sorted_[wrong] = column[right]
        return type(rows)(*columns)
    first, last = int(time.min()), int(time.max())
    if (int(owner.max()) + 2) * (last - first + 1) < 2**63:
        # One key: nearly all of it is in order, which a stable sort makes use of.
        order = np.argsort(owner * (last - first + 1) + (time - first), kind="stable")
    else:
        order = np.lexsort((time, owner))
    return type(rows)(*(column[order] for column in rows))


def joined(one: _Rows, other: _Rows) -> _Rows:
    """Join rows; in order, where each are and the owners of `other` come after those of `one`."""
    if not len(other.owner):
        return one
    columns = (np.concatenate(columns) for columns in zip(one, other, strict=True))
    return type(one)(*columns)
