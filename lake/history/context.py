"""The heartbeats of windows of the history, with the context before them.

They give every energy that `scan_context` and `scan_history` give, and read the look-back once.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

import polars as pl

from lake.delta.damage import READ_ERRORS, find_damaged_files
from lake.delta.raw_files import RawSnapshot
from lake.delta.replace import live_files, scan_window
from lake.delta.storage import Lake
from lake.engine import IN_MEMORY
from lake.history.scans import scan_context, scan_history
from lake.schema.history import decode_history, history_table
from lake.schema.partitions import HOUR
from lake.schema.streams import REGISTER, VEHICLE, Stream
from lake.settings import EnergySettings

_ROWS_AHEAD: Final = 1_000_000


class SequentialHistoryReader:
    """Reader of windows one after another, which carries the context from one to the next.

    All windows up to `until` are of one version of the history, the newest at the first of them;
    few heartbeats are read at once for all.
    """

    def __init__(
        self,
        lake: Lake,
        stream: Stream,
        settings: EnergySettings,
        until: datetime | None = None,
    ) -> None:
        self._lake, self._stream, self._settings = lake, stream, settings
        self._until = until
        self._end: datetime | None = None
        self.lost: frozenset[datetime] = frozenset()
        """Hours before the windows whose readings nothing has any more, and which were left out."""
        self._ahead: pl.LazyFrame | None = None

    def read(self, start: datetime, end: datetime) -> pl.DataFrame:
        """The heartbeats of [start, end) and their context, with the columns of `scan_history`."""
        rows = self._rows(start, end)
        if start != self._end:
            context = _context(self._lake, self._stream, start, self._settings)
            self._context, self.lost = context.rows, self.lost | context.lost
        known = pl.concat([self._context, rows])
        self._end, self._context = end, self._kept(known, end)
        return known

    def _rows(self, start: datetime, end: datetime) -> pl.DataFrame:
        if self._until is None or end > self._until:
            rows = scan_history(self._lake, self._stream, start, end)
            return rows.collect(engine=IN_MEMORY)
        if self._ahead is None:
            table = self._lake.open(self._stream.history_table)
            spec = history_table(self._stream)
            files = live_files(self._lake, table, spec, start, self._until)
            stored = scan_window(self._lake, table, spec, start, self._until)
            self._ahead = decode_history(stored, self._stream)
            if sum(file.rows for file in files) <= _ROWS_AHEAD:
                self._ahead = self._ahead.collect(engine=IN_MEMORY).lazy()
        timestamp = pl.col("timestamp")
        return self._ahead.filter(timestamp >= start, timestamp < end).collect(engine=IN_MEMORY)

    def _kept(self, known: pl.DataFrame, end: datetime) -> pl.DataFrame:
        """The context of a window that starts at `end`."""
        timestamp, value = pl.col("timestamp"), pl.col(self._stream.energy)
        is_near = timestamp >= end - timedelta(seconds=self._settings.largest_gap_seconds)
        in_reach = timestamp >= end - timedelta(hours=self._settings.register_lookback_hours)
        registers = (
            known.lazy()
            .filter(~is_near, in_reach, pl.col("reading_type") == REGISTER, value.is_not_null())
            .filter(timestamp == timestamp.max().over(self._stream.channel))
        )
        return pl.concat([registers.collect(engine=IN_MEMORY), known.filter(is_near)])


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
        near = self.start - timedelta(seconds=self.settings.largest_gap_seconds)
        before = self._context.rows.filter(pl.col("timestamp") >= near)
        rows = scan_history(self.lake, self.stream, self.start, self.end)
        return pl.concat([before.lazy(), rows])

    def scan_devices(self, devices: pl.Series) -> pl.LazyFrame:
        """Scan what the energies of these devices need: heartbeats and context, some columns.

        A scan leaves out what lies outside of the range of the ids.
        """
        ids = devices.drop_nulls().unique()
        device = pl.col(self.stream.device)
        first, last = (pl.lit(bound, pl.String) for bound in (ids.min(), ids.max()))
        rows = scan_history(self.lake, self.stream, self.start, self.end)
        names = [*self.stream.key, self.stream.energy, "reading_type", "duplicates"]
        if self.stream is VEHICLE:
            names.append("battery_temp")
        return (
            pl.concat([self._context.rows.lazy(), rows])
            .filter(device.is_between(first, last), device.is_in(ids.to_list()))
            .select(names)
        )

    @property
    def lost(self) -> frozenset[datetime]:
        """The same as of `SequentialHistoryReader`; reads the context."""
        return self._context.lost

    @cached_property
    def _context(self) -> "_Context":
        return _context(self.lake, self.stream, self.start, self.settings)


@dataclass(frozen=True)
class _Context:
    rows: pl.DataFrame
    lost: frozenset[datetime]


def _context(lake: Lake, stream: Stream, start: datetime, settings: EnergySettings) -> _Context:
    """From raw where a file of the history can't be read: that holds up its own hours alone.

    What is lost there as well is as if it had never been received. Raises LakeDamaged where it is
    only out of reach: who waits gets the right figures.
    """
    try:
        rows = scan_context(lake, stream, start, settings).collect(engine=IN_MEMORY)
        return _Context(rows, frozenset())
    except READ_ERRORS:
        since = start - max(
            timedelta(hours=settings.register_lookback_hours),
            timedelta(seconds=settings.largest_gap_seconds),
        )
        damaged = find_damaged_files(lake, stream.history_table, "timestamp", since, start)
        if not damaged:
            raise
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
    rows = scan_context(
        lake,
        stream,
        start,
        settings,
        dirty_hours={hour for one in damaged for hour in one.file.hours},
        without=without,
    ).collect(engine=IN_MEMORY)
    return _Context(rows, frozenset(lost))
