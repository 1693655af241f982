"""Lower cache: rows of single devices as read from files of the history."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from lake.delta.parquet_files import scan_files
from lake.delta.storage import Lake
from lake.engine import IN_MEMORY
from lake.reads.lru_cache import LruCache
from lake.reads.open_tables import LiveFiles
from lake.schema.history import decode_history, history_table
from lake.schema.streams import Stream

# A window that slides along leaves files behind; so many more than it needs are carried along.
_FILES_BESIDE = 48
_BYTES_A_FILE = 500  # of a frame, however few rows it has


@dataclass(frozen=True)
class CachedRows:
    """The rows of one device in some files."""

    stream: Stream
    files: Mapping[str, pl.DataFrame]

    @cached_property
    def all_rows(self) -> pl.DataFrame:
        """The rows of all of these files: the stream's columns and COPIES."""
        return self.rows_of_files(self.files)

    def rows_of_files(self, paths: Iterable[str]) -> pl.DataFrame:
        """Return the rows of some of these files."""
        rows = pl.concat([self.files[path] for path in paths])
        return decode_history(rows.lazy(), self.stream).collect(engine=IN_MEMORY)

    @cached_property
    def bytes(self) -> int:
        """The memory of the rows, counted twice: `all_rows` makes a copy."""
        rows = sum(int(frame.estimated_size()) for frame in self.files.values())
        return 2 * rows + _BYTES_A_FILE * len(self.files)


class DeviceRows:
    """Cache of history rows by device; reads from a file only what was not read before."""

    def __init__(self, lake: Lake, max_bytes: int) -> None:
        self._lake = lake
        self._cache: LruCache[tuple[str, str], CachedRows] = LruCache(max_bytes)

    def rows_for(
        self,
        stream: Stream,
        live: LiveFiles,
        devices: Sequence[str],
        wanted: Sequence[str],
    ) -> list[CachedRows]:
        """Return the rows that each of these devices has in the wanted files, maybe also in others.

        Nothing of a device if no file is wanted.
        """
        missing: dict[tuple[str, ...], list[str]] = defaultdict(list)
        found: dict[str, dict[str, pl.DataFrame]] = {}
        ready = []
        for device in dict.fromkeys(devices):
            kept = self._cache.get((stream.name, device))
            files = kept.files if kept else {}
            absent = tuple(path for path in wanted if path not in files)
            if kept and not absent and files.keys() <= live.paths:
                ready.append(kept)
                continue
            surplus = len(files) > len(wanted) + _FILES_BESIDE
            needed = set(wanted) if surplus else live.paths
            found[device] = {path: rows for path, rows in files.items() if path in needed}
            missing[absent].append(device)
        for paths, of_devices in missing.items():
            for path, rows in self._from_files(stream, paths, of_devices).items():
                for device in of_devices:
                    found[device][path] = rows.filter(pl.col(stream.device) == device)
        for device, by_file in found.items():
            if by_file:
                kept = CachedRows(stream, by_file)
                self._cache.put((stream.name, device), kept)
                ready.append(kept)
        return ready

    def _from_files(
        self, stream: Stream, paths: Sequence[str], devices: Sequence[str]
    ) -> dict[str, pl.DataFrame]:
        """Read the rows of these devices from each of these files."""
        device = pl.col(stream.device)
        # Equality prunes row groups, membership does not in every version.
        is_wanted = device == devices[0] if len(devices) == 1 else device.is_in(list(devices))
        scans = [_scan_stored(self._lake, stream, path).filter(is_wanted) for path in paths]
        return dict(zip(paths, pl.collect_all(scans), strict=True))


def scan_rows(lake: Lake, stream: Stream, path: str) -> pl.LazyFrame:
    """Scan a file of the history, with the stream's columns and COPIES."""
    return decode_history(_scan_stored(lake, stream, path), stream)


def _scan_stored(lake: Lake, stream: Stream, path: str) -> pl.LazyFrame:
    return scan_files(lake, stream.history_table, [path], history_table(stream).file_schema)
