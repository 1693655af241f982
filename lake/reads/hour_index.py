"""An index of the newest hours by device, in unnamed files of this process.

In the file of a table the pages of a device have to be found and decoded, which takes a millisecond
of processor time; a day of a vehicle and its meter lies in 48 of them. Here its rows stand
together, as arrays hold them. The files have no name: they vanish with the process.
"""

import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from lake.delta.storage import Lake
from lake.energy.single_vehicle.readings import Readings
from lake.reads.device_rows import scan_rows
from lake.reads.open_tables import LiveFiles
from lake.reads.row_ranges import RowRanges
from lake.schema.partitions import HOUR, hour_of
from lake.schema.streams import VEHICLE, Stream

IndexedHours: TypeAlias = Mapping[str, "IndexedHour"]
"""By the path of the table's file."""

_NOBODY: Final = -1


class HourIndex:
    """Index of the newest hours: 29 bytes a heartbeat of a meter and 41 of a vehicle."""

    def __init__(self, lake: Lake, folder: Path, hours: int) -> None:
        """`folder` has room for them; nothing is seen in it."""
        self._lake, self._folder, self._reach = lake, folder, hours * HOUR
        self._hours: dict[str, IndexedHours] = {}

    def indexed_hours(self, stream: Stream) -> IndexedHours:
        """Return the hours that are indexed now."""
        return self._hours.get(stream.name, {})

    @property
    def size(self) -> int:
        """The number of indexed hours."""
        return sum(map(len, self._hours.values()))

    def index_next(self, stream: Stream, live: LiveFiles, now: datetime) -> bool:
        """Index the newest hour that is missing; drop those that are past or were replaced.

        False if none was missing. Blocks for a fraction of a second; one call at a time. Raises
        PolarsError and OSError.
        """
        wanted = live.hour_paths_since(hour_of(now - self._reach)) if self._reach else []
        kept = {path: hour for path, hour in self.indexed_hours(stream).items() if path in wanted}
        missing = next((path for path in reversed(wanted) if path not in kept), None)
        if missing is not None:
            rows = scan_rows(self._lake, stream, missing).collect()
            kept[missing] = IndexedHour.from_rows(rows, stream, self._folder)
        self._hours[stream.name] = kept
        return missing is not None


@dataclass(frozen=True, eq=False)
class IndexedHour:
    """An indexed hour of a stream; its file is closed once nobody holds the object any more."""

    stream: Stream
    file: int
    ranges: RowRanges
    names: Sequence[str | None]
    """The meters that vehicles name by their number; the last one is None, of no meter."""

    @classmethod
    def from_rows(cls, rows: pl.DataFrame, stream: Stream, folder: Path) -> "IndexedHour":
        """Write rows, which have the stream's columns and `duplicates`, to a new file."""
        rows = rows.sort(stream.device, maintain_order=True)
        readings, packed = Readings.from_rows(rows, stream), np.empty(rows.height, _row(stream))
        packed["at"], packed["received_at"] = readings.at, readings.received_at
        packed["value"], packed["is_register"] = readings.value, readings.is_register
        packed["duplicates"] = rows["duplicates"].cast(pl.Int32).to_numpy()
        names: list[str] = []
        if stream is VEHICLE:
            names = rows["meter_id"].drop_nulls().unique().sort().to_list()
            numbers = rows["meter_id"].cast(pl.Enum(names)).to_physical().cast(pl.Int32)
            packed["name"] = numbers.fill_null(_NOBODY).to_numpy()
            packed["battery_temp"] = readings.battery_temp
        with TemporaryFile(dir=folder) as file:
            file.write(packed.tobytes())
            file.flush()
            places = RowRanges.from_sorted(rows[stream.device])
            hour = cls(stream, os.dup(file.fileno()), places, [*names, None])
        weakref.finalize(hour, os.close, hour.file)
        return hour

    def byte_range(self, device: str) -> tuple[int, int]:
        """Return the offset and the length in bytes of a device's rows in the file."""
        place, size = self.ranges.find(device), _row(self.stream).itemsize
        return place.start * size, (place.stop - place.start) * size

    def read(self, start: int, length: int) -> bytes:
        """Read a range of bytes."""
        found = os.pread(self.file, length, start) if length else b""
        if len(found) != length:
            raise OSError(f"an indexed hour gave {len(found)} of {length} bytes")
        return found


def indexed_readings(hours: Sequence[IndexedHour], stream: Stream, device: str) -> Readings:
    """Return a device's readings in some hours of a stream, in their order. Raises OSError."""
    places = [hour.byte_range(device) for hour in hours]
    for hour, (start, length) in zip(hours, places, strict=True):
        if length:  # 0 would mean all of the file
            # What is not in memory is read from the disk for all hours at once.
            os.posix_fadvise(hour.file, start, length, os.POSIX_FADV_WILLNEED)
    parts = [hour.read(*place) for hour, place in zip(hours, places, strict=True)]
    rows = np.frombuffer(b"".join(parts), _row(stream))
    is_vehicle = stream is VEHICLE
    return Readings(
        _column(rows, "at"),
        _column(rows, "value"),
        _column(rows, "is_register"),
        _column(rows, "duplicates").astype(np.int64),
        _column(rows, "battery_temp") if is_vehicle else np.full(rows.size, np.nan),
        _column(rows, "received_at"),
        _names(hours, parts, stream) if is_vehicle and (rows["name"] != _NOBODY).any() else None,
    )


@cache
def _row(stream: Stream) -> np.dtype[np.void]:
    """A heartbeat as the files have it."""
    of_all = [("at", "i8"), ("received_at", "i8"), ("value", "f8"), ("duplicates", "i4")]
    of_vehicles = [("battery_temp", "f8"), ("name", "i4")] if stream is VEHICLE else []
    return np.dtype([*of_all, *of_vehicles, ("is_register", "?")])


def _column(rows: npt.NDArray[np.void], name: str) -> npt.NDArray[Any]:
    return np.ascontiguousarray(rows[name])


def _names(hours: Sequence[IndexedHour], parts: Sequence[bytes], stream: Stream) -> pl.Series:
    """Each hour has numbers of its own."""
    names = [
        hour.names[number]
        for hour, part in zip(hours, parts, strict=True)
        for number in np.frombuffer(part, _row(stream))["name"].tolist()
    ]
    return pl.Series("meter_id", names, pl.String)
