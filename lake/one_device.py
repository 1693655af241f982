"""The heartbeats of one device as arrays: what an answer about a single vehicle is made of.

Times are whole microseconds since 1970, energies kWh; a number that is not known is NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from lake.hours import microseconds
from lake.streams import REGISTER, VEHICLE, Stream

Times: TypeAlias = npt.NDArray[np.int64]
Numbers: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Readings:
    """The heartbeats of one device, one for each time, in order of time."""

    at: Times
    value: Numbers
    is_register: Flags
    duplicates: Times
    battery_temp: Numbers
    names: pl.Series | None
    """The meter that each names; None: nobody names any."""

    @classmethod
    def of(cls, rows: pl.DataFrame, stream: Stream) -> Self:
        """Of rows of one device with the stream's columns, in any order; best with `duplicates`."""
        at = rows["timestamp"].to_physical().to_numpy()
        if (at[1:] < at[:-1]).any():
            return cls.of(rows[np.argsort(at, kind="stable")], stream)
        nothing = np.zeros(at.shape, np.int64)
        is_vehicle = stream is VEHICLE
        names = rows["meter_id"] if is_vehicle else None
        return cls(
            at,
            rows[stream.energy].to_numpy(),
            (rows["reading_type"] == REGISTER).to_numpy(),
            rows["duplicates"].to_numpy() if "duplicates" in rows.columns else nothing,
            rows["battery_temp"].to_numpy() if is_vehicle else np.full(at.shape, np.nan),
            None if names is None or names.null_count() == names.len() else names,
        )

    def without(self, times: Times) -> "Readings":
        """Those at other times."""
        return self.chosen(~np.isin(self.at, times))

    def within(self, start: datetime, end: datetime) -> "Readings":
        """Those with start <= time < end."""
        first, after = np.searchsorted(self.at, (microseconds(start), microseconds(end)))
        return self.chosen(slice(first, after))

    def chosen(self, own: slice | Flags) -> "Readings":
        """Those at some places."""
        names = self.names
        if names is not None:
            names = names[own] if isinstance(own, slice) else names.filter(pl.Series(own))
        return Readings(
            self.at[own],
            self.value[own],
            self.is_register[own],
            self.duplicates[own],
            self.battery_temp[own],
            names,
        )


def twice(parts: Sequence[Readings]) -> Times:
    """The times that two readings have."""
    at = np.sort(np.concatenate([part.at for part in parts]))
    return np.unique(at[1:][at[1:] == at[:-1]])


def joined(parts: Sequence[Readings]) -> Readings:
    """All readings of a device; no two have the same time."""
    at = np.concatenate([part.at for part in parts])
    order = np.argsort(at, kind="stable")
    return Readings(
        at[order],
        np.concatenate([part.value for part in parts])[order],
        np.concatenate([part.is_register for part in parts])[order],
        np.concatenate([part.duplicates for part in parts])[order],
        np.concatenate([part.battery_temp for part in parts])[order],
        _names(parts, order),
    )


def _names(parts: Sequence[Readings], order: Times) -> pl.Series | None:
    if all(part.names is None for part in parts):
        return None
    names = [
        pl.repeat(None, part.at.size, dtype=pl.String, eager=True)
        if part.names is None
        else part.names
        for part in parts
    ]
    return pl.concat(names).gather(order)
