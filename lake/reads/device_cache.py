"""Upper cache: arrays of one device ready to compute with."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from lake.reads.device_readings import Readings, concat_sorted
from lake.reads.device_rows import DeviceRows
from lake.reads.hour_index import HourIndex, indexed_readings
from lake.reads.lru_cache import LruCache
from lake.reads.open_tables import LiveFiles
from lake.schema.streams import Stream

_BYTES_A_READING = 60


@dataclass(frozen=True)
class _CachedReadings:
    """The readings of a device in some files."""

    files: frozenset[str]
    readings: Readings

    @property
    def bytes(self) -> int:
        return _BYTES_A_READING * self.readings.at.size + 100 * len(self.files)


@dataclass(frozen=True)
class _Lately:
    """What was read of a device lately, the newest first."""

    parts: tuple[_CachedReadings, ...]

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)


class DeviceCache:
    """Reader of a device's history, from indexed hours where there are, else from the files."""

    def __init__(self, rows: DeviceRows, index: HourIndex, max_bytes: int) -> None:
        """Keep about `max_bytes` of readings."""
        self._rows, self._index = rows, index
        self._cache: LruCache[tuple[str, str], _Lately] = LruCache(max_bytes)

    def readings(
        self, stream: Stream, live: LiveFiles, device: str, start: datetime, end: datetime
    ) -> Readings:
        """Return all readings of a window, in order."""
        wanted, key = live.paths_between(start, end), (stream.name, device)
        lately = self._cache.get(key)
        # What is known of a file that is no longer there may be gone from the lake.
        known = [part for part in lately.parts if part.files <= live.paths] if lately else []
        found = next((part for part in known if part.files.issuperset(wanted)), None)
        if found is None:
            found = self._read(stream, live, device, wanted)
            # Of a long window the first and the last day are asked for in turn.
            other = [part for part in known[:1] if not part.files <= found.files]
            self._cache.put(key, _Lately((found, *other)))
        return found.readings.in_window(start, end)

    def _read(
        self, stream: Stream, live: LiveFiles, device: str, wanted: Sequence[str]
    ) -> _CachedReadings:
        hours = self._index.indexed_hours(stream)
        indexed = [path for path in wanted if path in hours]
        others = [path for path in wanted if path not in hours]
        parts = [indexed_readings([hours[path] for path in indexed], stream, device)]
        if others:
            rows = self._rows.rows_for(stream, live, [device], others)
            parts += [Readings.from_rows(kept.rows_of_files(others), stream) for kept in rows]
        return _CachedReadings(frozenset(wanted), concat_sorted(parts))
