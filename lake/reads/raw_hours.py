"""A cache of the newest raw hours that wait for their compaction, sorted by device.

A flush adds a small file a minute, in order of receipt: to find one device in it costs as much as
to read all of it. So each file is read once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final

import polars as pl

from lake.delta.parquet_files import scan_files
from lake.delta.storage import Lake
from lake.reads.device_readings import Readings
from lake.reads.lru_cache import LruCache
from lake.reads.open_tables import LiveFiles
from lake.reads.row_ranges import RowRanges
from lake.schema.streams import Stream

# Hours that are dirty day by day are the newest; older ones are read from their files.
_CACHED_HOURS: Final = 3
_RUNS: Final = 8
_BYTES_A_ROW: Final = 50  # of the arrays of a run


@dataclass(frozen=True)
class _Run:
    """Rows of some files, sorted by their device."""

    rows: pl.DataFrame
    readings: Readings
    ranges: RowRanges

    @classmethod
    def from_rows(cls, rows: pl.DataFrame, stream: Stream) -> "_Run":
        """Sort rows that are in any order."""
        rows = rows.sort(stream.device, maintain_order=True)
        return cls(
            rows, Readings.from_rows(rows, stream), RowRanges.from_sorted(rows[stream.device])
        )


@dataclass(frozen=True)
class _Hour:
    """An hour as a few runs, the largest first."""

    files: frozenset[str]
    runs: tuple[_Run, ...]

    @cached_property
    def bytes(self) -> int:
        """The memory of the rows."""
        return sum(
            int(run.rows.estimated_size()) + _BYTES_A_ROW * run.rows.height + run.ranges.bytes
            for run in self.runs
        )

    def with_more(self, files: Sequence[str], rows: pl.DataFrame, stream: Stream) -> "_Hour":
        """Return the hour with the rows of more files."""
        runs = [*self.runs, _Run.from_rows(rows, stream)]
        if len(runs) > _RUNS:
            largest, *others = sorted(runs, key=lambda run: -run.rows.height)
            merged = pl.concat([run.rows for run in others], rechunk=True)
            runs = [largest, _Run.from_rows(merged, stream)]
        return _Hour(self.files | frozenset(files), tuple(runs))


class RawHourCache:
    """Cache of the raw tables' rows by hour and device."""

    def __init__(self, lake: Lake, max_bytes: int) -> None:
        self._lake = lake
        self._cache: LruCache[tuple[str, datetime], _Hour] = LruCache(max_bytes)

    def rows_for(
        self, stream: Stream, live: LiveFiles, hours: Sequence[datetime], devices: Sequence[str]
    ) -> pl.DataFrame:
        """Return all raw rows of these hours (in order) and devices, with the stream's columns."""
        parts = [self._old(stream, live, hours, devices)]
        for run in self._runs(stream, live, hours):
            parts += [run.rows[run.ranges.find(device)] for device in dict.fromkeys(devices)]
        return pl.concat(parts)

    def preload(self, stream: Stream, live: LiveFiles, hours: Sequence[datetime]) -> None:
        """Read these hours into the cache before they are asked for."""
        self._runs(stream, live, sorted(hours))

    def readings_for(
        self, stream: Stream, live: LiveFiles, hours: Sequence[datetime], device: str
    ) -> list[Readings]:
        """Return the `rows_for` one device as readings, in parts and in any order."""
        runs = self._runs(stream, live, hours)
        found = [run.readings.rows_at(run.ranges.find(device)) for run in runs]
        if len(hours) > _CACHED_HOURS:
            found.append(Readings.from_rows(self._old(stream, live, hours, [device]), stream))
        return found

    def _old(
        self, stream: Stream, live: LiveFiles, hours: Sequence[datetime], devices: Sequence[str]
    ) -> pl.DataFrame:
        """The rows of hours that are not cached."""
        paths = live.paths_of_hours(hours[:-_CACHED_HOURS])
        is_wanted = pl.col(stream.device).is_in(list(devices))
        return self._scan(stream, paths).filter(is_wanted).collect()

    def _runs(self, stream: Stream, live: LiveFiles, hours: Sequence[datetime]) -> list[_Run]:
        """The rows of the newest of these hours."""
        kept = (self._hour(stream, live, hour) for hour in hours[-_CACHED_HOURS:])
        return [run for hour in kept for run in hour.runs]

    def _hour(self, stream: Stream, live: LiveFiles, hour: datetime) -> _Hour:
        files = live.paths_of_hours([hour])
        kept = self._cache.get((stream.name, hour))
        if kept is None or not kept.files <= live.paths:
            kept = _Hour(frozenset(), ())
        missing = [path for path in files if path not in kept.files]
        if missing:
            rows = self._scan(stream, missing).collect()
            kept = kept.with_more(missing, rows, stream)
            self._cache.put((stream.name, hour), kept)
        return kept

    def _scan(self, stream: Stream, paths: Sequence[str]) -> pl.LazyFrame:
        return scan_files(self._lake, stream.raw_table, paths, stream.arrow_schema)
