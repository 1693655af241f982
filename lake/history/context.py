"""The heartbeats of windows of the history, with the readings on either side that decide them.

What a reading of energy means follows from those beside it: where its interval begins, how often
its device reports, whether a register can be believed. So a window comes with the last readings
with an energy before it and the first ones after it, of each series of each device.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import Final

import polars as pl

from lake.delta.damage import READ_ERRORS, find_damaged_files
from lake.delta.raw_files import RawSnapshot
from lake.delta.replace import LiveFile, live_files, scan_window
from lake.delta.storage import Lake
from lake.engine import IN_MEMORY
from lake.history.deduplication import merge_heartbeats
from lake.history.nearest import (
    SeriesEnds,
    of_devices,
    series_ends,
    with_energy,
)
from lake.history.scans import scan_heartbeats, scan_history
from lake.schema.history import decode_history, history_table
from lake.schema.partitions import DAY, HOUR, hour_of, hours_between
from lake.schema.streams import Stream
from lake.settings import EnergySettings

LONGEST_CADENCE: Final = DAY
"""A reading that comes later than this after a window says nothing about it."""

# Of an idle device only the cadence is asked, for which eight days count (lake/health/cadence.py).
_DAYS_OF_IDLE: Final = 9
_ROWS_AHEAD: Final = 1_000_000
_TICK: Final = timedelta(microseconds=1)

DaysWithEnergy = Callable[[Collection[str]], Mapping[str, Sequence[tuple[date, date]]]]
"""Tells of devices the days on which each may have sent an energy: ranges, last day included."""


class SequentialHistoryReader:
    """Reader of windows one after another, which carries the context from one to the next.

    All windows are of one version of the history, the newest at the first of them; few heartbeats
    up to `until` are read at once for all. `waiting` are hours of which raw holds what the history
    does not: as context after a window they are read from raw. `days` tells where older readings
    of a device may be; without it they are looked for on all days.
    """

    def __init__(
        self,
        lake: Lake,
        stream: Stream,
        settings: EnergySettings,
        until: datetime | None = None,
        *,
        waiting: Collection[datetime] = (),
        days: DaysWithEnergy | None = None,
    ) -> None:
        self._lake, self._stream = lake, stream
        self._gap = timedelta(seconds=settings.largest_gap_seconds)
        self._until, self._waiting, self._days = until, frozenset(waiting), days
        self._end: datetime | None = None
        self._next: tuple[pl.DataFrame, SeriesEnds] | None = None
        self._hours: dict[datetime, pl.DataFrame] | None = None
        self._ahead_from = self._ahead_until = self._hours_until = datetime.min.replace(tzinfo=UTC)
        self.lost: frozenset[datetime] = frozenset()
        """Hours beside the windows whose readings nothing has any more, and which were left out."""

    def read(
        self,
        start: datetime,
        end: datetime,
        expected: Collection[str] = (),
        window: pl.DataFrame | None = None,
    ) -> pl.DataFrame:
        """Return the heartbeats of [start, end) and their context, with the columns of the
        history.

        The rows stand in three parts, each sorted by device and time:

        - before `start`: the last READINGS_BESIDE readings with an energy, of each series of each
          device that has a heartbeat in the window, in the hour before or after it, or that is
          `expected`; and its other heartbeats of the largest gap, which links need. Devices
          with an energy in or after the window are looked up without a limit of time, others as far
          back as a device that reports once a day needs it
        - the heartbeats of the window
        - from `end` on: the first READINGS_BESIDE readings with an energy that have arrived, of
          each series within an hour, and within LONGEST_CADENCE of devices that have fewer there
          and sent an energy before

        `window`, if given, are the heartbeats of the window; those of the history are not read.
        """
        if not self._ahead_from <= start < self._ahead_until:
            self._read_ahead(start)
        if start != self._end:
            self._begin(start)
        if window is not None:
            window, ends = self._with_ends(window)
        else:
            window, ends = self._next or self._with_ends(self._window(start, end))
        next_hour, next_ends = self._with_ends(self._beside(end, end + HOUR))
        self._look_back(window, ends, next_ends, expected)
        before = self._before
        self._carry(window, ends, end)
        after = self._look_ahead(end, next_ends)
        is_whole = end not in self._waiting and end not in self.lost
        self._next = (next_hour, next_ends) if is_whole and end - start == HOUR else None
        self._end = end
        return pl.concat([before, window, after])

    def read_more(self, start: datetime, wanted: pl.DataFrame) -> pl.DataFrame:
        """Return more readings with an energy beside the window that was read last.

        `wanted` has device_id, since and until, each before `start` or after the window.
        """
        if wanted.is_empty():
            return pl.DataFrame(schema=self._before.schema)
        timestamp, is_before = pl.col("timestamp"), pl.col("until") <= start
        parts = []
        for part in (wanted.filter(is_before), wanted.filter(~is_before)):
            if part.is_empty():
                continue
            since, until = part["since"].min(), part["until"].max()
            assert isinstance(since, datetime)
            assert isinstance(until, datetime)
            devices = part["device_id"].to_list()
            rows = self._beside(
                hour_of(since), hour_of(until - _TICK) + HOUR, devices, with_raw=since >= start
            )
            parts.append(
                rows.join(
                    part, left_on=self._stream.device, right_on="device_id", maintain_order="left"
                )
                .filter(timestamp >= pl.col("since"), timestamp < pl.col("until"))
                .drop("since", "until")
            )
        return pl.concat(parts)

    def _with_ends(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, SeriesEnds]:
        return rows, series_ends(rows, self._stream)

    def _window(self, start: datetime, end: datetime) -> pl.DataFrame:
        found = self._from_memory(start, end)
        return self._history.scan(start, end).collect(engine=IN_MEMORY) if found is None else found

    def _read_ahead(self, start: datetime) -> None:
        """Read the next days at once, where they have few heartbeats and all can be read.

        So much that the windows of a day find there what comes after them.
        """
        self._hours = None
        if self._until is None or start >= self._until:
            return
        self._ahead_from, self._ahead_until = start, start + DAY
        self._hours_until = min(self._ahead_until, self._until) + LONGEST_CADENCE
        files = self._history.files(start, self._hours_until)
        if sum(file.rows for file in files) > _ROWS_AHEAD:
            return
        try:
            rows = self._history.scan(start, self._hours_until).collect(engine=IN_MEMORY)
        except READ_ERRORS:
            return  # hour by hour they tell which one it is
        hour = pl.col("timestamp").dt.truncate("1h").alias("_hour")
        parts = rows.with_columns(hour).partition_by(
            "_hour", as_dict=True, include_key=False, maintain_order=True
        )
        self._hours = {key[0].astimezone(UTC): of_hour for key, of_hour in parts.items()}
        self._none = rows.clear()

    def _from_memory(self, since: datetime, until: datetime) -> pl.DataFrame | None:
        if self._hours is None or since < self._ahead_from or until > self._hours_until:
            return None
        found = [self._hours.get(hour, self._none) for hour in hours_between(since, until)]
        return pl.concat(found) if len(found) != 1 else found[0]

    @cached_property
    def _history(self) -> "_HistorySnapshot":
        return _HistorySnapshot(self._lake, self._stream)

    @cached_property
    def _raw(self) -> RawSnapshot:
        return RawSnapshot(self._lake, self._stream, self._lake.open(self._stream.raw_table))

    # -- before a window -------------------------------------------------------------------------

    def _begin(self, start: datetime) -> None:
        """Forget what was carried, and read the hour before."""
        self._next = None
        rows, ends = self._with_ends(self._beside(start - HOUR, start, with_raw=False))
        self._before, self._known = rows.clear(), ends.series.clear()
        self._full = self._known
        self._carry(rows, ends, start)
        self._since, self._sought = start - HOUR, dict[str, date]()
        self._far, self._far_until, self._slow = rows.clear(), start, set[str]()

    def _carry(self, rows: pl.DataFrame, ends: SeriesEnds, end: datetime) -> None:
        """Let the context be that of a window which starts at `end`, after `rows`.

        Of most devices it is the end of the rows; only those that are slow or silent, or have
        several series, take the readings before as well.
        """
        device, silent = self._stream.device, ~with_energy(self._stream)
        every = pl.concat([self._known, ends.series]).unique()
        several = every.filter(pl.col(device).is_duplicated())
        plain = ends.full.join(several, on=device, how="anti")
        last, carried = ends.last, self._before.filter(~silent)
        others = pl.concat([part.join(plain, on=device, how="anti") for part in (carried, last)])
        kept = series_ends(others, self._stream)
        last = last.join(plain, on=device, how="semi", maintain_order="left")
        before = self._merged(last, kept.last)
        near = pl.col("timestamp") >= end - self._gap
        mute = pl.concat([part.filter(silent, near) for part in (self._before, rows)])
        if mute.height:
            before = pl.concat([before, mute]).sort(self._stream.key)
        self._before = before
        self._known = pl.concat([plain, kept.series])
        self._full = pl.concat([plain, kept.full])

    def _look_back(
        self,
        window: pl.DataFrame,
        ends: SeriesEnds,
        next_ends: SeriesEnds,
        expected: Collection[str],
    ) -> None:
        """Add older readings of the devices of which fewer than wanted are carried.

        First of the newest day on which each may have sent an energy, then of twice as many.
        """
        series, device = list(self._stream.series), self._stream.device
        wanted = pl.concat([ends.series, next_ends.series]).unique()
        idle = {*expected, *self._known[device]} - set(wanted[device])
        if window[self._stream.energy].null_count():
            idle |= set(window[device].unique()) - set(wanted[device])
        oldest, oldest_idle = date.min, (self._since - _DAYS_OF_IDLE * DAY).date()
        days = 1
        while True:
            lacking = wanted.join(self._full, on=series, how="anti", nulls_equal=True)
            due = dict.fromkeys(idle.difference(self._full[device]), oldest_idle)
            due |= dict.fromkeys(lacking[device], oldest)
            by_day = self._next_days(due, days)
            if by_day is None:
                return
            found = [self._look_on(day, devices) for day, devices in sorted(by_day.items())]
            if sum(rows.height for rows in found):
                self._carry_older(pl.concat(found))
            days *= 2

    def _carry_older(self, rows: pl.DataFrame) -> None:
        known = with_energy(self._stream)
        ends = series_ends(pl.concat([rows, self._before.filter(known)]), self._stream)
        mute = self._before.filter(~known)
        self._before = pl.concat([ends.last, mute]).sort(self._stream.key)
        self._known, self._full = ends.series, ends.full

    def _next_days(self, due: Mapping[str, date], count: int) -> dict[date, list[str]] | None:
        """The newest days on which each device was not looked up yet; None: there are no more."""
        begin = (self._since - timedelta(microseconds=1)).date() + DAY
        since = {device: self._sought.get(device, begin) for device in due}
        due = {device: oldest for device, oldest in due.items() if oldest < since[device]}
        if not due:
            return None
        ranges = None if self._days is None else self._days(list(due))
        by_day: dict[date, list[str]] = {}
        for device, oldest in due.items():
            may = None if ranges is None else ranges.get(device, ())
            self._sought[device], found = oldest, 0
            upto = 0 if may == () else bisect_left(self._file_days, since[device])
            for day in reversed(self._file_days[:upto]):
                if day < oldest:
                    break
                if may is None or any(first <= day <= last for first, last in may):
                    by_day.setdefault(day, []).append(device)
                    found += 1
                if found == count:
                    self._sought[device] = day
                    break
        return by_day

    def _look_on(self, day: date, devices: Collection[str]) -> pl.DataFrame:
        midnight = datetime.combine(day, time(), UTC)
        until = min(midnight + DAY, self._since)
        return self._beside(midnight, until, devices, with_raw=False)

    @cached_property
    def _file_days(self) -> list[date]:
        """The days of which the history has files, in order."""
        ever = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
        return sorted({file.day for file in self._history.files(*ever)})

    # -- after a window --------------------------------------------------------------------------

    def _look_ahead(self, end: datetime, ends: SeriesEnds) -> pl.DataFrame:
        """The readings after a window: of devices that have few in the next hour, later ones too.

        Each hour is looked through once for the devices that were slow before it, too.
        """
        device = self._stream.device
        slow = set(self._known.join(ends.full, on=device, how="anti")[device])
        since, until = end + HOUR, end + LONGEST_CADENCE
        if self._far_until < since:
            self._slow, self._far_until = set(), since
        self._slow &= slow
        later = pl.col("timestamp") >= since
        far = [self._far.filter(later, of_devices(self._stream, self._slow))]
        if self._slow and self._far_until < until:
            far.append(self._beside(self._far_until, until, self._slow))
        if new := slow - self._slow:
            far.append(self._beside(since, until, new))
        self._far, self._far_until, self._slow = pl.concat(far), until, slow
        if self._far.is_empty():
            return ends.first
        is_slow = of_devices(self._stream, self._slow)
        of_slow = series_ends(pl.concat([ends.first.filter(is_slow), self._far]), self._stream)
        return self._merged(ends.first.filter(~is_slow), of_slow.first)

    def _merged(self, one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
        """The rows of both, which are sorted and of different devices, in order."""
        if not (one.height and other.height):
            return one if one.height else other
        return one.merge_sorted(other, self._stream.device)

    # -- either ----------------------------------------------------------------------------------

    def _beside(
        self,
        since: datetime,
        until: datetime,
        devices: Collection[str] | None = None,
        *,
        with_raw: bool = True,
    ) -> pl.DataFrame:
        """The heartbeats of [since, until) beside a window; of some devices those with an energy.

        A file that can't be read holds up its own hours alone: see `_undamaged`.
        """
        stream = self._stream
        waiting = {hour for hour in self._waiting if since <= hour < until} if with_raw else set()
        keep = [] if devices is None else [of_devices(stream, devices), with_energy(stream)]
        if not waiting and (found := self._from_memory(since, until)) is not None:
            return found.filter(*keep)
        rows = self._history.scan(since, until).filter(*keep)
        try:
            if waiting:
                received = [self._raw.scan([hour]).filter(*keep) for hour in sorted(waiting)]
                rows = merge_heartbeats(stream, rows, received)
            return rows.collect(engine=IN_MEMORY)
        except READ_ERRORS:
            undamaged = _undamaged(self._lake, stream, since, until, waiting)
            if undamaged is None:
                raise
        self.lost |= undamaged.lost
        from_raw, without = undamaged.from_raw | waiting, undamaged.without
        rows = scan_heartbeats(self._lake, stream, since, until, None, from_raw, None, without)
        return rows.filter(*keep).collect(engine=IN_MEMORY)


class _HistorySnapshot:
    """One version of a stream's history, the newest when this was made."""

    def __init__(self, lake: Lake, stream: Stream) -> None:
        self._lake, self._stream, self._spec = lake, stream, history_table(stream)
        self._table = lake.open(self._spec.name)

    def scan(self, start: datetime, end: datetime) -> pl.LazyFrame:
        stored = scan_window(self._lake, self._table, self._spec, start, end)
        return decode_history(stored, self._stream)

    def files(self, start: datetime, end: datetime) -> list[LiveFile]:
        return live_files(self._lake, self._table, self._spec, start, end)


