"""The last days of a simulated year as heartbeats: what its meters and vehicles send."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from lake import METER, VEHICLE, Stream
from tests.harness.charging_year.faults import CLOCK, SWAPPED
from tests.harness.charging_year.fleet import (
    DAYS,
    ChargingYear,
    Floats,
    Flows,
    Integers,
    device_ids,
)

_DAY: Final = 86_400
_BETWEEN: Final = 3_600
"""Seconds between two cars at a charger: more than the pause that a session survives."""
_LOST: Final = 0.002
_REGISTERS: Final = 0.3
_SILENT: Final = 0.004
_BATTERY_KWH: Final = 90


@dataclass(frozen=True)
class SentDays:
    """The heartbeats of a fleet in its last days, evenly spread over the cadence.

    Each device sends at its own second, energies since its last heartbeat or those of a register.
    A few heartbeats are lost, and `silent` devices send nothing from some day of the second half
    on, three days before the end at the latest.
    """

    start: datetime
    days: int
    cadence_seconds: int
    flows: Flows
    """What flows in these days, times in days since `start`, one car at a charger at a time."""
    silent: Mapping[str, set[str]]
    energies: Mapping[str, Floats]
    """kWh by stream, device and heartbeat, as they are sent."""
    _phases: Mapping[str, Integers]
    _clocks: Mapping[str, Integers]
    _registers: Mapping[str, npt.NDArray[np.bool_]]
    _is_sent: Mapping[str, npt.NDArray[np.bool_]]
    _meters: Integers
    _degrees: npt.NDArray[np.float32]
    _soc: npt.NDArray[np.float32]

    def of_day(self, stream: Stream, day: int) -> pl.DataFrame:
        """The heartbeats of a stream on a day from 0 on, in the order of their times."""
        name, a_day = stream.name, _DAY // self.cadence_seconds
        part = slice(day * a_day, (day + 1) * a_day)
        energy, sent = self.energies[name][:, part], self._is_sent[name][:, part]
        device, slot = np.nonzero(sent)
        is_register = self._registers[name][device]
        told = np.where(is_register, self._states(name, day)[device, slot], energy[device, slot])
        at = self._phases[name][device] + self._clocks[name][device]
        seconds = at + (slot + part.start) * self.cadence_seconds
        kinds = pl.Series(is_register.astype(np.int8)).replace_strict(
            {0: "interval", 1: "register"}
        )
        values: dict[str, Any] = {
            stream.device: device_ids(name, device),
            "timestamp": _moments(self.start, seconds),
            stream.energy: pl.Series(told.round(5)),
            "reading_type": kinds,
        }
        if stream is METER:
            values["voltage"] = pl.Series(230 + np.sin(seconds / 1.7) * 3).round(1)
        else:
            meter = self._meters[:, part][device, slot]
            named = pl.Series(meter >= 0)
            degrees = pl.Series(self._degrees[:, part][device, slot].round(1))
            values["meter_id"] = device_ids("meter", meter).zip_with(
                named, pl.Series([None], dtype=pl.String)
            )
            values["battery_temp"] = degrees.fill_nan(None)
            values["soc"] = pl.Series(self._soc[:, part][device, slot].round(0)).fill_nan(None)
        return pl.DataFrame(values).sort("timestamp", stream.device)

    def _states(self, name: str, day: int) -> Floats:
        """The state of each device's register at its heartbeats of a day."""
        a_day = _DAY // self.cadence_seconds
        energies = self.energies[name]
        before = energies[:, : day * a_day].sum(axis=1, keepdims=True)
        of_day = energies[:, day * a_day : (day + 1) * a_day].cumsum(axis=1)
        states: Floats = 1000 + before + of_day
        return states


