"""True charging of a vehicle: its power as a function of time, on both sides of the charger."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

HOUR: Final = 3600
_DAY: Final = 24 * HOUR
_POWERS_KW: Final = (3.7, 7.4, 11.0, 22.0)
_STANDBY_KW: Final = (0.002, 0.008)
_PAUSES: Final = 0.25  # of the sessions have one
_SOFT_STARTS: Final = 0.4  # of them reach their power in so many steps, at most four minutes
_STEPS_OF_A_START: Final = 6


@dataclass(frozen=True)
class Curve:
    """Energy since the begin as a function of time: straight lines between points.

    Times are seconds since the begin of the fleet, and may be negative.
    """

    seconds: Floats
    kwh: Floats

    def at(self, seconds: Floats) -> Floats:
        """Energy up to these times, kWh."""
        return np.interp(seconds, self.seconds, self.kwh)


@dataclass(frozen=True)
class Charging:
    """Energies of a vehicle and its meter, and the begins and ends of its sessions in seconds."""

    ac: Curve
    dc: Curve
    efficiency: float
    sessions: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Habit:
    """When sessions of a vehicle end."""

    ends_on_the_hour: float = 0.1
    """Share of the sessions that end on a full hour; so many also begin on one."""

    at_midnight: bool = False
    """All sessions are in the evening; half of them end at midnight, the others after it."""


def charge(
    chance: np.random.Generator,
    begin: float,
    end: float,
    efficiency: float,
    habit: Habit,
    *,
    is_idle: bool = False,
) -> Charging:
    """Sessions of a vehicle from `begin` to `end`; an idle one has none, and its meter standby.

    A session has one power with small steps. Some begin softly; all fall off at their end, some
    nearly to nothing; some pause.
    `efficiency` is that of the charger while it charges, 0-1.
    """
    sessions = [] if is_idle else _sessions(chance, begin, end, habit)
    times, powers = [begin], [0.0]
    for first, last in sessions:
        ac_kw = chance.choice(_POWERS_KW) * chance.uniform(0.9, 1.0)
        for time, share in _course(chance, first, last):
            times.append(time)
            powers.append(ac_kw * share * efficiency)
    times.append(end)
    seconds = np.array(times)
    steps = np.diff(seconds) * np.array(powers) / HOUR
    dc = np.concatenate([[0.0], np.cumsum(steps)])
    standby = chance.uniform(*_STANDBY_KW) * (seconds - begin) / HOUR
    return Charging(
        Curve(seconds, dc / efficiency + standby), Curve(seconds, dc), efficiency, tuple(sessions)
    )


def _sessions(
    chance: np.random.Generator, begin: float, end: float, habit: Habit
) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    time = begin + chance.uniform(0, 4 * HOUR)
    while True:
        if habit.at_midnight:
            midnight = np.ceil((time + 4 * HOUR) / _DAY) * _DAY
            first = midnight - chance.uniform(1, 4) * HOUR
            last = midnight + (0 if chance.random() < 0.5 else chance.uniform(0.2, 4) * HOUR)
        else:
            first, last = time, time + chance.uniform(0.5, 6) * HOUR
            if chance.random() < habit.ends_on_the_hour:
                first = np.ceil(first / HOUR) * HOUR
            if chance.random() < habit.ends_on_the_hour:
                last = np.ceil(last / HOUR) * HOUR
        first, last = np.round(first), np.round(last)
        if last >= end:
            return found
        if last > first:
            found.append((float(first), float(last)))
        time = last + chance.uniform(0.5, 5) * HOUR


def _course(chance: np.random.Generator, first: float, last: float) -> list[tuple[float, float]]:
    """Times from which on the power is so great a share of the session's, 0 from its end on."""
    points: list[tuple[float, float]] = []
    time, falls_off_at = first, first + chance.uniform(0.6, 0.9) * (last - first)
    left_at_end = chance.uniform(0.02, 0.8)
    if chance.random() < _SOFT_STARTS:
        takes = min(chance.uniform(20, 240), 0.2 * (last - first))
        steps = np.arange(_STEPS_OF_A_START)
        starts = np.round(first + takes * steps / _STEPS_OF_A_START)
        points += zip(starts.tolist(), ((steps + 0.5) / _STEPS_OF_A_START).tolist(), strict=True)
        time = np.round(first + takes)
    while time < last:
        share = chance.uniform(0.85, 1.0)
        if time > falls_off_at:
            share *= 1 - (1 - left_at_end) * (time - falls_off_at) / (last - falls_off_at)
            time_until_next = chance.uniform(1, 8) * 60
        else:
            time_until_next = chance.uniform(3, 30) * 60
        points.append((time, float(share)))
        time = np.round(time + time_until_next)
    if chance.random() < _PAUSES:
        pause = np.round(first + chance.uniform(0.1, 0.6) * (last - first))
        goes_on = np.round(pause + min(chance.uniform(10, 40) * 60, 0.3 * (last - first)))
        after = max(point for point in points if point[0] <= goes_on)[1]
        points = [p for p in points if not pause <= p[0] <= goes_on]
        points = sorted([*points, (float(pause), 0.0), (float(goes_on), after)])
    return [*points, (last, 0.0)]
