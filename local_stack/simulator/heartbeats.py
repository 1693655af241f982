"""The heartbeats that the devices of a fleet send, in the order in which they arrive."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from local_stack.simulator.fleet_model import FleetModel
from local_stack.simulator.seeded_random import Floats, Ints

LATEST_MINUTES = 60
Heartbeat = dict[str, str | float]


@dataclass(frozen=True)
class Arrival:
    """A heartbeat, and when its device sends it in seconds since 1970."""

    stream: str
    at: float
    heartbeat: Heartbeat


def arrivals(model: FleetModel, first_minute: int, end_minute: int, since: int) -> list[Arrival]:
    """Arrivals in [first_minute, end_minute), minutes since 1970, in order.

    Heartbeats of minutes before `since` are left out: the fleet did not exist yet.
    """
    found = [
        arrival
        for stream in ("meter", "vehicle")
        for arrival in _of_stream(model, stream, first_minute, end_minute, since)
    ]
    return sorted(found, key=lambda arrival: arrival.at)


def _of_stream(
    model: FleetModel, stream: str, first_minute: int, end_minute: int, since: int
) -> Iterator[Arrival]:
    # Everything that could arrive in this time: what is measured in it, and what may be late.
    minutes = np.arange(max(since, first_minute - LATEST_MINUTES), end_minute, dtype=np.int64)
    index, minute = (grid.ravel() for grid in np.meshgrid(_positions(model), minutes))
    number, chance, anomalies = model.numbers[index], model.chance, model.anomalies

    is_late = chance.uniform(f"{stream} late", number, minute) < anomalies.late
    quarters = 1 + minute // 15 + chance.below(4, f"{stream} lateness", number, minute)
    arrives = np.where(is_late, 15 * quarters, minute)
    counts = (arrives >= first_minute) & (arrives < end_minute)
    counts &= ~model.is_silent(stream, index, minute)
    index, number, minute, arrives = (v[counts] for v in (index, number, minute, arrives))

    # Each device has its own second of the minute, so the fleet's load is even.
    second = (60 * chance.stratified(f"{stream} second", number)).astype(np.int64)
    at = (60 * arrives + second).tolist()
    times = (60 * minute + second).astype("datetime64[s]").astype(str).tolist()
    is_twice = chance.uniform(f"{stream} twice", number, minute) < anomalies.duplicates
    build = _meter_heartbeats if stream == "meter" else _vehicle_heartbeats
    heartbeats = build(model, index, minute, times)
    for heartbeat, seconds, twice in zip(heartbeats, at, is_twice.tolist(), strict=True):
        yield Arrival(stream, seconds, heartbeat)
        if twice:
            yield Arrival(stream, seconds, heartbeat)


def _meter_heartbeats(
    model: FleetModel, index: Ints, minute: Ints, times: list[str]
) -> Iterator[Heartbeat]:
    readings = model.readings(index, minute)
    registers = model.sends_registers[index]
    energy = np.where(registers, readings.ac_register, readings.ac_interval)
    rows = zip(
        model.meter_numbers[index].tolist(),
        times,
        _rounded(energy, 6),
        _rounded(readings.voltage, 1),
        registers.tolist(),
        strict=True,
    )
    for meter, time, kwh, voltage, is_register in rows:
        yield {
            "meterId": f"METER{meter:03d}",
            "timestamp": f"{time}Z",
            "kwhConsumedAc": kwh,
            "voltage": voltage,
            **({"readingType": "register"} if is_register else {}),
        }


def _vehicle_heartbeats(
    model: FleetModel, index: Ints, minute: Ints, times: list[str]
) -> Iterator[Heartbeat]:
    readings = model.readings(index, minute)
    registers = model.sends_registers[index]
    energy = np.where(registers, readings.dc_register, readings.dc_interval)
    rows = zip(
        model.numbers[index].tolist(),
        times,
        _rounded(readings.soc, 1),
        _rounded(energy, 6),
        _rounded(readings.battery_temp, 1),
        model.sends_temperature[index].tolist(),
        np.where(model.names_meter, model.meter_numbers, 0)[index].tolist(),
        registers.tolist(),
        strict=True,
    )
    for vehicle, time, soc, kwh, temperature, sends_temperature, meter, is_register in rows:
        yield {
            "vehicleId": f"VEH{vehicle:03d}",
            "timestamp": f"{time}Z",
            "soc": soc,
            "kwhDeliveredDc": kwh,
            **({"batteryTemp": temperature} if sends_temperature else {}),
            **({"meterId": f"METER{meter:03d}"} if meter else {}),
            **({"readingType": "register"} if is_register else {}),
        }


def _positions(model: FleetModel) -> Ints:
    return np.arange(len(model.numbers), dtype=np.int64)


def _rounded(values: Floats, digits: int) -> list[float]:
    # no negative zero, no rounding below zero
    rounded: list[float] = (np.round(values, digits) + 0.0).tolist()
    return rounded
