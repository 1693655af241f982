"""Repeated reads of few devices' heartbeats, exact up to this moment.

`scan_heartbeats` opens the tables and reads their files for each call; a collector that answers
hundreds of requests a second keeps what can't change: files never do. The tables stay open, the
rows that each file holds of a device are kept, the newest hours are indexed by device, and the
newest raw files of hours that wait for their compaction are in memory.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from lake.delta.storage import Lake
from lake.engine import IN_MEMORY, NO_OPTIMIZATIONS
from lake.history.deduplication import as_history, merge_heartbeats, no_heartbeats
from lake.reads.device_cache import DeviceCache
from lake.reads.device_readings import Readings, concat_sorted, merge_received
from lake.reads.device_rows import DeviceRows
from lake.reads.hour_index import HourIndex
from lake.reads.open_tables import LiveFiles, OpenTables
from lake.reads.raw_hours import RawHourCache
from lake.schema.history import history_table
from lake.schema.partitions import DAY, HOUR, hour_of, hours_between, literal, microseconds
from lake.schema.streams import STREAMS, Stream

READINGS_THAT_DECIDE: Final = 9
"""So many readings with an energy before and after it decide what the one beside them means."""

_AROUND: Final = 2 * HOUR  # in one of them a device that is not slow has that many readings
_FIRST_REACH: Final = DAY
_REACH_GROWS: Final = 2


class Heard(NamedTuple):
    """The times of the first and the last heartbeat of a device, or wider ones."""

    first: datetime
    last: datetime


ALWAYS: Final = Heard(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


class Reach(NamedTuple):
    """The time in which heartbeats were looked for, [since, until).

    `until` is that of ALWAYS where a later heartbeat would have been read too, and so is `since`.
    """

    since: datetime
    until: datetime


class DeviceReader:
    """Reader of a lake for one process; safe between threads. Keeps about `cache_bytes` of rows."""

    def __init__(self, lake: Lake, cache_bytes: int, index: HourIndex) -> None:
        self._tables, self._index = OpenTables(lake), index
        self._raw = RawHourCache(lake, cache_bytes // 2)
        self._rows = DeviceRows(lake, cache_bytes // 4)
        self._history = DeviceCache(self._rows, index, cache_bytes // 4)

    def snapshot(self) -> "LakeSnapshot":
        """Return the newest files of all tables. Raises LakeError and DeltaError.

        The caller has read the outbox and the dirty hours before: what has left the outbox since
        is in this raw table, and what has left the raw table since is in this history.
        """
        raw = {s.name: self._tables.files(s.raw_table, "timestamp") for s in STREAMS.values()}
        history = {
            s.name: self._tables.files(s.history_table, history_table(s).time_column)
            for s in STREAMS.values()
        }
        return LakeSnapshot(raw, history, self._raw, self._rows, self._history)

    def index_next_hour(self, now: datetime) -> bool:
        """Index one of the newest hours that is not indexed yet; False if all are.

        One call at a time. Raises what `snapshot` and `HourIndex.index_next` do.
        """
        live = self.snapshot().history
        return any(self._index.index_next(s, live[s.name], now) for s in STREAMS.values())

    @property
    def indexed_hours(self) -> int:
        """The number of indexed hours, of both streams."""
        return self._index.size


@dataclass(frozen=True)
class LakeSnapshot:
    """The files of both streams' tables at one moment."""

    raw: Mapping[str, LiveFiles]
    history: Mapping[str, LiveFiles]
    _raw_hours: RawHourCache
    _device_rows: DeviceRows
    _device_history: DeviceCache

    def heartbeats(
        self,
        stream: Stream,
        devices: Sequence[str],
        start: datetime,
        end: datetime,
        dirty_hours: Collection[datetime],
        outbox: pa.Table,
    ) -> pl.DataFrame:
        """Return the heartbeats of a window: the rows that `scan_heartbeats` has, in any order."""
        waiting = pl.DataFrame(outbox)
        return self._heartbeats(stream, devices, start, end, dirty_hours, waiting)

    def readings_of_device(
        self,
        stream: Stream,
        device: str,
        start: datetime,
        end: datetime,
        dirty_hours: Collection[datetime],
        outbox: pa.Table,
        heard: Heard = ALWAYS,
        looks_ahead: timedelta = DAY,
    ) -> tuple[Readings, Reach]:
        """Return the readings of a device from `start` to `end` with their context, and the time
        outside of which nothing can change them.

        The context is an hour to either side, and whatever lies beyond until each series has as
        many readings with an energy as any reading can need: before however old, where the series
        goes on after `start`; after it for `looks_ahead`, or until the next one there is.
        """
        span = self._span(stream, dirty_hours, outbox, heard)
        since, until = start - _AROUND, end + _AROUND
        back, ahead = _FIRST_REACH, _FIRST_REACH
        while True:
            found = self._of_one(stream, device, since, until, dirty_hours, outbox)
            if until < span.last and _lacks_after(found, end, until - end < looks_ahead):
                until, ahead = max(until, end + ahead), _REACH_GROWS * ahead
            elif since > max(span.first, start - DAY) and found.phases:
                since = start - DAY  # a phase that was heard in a day is missed where it is silent
            elif since > span.first and _lacks_before(found, start):
                since, back = min(since, start - back), _REACH_GROWS * back
            else:
                return found, Reach(
                    since if since > span.first else ALWAYS.first,
                    until if until < span.last else ALWAYS.last,
                )

    def preload(self, stream: Stream, dirty_hours: Collection[datetime]) -> None:
        """Read the newest of these hours ahead; the first reading of one takes a second or two."""
        self._raw_hours.preload(stream, self.raw[stream.name], sorted(dirty_hours))

    def _span(
        self, stream: Stream, dirty_hours: Collection[datetime], outbox: pa.Table, heard: Heard
    ) -> Heard:
        """The time in which there may be readings of a device."""
        first, last = self.history[stream.name].span
        first, last = max(first, heard.first), min(last, heard.last)
        times = [*dirty_hours, *(hour + HOUR for hour in dirty_hours)]
        if outbox:
            waiting = outbox["timestamp"]
            times += [pc.min(waiting).as_py(), pc.max(waiting).as_py()]
        return Heard(min([first, *times]), max([last, *times]))

    def _of_one(
        self,
        stream: Stream,
        device: str,
        start: datetime,
        end: datetime,
        dirty_hours: Collection[datetime],
        outbox: pa.Table,
    ) -> Readings:
        history = self._device_history.readings(
            stream, self.history[stream.name], device, start, end
        )
        received, hours = [], set(dirty_hours)
        if outbox:
            waiting = pl.DataFrame(outbox).filter(pl.col(stream.device) == device)
            received.append(Readings.from_rows(waiting, stream))
            hours |= {hour_of(moment) for moment in waiting["timestamp"]}
        dirty = sorted(hours.intersection(hours_between(start, end)))
        if dirty:
            received += self._raw_hours.readings_for(stream, self.raw[stream.name], dirty, device)
        if not received:
            return history
        found = merge_received(history, concat_sorted(received).in_window(start, end))
        if found is None:
            rows = self._heartbeats(stream, [device], start, end, dirty, pl.DataFrame(outbox))
            return Readings.from_rows(rows.sort("timestamp"), stream)
        return found

    def _heartbeats(
        self,
        stream: Stream,
        devices: Sequence[str],
        start: datetime,
        end: datetime,
        dirty_hours: Collection[datetime],
        outbox: pl.DataFrame,
    ) -> pl.DataFrame:
        timestamp, device = pl.col("timestamp"), pl.col(stream.device)
        in_window = (timestamp >= literal(start)) & (timestamp < literal(end))
        of_devices = device == devices[0] if len(devices) == 1 else device.is_in(list(devices))
        live = self.history[stream.name]
        kept = self._device_rows.rows_for(stream, live, devices, live.paths_between(start, end))
        stored = pl.concat([rows.all_rows for rows in kept]) if kept else no_heartbeats(stream)
        history = stored.filter(in_window)
        waiting = outbox.filter(in_window, of_devices)
        dirty = set(dirty_hours) | {hour_of(moment) for moment in waiting["timestamp"]}
        dirty &= set(hours_between(start, end))
        if not dirty:
            return history
        raw = self._raw_hours.rows_for(stream, self.raw[stream.name], sorted(dirty), devices)
        columns = [column.name for column in stream.columns]
        # A heartbeat on its way is in the outbox and in the raw table: the same row twice.
        received = pl.concat([waiting.select(columns), raw.filter(in_window).select(columns)])
        is_dirty = timestamp.dt.truncate("1h").is_in(sorted(dirty))
        received = received.unique()
        every = pl.concat([history, as_history(received.lazy()).collect(engine=IN_MEMORY)])
        if every.n_unique(list(stream.key)) == every.height:
            return every  # nothing came twice, which is what a merge would find out more slowly
        merged = merge_heartbeats(
            stream, history.lazy().filter(is_dirty), [received.lazy()]
        ).collect(engine=IN_MEMORY, optimizations=NO_OPTIMIZATIONS)
        return pl.concat([history.filter(~is_dirty), merged])


def _lacks_before(found: Readings, start: datetime) -> bool:
    """Tell whether a series that goes on after `start` needs readings from further back."""
    first = int(np.searchsorted(found.at, microseconds(start), side="right"))
    before = int(np.searchsorted(found.at, microseconds(start - HOUR), side="right"))
    is_known, needed = ~np.isnan(found.value), READINGS_THAT_DECIDE * max(1, found.phases)
    for of_series in (is_known & ~found.is_register, is_known & found.is_register):
        if np.count_nonzero(of_series[:before]) < needed and of_series[first:].any():
            return True
    return False


def _lacks_after(found: Readings, end: datetime, is_near: bool) -> bool:
    """Tell whether more readings after `end` are needed; further away one at all is enough."""
    after = int(np.searchsorted(found.at, microseconds(end + HOUR if is_near else end), "right"))
    needed = READINGS_THAT_DECIDE * max(1, found.phases) if is_near else 1
    beyond = int(np.count_nonzero(~np.isnan(found.value[after:])))
    return beyond < needed
