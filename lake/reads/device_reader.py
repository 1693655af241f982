"""Repeated reads of few devices' heartbeats, exact up to this moment.

`scan_heartbeats` opens the tables and reads their files for each call; a collector that answers
hundreds of requests a second keeps what can't change: files never do. The tables stay open, the
rows that each file holds of a device are kept, the newest hours are indexed by device, and the
newest raw files of hours that wait for their compaction are in memory.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pyarrow as pa

from lake.delta.storage import Lake
from lake.energy.single_vehicle.readings import Readings, concat_sorted, merge_received
from lake.engine import IN_MEMORY, NO_OPTIMIZATIONS
from lake.history.deduplication import as_history, merge_heartbeats, no_heartbeats
from lake.reads.device_cache import DeviceCache
from lake.reads.device_rows import DeviceRows
from lake.reads.hour_index import HourIndex
from lake.reads.open_tables import LiveFiles, OpenTables
from lake.reads.raw_hours import RawHourCache
from lake.schema.history import history_table
from lake.schema.partitions import hour_of, hours_between, literal, microseconds
from lake.schema.streams import REGISTER, STREAMS, Stream
from lake.settings import EnergySettings


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

    def readings(
        self,
        stream: Stream,
        devices: Sequence[str],
        start: datetime,
        end: datetime,
        settings: EnergySettings,
        dirty_hours: Collection[datetime],
        outbox: pa.Table,
    ) -> pl.DataFrame:
        """Return the heartbeats of a window and the context that it needs.

        The columns of the stream and COPIES, one row for each heartbeat: those of
        `scan_heartbeats`, and of `scan_context` what a window of these devices can need.
        """
        waiting = pl.DataFrame(outbox)

        def read(devices: Sequence[str], since: datetime, until: datetime) -> pl.DataFrame:
            return self._heartbeats(stream, devices, since, until, dirty_hours, waiting)

        near = start - timedelta(seconds=settings.largest_gap_seconds)
        found = read(devices, near, end)
        # A register's last value matters where the window has another one, and is nearly always
        # among the last readings before it.
        is_value = (pl.col("reading_type") == REGISTER) & pl.col(stream.energy).is_not_null()
        in_window = pl.col("timestamp") >= literal(start)
        registers = found.filter(pl.col("reading_type") == REGISTER, in_window)[stream.device]
        known = found.filter(is_value, ~in_window)[stream.device]
        parts, since = [found], near
        for hours in (1, settings.register_lookback_hours):
            unknown = sorted(set(registers.unique()) - set(known.unique()))
            until, since = since, start - timedelta(hours=hours)
            if not unknown or since >= until:
                continue
            last = pl.col("timestamp") == pl.col("timestamp").max().over(stream.channel)
            parts.append(read(unknown, since, until).filter(is_value).filter(last))
            known = pl.concat([known, parts[-1][stream.device]])
        return pl.concat(parts) if len(parts) > 1 else found

    def readings_of_device(
        self,
        stream: Stream,
        device: str,
        start: datetime,
        end: datetime,
        settings: EnergySettings,
        dirty_hours: Collection[datetime],
        outbox: pa.Table,
    ) -> Readings:
        """Return the `readings` of one device, many times as fast, maybe with more context."""
        reach = (
            timedelta(seconds=settings.largest_gap_seconds),
            timedelta(hours=1),
            timedelta(hours=settings.register_lookback_hours),
        )
        for before in reach:
            since = start - before
            found = self._of_one(stream, device, since, end, dirty_hours, outbox)
            if not _lacks_register(found, start):
                break
        return found

    def preload(self, stream: Stream, dirty_hours: Collection[datetime]) -> None:
        """Read the newest of these hours ahead; the first reading of one takes a second or two."""
        self._raw_hours.preload(stream, self.raw[stream.name], sorted(dirty_hours))

    def file_paths(
        self, stream: Stream, start: datetime, end: datetime, dirty_hours: Collection[datetime]
    ) -> list[str]:
        """Return the files that a reading of this window may rest on; files never change."""
        dirty = sorted(dirty_hours)
        history = self.history[stream.name].paths_between(start, end)
        return [*history, *(self.raw[stream.name].paths_of_hours(dirty) if dirty else [])]

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


def _lacks_register(found: Readings, start: datetime) -> bool:
    """Tell whether a reading in the window needs a register value from further back."""
    first = int(np.searchsorted(found.at, microseconds(start)))
    is_value = found.is_register[:first] & ~np.isnan(found.value[:first])
    return bool(found.is_register[first:].any()) and not is_value.any()
