"""The check that interval energies can be kWh, by their size and by the power that they mean."""

from collections import Counter
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from lake.errors import UnusableFile
from lake.recordings.column_mapping import ENERGIES
from lake.recordings.units import MAX_INTERVAL_KWH, MAX_REGISTER_KWH
from lake.settings import EnergySettings

# One energy in 200 above a limit is no accident any more.
_TOO_MANY: Final = 200

# A power is that of a row, and also that of the ten minutes before it: meters that count in whole
# kWh, late rows and two senders under one id mean great powers in a few seconds, and none in ten
# minutes. A step counts half an hour at most there, or a gap would hide the short session after it.
_WINDOW_SECONDS: Final = 600
_LONGEST_STEP_SECONDS: Final = 1_800.0

_SAMPLE_ROWS: Final = 250_000
_BLOCK_BITS: Final = 34  # a block of rows has 2^34 microseconds, 4.8 hours
_NULL_TIME: Final = np.iinfo(np.int64).min

_Floats = npt.NDArray[np.float64]
_Codes = npt.NDArray[np.int32]
_Integers = npt.NDArray[np.int64]


class EnergyRows(NamedTuple):
    """Rows of one field of energy, as columns of one length.

    Energies in kWh, NaN for none; devices and phases as numbers, negative for none; times in
    microseconds since 1970, the least int64 for none; the seconds of a declared interval, NaN for
    none.
    """

    energies: _Floats
    devices: _Codes
    phases: _Codes
    times: _Integers
    seconds: _Floats


class UnitCheck:
    """Counter of interval energies by field, to see whether they can be in kWh.

    A power above GREATEST_POWER_KW (GREATEST_VEHICLE_POWER_KW) is impossible, as is an energy above
    MAX_INTERVAL_KWH, whatever its time. Rows may come in any order; of many, some are looked at for
    their power: all of a device in blocks of hours, which are chosen by a hash.
    """

    def __init__(self, settings: EnergySettings) -> None:
        of_classes = [one.greatest_power_kw or 0.0 for one in settings.charger_classes.values()]
        of_meters = max([settings.greatest_power_kw, *of_classes])
        self._powers_kw = dict(
            zip(ENERGIES, (of_meters, settings.greatest_vehicle_power_kw), strict=True)
        )
        self._energies: Counter[str] = Counter()
        self._too_large: Counter[str] = Counter()
        self._samples: dict[str, _Sample] = {}

    def add(self, field: str, rows: EnergyRows) -> None:
        """Add rows; what is not even a register is a fault of its row alone."""
        energies = rows.energies
        counted = energies[(energies > 0) & (energies <= MAX_REGISTER_KWH)]
        if not len(counted):
            return
        self._energies[field] += len(counted)
        self._too_large[field] += int((counted > MAX_INTERVAL_KWH).sum())
        self._samples.setdefault(field, _Sample()).add(rows)

    def require_kwh(self) -> None:
        """Raise UnusableFile if too many are too large to be kWh of intervals."""
        for field, energies in self._energies.items():
            too_large = self._too_large[field]
            if too_large and too_large * _TOO_MANY >= energies:
                _ask(field, too_large, energies, f"{MAX_INTERVAL_KWH:,.0f} kWh in one interval")
            limit = self._powers_kw[field]
            impossible, judged = self._samples[field].impossible_powers(limit)
            # A single one may be an accident in a small file as well, unless it is half of it.
            is_accident = impossible == 1 and judged > 2
            if impossible * _TOO_MANY >= judged > 0 and not is_accident:
                _ask(
                    field, impossible, judged, f"{limit:,.0f} kW, by the time since the row before"
                )


def _ask(field: str, above: int, energies: int, limit: str) -> None:
    raise UnusableFile(
        f"has {above:,} of {energies:,} energies in {field} above {limit}: are they Wh? Say "
        "--unit Wh if they are, --reading-type register if it is a register, or --unit kWh if "
        "neither; nothing was taken"
    )


