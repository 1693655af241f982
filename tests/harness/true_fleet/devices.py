"""Devices that measure the truth and tell of it, each in its way; and what can befall that.

A fault is a function that changes what a device has sent. It says where the truth can't be known
any more: there, what a reader makes of it is no fault of his.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from tests.harness.true_fleet.charging import HOUR, Charging, Curve, Floats

Bools = npt.NDArray[np.bool_]

LONGEST_KNOWN_GAP: Final = HOUR  # a register that is silent for longer can't be placed in time
_STEP_KWH: Final = 1e-6
_EVER_KWH: Final = 20_000  # that a register may show at first
_DAY: Final = 24 * HOUR


@dataclass
class Sent:
    """Readings of a device with energy, in order of time; arrays of one length.

    Times are seconds since the begin of the fleet.
    """

    time: Floats
    since: Floats
    """The reading before, which may not have arrived."""

    total: Floats
    """True energy up to each reading, kWh."""

    value: Floats
    """Energy in the heartbeat: of the interval, or of the register."""

    arrives: Bools
    is_register: bool
    charging: Charging
    curve: Curve
    copies: list[tuple[int, float, float]] = field(default_factory=list)
    """More heartbeats with the time of a reading: its number, the delay of receipt, the energy."""

    unknown: list[tuple[float, float]] = field(default_factory=list)
    """Times whose true energy does not follow from what was sent."""

    def lose(self, lost: Bools) -> None:
        """Let these readings not arrive; a register's next one tells their energy."""
        self.arrives &= ~lost
        if not self.is_register:
            for number in np.flatnonzero(lost):
                self.spoil(int(number), int(number))

    def spoil(self, first: int, last: int) -> None:
        """The energy of the readings `first` to `last` does not follow from what was sent."""
        self.unknown.append((float(self.since[first]), float(self.time[last])))


Fault = Callable[[Sent, np.random.Generator], None]


@dataclass(frozen=True)
class Device:
    """A way to measure: each `cadence` seconds, give or take `jitter`, `phase` after full ones."""

    cadence: float
    is_register: bool = False
    jitter: float = 0
    phase: float | None = None
    """None: each device has its own."""

    declares_interval: bool = False
    faults: tuple[Fault, ...] = ()

    def with_faults(self, *faults: Fault) -> "Device":
        """The same device with these faults as well."""
        return Device(
            self.cadence,
            self.is_register,
            self.jitter,
            self.phase,
            self.declares_interval,
            (*self.faults, *faults),
        )

    def measure(
        self,
        charging: Charging,
        curve: Curve,
        begin: float,
        end: float,
        chance: np.random.Generator,
    ) -> Sent:
        """What it sends of the energies of a curve from `begin` to `end`."""
        own = np.floor(chance.uniform(0, self.cadence))
        phase = own if self.phase is None else self.phase
        first = np.ceil((begin - phase) / self.cadence) * self.cadence + phase
        time = np.arange(first, end, self.cadence)
        time = np.round(time + chance.uniform(-self.jitter, self.jitter, len(time)))
        total = np.round(curve.at(time) / _STEP_KWH) * _STEP_KWH
        before, total, since, time = total[:-1], total[1:], time[:-1], time[1:]
        value = total - before
        if self.is_register:
            value = total - before[0] + np.floor(chance.uniform(0, _EVER_KWH))
        arrives = np.ones(len(time), np.bool_)
        sent = Sent(time, since, total, value, arrives, self.is_register, charging, curve)
        for fault in self.faults:
            fault(sent, chance)
        sent.value = np.round(sent.value, 9)
        if self.is_register:
            heard = sent.time[sent.arrives]
            for number in np.flatnonzero(np.diff(heard) > LONGEST_KNOWN_GAP):
                sent.unknown.append((heard[number], heard[number + 1]))
        return sent


def interval(
    cadence: float,
    *,
    jitter: float = 0,
    phase: float | None = None,
    declares_interval: bool = False,
) -> Device:
    """A device that sends the energy since its last reading."""
    return Device(cadence, False, jitter, phase, declares_interval)


def register(cadence: float, *, jitter: float = 0, phase: float | None = None) -> Device:
    """A device that sends a cumulative register."""
    return Device(cadence, True, jitter, phase)


# -- heartbeats that do not arrive -----------------------------------------------------------------


def lost_at_random(share: float) -> Fault:
    """Each heartbeat is lost with this chance."""

    def lose(sent: Sent, chance: np.random.Generator) -> None:
        sent.lose(chance.random(len(sent.time)) < share)

    return lose


def lost_regularly(arriving: int, of: int) -> Fault:
    """Of so many heartbeats in turn the last ones arrive."""

    def lose(sent: Sent, chance: np.random.Generator) -> None:
        turn = (np.arange(len(sent.time)) + chance.integers(of)) % of
        sent.lose(turn < of - arriving)

    return lose


def silent(minutes: tuple[float, float], a_day: float) -> Fault:
    """Spells without a heartbeat, of any length between the two alike on a logarithmic scale."""

    def lose(sent: Sent, chance: np.random.Generator) -> None:
        lost = np.zeros(len(sent.time), np.bool_)
        for first, last in _spells(sent, chance, minutes, a_day):
            lost[first:last] = True
        sent.lose(lost)

    return lose


# -- registers ------------------------------------------------------------------------------------


def wobbles(kwh: float) -> Fault:
    """Noise of the register, so much at most between its least and its greatest."""

    def change(sent: Sent, chance: np.random.Generator) -> None:
        sent.value += chance.uniform(0, kwh, len(sent.time))

    return change


