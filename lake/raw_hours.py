"""Raw heartbeats of the newest hours that wait for their compaction, kept in order of the device.

A flush adds a small file a minute, in order of receipt: to find one device in it costs as much as
to read all of it. So each file is read once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from lake.kept import Kept
from lake.open_tables import LiveFiles
from lake.storage import Lake
from lake.streams import Stream

# Hours that are dirty day by day are the newest; older ones are read from their files.
_HOURS_KEPT: Final = 3
_RUNS: Final = 8
_BYTES_A_KEY: Final = 8


@dataclass(frozen=True)
class _Run:
    """Rows of some files, sorted by the hash of their device."""

    hashes: npt.NDArray[np.uint64]
    rows: pl.DataFrame

    @classmethod
    def of(cls, rows: pl.DataFrame, stream: Stream) -> "_Run":
        hashes = rows[stream.device].hash().to_numpy()
        order = np.argsort(hashes, kind="stable")
        return cls(hashes[order], rows[order])

    def find(self, hashes: npt.NDArray[np.uint64]) -> list[pl.DataFrame]:
        """The rows of devices with these hashes."""
        first = np.searchsorted(self.hashes, hashes, "left").tolist()
        after = np.searchsorted(self.hashes, hashes, "right").tolist()
        return [
            self.rows.slice(begin, end - begin)
            for begin, end in zip(first, after, strict=True)
            if end > begin
        ]


@dataclass(frozen=True)
class _Hour:
    """An hour as a few runs, the largest first."""

    files: frozenset[str]
    runs: tuple[_Run, ...]

    @cached_property
    def bytes(self) -> int:
        """Memory of the rows."""
        return sum(
            int(run.rows.estimated_size()) + _BYTES_A_KEY * run.rows.height for run in self.runs
        )

    def with_more(self, files: Sequence[str], rows: pl.DataFrame, stream: Stream) -> "_Hour":
        """The hour with the rows of more files."""
        runs = [*self.runs, _Run.of(rows, stream)]
        if len(runs) > _RUNS:
            largest, *others = sorted(runs, key=lambda run: -run.rows.height)
            merged = pl.concat([run.rows for run in others], rechunk=True)
            runs = [largest, _Run.of(merged, stream)]
        return _Hour(self.files | frozenset(files), tuple(runs))


class RawHours:
    """Rows of the raw tables by hour and device."""

    def __init__(self, lake: Lake, most_bytes: int) -> None:
        self._lake = lake
        self._kept: Kept[tuple[str, datetime], _Hour] = Kept(most_bytes)

    def read(
        self, stream: Stream, live: LiveFiles, hours: Sequence[datetime], devices: Sequence[str]
    ) -> pl.DataFrame:
        """All raw rows of these hours (in order) and devices, with the columns of the stream."""
        old, new = hours[:-_HOURS_KEPT], hours[-_HOURS_KEPT:]
        wanted = pl.Series(stream.device, list(dict.fromkeys(devices)), pl.String)
        hashes = wanted.hash().to_numpy()
        is_wanted = pl.col(stream.device).is_in(wanted.to_list())
        parts = [self._empty(stream)]
        if old:
            parts.append(self._scan(stream, live.of_hours(old)).filter(is_wanted).collect())
        for hour in new:
            for run in self._hour(stream, live, hour).runs:
                parts += run.find(hashes)
        # Two devices may have one hash.
        return pl.concat(parts).filter(is_wanted)

    def of(
        self, stream: Stream, live: LiveFiles, hours: Sequence[datetime], device: str
    ) -> list[pl.DataFrame]:
        """What `read` finds of one device, in parts; most devices have one for each flush."""
        old, new = hours[:-_HOURS_KEPT], hours[-_HOURS_KEPT:]
        if old:
            return [self.read(stream, live, hours, [device])]
        hashes = pl.Series([device]).hash().to_numpy()
        found = []
        for hour in new:
            for run in self._hour(stream, live, hour).runs:
                for rows in run.find(hashes):
                    is_device = rows[stream.device] == device
                    found.append(rows if is_device.all() else rows.filter(is_device))
        return found

    def _hour(self, stream: Stream, live: LiveFiles, hour: datetime) -> _Hour:
        files = live.of_hours([hour])
        kept = self._kept.get((stream.name, hour))
        if kept is None or not kept.files <= live.paths:
            kept = _Hour(frozenset(), ())
        missing = [path for path in files if path not in kept.files]
        if missing:
            rows = self._scan(stream, missing).collect()
            kept = kept.with_more(missing, rows, stream)
            self._kept.put((stream.name, hour), kept)
        return kept

    def _scan(self, stream: Stream, paths: Sequence[str]) -> pl.LazyFrame:
        empty = self._empty(stream)
        if not paths:
            return empty.lazy()
        folder = self._lake.table_uri(stream.raw_table)
        return pl.scan_parquet(
            [f"{folder}/{path}" for path in paths],
            storage_options=self._lake.storage_options or None,
            hive_partitioning=False,
            schema=empty.schema,
            missing_columns="insert",  # of files from before a column was added
        )

    @staticmethod
    def _empty(stream: Stream) -> pl.DataFrame:
        return pl.DataFrame(stream.arrow_schema.empty_table())
