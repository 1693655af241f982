"""An index of the newest hours by device, in files that the processes of a machine share.

In the file of a table the pages of a device have to be found and decoded, which takes a millisecond
of processor time; a day of a vehicle and its meter lies in 48 of them. Here its rows stand
together, as arrays hold them. Each file is made once, and is gone with the last process.
"""

import hashlib
import io
import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from lake.delta.storage import Lake
from lake.reads.device_readings import Readings, concat_sorted, details_of
from lake.reads.device_rows import scan_rows
from lake.reads.open_tables import LiveFiles
from lake.reads.row_ranges import RowRanges
from lake.reads.shared_folder import SharedFolder
from lake.schema.history import CONFLICTING_ENERGY, CONFLICTS
from lake.schema.partitions import HOUR, hour_of
from lake.schema.streams import INTERVAL_SECONDS, VEHICLE, Stream

IndexedHours: TypeAlias = Mapping[str, "IndexedHour"]
"""By the path of the table's file."""

_NOBODY: Final = -1
_SIZE: Final = 8  # bytes of the number at the end of a file


class HourIndex:
    """Index of the newest hours: 29 bytes a heartbeat of a meter and 41 of a vehicle.

    In hours in which any heartbeat has DETAILS it is 24 more.
    """

    def __init__(self, lake: Lake, folder: Path, hours: int) -> None:
        """`folder` has room for them; below it processes with the same arguments share them."""
        self._lake, self._reach = lake, hours * HOUR
        same = repr((version("wattlake"), lake.uri, sorted(lake.storage_options.items()), hours))
        self._files = SharedFolder(folder / f"wattlake-index-{os.geteuid()}-{_hashed(same)}")
        self._hours: dict[str, IndexedHours] = {}

    def close(self) -> None:
        """Leave the files to the other processes, or remove them."""
        self._hours = {}
        self._files.close()

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
            file = self._files.opened(_name(stream, missing), partial(self._write, stream, missing))
            kept[missing] = IndexedHour.from_file(file, stream)
        self._hours[stream.name] = kept
        self._files.keep(f"{stream.name}-", {_name(stream, path) for path in wanted})
        return missing is not None

    def _write(self, stream: Stream, path: str, file: Path) -> None:
        write_hour(scan_rows(self._lake, stream, path).collect(), stream, file)


@dataclass(frozen=True, eq=False)
class IndexedHour:
    """An indexed hour of a stream; its file is closed once nobody holds the object any more."""

    stream: Stream
    file: int
    ranges: RowRanges
    names: Sequence[str | None]
    """The meters that vehicles name by their number; the last one is None, of no meter."""

    phases: Sequence[str | None]
    """The same of phases."""

    has_details: bool

    @classmethod
    def from_file(cls, file: int, stream: Stream) -> "IndexedHour":
        """Take over a descriptor of a file that `write_hour` has written."""
        end = os.fstat(file).st_size - _SIZE
        rows = int.from_bytes(os.pread(file, _SIZE, end))
        about = np.load(io.BytesIO(os.pread(file, end - rows, rows)))
        hour = cls(
            stream,
            file,
            RowRanges(about["devices"], about["bounds"]),
            [*about["names"].tolist(), None],
            [*about["phases"].tolist(), None],
            bool(about["has_details"]),
        )
        weakref.finalize(hour, os.close, hour.file)
        return hour

    @property
    def row(self) -> "np.dtype[np.void]":
        """A heartbeat as the file has it."""
        return _row(self.stream, has_details=self.has_details)

    def byte_range(self, device: str) -> tuple[int, int]:
        """Return the offset and the length in bytes of a device's rows in the file."""
        place, size = self.ranges.find(device), self.row.itemsize
        return place.start * size, (place.stop - place.start) * size

    def read(self, start: int, length: int) -> bytes:
        """Read a range of bytes."""
        found = os.pread(self.file, length, start) if length else b""
        if len(found) != length:
            raise OSError(f"an indexed hour gave {len(found)} of {length} bytes")
        return found


