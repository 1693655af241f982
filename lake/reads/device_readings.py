"""The heartbeats of one device as NumPy arrays.

Times are whole microseconds since 1970, energies kWh; a number that is not known is NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from lake.schema.history import CONFLICTING_ENERGY, CONFLICTS
from lake.schema.partitions import microseconds
from lake.schema.streams import INTERVAL_SECONDS, REGISTER, VEHICLE, Stream

_NO_NAME: Final = pl.Series("meter_id", [None], pl.String)

Times: TypeAlias = npt.NDArray[np.int64]
Numbers: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]

DETAILS: Final = {
    INTERVAL_SECONDS.name: pl.Float64(),
    "phase": pl.String(),
    CONFLICTS.name: pl.Int64(),
    CONFLICTING_ENERGY.name: pl.Float64(),
}
"""What few devices' heartbeats have; `conflicts` of 0 is null."""


@dataclass(frozen=True)
class Readings:
    """Heartbeats of one device, in order of time unless it says otherwise."""

    at: Times
    value: Numbers
    is_register: Flags
    duplicates: Times
    battery_temp: Numbers
    received_at: Times
    names: pl.Series | None
    """The meter that each names; None: nobody names any."""

    details: pl.DataFrame | None = None
    """DETAILS of each; None: all are null."""

    @classmethod
    def from_rows(cls, rows: pl.DataFrame, stream: Stream) -> Self:
        """Take rows with the stream's columns, in their order; COPIES may be missing."""
        size, is_vehicle = rows.height, stream is VEHICLE
        return cls(
            rows["timestamp"].to_physical().to_numpy(),
            rows[stream.energy].to_numpy(),
            (rows["reading_type"] == REGISTER).to_numpy(),
            rows["duplicates"].to_numpy() if "duplicates" in rows.columns else np.zeros(size, int),
            rows["battery_temp"].to_numpy() if is_vehicle else np.full(size, np.nan),
            rows["received_at"].to_physical().to_numpy(),
            _if_any(rows["meter_id"]) if is_vehicle else None,
            details_of(rows),
        )

    @classmethod
    def none(cls) -> Self:
        """Return no readings."""
        times, numbers = np.zeros(0, np.int64), np.zeros(0)
        return cls(times, numbers, np.zeros(0, np.bool_), times, numbers, times, None, None)

    @property
    def meter_names(self) -> pl.Series:
        """The meter that each names, null where none."""
        return _names(self)

    @property
    def phases(self) -> int:
        """The number of phases that the device tells apart; 0: none."""
        if self.details is None or "phase" not in self.details.columns:
            return 0
        return self.details["phase"].drop_nulls().n_unique()

    @property
    def is_by_part(self) -> bool:
        """True if some measure a part of the device: then several may have one time."""
        return self.details is not None and self.details["phase"].null_count() < self.at.size

    def in_window(self, start: datetime, end: datetime) -> "Readings":
        """Return the readings with start <= time < end."""
        first, after = np.searchsorted(self.at, (microseconds(start), microseconds(end)))
        return self.rows_at(slice(first, after))

    def rows_at(self, own: slice | Flags | Times) -> "Readings":
        """Return the readings of a slice, a mask or some indices."""
        names = self.names
        if names is not None:
            places = own if isinstance(own, slice) else np.arange(self.at.size)[own]
            names = _if_any(names[places])
        details = self.details
        if details is not None:
            details = (
                details[own] if isinstance(own, slice) else details[np.arange(self.at.size)[own]]
            )
        return Readings(
            self.at[own],
            self.value[own],
            self.is_register[own],
            self.duplicates[own],
            self.battery_temp[own],
            self.received_at[own],
            names,
            details,
        )


def details_of(rows: pl.DataFrame) -> pl.DataFrame | None:
    """The DETAILS of rows, of which columns may be missing; None: all are null."""
    known = {name: rows[name] for name in DETAILS if name in rows.columns}
    if CONFLICTS.name in known and not known[CONFLICTS.name].sum():
        del known[CONFLICTS.name]
    if all(values.null_count() == rows.height for values in known.values()):
        return None
    found = pl.DataFrame(schema=DETAILS).clear(rows.height).with_columns(known.values())
    return found.with_columns(pl.col(CONFLICTS.name).replace(0, None))


