"""Readings of energy as amounts over intervals of time. Explained in docs/energy.md.

Times are whole microseconds since 1970, energies whole microwatt-hours (10^-9 kWh). Columns are
NumPy arrays of one length, sorted by channel, then time. A channel is what has a series of energies
of its own: a device, or one phase of a meter. One device is a fleet of one.
"""

from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from lake.energy.cadence import interval_starts
from lake.energy.registers import KNOWN, LEFT_OUT, UNPLACED, register_steps

Integers: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]

KWH: Final = 1_000_000_000
SECOND: Final = 1_000_000
HOUR: Final = 3600 * SECOND
# Of a register that has risen in a longer time than this nobody knows when.
_LONGEST_RISE: Final = HOUR
# No window looks further ahead; the arithmetic of times has room for no more.
_CLOSE: Final = 1e-12
_LONGEST_STANDSTILL: Final = 100 * 24 * HOUR


class EnergyReadings(NamedTuple):
    """Readings with a known energy, once for each channel and time."""

    channel: Integers
    time: Integers
    energy: Integers
    """The energy of the interval, or the state of the register."""
    is_register: Flags
    declared: Integers
    """Stated length of the interval, microseconds; 0: not stated."""
    other: Integers
    """Another energy that was received for the same time; the same as `energy` without one."""

    def of(self, rows: Integers | Flags) -> "EnergyReadings":
        """Return some of them."""
        return EnergyReadings(
            self.channel[rows],
            self.time[rows],
            self.energy[rows],
            self.is_register[rows],
            self.declared[rows],
            self.other[rows],
        )


class Channels(NamedTuple):
    """Facts about each channel beside its readings; 0: not known."""

    cadence: Integers
    """Time between two readings by registry or class, microseconds."""
    power_kw: npt.NDArray[np.float64]
    """The greatest power at which its energy can flow."""
    register_size: Integers


class Intervals(NamedTuple):
    """Energy that flowed in (start, end], sorted by channel, then end.

    `kind` is KNOWN; or UNPLACED, known but not when, it counts at `end`; or LEFT_OUT, what the
    reading at `end` says is not believed. `conflict` is by how much two energies of one time differ
    that could not be told apart, `resets` is 1 where the register restarted at zero.
    """

    channel: Integers
    start: Integers
    end: Integers
    energy: Integers
    kind: Integers
    conflict: Integers
    resets: Integers

    def of(self, rows: Integers | Flags) -> "Intervals":
        """Return some of them."""
        return Intervals(*(column[rows] for column in self))


def energy_intervals(
    readings: EnergyReadings, channels: Channels, nominal: int, noise: int
) -> Intervals:
    """Return what the readings mean.

    `nominal` is the cadence of a channel of which nothing tells one, microseconds; `noise` is how
    far a register may step back, microwatt-hours.
    """
    is_register = readings.is_register
    if not is_register.any():
        return _of_interval_readings(readings, channels, nominal)
    if is_register.all():
        return _of_registers(readings, channels, noise)
    parts = (
        _of_interval_readings(readings.of(~is_register), channels, nominal),
        _of_registers(readings.of(is_register), channels, noise),
    )
    joined = Intervals(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    order = np.argsort(joined.channel, kind="stable")  # of two sorted runs, which is cheap
    channel, end = joined.channel[order], joined.end[order]
    if ((channel[1:] == channel[:-1]) & (end[1:] < end[:-1])).any():
        order = np.lexsort((joined.end, joined.channel))
    return joined.of(order)


def expand_ranges(first: Integers, count: Integers) -> tuple[Integers, Integers]:
    """Return the number of each range as often as it is long, and its `first`, `first` + 1, ..."""
    row = np.repeat(np.arange(len(count)), count)
    place = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + first[row]
    return row, place


def part_of(energy: Integers, done: Integers, whole: Integers) -> Integers:
    """Return energy * done / whole in whole microwatt-hours, a half to the even one.

    Parts up to several moments of an interval add up: a part is the difference of two of them.
    """
    exact = energy * (done / whole)
    nearest = np.rint(exact)
    part: Integers = nearest.astype(np.int64)
    # Floats tell on which side of a half it is, but for what is close to it.
    close = 0.5 - np.abs(exact - nearest) < _CLOSE * np.maximum(np.abs(exact), 1)
    for n in close.nonzero()[0].tolist():
        quotient, rest = divmod(int(energy[n]) * int(done[n]), int(whole[n]))
        up = 2 * rest > whole[n] or (2 * rest == whole[n] and quotient % 2 == 1)
        part[n] = quotient + up
    return part


def _of_interval_readings(readings: EnergyReadings, channels: Channels, nominal: int) -> Intervals:
    start = interval_starts(
        readings.channel, readings.time, readings.declared, channels.cadence, nominal
    )
    nothing = np.zeros(len(start), np.int64)
    return Intervals(
        readings.channel,
        start,
        readings.time,
        readings.energy,
        np.full(len(start), KNOWN),
        np.abs(readings.energy - readings.other),
        nothing,
    )


def _of_registers(readings: EnergyReadings, channels: Channels, noise: int) -> Intervals:
    steps = register_steps(
        readings.channel,
        readings.time,
        readings.energy,
        readings.other,
        channels.power_kw,
        channels.register_size,
        noise,
    )
    length = steps.end - steps.start
    is_known = steps.kind == KNOWN
    is_long = is_known & (length > _LONGEST_RISE) & (steps.energy > 0)
    is_long |= steps.kind == UNPLACED
    start = np.where(
        is_known & (length > _LONGEST_STANDSTILL), steps.end - _LONGEST_STANDSTILL, steps.start
    )
    return Intervals(
        steps.channel,
        np.where(is_long, steps.end, start),
        steps.end,
        steps.energy,
        np.where(is_long, UNPLACED, steps.kind),
        steps.conflict,
        steps.resets,
    )


__all__ = [
    "HOUR",
    "KNOWN",
    "KWH",
    "LEFT_OUT",
    "SECOND",
    "UNPLACED",
    "Channels",
    "EnergyReadings",
    "Flags",
    "Integers",
    "Intervals",
    "energy_intervals",
    "expand_ranges",
    "part_of",
]
