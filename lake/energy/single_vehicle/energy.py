"""The energy of one device's heartbeats, within a fraction of a millisecond.

What `measured_energy` computes for all devices of a fleet, to the same bit: of the time that it
takes for one, nearly all goes into its plan. Explained in docs/energy.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

import numpy as np

from lake.energy.interval_energy import DECIMALS, ROLL_OVER_SHARE
from lake.energy.single_vehicle.readings import Flags, Numbers, Readings, Times
from lake.schema.partitions import microseconds
from lake.settings import EnergySettings

NEVER: Final = np.iinfo(np.int64).min // 2  # of which a gap can still be taken
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True)
class KnownTime:
    """The time in which a device's energy is known: sorted pieces, none touches another."""

    begins: Times
    ends: Times

    @cached_property
    def length(self) -> int:
        """The sum of all pieces, microseconds."""
        return int((self.ends - self.begins).sum())

    @cached_property
    def _before(self) -> Times:
        length = self.ends - self.begins
        before: Times = np.cumsum(length) - length
        return before

    def known_until(self, moments: Times) -> tuple[Times, Flags]:
        """Return the known microseconds up to each moment, and a mask of known moments."""
        if not self.begins.size:
            return np.zeros(moments.shape, np.int64), np.zeros(moments.shape, np.bool_)
        piece = np.searchsorted(self.begins, moments, "right") - 1
        is_after_first, piece = piece >= 0, np.maximum(piece, 0)
        inside = np.minimum(moments, self.ends[piece]) - self.begins[piece]
        known = np.where(is_after_first, self._before[piece] + inside, 0)
        return known, is_after_first & (moments <= self.ends[piece])


@dataclass(frozen=True)
class MeasuredReadings:
    """The readings of one device in a window; the arrays are columns of `measured_energy`."""

    readings: Readings
    energy_kwh: Numbers
    is_reset: Flags
    interval_start: Times
    covered_from: Times
    """NEVER: the reading says nothing about energy."""

    @cached_property
    def known(self) -> KnownTime:
        """The known time of the readings, as `known_time` gives it for a fleet."""
        is_known = self.covered_from != NEVER
        begins, ends = self.covered_from[is_known], self.readings.at[is_known]
        if not ends.size:
            return KnownTime(begins, ends)
        # Sorted by its end, a reading is the last of its piece if all later ones begin after it.
        begins = np.minimum.accumulate(begins[::-1])[::-1]
        is_cut = begins[1:] > ends[:-1]
        return KnownTime(begins[np.append(True, is_cut)], ends[np.append(is_cut, True)])

    def while_linked(self, ranges: Sequence[tuple[datetime, datetime]]) -> "MeasuredReadings":
        """Return a meter's readings in its sorted link ranges, like `attribute_to_vehicles`."""
        begins, ends = (
            np.array([microseconds(moment) for moment in side])
            for side in zip(*ranges, strict=True)
        )
        at = self.readings.at
        place = np.searchsorted(begins, at, "right") - 1
        is_fed = (place >= 0) & (at < ends[place])
        since = begins[place[is_fed]]
        covered_from = self.covered_from[is_fed]
        return MeasuredReadings(
            self.readings.rows_at(is_fed),
            self.energy_kwh[is_fed],
            self.is_reset[is_fed],
            np.maximum(self.interval_start[is_fed], since),
            np.where(covered_from != NEVER, np.maximum(covered_from, since), NEVER),
        )


def measure_energy(
    every: Readings,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
    register_size_kwh: float | None,
) -> MeasuredReadings:
    """Measure the readings with start <= time < end; those before are context."""
    window_start = microseconds(start)
    first, after = np.searchsorted(every.at, (window_start, microseconds(end))).tolist()
    own = every.rows_at(slice(first, after))
    nominal, largest_gap = (
        timedelta(seconds=seconds) // _MICROSECOND
        for seconds in (settings.nominal_interval_seconds, settings.largest_gap_seconds)
    )
    since, reach = own.at - nominal, own.at - largest_gap
    since[1:] = own.at[:-1]
    if first and every.at[first - 1] >= window_start - largest_gap:
        since[:1] = every.at[first - 1]
    if not own.is_register.any():
        covered_from = np.maximum(np.maximum(since, reach), window_start)
        return MeasuredReadings(
            own,
            own.value,
            own.is_register,
            np.maximum(since, window_start),
            np.where(np.isnan(own.value), NEVER, covered_from),
        )
    last, last_at, follows = _registers(every, first, after, settings)
    if own.is_register[0] and last_at[0] != NEVER:
        since[0] = last_at[0]
    step, restarted = _register_step(own.value, last, register_size_kwh, settings)
    is_reset = own.is_register & restarted
    of_register = np.where(is_reset, own.value, step)  # NaN without a last value
    energy = np.where(own.is_register, of_register, own.value)
    # Nothing flowed, however long it was silent.
    stood_still = own.is_register & ~is_reset & (energy <= 0)
    covered_from = np.where(stood_still, last_at, np.maximum(since, reach))
    # A reading without a value between two register values: the later one brings its energy.
    is_bridged = np.isnan(own.value) & ~np.isnan(last) & follows
    is_known = ~np.isnan(energy) | is_bridged
    return MeasuredReadings(
        own,
        energy,
        is_reset,
        np.maximum(np.where(own.is_register & (last_at != NEVER), last_at, since), window_start),
        np.where(is_known, np.maximum(covered_from, window_start), NEVER),
    )


def _registers(
    every: Readings, first: int, after: int, settings: EnergySettings
) -> tuple[Numbers, Times, Flags]:
    """Of each reading the last register value before it and its time, and whether one follows."""
    at = every.at[first:after]
    is_value = every.is_register[:after] & ~np.isnan(every.value[:after])
    if not is_value.any():
        return np.full(at.shape, np.nan), np.full(at.shape, NEVER), np.zeros(at.shape, np.bool_)
    places = np.arange(after)
    newest = np.maximum.accumulate(np.where(is_value, places, -1))
    before = np.append(-1, newest)[first:after]
    reach = timedelta(hours=settings.register_lookback_hours) // _MICROSECOND
    in_reach = (before >= 0) & (at - every.at[before] <= reach)
    last = np.where(in_reach, every.value[before], np.nan)
    last_at = np.where(in_reach, every.at[before], NEVER)
    return last, last_at, places[first:] < newest[-1]


def _register_step(
    value: Numbers, last: Numbers, size: float | None, settings: EnergySettings
) -> tuple[Numbers, Flags]:
    """The energy since the last register value, and whether the register restarted between.

    A register of a known size goes on from zero; noise may also step back over that point.
    """
    noise = settings.register_noise_kwh
    step = np.round(value - last, DECIMALS)
    is_drop = step < -noise
    if size is None or size <= 2 * noise:
        return step, is_drop
    forward, back = np.round(step + size, DECIMALS), np.round(step - size, DECIMALS)
    in_range = (value >= 0) & (value <= size) & (last >= 0) & (last <= size)
    rolls_over = in_range & is_drop & (forward <= size * ROLL_OVER_SHARE)
    rolls_back = in_range & (back >= -noise)
    rolled = np.where(rolls_over, forward, np.where(rolls_back, back, step))
    return rolled, is_drop & ~rolls_over