@dataclass(frozen=True)
class HistoryWindow:
    """The heartbeats of [start, end), some devices at a time."""

    lake: Lake
    stream: Stream
    start: datetime
    end: datetime
    settings: EnergySettings

    def scan(self) -> pl.LazyFrame:
        """Scan all heartbeats, and those of the largest gap before them."""
        rows = scan_history(self.lake, self.stream, self.start, self.end)
        return pl.concat([self._context.rows.lazy(), rows])

    @property
    def lost(self) -> frozenset[datetime]:
        """The same as of `SequentialHistoryReader`; reads the context."""
        return self._context.lost

    @cached_property
    def _context(self) -> "_Context":
        since = self.start - timedelta(seconds=self.settings.largest_gap_seconds)
        return _context(self.lake, self.stream, since, self.start)


@dataclass(frozen=True)
class _Context:
    rows: pl.DataFrame
    lost: frozenset[datetime]


def _context(lake: Lake, stream: Stream, since: datetime, start: datetime) -> _Context:
    """The heartbeats of [since, start), as far as they can be read: see `_undamaged`."""
    try:
        rows = scan_heartbeats(lake, stream, since, start, None).collect(engine=IN_MEMORY)
        return _Context(rows, frozenset())
    except READ_ERRORS:
        found = _undamaged(lake, stream, since, start)
        if found is None:
            raise
    rows = scan_heartbeats(
        lake, stream, since, start, None, found.from_raw, without=found.without
    ).collect(engine=IN_MEMORY)
    return _Context(rows, found.lost)


