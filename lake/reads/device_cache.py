"""The history of single devices as arrays, for one question after the other about the same day."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from lake.energy.single_vehicle.readings import Readings, in_order
from lake.reads.device_rows import DeviceRows
from lake.reads.hour_index import HourIndex, indexed_readings
from lake.reads.lru_cache import Kept
from lake.reads.open_tables import LiveFiles
from lake.schema.streams import Stream

_BYTES_A_READING = 60


@dataclass(frozen=True)
class _Known:
    """What some files hold of a device."""

    files: frozenset[str]
    readings: Readings

    @property
    def bytes(self) -> int:
        return _BYTES_A_READING * self.readings.at.size + 100 * len(self.files)


class DeviceHistory:
    """Reads the hours that are indexed from there, and all others from their files."""

    def __init__(self, rows: DeviceRows, index: HourIndex, most_bytes: int) -> None:
        """`most_bytes` of readings are kept for the next question."""
        self._rows, self._index = rows, index
        self._kept: Kept[tuple[str, str], _Known] = Kept(most_bytes)

    def of(
        self, stream: Stream, live: LiveFiles, device: str, start: datetime, end: datetime
    ) -> Readings:
        """All readings of a window, in order."""
        wanted = live.between(start, end)
        known = self._kept.get((stream.name, device))
        # What is known of a file that is no longer there may be gone from the lake.
        if not (known and known.files.issuperset(wanted) and known.files <= live.paths):
            known = self._read(stream, live, device, wanted)
            self._kept.put((stream.name, device), known)
        return known.readings.within(start, end)

    def _read(self, stream: Stream, live: LiveFiles, device: str, wanted: Sequence[str]) -> _Known:
        hours = self._index.of(stream)
        indexed = [path for path in wanted if path in hours]
        others = [path for path in wanted if path not in hours]
        parts = [indexed_readings([hours[path] for path in indexed], stream, device)]
        if others:
            rows = self._rows.of(stream, live, [device], others)
            parts += [Readings.of(kept.of_files(others), stream) for kept in rows]
        return _Known(frozenset(wanted), in_order(parts))