class _Sample:
    """Rows of one field: all of a small file, and of a large one a share that is chosen fairly."""

    def __init__(self) -> None:
        self._share = 2**32  # rows with a hash below this are in it
        self._parts: list[_Rows] = []
        self._size = 0

    def add(self, rows: EnergyRows) -> None:
        energies, devices, phases, times, seconds = rows
        hashes = _hash(devices, times)
        at = np.flatnonzero(hashes < self._share)
        while len(at) > _SAMPLE_ROWS:
            self._share >>= 1
            at = at[hashes[at] < self._share]
        usable = (devices[at] >= 0) & (times[at] != _NULL_TIME)
        at = at[usable & (energies[at] >= 0) & (energies[at] <= MAX_REGISTER_KWH)]
        channels = (devices[at].astype(np.int64) << 32) + phases[at]
        self._parts.append(_Rows(hashes[at], channels, times[at], energies[at], seconds[at]))
        self._size += len(at)
        while self._size > _SAMPLE_ROWS:
            self._share >>= 1
            self._parts = [part.take(part.hashes < self._share) for part in self._parts]
            self._size = sum(len(part.hashes) for part in self._parts)

    def impossible_powers(self, limit_kw: float) -> tuple[int, int]:
        """Return how many energies mean more power than the limit, and of how many it is known."""
        _, channels, times, energies, seconds = _by_channel_and_time(_joined(self._parts))
        is_first = np.ones(len(channels), np.bool_)
        is_first[1:] = channels[1:] != channels[:-1]
        steps = np.where(is_first, np.nan, np.diff(times, prepend=times[:1]) / 1e6)
        steps = np.where(seconds > 0, seconds, steps)
        is_known = ~np.isnan(steps)
        begins = _window_begins(is_first, times)
        energy = _sums(np.where(is_known, energies, 0.0), begins)
        time = _sums(np.where(is_known, np.minimum(steps, _LONGEST_STEP_SECONDS), 0.0), begins)
        limit = limit_kw / 3_600
        impossible = is_known & (energies > limit * steps) & (energy > limit * time)
        return int(impossible.sum()), int((is_known & (energies > 0)).sum())


class _Rows(NamedTuple):
    hashes: npt.NDArray[np.uint32]
    channels: _Integers
    times: _Integers
    energies: _Floats
    seconds: _Floats

    def take(self, at: npt.NDArray[Any]) -> "_Rows":
        return _Rows._make(values[at] for values in self)


def _hash(devices: _Codes, times: _Integers) -> npt.NDArray[np.uint32]:
    """Mix device and block of hours, in place: an array more costs as much as its arithmetic."""
    mixed = (times >> _BLOCK_BITS).astype(np.uint32)
    mixed *= np.uint32(0x9E3779B1)
    mixed += devices.view(np.uint32)
    for _ in range(2):
        mixed ^= mixed >> np.uint32(16)
        mixed *= np.uint32(0x85EBCA6B)
    return mixed


def _joined(parts: list[_Rows]) -> _Rows:
    return _Rows._make(map(np.concatenate, zip(*parts, strict=True)))


def _by_channel_and_time(rows: _Rows) -> _Rows:
    """Sort the rows; of those with one channel and time the last counts, as in the lake."""
    order = np.lexsort((rows.times, rows.channels))
    channels, times = rows.channels[order], rows.times[order]
    is_last = np.ones(len(order), np.bool_)
    is_last[:-1] = (channels[1:] != channels[:-1]) | (times[1:] != times[:-1])
    return rows.take(order[is_last])


def _window_begins(is_first: npt.NDArray[np.bool_], times: _Integers) -> _Integers:
    """The first row of each row's window: after the last one that is ten minutes older."""
    seconds = times // 1_000_000
    seconds -= seconds.min(initial=0)
    apart = int(seconds.max(initial=0)) + _WINDOW_SECONDS + 1
    line = np.cumsum(is_first) * apart + seconds  # rises, and channels are far from each other
    return np.searchsorted(line, line - _WINDOW_SECONDS, side="right").astype(np.int64)


def _sums(values: _Floats, begins: _Integers) -> _Floats:
    """The sum of each row's window, which ends with it."""
    total = np.concatenate(([0.0], np.cumsum(values)))
    sums: _Floats = total[1:] - total[begins]
    return sums
