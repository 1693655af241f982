"""A year of charging sessions of a fleet, with what is true of its devices.

Vehicles charge at home, at a socket or a wallbox of their own; or in a depot, at any of its
chargers; and now and then at public chargers. Cars differ; winters make batteries cold; some meters
tell only each quarter of an hour. The losses follow other formulas than those that are fitted to
them: a heater that is switched on by degrees, and a share that grows with the square of power.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from tests.harness.charging_year.faults import (
    CLOCK,
    DRIFT,
    DROP,
    METER,
    PHASE,
    SCALE,
    SLIPPING,
    STUCK,
    SWAPPED,
    VEHICLE,
    Fault,
    faults_of,
)

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

YEAR_BEGINS: Final = datetime(2025, 7, 1, tzinfo=UTC)
DAYS: Final = 365
CRITICAL: Final = 0.80
CLASSES: Final = ("household", "wallbox-11", "wallbox-22", "dc-50")
_POWER: Final = np.array([2.3, 11.0, 22.0, 50.0])
_DC: Final = 3
_VEHICLES_A_DEPOT: Final = 10
_SESSIONS_A_DAY: Final = 0.82


@dataclass(frozen=True)
class ChargingYear:
    """Rows of `charging_session`, and the truth: what is wrong with which device since when.

    `truth` has device_kind, device_id, kind, begins, and of what lowers the efficiency `fall` at
    the end of the year (a share) and `crosses`: when the device's usual efficiency, in mild
    weather, is below 80 %; null where it is not, or always was.
    """

    sessions: pl.DataFrame
    truth: pl.DataFrame
    devices: int
    flows: "Flows"
    faults: list[Fault]
    network: "Network"


def charging_year(vehicles: int, seed: int, *, with_faults: bool = True) -> ChargingYear:
    """Simulate a year of so many vehicles, and about 1.2 times as many chargers."""
    rng = np.random.default_rng(seed)
    network = Network.random(rng, vehicles)
    drawn = _Drawn.random(rng, network)
    faults = network.faults(rng, drawn) if with_faults else []
    sessions, flows = _sessions(rng, network, drawn, faults)
    return ChargingYear(
        sessions,
        _truth(network, drawn, faults),
        vehicles + len(network.charger_class),
        flows,
        faults,
        network,
    )


@dataclass(frozen=True)
class Flows:
    """What flows in each session: an array of one length for each, times in days of the year.

    `sent_*` are the energies as the devices that are there tell them, kWh.
    """

    vehicle: Integers
    charger: Integers
    day: Floats
    hours: Floats
    degrees: Floats
    true_ac: Floats
    true_dc: Floats
    sent_ac: Floats
    sent_dc: Floats
    lost_by_fault: Floats
    """The part of `true_ac` that drifts and drops have lost."""


@dataclass(frozen=True)
class Network:
    """Cars and chargers, and who charges where."""

    onboard_kw: Floats
    overhead_kw: Floats
    base_loss: Floats
    copper: Floats
    garage: Floats
    """Degrees that the battery is warmer than the air."""
    home: Integers
    """The charger of a vehicle, -1 where it has a depot."""
    depot: Integers
    charger_class: Integers
    charger_loss: Floats
    is_slow: npt.NDArray[np.bool_]
    chargers_of_depot: list[Integers]
    public: Integers

    @classmethod
    def random(cls, rng: np.random.Generator, vehicles: int) -> "Network":
        at_home = rng.random(vehicles) < 0.6
        depots = max(1, round((~at_home).sum() / _VEHICLES_A_DEPOT))
        homes = int(at_home.sum())
        home = np.full(vehicles, -1)
        home[at_home] = np.arange(homes)
        of_depot = np.arange(homes, homes + depots * _VEHICLES_A_DEPOT).reshape(depots, -1)
        first_public = homes + of_depot.size
        public = np.arange(first_public, first_public + max(2, vehicles // 5))
        classes = np.concatenate(
            (
                rng.choice([0, 1], homes, p=[0.25, 0.75]),
                rng.choice([1, 2], of_depot.size, p=[0.6, 0.4]),
                rng.choice([2, 3], len(public), p=[0.7, 0.3]),
            )
        )
        return cls(
            onboard_kw=rng.choice([3.7, 7.4, 11.0, 22.0], vehicles, p=[0.1, 0.3, 0.5, 0.1]),
            overhead_kw=rng.uniform(0.12, 0.28, vehicles),
            base_loss=np.clip(rng.normal(0.05, 0.008, vehicles), 0.03, 0.08),
            copper=rng.uniform(0.005, 0.025, vehicles),
            garage=rng.uniform(0, 12, vehicles),
            home=home,
            depot=rng.integers(0, depots, vehicles),
            charger_class=classes,
            charger_loss=np.clip(rng.normal(0.012, 0.005, len(classes)), 0, 0.03),
            is_slow=rng.random(len(classes)) < 0.2,
            chargers_of_depot=list(of_depot),
            public=public,
        )

    def power(self, vehicle: Integers, charger: Integers) -> Floats:
        of_class = self.charger_class[charger]
        taken = np.where(of_class == _DC, 50.0, self.onboard_kw[vehicle])
        power: Floats = np.minimum(_POWER[of_class], taken)
        return power

    def efficiency(
        self, vehicle: Integers, charger: Integers, power: Floats, degrees: Floats
    ) -> Floats:
        heater = np.minimum(1.0 / (1 + np.exp((degrees + 2) / 3)), 0.15 * power)
        load = power / np.maximum(self.onboard_kw[vehicle], power)
        lost = (self.overhead_kw[vehicle] + heater) / power
        of_charge = self.base_loss[vehicle] + self.copper[vehicle] * load**2
        left: Floats = (1 - lost) * (1 - of_charge) * (1 - self.charger_loss[charger])
        return left

    def faults(self, rng: np.random.Generator, drawn: "_Drawn") -> list[Fault]:
        """Faults of devices that are used, and of those alone that show them."""
        count = {METER: len(self.charger_class), VEHICLE: len(self.home)}
        used = {
            METER: np.flatnonzero(np.bincount(drawn.charger, minlength=count[METER]) >= 20),
            VEHICLE: np.arange(count[VEHICLE]),
        }
        owner = self.home >= 0
        three_phases = self.home[owner & (self.onboard_kw >= 11)]
        three_phases = three_phases[self.charger_class[three_phases] == 1]
        candidates = {
            (kind, device): used[device]
            for kind in (DRIFT, DROP, STUCK, SLIPPING, CLOCK, SCALE)
            for device in (METER, VEHICLE)
        }
        candidates[SWAPPED, METER] = self.home[owner]
        candidates[PHASE, METER] = three_phases
        return faults_of(rng, candidates, count)


@dataclass(frozen=True)
class _Drawn:
    """What happens in each session, before any fault."""

    vehicle: Integers
    charger: Integers
    day: Floats
    degrees: Floats
    energy_dc: Floats

    @classmethod
    def random(cls, rng: np.random.Generator, network: Network) -> "_Drawn":
        vehicles = len(network.home)
        charges = rng.random((vehicles, DAYS)) < _SESSIONS_A_DAY
        vehicle, date = (part.astype(np.int64) for part in np.nonzero(charges))
        charger = network.home[vehicle].copy()
        in_depot = charger < 0
        depot = network.depot[vehicle[in_depot]]
        places = rng.integers(0, _VEHICLES_A_DEPOT, int(in_depot.sum()))
        charger[in_depot] = np.stack(network.chargers_of_depot)[depot, places]
        is_public = rng.random(len(vehicle)) < 0.1
        charger[is_public] = rng.choice(network.public, int(is_public.sum()))
        day = date + rng.normal(0.75, 0.08, len(vehicle)).clip(0.4, 0.95)
        season = 10 + 12 * np.cos(2 * np.pi * (day - 20) / DAYS)  # the year begins in July
        weather = rng.normal(0, 3, DAYS)[date]
        degrees = season + weather + network.garage[vehicle] + rng.normal(0, 2, len(vehicle))
        energy = np.exp(rng.normal(np.log(14), 0.6, len(vehicle))).clip(1, 70)
        return cls(vehicle, charger, day, degrees, energy)


def _sessions(
    rng: np.random.Generator, network: Network, drawn: _Drawn, faults: list[Fault]
) -> tuple[pl.DataFrame, Flows]:
    """Rows of sessions in the order of `drawn`, and what flows in them."""
    vehicle, charger, day = drawn.vehicle, drawn.charger, drawn.day
    count = len(vehicle)
    power_ac = network.power(vehicle, charger) * rng.normal(0.97, 0.01, count).clip(0.9, 1)
    efficiency = network.efficiency(vehicle, charger, power_ac, drawn.degrees)
    hit = [(fault, _hit(fault, drawn)) for fault in faults]
    sound = efficiency.copy()
    for fault, where in hit:
        # A vehicle's own charger has no part in DC charging.
        is_ac = network.charger_class[charger[where]] != _DC
        ailing = where if fault.device_kind == METER else where[is_ac]
        efficiency[ailing] *= fault.efficiency_factor(day[ailing])
        if fault.kind == PHASE:
            three = where[network.onboard_kw[vehicle[where]] >= 11]
            power_ac[three] *= 2 / 3
    ac_true = drawn.energy_dc / efficiency
    hours = ac_true / power_ac
    # Noise of a percent; a slow device can't tell the begin and the end of a session exactly.
    slow = network.is_slow[charger]
    edge = power_ac * np.where(slow, 0.05, 0.008) * rng.normal(0, 1, count)
    ac = np.maximum(ac_true * rng.normal(1, 0.006, count) + edge, 0.02)
    dc = drawn.energy_dc * rng.normal(1, 0.006, count)
    odd = rng.random(count) < 0.004
    dc[odd] *= rng.uniform(0.7, 1.05, int(odd.sum()))
    matched = np.ones(count)
    power_ac_told, power_dc_told = power_ac.copy(), power_ac * efficiency
    clock_hours = np.zeros(count)
    true_ac, true_dc = ac.copy(), dc.copy()
    for fault, where in hit:
        of_meter = fault.device_kind == METER
        energy, power = (ac, power_ac_told) if of_meter else (dc, power_dc_told)
        if fault.kind == STUCK:
            energy[where], power[where] = 0, 0
        elif fault.kind == SLIPPING:
            lost = rng.uniform(0, 0.5, len(where)) * (rng.random(len(where)) < 0.5)
            energy[where] *= 1 - lost
        elif fault.kind == SCALE:
            energy[where] *= fault.size
            power[where] *= fault.size
        elif fault.kind == CLOCK:
            matched[where] = np.maximum(1 - fault.size / hours[where], 0)
            clock_hours[where] = fault.size
    flows = Flows(
        *(vehicle, charger, day, hours, drawn.degrees, true_ac, true_dc, ac.copy(), dc),
        lost_by_fault=true_ac * (1 - efficiency / sound),
    )
    for fault, where in hit:
        if fault.kind == SWAPPED:
            _swap(ac, true_ac, fault, where, drawn)
    matched_ac, matched_dc = ac * matched, dc * matched
    percent = 100 * matched_dc / np.maximum(matched_ac, 1e-9)
    has_ratio = (matched >= 0.9) & (matched_ac >= 0.05) & (matched_dc > 0)
    sessions = pl.DataFrame(
        {
            "vehicle_id": device_ids(VEHICLE, vehicle),
            "meter_ids": device_ids(METER, charger),
            "begins": _moments(day),
            "ends": _moments(day + (hours + clock_hours) / 24),
            "energy_ac_kwh": ac.round(3),
            "energy_dc_kwh": dc.round(3),
            "matched_energy_ac_kwh": matched_ac.round(3),
            "matched_energy_dc_kwh": matched_dc.round(3),
            "efficiency_percent": np.where(has_ratio, percent, np.nan),
            "mean_power_ac_kw": (ac / (hours + clock_hours)).round(6),
            "peak_power_ac_kw": power_ac_told.round(3),
            "peak_power_dc_kw": power_dc_told.round(3),
            "average_battery_temp": drawn.degrees.round(1),
            "charger_class": np.array(CLASSES)[network.charger_class[charger]],
            "coverage_ac": rng.beta(60, 1, count).round(4),
            "coverage_dc": rng.beta(60, 1, count).round(4),
        }
    )
    unknown = pl.Series(rng.random(count) < 0.05)
    sessions = sessions.with_columns(
        pl.concat_list("meter_ids"),
        pl.col("efficiency_percent").fill_nan(None),
        average_battery_temp=sessions["average_battery_temp"].set(unknown, None),
        link_source=pl.lit("link"),
    )
    return sessions.sort("vehicle_id", "begins"), flows


def device_ids(device_kind: str, numbers: Integers) -> pl.Series:
    """Return the ids of devices by their numbers."""
    prefix = "MTR-" if device_kind == METER else "VEH-"
    return prefix + pl.Series(numbers).cast(pl.String).str.zfill(5)


def _hit(fault: Fault, drawn: _Drawn) -> Integers:
    of_kind = drawn.charger if fault.device_kind == METER else drawn.vehicle
    return np.flatnonzero((of_kind == fault.device) & (drawn.day >= fault.day))


def _swap(ac: Floats, true_ac: Floats, fault: Fault, where: Integers, drawn: _Drawn) -> None:
    """Give each session the energy that the other meter measured on its date."""
    others = drawn.charger == fault.partner
    by_date = np.zeros(DAYS + 1)
    by_date[drawn.day[others].astype(np.int64)] = true_ac[others]
    ac[where] = by_date[drawn.day[where].astype(np.int64)]


def _moments(day: Floats) -> pl.Series:
    microseconds = pl.Series((day * 86_400_000_000).round().astype(np.int64))
    begin = round(YEAR_BEGINS.timestamp()) * 1_000_000
    return (microseconds + begin).cast(pl.Datetime("us", "UTC"))


def _truth(network: Network, drawn: _Drawn, faults: list[Fault]) -> pl.DataFrame:
    power = network.power(drawn.vehicle, drawn.charger)
    mild = network.efficiency(drawn.vehicle, drawn.charger, power, np.full(len(power), 20.0))
    grid = np.linspace(0, DAYS, 4 * DAYS + 1)
    rows = []
    for fault in faults:
        of_kind = drawn.charger if fault.device_kind == METER else drawn.vehicle
        usual = float(np.median(mild[of_kind == fault.device]))
        left = fault.efficiency_factor(grid)
        below = np.flatnonzero(usual * left < CRITICAL)
        loses = fault.kind in {DRIFT, DROP}
        crosses = float(grid[below[0]]) if loses and below.size and usual >= CRITICAL else None
        rows.append(
            {
                "device_kind": fault.device_kind,
                "number": fault.device,
                "kind": fault.kind,
                "begins": YEAR_BEGINS + timedelta(days=fault.day),
                "fall": float(1 - left[-1]) if loses else None,
                "crosses": None if crosses is None else YEAR_BEGINS + timedelta(days=crosses),
            }
        )
    moment = pl.Datetime("us", "UTC")
    truth = pl.DataFrame(
        rows,
        schema={
            "device_kind": pl.String(),
            "number": pl.Int64(),
            "kind": pl.String(),
            "begins": moment,
            "fall": pl.Float64(),
            "crosses": moment,
        },
    )
    is_meter = truth["device_kind"] == METER
    numbers = truth["number"].to_numpy()
    ids = device_ids(METER, numbers).zip_with(is_meter, device_ids(VEHICLE, numbers))
    return truth.with_columns(device_id=ids).drop("number")