def write_hour(rows: pl.DataFrame, stream: Stream, file: Path) -> None:
    """Write rows, which have the stream's columns and COPIES, to a file. Raises OSError.

    It has the rows, what `IndexedHour` keeps of them in memory, and the bytes of the rows.
    """
    rows = rows.sort(stream.device, maintain_order=True)
    readings = Readings.from_rows(rows, stream)
    details = readings.details
    packed = np.empty(rows.height, _row(stream, has_details=details is not None))
    packed["at"], packed["received_at"] = readings.at, readings.received_at
    packed["value"], packed["is_register"] = readings.value, readings.is_register
    packed["duplicates"] = rows["duplicates"].cast(pl.Int32).to_numpy()
    names: list[str] = []
    if stream is VEHICLE:
        names, packed["name"] = _numbered(rows["meter_id"])
        packed["battery_temp"] = readings.battery_temp
    phases: list[str] = []
    if details is not None:
        phases, packed["phase"] = _numbered(details["phase"])
        packed[INTERVAL_SECONDS.name] = details[INTERVAL_SECONDS.name].to_numpy()
        packed[CONFLICTS.name] = details[CONFLICTS.name].fill_null(0).to_numpy()
        packed[CONFLICTING_ENERGY.name] = details[CONFLICTING_ENERGY.name].to_numpy()
    places = RowRanges.from_sorted(rows[stream.device])
    about = io.BytesIO()
    np.savez(
        about,
        devices=places.devices,
        bounds=places.bounds,
        names=np.array(names, np.str_),
        phases=np.array(phases, np.str_),
        has_details=np.array(details is not None),
    )
    with file.open("wb") as output:
        output.write(packed.tobytes())
        output.write(about.getvalue())
        output.write(packed.nbytes.to_bytes(_SIZE))


def indexed_readings(hours: Sequence[IndexedHour], stream: Stream, device: str) -> Readings:
    """Return a device's readings in some hours of a stream, in their order. Raises OSError."""
    places = [hour.byte_range(device) for hour in hours]
    for hour, (start, length) in zip(hours, places, strict=True):
        if length:  # 0 would mean all of the file
            # What is not in memory is read from the disk for all hours at once.
            os.posix_fadvise(hour.file, start, length, os.POSIX_FADV_WILLNEED)
    parts = [hour.read(*place) for hour, place in zip(hours, places, strict=True)]
    if not any(hour.has_details for hour in hours):
        return _readings(stream, hours, parts)
    alone = zip(hours, parts, strict=True)
    return concat_sorted([_readings(stream, [hour], [part]) for hour, part in alone])


def _readings(stream: Stream, hours: Sequence[IndexedHour], parts: Sequence[bytes]) -> Readings:
    """The readings in the parts of hours without DETAILS, or of one hour."""
    layout = hours[0].row if hours else _row(stream, has_details=False)
    rows = np.frombuffer(b"".join(parts), layout)
    is_vehicle = stream is VEHICLE
    return Readings(
        _column(rows, "at"),
        _column(rows, "value"),
        _column(rows, "is_register"),
        _column(rows, "duplicates").astype(np.int64),
        _column(rows, "battery_temp") if is_vehicle else np.full(rows.size, np.nan),
        _column(rows, "received_at"),
        _names(hours, parts) if is_vehicle and (rows["name"] != _NOBODY).any() else None,
        _details(rows, hours[0]) if hours and hours[0].has_details else None,
    )


def _details(rows: npt.NDArray[np.void], hour: IndexedHour) -> pl.DataFrame | None:
    numbers = {
        name: pl.Series(name, _column(rows, name), nan_to_null=True)
        for name in (INTERVAL_SECONDS.name, CONFLICTS.name, CONFLICTING_ENERGY.name)
    }
    phases = [hour.phases[number] for number in rows["phase"].tolist()]
    found = pl.DataFrame({**numbers, "phase": pl.Series(phases, dtype=pl.String)})
    return details_of(found.cast({CONFLICTS.name: pl.Int64}))


def _numbered(texts: pl.Series) -> tuple[list[str], npt.NDArray[np.int32]]:
    """The distinct texts, and the place of each among them."""
    names = texts.drop_nulls().unique().sort().to_list()
    numbers = texts.cast(pl.Enum(names)).to_physical().cast(pl.Int32)
    return names, numbers.fill_null(_NOBODY).to_numpy()


def _name(stream: Stream, path: str) -> str:
    """Name the indexed hour of a file of the history."""
    return f"{stream.name}-{_hashed(path)}.hour"


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@cache
def _row(stream: Stream, *, has_details: bool) -> np.dtype[np.void]:
    """A heartbeat as the files have it."""
    of_all = [("at", "i8"), ("received_at", "i8"), ("value", "f8"), ("duplicates", "i4")]
    of_vehicles = [("battery_temp", "f8"), ("name", "i4")] if stream is VEHICLE else []
    of_few = [
        (INTERVAL_SECONDS.name, "f8"),
        (CONFLICTING_ENERGY.name, "f8"),
        (CONFLICTS.name, "i4"),
        ("phase", "i4"),
    ]
    details = of_few if has_details else []
    return np.dtype([*of_all, *of_vehicles, *details, ("is_register", "?")])


def _column(rows: npt.NDArray[np.void], name: str) -> npt.NDArray[Any]:
    return np.ascontiguousarray(rows[name])


def _names(hours: Sequence[IndexedHour], parts: Sequence[bytes]) -> pl.Series:
    """Each hour has numbers of its own."""
    names = [
        hour.names[number]
        for hour, part in zip(hours, parts, strict=True)
        for number in np.frombuffer(part, hour.row)["name"].tolist()
    ]
    return pl.Series("meter_id", names, pl.String)