def sent_days(
    year: ChargingYear, start: datetime, days: int, cadence_seconds: int, seed: int
) -> SentDays:
    """Let the devices send the last days of a year, moved so that these begin at `start`.

    They are so few that each fault of the year has begun before them.
    """
    rng = np.random.default_rng(seed)
    flows = _one_after_the_other(year.flows, DAYS - days)
    counts = {METER.name: len(year.network.charger_class), VEHICLE.name: len(year.network.home)}
    slots = days * _DAY // cadence_seconds
    phases = {name: rng.integers(0, cadence_seconds, count) for name, count in counts.items()}
    clocks = {name: np.zeros(count, dtype=np.int64) for name, count in counts.items()}
    senders = np.arange(counts[METER.name])
    for fault in year.faults:
        if fault.kind == CLOCK:
            clocks[fault.device_kind][fault.device] = round(3600 * fault.size)
        elif fault.kind == SWAPPED:
            senders[fault.device] = fault.partner  # who sends what flows here
    silent, is_sent = {}, {}
    middle = slots // 2
    latest = max(slots - 3 * _DAY // cadence_seconds, middle + 1)
    for name, count in counts.items():
        sent = rng.random((count, slots)) >= _LOST
        fell = np.flatnonzero(rng.random(count) < _SILENT)
        for device in fell.tolist():
            sent[device, rng.integers(middle, latest) :] = False
        silent[name] = set(device_ids(name, fell).to_list())
        is_sent[name] = sent
    grid = _Grid(flows, cadence_seconds, slots)
    of_vehicle = grid.cells(flows.vehicle, phases[VEHICLE.name])
    shape = counts[VEHICLE.name], slots
    meters = np.full(shape, -1, dtype=np.int64)
    degrees, soc = np.full(shape, np.nan, dtype=np.float32), np.full(shape, np.nan, np.float32)
    where = of_vehicle.device, of_vehicle.slot
    meters[where] = flows.charger[of_vehicle.flow]
    degrees[where] = flows.degrees[of_vehicle.flow]
    left = flows.true_dc[of_vehicle.flow] * (1 - of_vehicle.done)
    soc[where] = np.maximum(95 - 100 * left / _BATTERY_KWH, 5)
    of_meter = grid.cells(senders[flows.charger], phases[METER.name])
    return SentDays(
        start=start,
        days=days,
        cadence_seconds=cadence_seconds,
        flows=flows,
        silent=silent,
        energies={
            METER.name: of_meter.added(flows.sent_ac, counts[METER.name], slots),
            VEHICLE.name: of_vehicle.added(flows.sent_dc, counts[VEHICLE.name], slots),
        },
        _phases=phases,
        _clocks=clocks,
        _registers={name: rng.random(count) < _REGISTERS for name, count in counts.items()},
        _is_sent=is_sent,
        _meters=meters,
        _degrees=degrees,
        _soc=soc,
    )


def _one_after_the_other(flows: Flows, first_day: int) -> Flows:
    """The flows from a day on, each after the one before it at its charger, and of its vehicle."""
    order = np.argsort(flows.day, kind="stable")
    order = order[flows.day[order] >= first_day]
    free: dict[tuple[str, int], float] = {}
    begins = (flows.day[order] - first_day) * _DAY
    lasts = flows.hours[order] * 3600
    places = zip(flows.charger[order].tolist(), flows.vehicle[order].tolist(), strict=True)
    for at, (charger, vehicle) in enumerate(places):
        taken = (METER.name, charger), (VEHICLE.name, vehicle)
        begins[at] = max(begins[at], *(free.get(one, 0.0) for one in taken))
        free |= dict.fromkeys(taken, begins[at] + lasts[at] + _BETWEEN)
    is_over = begins + lasts < (DAYS - first_day) * _DAY - _BETWEEN
    kept = {name: values[order][is_over] for name, values in vars(flows).items()}
    return replace(Flows(**kept), day=begins[is_over] / _DAY)


@dataclass(frozen=True)
class _Cells:
    """The heartbeats that tell of each flow: a row for each, `part` of the flow in it.

    `done` is the part of the flow up to its end.
    """

    flow: Integers
    device: Integers
    slot: Integers
    part: Floats
    done: Floats

    def added(self, energy: Floats, devices: int, slots: int) -> Floats:
        cell = self.device * slots + self.slot
        energies = energy[self.flow] * self.part
        added = np.bincount(cell, energies, devices * slots).astype(np.float64, copy=False)
        return added.reshape(devices, slots)


@dataclass(frozen=True)
class _Grid:
    flows: Flows
    cadence: int
    slots: int

    def cells(self, device: Integers, phases: Integers) -> _Cells:
        """Lay each flow, told by a device, over the times between its heartbeats."""
        begin = self.flows.day * _DAY - phases[device]
        last = self.flows.hours * 3600
        first = np.floor(begin / self.cadence).astype(np.int64) + 1
        count = np.ceil((begin + last) / self.cadence).astype(np.int64) - first + 1
        flow = np.repeat(np.arange(len(begin)), count)
        slot = np.arange(len(flow)) - np.repeat(np.cumsum(count) - count, count) + first[flow]
        end = np.minimum(slot * self.cadence, (begin + last)[flow])
        since = np.maximum((slot - 1) * self.cadence, begin[flow])
        inside = slot < self.slots
        part, done = (end - since) / last[flow], (end - begin[flow]) / last[flow]
        return _Cells(*(x[inside] for x in (flow, device[flow], slot, part, done)))


def _moments(start: datetime, seconds: Integers) -> pl.Series:
    microseconds = pl.Series(seconds.astype(np.int64) * 1_000_000)
    begin = round(start.timestamp()) * 1_000_000
    return (microseconds + begin).cast(pl.Datetime("us", "UTC"))
