"""Charging fleet whose every reading follows from a seed, a device's number and a minute.

Nothing is remembered between two minutes, so an interrupted simulation can post a minute again and
sends the same. Energies are differences of a curve that is a formula of the time since plug-in;
that is why registers and intervals tell the same.

A vehicle lives in cycles of eight hours, each vehicle with its own phase: plug in, charge to its
target, stay plugged in for a while, drive until the next plug-in.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from local_stack.simulator.anomalies import Anomalies
from local_stack.simulator.seeded_random import Chance, Floats, Ints

Bools = npt.NDArray[np.bool_]

CYCLE_MINUTES: Final = 8 * 60
_LONGEST_CHARGE_MINUTES: Final = 7 * 60
_SPELL_MINUTES: Final = 2 * 60  # a device has at most one spell of a kind in this time
_METERS_ON_A_FEEDER: Final = 20


@dataclass(frozen=True)
class ChargerClass:
    """A kind of charger and the cars that use it, with the range of healthy efficiencies."""

    share: float
    power_kw: float
    battery_kwh: float
    efficiency: tuple[float, float]


# A slow charge loses a greater part to the car's electronics.
CHARGER_CLASSES: Final = (
    ChargerClass(0.15, 2.3, 12, (0.86, 0.88)),
    ChargerClass(0.30, 7.4, 40, (0.88, 0.92)),
    ChargerClass(0.40, 11.0, 60, (0.90, 0.94)),
    ChargerClass(0.15, 22.0, 80, (0.89, 0.93)),
)
FAILING_EFFICIENCY: Final = (0.62, 0.78)
COLD_EFFICIENCY: Final = (0.58, 0.76)
_STANDBY_KW: Final = (0.002, 0.004)


@dataclass(frozen=True)
class Readings:
    """Readings of vehicles and their meters at minutes; arrays of one length.

    Energies in kWh, `*_interval` of the minute that ends, `*_register` since the last reset;
    volt, percent and degrees Celsius.
    """

    ac_interval: Floats
    ac_register: Floats
    dc_interval: Floats
    dc_register: Floats
    voltage: Floats
    soc: Floats
    battery_temp: Floats


class FleetModel:
    """Vehicles numbered from 1, each with one meter; a number means the same in any fleet size.

    The attributes are arrays with one value a vehicle. Minutes count from 1970.
    """

    def __init__(self, vehicles: int, seed: int, anomalies: Anomalies | None = None) -> None:
        anomalies = anomalies or Anomalies()
        self.chance, self.anomalies = Chance(seed), anomalies
        self.numbers: Ints = np.arange(1, vehicles + 1, dtype=np.int64)

        condition = self.chance.stratified("condition", self.numbers)
        limits = np.cumsum(
            [anomalies.failing_chargers, anomalies.cold_batteries, anomalies.idle_vehicles]
        )
        self.is_failing: Bools = condition < limits[0]
        self.is_cold: Bools = (condition >= limits[0]) & (condition < limits[1])
        self.is_idle: Bools = (condition >= limits[1]) & (condition < limits[2])
        self.sends_registers = (
            self.chance.stratified("registers", self.numbers) < anomalies.registers
        )
        self.sends_temperature = (
            self.chance.stratified("heat", self.numbers) >= anomalies.no_temperature
        )

        # Numbers 1 and 2, 3 and 4 ... are neighbours, and some have swapped their places.
        neighbours = self.chance.stratified("named", (self.numbers - 1) // 2)
        self.names_meter: Bools = neighbours < anomalies.named_meters
        is_swapped = neighbours < anomalies.named_meters / 2
        self.meter_numbers: Ints = np.where(
            is_swapped, self.numbers + np.where(self.numbers % 2, 1, -1), self.numbers
        )

        shares = np.cumsum([kind.share for kind in CHARGER_CLASSES])
        kind = np.searchsorted(
            shares[:-1], self.chance.stratified("charger", self.numbers), "right"
        )
        self.power_kw: Floats = np.array([c.power_kw for c in CHARGER_CLASSES])[kind]
        self.battery_kwh: Floats = np.array([c.battery_kwh for c in CHARGER_CLASSES])[kind]
        span = np.array([c.efficiency for c in CHARGER_CLASSES])[kind]
        span[self.is_failing], span[self.is_cold] = FAILING_EFFICIENCY, COLD_EFFICIENCY
        self.efficiency = self._between("efficiency", span[:, 0], span[:, 1])
        self.standby_kw = self._between("standby", *_STANDBY_KW)
        self.phase = self.chance.below(CYCLE_MINUTES, "phase", self.numbers)

    def readings(self, index: Ints, minute: Ints) -> Readings:
        """The readings of vehicles (positions in the attributes), each at its own minute."""
        charge, before = _Charge(self, index, minute), _Charge(self, index, minute - 1)
        is_first = charge.into_cycle == 0  # the curve starts again
        return Readings(
            ac_interval=charge.ac() - np.where(is_first, 0, before.ac()),
            ac_register=charge.ac() - charge.at_reset().ac(),
            dc_interval=charge.dc() - np.where(is_first, 0, before.dc()),
            dc_register=charge.dc() - charge.at_reset().dc(),
            voltage=self._voltage(index, minute),
            soc=charge.soc(),
            battery_temp=charge.battery_temp(),
        )

    def is_silent(self, stream: str, index: Ints, minute: Ints) -> Bools:
        """True where the device lost its connection; what it measured meanwhile is lost."""
        share = self.anomalies.silent_spells
        return self._spell(f"{stream} silence", share, (8, 45), self.numbers[index], minute)

    def _voltage(self, index: Ints, minute: Ints) -> Floats:
        number = self.meter_numbers[index]
        feeder = (number - 1) // _METERS_ON_A_FEEDER
        sags = self._spell("sag", self.anomalies.voltage_sags, (2, 12), feeder, minute)
        noise = self.chance.uniform("voltage", number, minute)
        return np.where(sags, 185 + 20 * noise, 231 + 2.5 * _daily_wave(minute) + 2 * noise)

    def _spell(
        self, question: str, share: float, lengths: tuple[int, int], subject: Ints, minute: Ints
    ) -> Bools:
        period, into = np.divmod(minute, _SPELL_MINUTES)
        length = lengths[0] + self.chance.below(
            lengths[1] - lengths[0], f"{question} length", subject, period
        )
        start = self.chance.uniform(f"{question} start", subject, period)
        start = (start * (_SPELL_MINUTES - length)).astype(np.int64)
        has_one = self.chance.uniform(question, subject, period) < share
        return has_one & (into >= start) & (into < start + length)

    def _between(self, question: str, low: Floats | float, high: Floats | float) -> Floats:
        return low + (high - low) * self.chance.uniform(question, self.numbers)


class _Charge:
    """Charging cycles of vehicles at a minute, and the curves that follow from them."""

    def __init__(
        self, model: FleetModel, index: Ints, minute: Ints, into_cycle: Ints | None = None
    ) -> None:
        self._model, self._index, self._minute = model, index, minute
        self._chance, self._number = model.chance, model.numbers[index]
        self._cycle, now = np.divmod(minute - model.phase[index], CYCLE_MINUTES)
        self.into_cycle: Ints = now if into_cycle is None else into_cycle

        self._start_soc = self._soc_at_plug_in(self._cycle)
        target = 70 + 30 * self._chance.uniform("target soc", self._number, self._cycle)
        needed_kwh = (target - self._start_soc) / 100 * model.battery_kwh[index]
        self._dc_kw = model.power_kw[index] * model.efficiency[index]
        minutes = np.minimum(np.ceil(needed_kwh / self._dc_kw * 60), _LONGEST_CHARGE_MINUTES)
        self._needed: Ints = np.where(model.is_idle[index], 0, minutes).astype(np.int64)
        self._charged = np.clip(self.into_cycle + 1, 0, self._needed)

    def ac(self) -> Floats:
        """kWh from the grid since plug-in, with standby."""
        standby = self._model.standby_kw[self._index] * (self.into_cycle + 1)
        return (self._model.power_kw[self._index] * self._wobbly("ac", 0.02) + standby) / 60

    def dc(self) -> Floats:
        """kWh into the battery since plug-in."""
        return self._dc_kw * self._wobbly("dc", 0.01) / 60

    def at_reset(self) -> "_Charge":
        """The same cycle at the minute before its register started again, or before plug-in."""
        model, cycle, into = self._model, self._cycle, self.into_cycle
        share = model.anomalies.register_resets
        happens = self._chance.uniform("reset", self._number, cycle) < share
        reset = (self._needed * self._chance.uniform("reset at", self._number, cycle)).astype(int)
        before = np.where(happens & (into >= reset), reset - 1, -1)
        # the noise of a curve belongs to the minute of that point
        return _Charge(model, self._index, self._minute - into + np.maximum(before, 0), before)

    def soc(self) -> Floats:
        """State of charge in percent: rises with the energy, is kept parked, falls on the road."""
        battery = self._model.battery_kwh[self._index]
        soc: Floats = self._start_soc + 100 * self.dc() / battery
        next_soc = self._soc_at_plug_in(self._cycle + 1)
        soc += (next_soc - soc) * self._driven()
        parked = 60 + 30 * self._chance.uniform("parked soc", self._number)
        return np.where(self._model.is_idle[self._index], parked, np.minimum(soc, 100))

    def battery_temp(self) -> Floats:
        """Temperature in degrees Celsius: the day's, the warmth of charging, a little noise."""
        is_cold = self._model.is_cold[self._index]
        outside: Floats = np.where(is_cold, -8, 16) + np.where(is_cold, 2, 6) * _daily_wave(
            self._minute
        )
        warmth: Floats = np.where(is_cold, 6, 11) * (1 - np.exp(-self._charged / 60))
        noise = self._chance.uniform("temperature", self._number, self._minute) - 0.5
        return outside + warmth * (1 - self._driven()) + 0.4 * noise

    def _wobbly(self, question: str, size: float) -> Floats:
        """Minutes of charging, with noise that is gone at the end, so no step is negative."""
        noise = self._chance.uniform(question, self._number, self._minute)
        is_under_way = (self._charged > 0) & (self._charged < self._needed)
        return self._charged.astype(np.float64) + np.where(is_under_way, size * noise, 0)

    def _driven(self) -> Floats:
        """Share of the way to the next plug-in."""
        parked = 60 * self._chance.uniform("parked", self._number, self._cycle)
        leaves = np.minimum(self._needed + parked, CYCLE_MINUTES - 1)
        driven: Floats = np.clip((self.into_cycle - leaves) / (CYCLE_MINUTES - leaves), 0, 1)
        return driven

    def _soc_at_plug_in(self, cycle: Ints) -> Floats:
        return 10 + 20 * self._chance.uniform("start soc", self._number, cycle)


def _daily_wave(minute: Ints) -> Floats:
    """Wave of a day, from -1 at 3:00 to 1 at 15:00 UTC."""
    wave: Floats = np.sin((minute % 1440 - 540) / 1440 * 2 * np.pi)
    return wave