def concat_sorted(parts: Sequence[Readings]) -> Readings:
    """Join readings of a device and sort them by time, then by receipt."""
    every = readings_beside(parts)
    is_sorted = (every.at[1:] > every.at[:-1]).all()
    return every if is_sorted else every.rows_at(np.lexsort((every.received_at, every.at)))


def merge_received(history: Readings, received: Readings) -> Readings | None:
    """Merge rows of the history and received copies, both sorted, as `merge_heartbeats` does.

    None in the rare case that the times of receipt don't tell which copy counts: of several
    energies, and of parts of a device.
    """
    if history.is_by_part or received.is_by_part:
        return None
    fresh = _latest(received)
    if fresh is None:
        return None
    is_after = history.at[-1:] < fresh.at[:1]  # as it mostly is; empty where one has none
    if is_after.all():
        return concat_sorted([history, fresh])
    _, old, new = np.intersect1d(history.at, fresh.at, assume_unique=True, return_indices=True)
    if not old.size:
        return concat_sorted([history, fresh])
    is_same = history.received_at[old] == fresh.received_at[new]
    if _details(history.rows_at(old))[CONFLICTS.name].count() or not (
        _equal(history.rows_at(old[is_same]), fresh.rows_at(new[is_same]))
        and np.array_equal(history.value[old], fresh.value[new], equal_nan=True)
    ):
        return None
    # Copies that an earlier compaction has counted are among those that were received.
    counted = np.maximum(history.duplicates[old], fresh.duplicates[new])
    is_later = fresh.received_at[new] > history.received_at[old]
    parts = []
    for part, places, gives_way in ((history, old, is_later), (fresh, new, ~is_later)):
        duplicates, stays = part.duplicates.copy(), np.full(part.at.shape, True)
        duplicates[places], stays[places] = counted, ~gives_way
        parts.append(replace(part, duplicates=duplicates).rows_at(stays))
    return concat_sorted(parts)


def _latest(received: Readings) -> Readings | None:
    """Of the copies of each heartbeat the last received, which counts the others."""
    is_copy = received.at[1:] == received.at[:-1]
    if not is_copy.any():
        return received
    is_doubtful = received.received_at[1:] == received.received_at[:-1]
    is_doubtful |= ~np.isclose(received.value[1:], received.value[:-1], 0, 0, equal_nan=True)
    if (is_copy & is_doubtful).any():
        return None
    ends = np.flatnonzero(np.append(~is_copy, True))
    return replace(received.rows_at(ends), duplicates=np.diff(ends, prepend=-1) - 1)


def _equal(one: Readings, other: Readings) -> bool:
    return (
        np.array_equal(one.value, other.value, equal_nan=True)
        and np.array_equal(one.is_register, other.is_register)
        and np.array_equal(one.battery_temp, other.battery_temp, equal_nan=True)
        and _names(one).equals(_names(other))
        and _details(one)[INTERVAL_SECONDS.name].equals(_details(other)[INTERVAL_SECONDS.name])
    )


def _names(readings: Readings) -> pl.Series:
    if readings.names is not None:
        return readings.names
    return _NO_NAME.new_from_index(0, readings.at.size)


def _details(readings: Readings) -> pl.DataFrame:
    if readings.details is not None:
        return readings.details
    return pl.DataFrame(schema=DETAILS).clear(readings.at.size)


def _if_any(names: pl.Series) -> pl.Series | None:
    """Names take longer than all the numbers; most devices have none."""
    return None if names.null_count() == names.len() else names


def readings_beside(parts: Sequence[Readings]) -> Readings:
    """Return all readings of some parts, one part after the other."""
    if len(parts) == 1:
        return parts[0]
    names = None
    if any(part.names is not None for part in parts):
        names = pl.concat(map(_names, parts))
    details = None
    if any(part.details is not None for part in parts):
        details = pl.concat(map(_details, parts))
    return Readings(
        np.concatenate([part.at for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.is_register for part in parts]),
        np.concatenate([part.duplicates for part in parts]),
        np.concatenate([part.battery_temp for part in parts]),
        np.concatenate([part.received_at for part in parts]),
        names,
        details,
    )
