"""The range of rows of each device, in rows that are sorted by device."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl


@dataclass(frozen=True)
class RowRanges:
    """Ranges of rows by device; some bytes a device, however many rows it has."""

    devices: npt.NDArray[np.bytes_]
    bounds: npt.NDArray[np.int64]
    """Where the rows of each device begin, and at last where they end."""

    @classmethod
    def from_sorted(cls, sorted_devices: pl.Series) -> Self:
        """Take the device of every row, sorted."""
        lengths = sorted_devices.rle()
        devices = np.array([device.encode() for device in lengths.struct.field("value")], np.bytes_)
        ends = lengths.struct.field("len").to_numpy().cumsum()
        return cls(devices, np.append(0, ends))

    def find(self, device: str) -> slice:
        """Return the range of a device's rows; empty if there are none."""
        name = device.encode()
        place = int(np.searchsorted(self.devices, name))
        if place == self.devices.size or self.devices[place] != name:
            return slice(0, 0)
        return slice(int(self.bounds[place]), int(self.bounds[place + 1]))

    @property
    def bytes(self) -> int:
        """The memory of the ranges."""
        return self.devices.nbytes + self.bounds.nbytes
