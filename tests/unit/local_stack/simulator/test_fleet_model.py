"""The simulated fleet: the same for the same seed, true to physics, and as odd as announced."""

import json
from collections import Counter, defaultdict
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_stack.simulator.anomalies import Anomalies
from local_stack.simulator.fleet_model import FleetModel
from local_stack.simulator.heartbeats import LATEST_MINUTES, Arrival, arrivals

NOON = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()) // 60
HOURS = 3
VEHICLES = 500
MODEL = FleetModel(VEHICLES, seed=1)
CALM = Anomalies(silent_spells=0, late=0, duplicates=0)


def as_text(found: list[Arrival]) -> Counter[str]:
    return Counter(f"{a.at} {json.dumps(a.heartbeat)}" for a in found)


@pytest.fixture(scope="module")
def three_hours() -> list[Arrival]:
    return arrivals(MODEL, NOON, NOON + 60 * HOURS, since=NOON)


@given(
    seed=st.integers(-(2**31), 2**31),
    start=st.integers(0, 60_000_000),
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=4),
)
@settings(max_examples=25)
def test_posting_time_piece_by_piece_gives_the_same_heartbeats_as_at_once(
    seed: int, start: int, lengths: list[int]
) -> None:
    model, end = FleetModel(7, seed), start + sum(lengths)
    pieces: Counter[str] = Counter()
    begin = start
    for length in lengths:
        pieces += as_text(arrivals(FleetModel(7, seed), begin, begin + length, since=0))
        begin += length
    assert pieces == as_text(arrivals(model, start, end, since=0))


def test_another_seed_is_another_fleet() -> None:
    one, two = (arrivals(FleetModel(20, seed), NOON, NOON + 5, since=NOON) for seed in (1, 2))
    assert as_text(one) != as_text(two)


def test_a_device_sends_the_same_in_a_larger_fleet() -> None:
    small = as_text(arrivals(FleetModel(10, 3), NOON, NOON + 30, since=NOON))
    large = as_text(arrivals(FleetModel(40, 3), NOON, NOON + 30, since=NOON))
    assert small <= large


def test_no_heartbeat_comes_before_its_time_or_too_late(
    three_hours: list[Arrival],
) -> None:
    for arrival in three_hours:
        measured = datetime.fromisoformat(str(arrival.heartbeat["timestamp"])).timestamp()
        assert measured <= arrival.at <= measured + 60 * LATEST_MINUTES
        assert measured >= 60 * NOON


def test_a_device_that_is_not_odd_sends_exactly_one_heartbeat_a_minute() -> None:
    found = arrivals(FleetModel(30, 1, CALM), NOON, NOON + 60, since=NOON)
    counts = Counter(a.heartbeat.get("vehicleId") or a.heartbeat["meterId"] for a in found)
    assert len(counts) == 60
    assert set(counts.values()) == {60}


def test_the_fleet_spreads_its_heartbeats_over_the_minute() -> None:
    found = arrivals(FleetModel(VEHICLES, 1, CALM), NOON, NOON + 1, since=NOON)
    by_second = Counter(int(a.at) % 60 for a in found)
    assert len(by_second) == 60
    assert max(by_second.values()) <= 2 * 2 * VEHICLES / 60


def energy_of_sessions() -> tuple[np.ndarray, np.ndarray]:
    """AC and DC kWh of each vehicle over three whole cycles, summed plainly."""
    minutes = np.arange(NOON, NOON + 24 * 60)
    index, minute = (
        grid.ravel() for grid in np.meshgrid(np.arange(VEHICLES), minutes, indexing="ij")
    )
    readings = MODEL.readings(index, minute)
    assert (readings.ac_interval >= 0).all()
    assert (readings.dc_interval >= 0).all()
    shape = (VEHICLES, len(minutes))
    return (
        readings.ac_interval.reshape(shape).sum(axis=1),
        readings.dc_interval.reshape(shape).sum(axis=1),
    )


def test_efficiencies_are_those_of_healthy_failing_and_cold_vehicles() -> None:
    ac, dc = energy_of_sessions()
    charged = ~MODEL.is_idle
    percent = 100 * dc[charged] / ac[charged]
    healthy = ~(MODEL.is_failing | MODEL.is_cold)[charged]
    assert percent[healthy].min() > 84
    assert percent[healthy].max() < 95
    assert percent[~healthy].max() < 80
    assert percent[~healthy].min() > 50


def test_an_idle_vehicle_draws_standby_power_and_stores_nothing() -> None:
    ac, dc = energy_of_sessions()
    assert (dc[MODEL.is_idle] == 0).all()
    assert (ac[MODEL.is_idle] / 24 < 0.05).all()
    assert (ac[MODEL.is_idle] > 0).all()