def is_coarse(step_kwh: float) -> Fault:
    """Only full steps are shown."""

    def change(sent: Sent, chance: np.random.Generator) -> None:
        sent.value = np.floor(sent.value / step_kwh) * step_kwh

    return change


def restarts_with_session(sent: Sent, chance: np.random.Generator) -> None:
    """The register is that of the session, and holds on until the next."""
    for first, _ in sent.charging.sessions:
        later = sent.time > first
        sent.value[later] = (sent.total - sent.curve.at(np.array([first])))[later]


def restarts_in_between(sent: Sent, chance: np.random.Generator) -> None:
    """It restarts at zero, mostly while charging; what flowed since its last reading is lost."""
    for first, last in sent.charging.sessions:
        time = chance.uniform(first, last)
        number = int(np.searchsorted(sent.time, time))
        if 0 < number < len(sent.time) and chance.random() < 0.5:
            sent.value[number:] = (sent.total - sent.curve.at(np.array([time])))[number:]
            sent.spoil(number, number)


def rolls_over(size_kwh: float) -> Fault:
    """It goes on from zero at this size, once or more in the run."""

    def change(sent: Sent, chance: np.random.Generator) -> None:
        flowed = sent.total - sent.total[0]
        sent.value = (size_kwh - chance.uniform(0, flowed[-1]) + flowed) % size_kwh

    return change


def false_samples(a_day: float, *, zero: bool) -> Fault:
    """Single samples that are zero, or too high."""

    def change(sent: Sent, chance: np.random.Generator) -> None:
        false = _moments(sent, chance, a_day)
        high = sent.value[false] + chance.choice([3.0, 57.0, 4000.0], len(false))
        sent.value[false] = 0 if zero else high

    return change


def freezes(minutes: tuple[float, float], a_day: float) -> Fault:
    """Spells in which it stays where it was; then it shows all that flowed."""

    def change(sent: Sent, chance: np.random.Generator) -> None:
        for first, last in _spells(sent, chance, minutes, a_day):
            sent.value[first:last] = sent.value[first - 1]
            if sent.time[last] - sent.since[first] > LONGEST_KNOWN_GAP:
                sent.spoil(first, last)

    return change


def steps_back(kwh: float, a_day: float) -> Fault:
    """It is set back by so much, and goes on from there."""

    def change(sent: Sent, chance: np.random.Generator) -> None:
        for number in _moments(sent, chance, a_day):
            sent.value[number:] -= kwh
            sent.spoil(number, number)

    return change


def mixes_two_registers(sent: Sent, chance: np.random.Generator) -> None:
    """The lifetime's register at the begin and at the end of a session, the session's between."""
    lifetime = sent.value.copy()
    restarts_with_session(sent, chance)
    for first, last in sent.charging.sessions:
        for number in np.searchsorted(sent.time, [first, last], "right"):
            sent.value[number : number + 1] = lifetime[number : number + 1]
    before = sent.time <= (sent.charging.sessions[0][0] if sent.charging.sessions else np.inf)
    sent.value[before] = lifetime[before]


# -- heartbeats with the time of another ----------------------------------------------------------


def repeated(share: float) -> Fault:
    """So many are received twice or three times."""

    def repeat(sent: Sent, chance: np.random.Generator) -> None:
        for copy in range(2):
            for number in np.flatnonzero(chance.random(len(sent.time)) < share / (copy + 1)):
                sent.copies.append((int(number), 7.0 + copy, float(sent.value[number])))

    return repeat


def contradicted(share: float) -> Fault:
    """So many are received with another energy as well, before or after.

    Which of two intervals is right nobody can tell; a register's other value is that of the
    begin of the session, which its chain of values rules out.
    """

    def contradict(sent: Sent, chance: np.random.Generator) -> None:
        begins = np.array([first for first, _ in sent.charging.sessions])
        for number in np.flatnonzero(chance.random(len(sent.time)) < share):
            value = sent.value[number] * chance.uniform(0.2, 0.8)
            if sent.is_register:
                begun = begins[begins < sent.time[number]]
                if not len(begun):
                    continue
                start = sent.curve.at(begun[-1:])[0]
                value = sent.value[number] - (sent.total[number] - start)
            if value == sent.value[number]:
                continue
            sent.copies.append((int(number), float(chance.choice([-0.05, 7.0])), float(value)))
            if not sent.is_register:
                sent.spoil(int(number), int(number))

    return contradict


def _moments(sent: Sent, chance: np.random.Generator, a_day: float) -> npt.NDArray[np.int64]:
    """Numbers of some readings, none of them at either end, nor next to each other."""
    days = (sent.time[-1] - sent.time[0]) / _DAY
    count = min(int(chance.poisson(a_day * days)), len(sent.time) // 8)
    numbers = np.sort(chance.choice(np.arange(2, len(sent.time) - 4), count, replace=False))
    apart = np.diff(numbers, prepend=-10) > 4
    return numbers[apart].astype(np.int64)


def _spells(
    sent: Sent, chance: np.random.Generator, minutes: tuple[float, float], a_day: float
) -> list[tuple[int, int]]:
    """Ranges of readings, at least one each, that do not touch and leave both ends alone."""
    found: list[tuple[int, int]] = []
    earliest = 2
    for number in _moments(sent, chance, a_day):
        length = 60 * np.exp(chance.uniform(*np.log(minutes)))
        last = int(np.searchsorted(sent.time, sent.since[number] + length))
        last = max(last, int(number) + 1)
        if number >= earliest and last < len(sent.time) - 1:
            found.append((int(number), last))
            earliest = last + 4
    return found