@dataclass(frozen=True)
class _Undamaged:
    from_raw: frozenset[datetime]
    without: frozenset[str]
    lost: frozenset[datetime]


def _undamaged(
    lake: Lake,
    stream: Stream,
    since: datetime,
    until: datetime,
    waiting: Collection[datetime] = (),
) -> _Undamaged | None:
    """From which hours and without which files a stretch can be read; None: nothing is damaged.

    From raw where a file of the history can't be read: that holds up its own hours alone. What is
    lost there as well is as if it had never been received. Raises LakeDamaged where it is only out
    of reach: who waits gets the right figures.
    """
    damaged = find_damaged_files(lake, stream.history_table, "timestamp", since, until)
    in_raw = RawSnapshot(lake, stream, lake.open(stream.raw_table)).rows_by_hour()
    lost: set[datetime] = set()
    without = {one.file.path for one in damaged}
    for one in damaged:
        hours = one.file.hours
        of_raw = find_damaged_files(lake, stream.raw_table, "timestamp", hours[0], hours[-1] + HOUR)
        rows_there = sum(in_raw.get(hour, 0) for hour in hours)
        if not of_raw and one.file.rows is not None and rows_there >= one.file.rows:
            continue
        for file in (one, *of_raw):
            file.require_lost()
        lost.update(hours)
        without |= {file.file.path for file in of_raw}
    for hour in waiting:
        for one in find_damaged_files(lake, stream.raw_table, "timestamp", hour, hour + HOUR):
            one.require_lost()
            lost.add(hour)
            without.add(one.file.path)
    if not without:
        return None
    from_raw = frozenset(hour for one in damaged for hour in one.file.hours)
    return _Undamaged(from_raw, frozenset(without), frozenset(lost))
