"""Readings of a side by their owners, and the windows that are looked at.

Times are whole microseconds, energies whole microwatt-hours.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from lake.energy.intervals import Integers

INACTIVE: Final = -1
"""The channel of a piece whose energy counts, but which makes no time known."""


class Pieces(NamedTuple):
    """Intervals, or parts of them, by owner; sorted by owner, then end."""

    owner: Integers
    start: Integers
    end: Integers
    energy: Integers
    kind: Integers
    conflict: Integers
    resets: Integers
    channel: Integers


class Spans(NamedTuple):
    """The time in which one channel feeds an owner; several may at once."""

    owner: Integers
    start: Integers
    end: Integers


class Heartbeats(NamedTuple):
    """All heartbeats of a side by owner, sorted by owner, then time."""

    owner: Integers
    time: Integers
    duplicates: Integers


class Windows(NamedTuple):
    """The window of each owner."""

    start: Integers
    end: Integers

    @classmethod
    def alike(cls, owners: int, start: int, end: int) -> "Windows":
        """Return one window for all."""
        return cls(np.full(owners, start), np.full(owners, end))


@dataclass(frozen=True)
class SideReadings:
    """Pieces and heartbeats of a side; `spans` has one for each channel that feeds an owner."""

    pieces: Pieces
    spans: Spans | None
    """None: each owner has one channel, all the time."""
    heard: Heartbeats