def test_the_state_of_charge_rises_with_the_energy_and_stays_within_bounds() -> None:
    index = np.repeat(np.arange(VEHICLES), 60)
    minute = np.tile(np.arange(NOON, NOON + 60), VEHICLES)
    now, before = MODEL.readings(index, minute), MODEL.readings(index, minute - 1)
    assert now.soc.min() >= 0
    assert now.soc.max() <= 100
    charging = (now.dc_interval > 0.01) & (before.dc_interval > 0.01) & (now.soc < 100)
    charging &= now.dc_register > before.dc_register
    assert charging.sum() > 1000
    rise = (now.soc - before.soc)[charging]
    expected = 100 * now.dc_interval[charging] / MODEL.battery_kwh[index[charging]]
    assert rise == pytest.approx(expected, abs=1e-6)


def test_registers_and_intervals_tell_the_same_energy_across_resets() -> None:
    minutes = np.arange(NOON, NOON + 24 * 60)
    index = np.repeat(np.arange(50), len(minutes))
    readings = MODEL.readings(index, np.tile(minutes, 50))
    for register, interval in (
        (readings.ac_register, readings.ac_interval),
        (readings.dc_register, readings.dc_interval),
    ):
        for vehicle in range(50):
            state, energy = register[index == vehicle], interval[index == vehicle]
            steps = np.diff(state)
            is_reset = steps < -1e-9
            told = np.where(is_reset, state[1:], steps)
            assert told == pytest.approx(energy[1:], abs=1e-9)


def test_registers_reset_at_plug_in_and_sometimes_in_between() -> None:
    minutes = np.arange(NOON, NOON + 24 * 60)
    index = np.repeat(np.arange(VEHICLES), len(minutes))
    readings = MODEL.readings(index, np.tile(minutes, VEHICLES))
    state = readings.dc_register.reshape(VEHICLES, -1)[~MODEL.is_idle]
    resets = (np.diff(state, axis=1) < -1e-9).sum(axis=1)
    assert resets.min() >= 2  # three cycles a day
    assert 2.9 < resets.mean() < 4
    assert resets.max() > 3


def test_cold_batteries_are_cold_and_inefficient() -> None:
    index = np.arange(VEHICLES)
    readings = MODEL.readings(index, np.full(VEHICLES, NOON))
    assert readings.battery_temp[MODEL.is_cold].max() < 5
    assert readings.battery_temp[~MODEL.is_cold].min() > 5


def test_even_a_small_fleet_has_every_kind_of_vehicle() -> None:
    model = FleetModel(60, seed=1)
    for kind in (model.is_failing, model.is_cold, model.is_idle, model.sends_registers):
        assert 1 <= kind.sum() <= 12
    assert not model.sends_temperature.all()
    assert model.names_meter.any()
    assert (model.meter_numbers != model.numbers).any()


def test_every_announced_oddity_of_heartbeats_occurs(three_hours: list[Arrival]) -> None:
    kinds: Counter[str] = Counter()
    times: dict[object, list[float]] = defaultdict(list)
    for arrival in three_hours:
        beat = arrival.heartbeat
        device = beat.get("vehicleId") or beat["meterId"]
        measured = datetime.fromisoformat(str(beat["timestamp"])).timestamp()
        kinds["late"] += arrival.at - measured >= 60
        kinds["out of order"] += bool(times[device]) and measured < max(times[device])
        kinds["register"] += beat.get("readingType") == "register"
        kinds["names its meter"] += arrival.stream == "vehicle" and "meterId" in beat
        kinds["no temperature"] += arrival.stream == "vehicle" and "batteryTemp" not in beat
        kinds["sag"] += arrival.stream == "meter" and float(beat["voltage"]) < 206
        times[device].append(measured)
    kinds["twice"] = sum(len(of_device) - len(set(of_device)) for of_device in times.values())
    kinds["silent"] = sum(max(np.diff(sorted(of_device))) >= 8 * 60 for of_device in times.values())
    total = len(three_hours)
    assert 0.01 < kinds["late"] / total < 0.03
    assert 0.005 < kinds["twice"] / total < 0.015
    assert kinds["out of order"] > 500
    assert 5 < kinds["silent"] < 60
    assert all(kinds[kind] > 0 for kind in ("register", "names its meter", "no temperature", "sag"))


def test_ids_pair_by_their_numbers_unless_the_vehicle_names_its_meter(
    three_hours: list[Arrival],
) -> None:
    meters = {a.heartbeat["meterId"] for a in three_hours if a.stream == "meter"}
    vehicles = {a.heartbeat["vehicleId"] for a in three_hours if a.stream == "vehicle"}
    assert {str(m).removeprefix("METER") for m in meters} == {
        str(v).removeprefix("VEH") for v in vehicles
    }
    named = {
        a.heartbeat["vehicleId"]: a.heartbeat["meterId"]
        for a in three_hours
        if a.stream == "vehicle" and "meterId" in a.heartbeat
    }
    assert len(set(named.values())) == len(named)


def test_the_shares_of_the_oddities_are_told_to_the_operator() -> None:
    described = " ".join(Anomalies.descriptions())
    assert "4.0% of the chargers bring under 80 % into the battery" in described
    assert len(Anomalies.descriptions()) == 11
