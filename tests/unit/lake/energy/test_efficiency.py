"""Efficiency and status of vehicles and of the fleet."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake import METER, VEHICLE, EnergySettings
from lake.energy.efficiency import facts_of_few, joined_few, merged_few, rows_of_few, running_few
from lake.energy.exact import exact_sum
from lake.energy.fleet import fleet_efficiency
from lake.energy.measured_side import energy_of_devices, measure_side
from lake.energy.network import Link
from lake.energy.status import REASONS, STATUSES
from lake.schema.catalog import DERIVED_TABLES
from lake.schema.vehicle_efficiency import FLEET_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_HOURLY
from lake.settings import ChargerClass
from tests.unit.energy_recomputation import (
    HOUR_10,
    HOUR_11,
    Row,
    charger_classes,
    readings,
    seconds,
)
from tests.unit.energy_samples import (
    Range,
    charged_at,
    exclusive_links,
    meter_rows,
    patiently,
    tables,
    vehicle_rows,
)

SETTINGS = EnergySettings(_env_file=None)
DAY = timedelta(hours=24)
LINKED: list[Range] = [("M1", "V1", seconds(-86400), seconds(2 * 86400), "link")]
HOUSEHOLD = EnergySettings(
    _env_file=None,
    charger_classes={
        "household": ChargerClass(
            good_from_percent=76, warning_from_percent=70, implausible_below_percent=40
        ),
        "fast": ChargerClass(excellent_above_percent=95),
    },
)


def meter(offset: float, kwh: float | None, meter_id: str = "M1", **other: Any) -> Row:
    return {"meter_id": meter_id, "timestamp": seconds(offset), "kwh_consumed_ac": kwh, **other}


def vehicle(offset: float, kwh: float | None, vehicle_id: str = "V1", **other: Any) -> Row:
    row = {"vehicle_id": vehicle_id, "timestamp": seconds(offset), "kwh_delivered_dc": kwh}
    return {**row, **other}


def metered(
    kwh: float | None, step: int = 60, since: int = -3600, until: int = 7200, **other: Any
) -> list[Row]:
    """The meter's readings with this energy after each step, the first one step after `since`."""
    return [meter(t, kwh, **other) for t in range(since + step, until + 1, step)]


def charged(
    kwh: float | None, step: int = 60, since: int = -3600, until: int = 7200, **other: Any
) -> list[Row]:
    """The vehicle's, likewise."""
    return [vehicle(t, kwh, **other) for t in range(since + step, until + 1, step)]


def efficiency(
    meters: Iterable[Row],
    vehicles: Iterable[Row],
    ranges: Sequence[Range] = LINKED,
    start: datetime = HOUR_10,
    end: datetime = HOUR_11,
    classes: Mapping[str, str] | None = None,
    settings: EnergySettings = SETTINGS,
) -> dict[str, dict[str, Any]]:
    found = tables(meters, vehicles, ranges, start, end, classes, settings).vehicles
    return {row["vehicle_id"]: row for row in found.to_dicts()}


def rated(
    kwh_ac: float, kwh_dc: float, settings: EnergySettings = SETTINGS, **other: Any
) -> tuple[str, str]:
    """Status and reason of an hour with these energies, a sixtieth of them each minute."""
    meters = [meter(60 * n, kwh_ac / 60) for n in range(1, 61)]
    vehicles = [vehicle(60 * n, kwh_dc / 60) for n in range(1, 61)]
    row = efficiency(meters, vehicles, settings=settings, **other)["V1"]
    return row["status"], row["reason"]


def test_an_hour_of_steady_charging() -> None:
    meters = metered(0.2, duplicates=1)
    vehicles = charged(0.176, battery_temp=20.0)
    assert efficiency(meters, vehicles)["V1"] == {
        "hour_start": HOUR_10,
        "vehicle_id": "V1",
        "energy_ac_kwh": 12.0,
        "energy_dc_kwh": 10.56,
        "loss_kwh": 1.44,
        "efficiency_percent": 88.0,
        "status": "good",
        "reason": "rated",
        "charger_class": None,
        "data_points_meter": 60,
        "data_points_vehicle": 60,
        "coverage_ac": 1.0,
        "coverage_dc": 1.0,
        "matched_share_ac": 1.0,
        "matched_share_dc": 1.0,
        "longest_gap_seconds": 60.0,
        "resets": 0,
        "duplicates": 60,
        "average_battery_temp": 20.0,
        "battery_temp_sum": 1200.0,
        "battery_temp_count": 60,
        "link_source": "link",
        "meter_ids": ["M1"],
        **{
            name.format(side): value
            for side, kwh in (("ac", 12.0), ("dc", 10.56))
            for name, value in {
                "matched_energy_{}_kwh": kwh,
                "unmatched_energy_{}_kwh": 0.0,
                "gross_energy_{}_kwh": kwh,
                "gross_matched_energy_{}_kwh": kwh,
                "unplaced_energy_{}_kwh": 0.0,
                "left_out_energy_{}_kwh": 0.0,
                "left_out_{}": 0,
                "conflicts_{}": 0,
                "conflicting_energy_{}_kwh": 0.0,
                "known_{}_seconds": 3600.0,
                "first_{}": HOUR_10,
                "last_{}": seconds(3540),
                "inner_gap_{}_seconds": 60.0,
            }.items()
        },
    }


def test_the_columns_and_types_are_those_of_the_tables() -> None:
    empty = tables([], [], [])
    fleet = fleet_efficiency(empty.vehicles.lazy(), empty.chargers.lazy()).collect()
    some = tables(metered(0.2), charged(0.18), LINKED).vehicles
    for spec, frame in (
        (VEHICLE_EFFICIENCY_HOURLY, empty.vehicles),
        (VEHICLE_EFFICIENCY_HOURLY, some),
        (FLEET_EFFICIENCY_HOURLY, fleet),
    ):
        table = frame.to_arrow()
        schema = pa.schema([column.field() for column in spec.columns])
        assert pa.null() not in table.schema.types
        assert table.schema.names == [column.name for column in spec.columns]
        assert table.cast(schema).schema.equals(schema)
        assert all(column.description for column in spec.columns)
    assert {spec.time_column for spec in DERIVED_TABLES} == {"hour_start", "begins", "ends", "date"}


def test_nothing_gives_no_vehicles_and_no_fleet() -> None:
    assert efficiency([], [], []) == {}
    assert fleet_of([], [], []) == []


# ---- status


@pytest.mark.parametrize(
    ("kwh_ac", "kwh_dc", "status", "reason"),
    [
        (10.0, 9.001, "excellent", "rated"),
        (10.0, 9.0, "good", "rated"),
        (10.0, 9.00000001, "good", "rated"),  # judged at four decimals
        (10.0, 8.5, "good", "rated"),
        (10.0, 8.49999999, "good", "rated"),
        (12.0, 10.2, "good", "rated"),  # floats make a little less of it
        (10.0, 8.499, "warning", "rated"),
        (10.0, 8.0, "warning", "rated"),
        (10.0, 7.999, "critical", "rated"),
        (10.0, 5.0, "critical", "rated"),
        (10.0, 4.999, "implausible", "below_floor"),
        (10.0, 10.0, "excellent", "rated"),
        (10.0, 10.00000001, "excellent", "rated"),
        (10.0, 10.001, "implausible", "above_100_percent"),
        (10.0, 0.0, "implausible", "one_side_only"),
        (10.0, -0.2, "implausible", "one_side_only"),
        (0.0, 5.0, "implausible", "one_side_only"),
        (0.048, 0.048, "idle", "nothing_flowed"),
        (0.048, 0.06, "implausible", "one_side_only"),
        (0.06, 0.054, "good", "rated"),
        (-0.12, 0.0, "idle", "nothing_flowed"),
    ],
)
def test_limits_of_every_status(kwh_ac: float, kwh_dc: float, status: str, reason: str) -> None:
    assert rated(kwh_ac, kwh_dc) == (status, reason)


@pytest.mark.parametrize(
    ("meters", "vehicles", "status", "reason"),
    [
        (metered(0.0), [], "idle", "nothing_flowed"),
        ([], charged(0.0), "insufficient_data", "not_known_ac"),
        ([], [], "insufficient_data", "not_known_ac"),
        (metered(0.2), [], "insufficient_data", "not_known_dc"),
        ([], charged(0.2), "insufficient_data", "not_known_ac"),
        (metered(0.2), charged(0.18, until=3000), "insufficient_data", "unmatched_ac"),
        (metered(0.2, until=3000), charged(0.18), "insufficient_data", "unmatched_dc"),
        (metered(0.2), charged(0.18, until=3240), "good", "rated"),  # a share of 0.9
        (metered(0.2), charged(0.18, until=3180), "insufficient_data", "unmatched_ac"),
    ],
)
def test_what_is_not_known_is_not_rated(
    meters: list[Row], vehicles: list[Row], status: str, reason: str
) -> None:
    row = efficiency(meters, vehicles)["V1"]
    assert (row["status"], row["reason"]) == (status, reason)
    assert (row["efficiency_percent"] is None) == (row["loss_kwh"] is None) == (status != "good")


def test_each_status_has_one_reason_or_more_and_each_reason_a_sentence() -> None:
    assert len(STATUSES) == len(set(STATUSES))
    assert all(sentence for sentence in REASONS.values())


def test_limits_come_from_the_settings() -> None:
    eager = EnergySettings(
        _env_file=None,
        excellent_above_percent=87,
        good_from_percent=80,
        warning_from_percent=76,
        implausible_below_percent=70,
    )
    assert rated(10.0, 8.0, eager)[0] == "good"
    assert rated(10.0, 6.9, eager) == ("implausible", "below_floor")
    assert rated(0.0, 0.0, EnergySettings(_env_file=None, idle_below_kwh=0))[0] == "implausible"


@pytest.mark.parametrize(
    ("charger_class", "kwh_dc", "status"),
    [
        ("household", 7.7, "good"),
        ("household", 7.0, "warning"),
        ("household", 4.5, "critical"),  # its floor is 40 %
        ("household", 9.1, "excellent"),  # a limit that the class does not have is that of all
        ("fast", 9.1, "good"),
        ("fast", 7.7, "critical"),
        ("fast", 4.5, "implausible"),
        ("nobody described", 7.7, "critical"),
    ],
)
def test_a_charger_class_has_its_own_limits(charger_class: str, kwh_dc: float, status: str) -> None:
    assert rated(10.0, kwh_dc, HOUSEHOLD, classes={"M1": charger_class})[0] == status


@pytest.mark.parametrize(
    ("kwh", "classes", "charger_class"),
    [
        ((0.1, 0.3), {"M1": "fast", "M2": "household"}, "household"),
        ((0.3, 0.1), {"M1": "fast", "M2": "household"}, "fast"),
        ((0.2, 0.2), {"M1": "household", "M2": "fast"}, "household"),  # the first by id
        ((0.1, 0.3), {"M1": "fast"}, None),
        ((0.0, None), {"M1": "fast", "M2": "household"}, "fast"),
    ],
)
def test_a_vehicle_has_the_class_of_the_meter_that_gave_it_the_most(
    kwh: tuple[float, float | None], classes: dict[str, str], charger_class: str | None
) -> None:
    ranges: list[Range] = [(m, "V1", HOUR_10, HOUR_11, "link") for m in ("M2", "M1")]
    meters = metered(kwh[0]) + metered(kwh[1], meter_id="M2")
    row = efficiency(meters, charged(0.31), ranges, classes=classes, settings=HOUSEHOLD)["V1"]
    assert row["charger_class"] == charger_class


@pytest.mark.parametrize(
    ("kwh_ac", "kwh_dc", "status"),
    [(1.1, 0.0, "idle"), (1.3, 0.0, "implausible"), (1.1, 0.048, "idle"), (1.1, 0.96, "good")],
)
def test_the_stand_by_of_a_day_is_idle_and_a_small_charge_is_not(
    kwh_ac: float, kwh_dc: float, status: str
) -> None:
    day, end = range(300, 86401, 300), HOUR_10 + DAY
    meters = [meter(t, kwh_ac / 288) for t in day]
    vehicles = [vehicle(t, kwh_dc / 288) for t in day]
    assert efficiency(meters, vehicles, end=end)["V1"]["status"] == status


# ---- readings that lack something


def test_heartbeats_without_energy_are_data_points_and_change_no_energy() -> None:
    """State of charge half a minute after each energy, in heartbeats of its own."""
    between = [vehicle(t + 30, None, soc=50.0) for t in range(0, 3600, 60)]
    row = efficiency(metered(0.2), charged(0.18) + between)["V1"]
    assert (row["status"], row["efficiency_percent"]) == ("good", 90.0)
    assert (row["data_points_vehicle"], row["coverage_dc"]) == (120, 1.0)


@pytest.mark.parametrize("every", [5, 3])
def test_lost_heartbeats_are_never_a_failing_charger(every: int) -> None:
    meters = metered(0.12)
    sent = charged(0.11)
    # One of five is as regular as a slow device.
    heard = sent[::5] if every == 5 else [row for n, row in enumerate(sent) if n % 3]
    row = efficiency(meters, heard)["V1"]
    assert row["status"] in {"insufficient_data", "implausible"}
    declared = [{**row, "interval_seconds": 60.0} for row in heard]
    row = efficiency(meters, declared)["V1"]
    assert (row["status"], row["reason"]) == ("insufficient_data", "unmatched_ac")
    assert row["efficiency_percent"] is None
    assert row["matched_energy_dc_kwh"] / row["matched_energy_ac_kwh"] == pytest.approx(11 / 12)


@pytest.mark.parametrize(("seed", "lost"), [(seed, 0.05) for seed in range(5)])
def test_a_few_lost_heartbeats_change_no_ratio(seed: int, lost: float) -> None:
    chance = np.random.default_rng(seed)
    meters, vehicles = (
        [row for row in rows if chance.random() >= lost] for rows in (metered(0.2), charged(0.184))
    )
    row = efficiency(meters, vehicles)["V1"]
    if row["reason"] == "rated":
        assert row["efficiency_percent"] == pytest.approx(92, abs=0.01)


def test_a_car_that_sleeps_while_nothing_flows_costs_nothing() -> None:
    meters = metered(0.2, until=1800) + metered(0.0, since=1800)
    row = efficiency(meters, charged(0.18, until=1800))["V1"]
    assert (row["status"], row["matched_share_ac"]) == ("good", 1.0)
    assert row["longest_gap_seconds"] == 1800.0


def test_a_linked_vehicle_without_a_heartbeat_has_a_row() -> None:
    row = efficiency(metered(0.2), [])["V1"]
    assert (row["status"], row["energy_ac_kwh"]) == ("insufficient_data", 12.0)
    assert (row["energy_dc_kwh"], row["loss_kwh"], row["coverage_dc"]) == (None, None, 0.0)
    assert (row["data_points_vehicle"], row["longest_gap_seconds"]) == (0, 3600.0)
    assert (row["matched_share_ac"], row["matched_share_dc"]) == (0.0, None)
    assert (row["first_dc"], row["last_dc"]) == (None, None)


def test_energy_that_flowed_before_the_first_heartbeat_has_a_row() -> None:
    """A daily reading of 24 kWh at the end of the day: each hour of it has 1 kWh."""
    daily = [vehicle(86400 * n, 24.0) for n in range(5)]
    row = efficiency([], daily, [])["V1"]
    assert (row["energy_dc_kwh"], row["data_points_vehicle"]) == (1.0, 1)
    row = efficiency([], daily, [], HOUR_11, HOUR_11 + timedelta(hours=1))["V1"]
    assert (row["energy_dc_kwh"], row["data_points_vehicle"]) == (1.0, 0)


# ---- edges of hours


@pytest.mark.parametrize(
    ("step_ac", "step_dc", "shift"),
    [(300, 60, 120), (120, 30, 60), (900, 60, 300), (60, 300, 180), (60, 900, 420), (300, 60, 0)],
)
def test_a_session_that_ends_on_the_hour_leaves_the_hour_after_as_it_was(
    step_ac: int, step_dc: int, shift: int
) -> None:
    """Both sides tell their last energy at most one step after the end."""

    def rows(step: int, kw: float, side: Any) -> list[Row]:
        late = shift if step > 60 else 0
        ends = range(-7200 + late, 10800, step)
        return [side(t, kw * max(0, min(t, 3600) - (t - step)) / 3600) for t in ends]

    meters, vehicles = rows(step_ac, 12.0, meter), rows(step_dc, 11.04, vehicle)
    hour = efficiency(meters, vehicles)["V1"]
    after = efficiency(meters, vehicles, start=HOUR_11, end=HOUR_11 + timedelta(hours=1))["V1"]
    assert (hour["status"], after["status"]) == ("excellent", "idle")
    assert hour["efficiency_percent"] == pytest.approx(92, abs=0.05)
    assert hour["matched_energy_ac_kwh"] == pytest.approx(12.0, abs=0.01)


def test_a_reading_over_the_hour_is_divided_as_the_other_side_was() -> None:
    """The worked example of docs/energy.md."""
    times = [120 + 300 * n for n in range(-3, 24)]
    meters = [
        meter(t, 1.0 if 0 < t <= 3420 + 1 else 0.6 if t == 3720 else 0.0)
        for t in times
        if t <= 3600 * 2
    ]
    vehicles = [vehicle(60 * n, 0.184 if 0 < n <= 60 else 0.0) for n in range(-10, 120)]
    hour = efficiency(meters, vehicles)["V1"]
    assert (hour["energy_ac_kwh"], hour["energy_dc_kwh"]) == (11.76, 11.04)
    assert hour["matched_energy_ac_kwh"] == pytest.approx(12.0, abs=0.61)
    after = efficiency(meters, vehicles, start=HOUR_11, end=HOUR_11 + timedelta(hours=1))["V1"]
    assert (after["energy_ac_kwh"], after["status"]) == (0.24, "idle")
    assert (after["matched_energy_ac_kwh"], after["unmatched_energy_ac_kwh"]) == (0.0, 0.0)


def test_hourly_energies_belong_to_the_hours_before_their_time() -> None:
    meters = [meter(3600 * n, kwh) for n, kwh in enumerate([1.0, 5.0, 2.0, 0.0, 0.0])]
    found = [
        efficiency(meters, [], start=seconds(3600 * n), end=seconds(3600 * n + 3600))["V1"]
        for n in range(-1, 3)
    ]
    assert [row["energy_ac_kwh"] for row in found] == [1.0, 5.0, 2.0, 0.0]


def test_quarter_hourly_registers_on_both_sides_are_rated() -> None:
    meters = [meter(900 * n, 100 + 1.8 * n, reading_type="register") for n in range(-9, 18)]
    vehicles = [vehicle(900 * n, 50 + 1.65 * n, reading_type="register") for n in range(-9, 18)]
    row = efficiency(meters, vehicles)["V1"]
    assert (row["status"], row["efficiency_percent"]) == ("excellent", pytest.approx(100 * 11 / 12))
    assert (row["coverage_ac"], row["data_points_meter"]) == (1.0, 4)


# ---- what is not believed, not placed, or told twice


def test_a_false_zero_blocks_nothing() -> None:
    """Register of the meter, 0 once; the worked example of docs/energy.md."""
    values = [910 + 0.12 * n for n in range(12)]
    values[5] = 0.0
    meters = [meter(60 * n, value, reading_type="register") for n, value in enumerate(values)]
    vehicles = [vehicle(60 * n, 0.11 * n, reading_type="register") for n in range(12)]
    row = efficiency(meters, vehicles)["V1"]
    assert (row["energy_ac_kwh"], row["energy_dc_kwh"]) == (1.32, 1.21)
    assert (row["left_out_ac"], row["left_out_energy_ac_kwh"]) == (1, 0.0)
    assert (row["status"], row["known_ac_seconds"], row["resets"]) == ("excellent", 660.0, 0)


@pytest.mark.parametrize(("side", "reason"), [("ac", "left_out_ac"), ("dc", "left_out_dc")])
def test_a_correction_of_more_than_a_tenth_unrates_and_less_does_not(
    side: str, reason: str
) -> None:
    def corrected(make: Any, kwh: float, drop: float) -> list[Row]:
        return [
            make(60 * n, 25 + kwh * n - (drop if n > 5 else 0.0), reading_type="register")
            for n in range(-9, 61)
        ]

    for drop, expected in ((0.92, reason), (0.5, "rated")):
        kwh = {"ac": 0.0, "dc": 0.0} | {side: drop}
        minutes = 12 if expected != "rated" else 61
        meters = corrected(meter, 0.12, kwh["ac"])[: minutes + 9]
        vehicles = corrected(vehicle, 0.11, kwh["dc"])[: minutes + 9]
        row = efficiency(meters, vehicles)["V1"]
        assert row["reason"] == expected
        assert row[f"left_out_{side}"] == 1


@pytest.mark.parametrize(
    ("unplaced", "reason"), [(1.0, "rated"), (1.34, "unplaced_ac"), (38.4, "unplaced_ac")]
)
def test_energy_of_a_silence_unrates_a_window_if_it_is_more_than_a_tenth(
    unplaced: float, reason: str
) -> None:
    first = meter(-5 * 3600, 1000.0 - unplaced, reading_type="register")
    meters = [first] + [meter(60 * n, 1000 + 0.2 * n, reading_type="register") for n in range(62)]
    row = efficiency(meters, charged(0.18))["V1"]
    assert row["reason"] == reason
    assert row["unplaced_energy_ac_kwh"] == pytest.approx(unplaced)
    assert row["energy_ac_kwh"] == pytest.approx(12 + unplaced)
    assert row["matched_energy_ac_kwh"] == pytest.approx(12)
    assert (row["efficiency_percent"] is None) == (reason != "rated")


def test_unplaced_energy_counts_in_the_hour_of_the_heartbeat_that_tells_it() -> None:
    values = [meter(-62 * 3600, 1000.0, reading_type="register")]
    values += [meter(0, 1038.4, reading_type="register")]
    values += [meter(60, 1038.5, reading_type="register")]
    row = efficiency(values, [])["V1"]
    assert (row["energy_ac_kwh"], row["unplaced_energy_ac_kwh"]) == (38.5, 38.4)
    before = efficiency(values, [], start=seconds(-3600), end=HOUR_10)["V1"]
    assert (before["energy_ac_kwh"], before["unplaced_energy_ac_kwh"]) == (None, 0.0)


@pytest.mark.parametrize(
    ("other", "reason"), [(0.3, "rated"), (2.0, "conflict_ac"), (None, "rated")]
)
def test_two_energies_of_one_time_are_a_conflict_that_unrates_if_it_is_more_than_a_tenth(
    other: float | None, reason: str
) -> None:
    meters = [
        {**row, "conflicting_energy": other if row["timestamp"] == seconds(1800) else None}
        for row in metered(0.2)
    ]
    row = efficiency(meters, charged(0.18))["V1"]
    assert (row["reason"], row["energy_ac_kwh"]) == (reason, 12.0)
    assert row["conflicts_ac"] == (0 if other is None else 1)
    assert row["conflicting_energy_ac_kwh"] == pytest.approx((other or 0.2) - 0.2)


def test_a_conflict_that_the_register_chain_decides_is_none() -> None:
    values = [910 + 0.2 * n for n in range(-5, 65)]
    meters = [meter(60 * n, 910 + 0.2 * n, reading_type="register") for n in range(-5, 65)]
    meters[20] = {**meters[20], "kwh_consumed_ac": 0.0, "conflicting_energy": values[20]}
    row = efficiency(meters, charged(0.18))["V1"]
    assert (row["conflicts_ac"], row["left_out_ac"], row["energy_ac_kwh"]) == (0, 0, 12.0)


def test_a_register_that_stands_still_while_the_other_side_moves_is_implausible() -> None:
    for meters, vehicles in (
        (metered(0.2), charged(7.0, reading_type="register")),
        (metered(7.0, reading_type="register"), charged(0.2)),
    ):
        row = efficiency(meters, vehicles)["V1"]
        assert (row["status"], row["reason"]) == ("implausible", "one_side_only")


# ---- phases and several meters


def phased(minute: int, phases: Mapping[str, float], **other: Any) -> list[Row]:
    return [meter(60 * minute, kwh, phase=name, **other) for name, kwh in phases.items()]


PHASES = {"L1": 0.04, "L2": 0.05, "L3": 0.03}


def test_the_phases_of_one_moment_add_up_and_are_one_data_point() -> None:
    meters = [row for n in range(-10, 75) for row in phased(n, PHASES, duplicates=1)]
    row = efficiency(meters, charged(0.11))["V1"]
    assert (row["energy_ac_kwh"], row["data_points_meter"], row["duplicates"]) == (7.2, 60, 180)
    assert (row["conflicts_ac"], row["known_ac_seconds"]) == (0, 3600.0)
    assert (row["status"], row["efficiency_percent"]) == ("excellent", pytest.approx(100 * 11 / 12))


def test_a_meter_is_known_only_where_all_its_phases_are() -> None:
    two = {name: PHASES[name] for name in ("L1", "L2")}
    meters = [row for n in range(1, 61) for row in phased(n, PHASES if n <= 30 else two)]
    row = efficiency(meters, charged(0.11))["V1"]
    assert row["known_ac_seconds"] == 1800.0
    assert row["energy_ac_kwh"] == pytest.approx(3.6 + 2.7)
    assert row["reason"] == "unmatched_ac"


def test_a_phase_that_fell_silent_a_day_ago_is_no_part_of_its_meter() -> None:
    two = {name: PHASES[name] for name in ("L1", "L2")}
    old = [row for n in range(-10, 1) for row in phased(n - 25 * 60, PHASES)]
    meters = old + [row for n in range(-10, 75) for row in phased(n, two)]
    silent: list[Range] = [(f"M{n}", f"V{n}", *LINKED[0][2:4], "link") for n in (8, 9)]
    for links in (LINKED, [*LINKED, *silent]):
        row = efficiency(meters, charged(0.085), links)["V1"]
        assert (row["known_ac_seconds"], row["reason"]) == (3600.0, "rated")


def test_several_meters_are_known_where_all_of_them_are() -> None:
    """The worked example of docs/energy.md."""
    both: list[Range] = [(m, "V1", *LINKED[0][2:4], "link") for m in ("M1", "M2")]
    silent = range(1000, 1900)
    second = [row for row in metered(0.06, meter_id="M2")]
    second = [row for row in second if (row["timestamp"] - HOUR_10).total_seconds() not in silent]
    row = efficiency(metered(0.06) + second, charged(0.11), both)["V1"]
    assert (row["known_ac_seconds"], row["known_dc_seconds"]) == (2700.0, 3600.0)
    assert row["energy_ac_kwh"] == pytest.approx(6.3)
    assert row["matched_energy_ac_kwh"] == pytest.approx(5.4)
    assert row["matched_energy_dc_kwh"] == pytest.approx(4.95)
    assert row["reason"] == "unmatched_ac"
    row = efficiency(metered(0.06) + metered(0.06, meter_id="M2"), charged(0.11), both)["V1"]
    assert (row["status"], row["coverage_ac"]) == ("excellent", 1.0)
    assert (row["link_source"], row["meter_ids"]) == ("link", ["M1", "M2"])


# ---- links


def test_a_vehicle_without_a_link_is_unmapped() -> None:
    row = efficiency(metered(1.0), charged(0.9), [])["V1"]
    assert (row["status"], row["reason"]) == ("unmapped", "no_link")
    assert (row["link_source"], row["meter_ids"]) == (None, [])
    assert (row["energy_ac_kwh"], row["energy_dc_kwh"]) == (None, 54.0)


def test_a_link_cuts_a_reading_by_time() -> None:
    """A quarter of an hour of 3.0: A has it to 08:05, B from 08:10 on, and nobody between."""
    moves: list[Range] = [
        ("M1", "A", HOUR_10, seconds(300), "heartbeat"),
        ("M1", "B", seconds(600), seconds(900), "heartbeat"),
    ]
    meters = metered(3.0, step=900)
    found = tables(meters, [], moves)
    assert found.vehicles["energy_ac_kwh"].to_list() == [1.0, 1.0]
    assert found.chargers["energy_ac_kwh"].to_list() == [12.0]
    assert found.chargers["unlinked_energy_ac_kwh"].to_list() == [10.0]


def test_a_meter_that_moves_within_the_hour_gives_each_vehicle_its_part() -> None:
    moves: list[Range] = [
        ("M1", "V1", HOUR_10, seconds(1230), "link"),
        ("M1", "V2", seconds(1230), HOUR_11, "heartbeat"),
    ]
    vehicles = charged(0.18) + charged(0.18, vehicle_id="V2")
    rows = efficiency(metered(0.2), vehicles, moves)
    assert rows["V1"]["energy_ac_kwh"] == 4.1
    assert rows["V2"]["energy_ac_kwh"] == 7.9
    assert rows["V1"]["data_points_meter"] + rows["V2"]["data_points_meter"] == 60
    assert rows["V1"]["known_ac_seconds"] == 1230.0


def test_a_link_holds_from_its_first_moment_and_not_at_its_end() -> None:
    row = efficiency(metered(0.2), [], [("M1", "V1", seconds(600), seconds(1200), "link")])["V1"]
    assert (row["data_points_meter"], row["energy_ac_kwh"]) == (10, 2.0)
    assert row["coverage_ac"] == pytest.approx(600 / 3600)


def test_the_known_time_of_one_vehicle_does_not_run_on_into_the_next() -> None:
    rows = efficiency([], [vehicle(1800, 0.1, "V1"), vehicle(1860, 0.1, "V2")], [])
    assert [row["known_dc_seconds"] for row in rows.values()] == [60.0, 60.0]


# ---- the fleet


def fleet_of(meters: list[Row], vehicles: list[Row], ranges: list[Range]) -> list[dict[str, Any]]:
    found = tables(meters, vehicles, ranges)
    return fleet_efficiency(found.vehicles.lazy(), found.chargers.lazy()).collect().to_dicts()


def test_the_fleet_is_rated_by_sums_over_believable_ratios_only() -> None:
    ranges = [(f"M{n}", f"V{n}", HOUR_10, HOUR_11, "link") for n in range(1, 5)]
    meters = [
        row
        for n, kwh in ((1, 0.1), (2, 0.3), (3, 0.2), (9, 0.05))
        for row in metered(kwh, meter_id=f"M{n}")
    ]
    vehicles = [
        row
        for n, kwh in ((1, 0.095), (2, 0.21), (3, 0.3), (5, 0.1))
        for row in charged(kwh, vehicle_id=f"V{n}")
    ]
    (fleet,) = fleet_of(meters, vehicles, ranges)
    assert fleet == {
        "hour_start": HOUR_10,
        "energy_ac_kwh": 36.0,  # all that is linked, also of the implausible V3
        "energy_dc_kwh": 36.3,
        "rated_energy_ac_kwh": 24.0,  # V1 excellent, V2 critical
        "rated_energy_dc_kwh": 18.3,
        "loss_kwh": 5.7,
        "efficiency_percent": pytest.approx(76.25),  # and not the mean of 95 % and 70 %
        "unlinked_energy_ac_kwh": 3.0,
        "vehicles": 5,
        **{f"vehicles_{status}": 0 for status in STATUSES},
        "vehicles_excellent": 1,
        "vehicles_critical": 1,
        "vehicles_implausible": 1,
        "vehicles_insufficient_data": 1,
        "vehicles_unmapped": 1,
    }


# ---- properties


@patiently
@given(meter_rows(), vehicle_rows(), exclusive_links(), charged_at)
def test_a_few_vehicles_have_the_rows_of_the_tables(
    meters: list[Row], vehicles: list[Row], ranges: list[Range], classes: dict[str, str]
) -> None:
    ac = measure_side(
        readings(METER, meters).collect(), METER, HOUSEHOLD, charger_classes(classes).collect()
    )
    dc = measure_side(readings(VEHICLE, vehicles).collect(), VEHICLE, HOUSEHOLD)
    links = [Link(*one) for one in ranges]
    few = rows_of_few(facts_of_few(ac, dc, links, HOUR_10, HOUR_11), links, classes, HOUSEHOLD)
    both = tables(meters, vehicles, ranges, classes=classes, settings=HOUSEHOLD)
    own = {row["vehicle_id"]: row for row in both.vehicles.drop("hour_start").to_dicts()}
    times = ("hour_start", "first_ac", "last_ac", "first_dc", "last_dc")
    assert few.keys() == own.keys()
    for vehicle, row in own.items():
        shown = {name: value for name, value in row.items() if name not in times}
        assert {name: few[vehicle][name] for name in shown} == shown


@patiently
@given(meter_rows(), vehicle_rows(), exclusive_links(), charged_at, st.integers(1, 3599))
def test_facts_of_a_few_vehicles_in_parts_merge_to_those_of_the_whole(
    meters: list[Row],
    vehicles: list[Row],
    ranges: list[Range],
    classes: dict[str, str],
    middle: int,
) -> None:
    meters = [{**row, "phase": None} for row in meters]
    ac = measure_side(readings(METER, meters).collect(), METER, HOUSEHOLD)
    dc = measure_side(readings(VEHICLE, vehicles).collect(), VEHICLE, HOUSEHOLD)
    links = [Link(*one) for one in ranges]
    edges = (HOUR_10, seconds(middle), HOUR_11)
    parts = [facts_of_few(ac, dc, links, *part) for part in itertools.pairwise(edges)]
    merged = rows_of_few(merged_few(parts, HOUR_10, HOUR_11), links, classes, HOUSEHOLD)
    whole = facts_of_few(ac, dc, links, HOUR_10, HOUR_11)
    assert merged == rows_of_few(whole, links, classes, HOUSEHOLD)


@patiently
@given(meter_rows(), vehicle_rows(), exclusive_links(), st.data())
def test_running_facts_of_a_vehicle_are_the_facts_of_any_window(
    meters: list[Row], vehicles: list[Row], ranges: list[Range], data: st.DataObject
) -> None:
    meters = [{**row, "phase": None} for row in meters]
    ac = measure_side(readings(METER, meters).collect(), METER, HOUSEHOLD)
    dc = measure_side(readings(VEHICLE, vehicles).collect(), VEHICLE, HOUSEHOLD)
    links = [Link(*one) for one in ranges]
    running = running_few(ac, dc, links, HOUR_10, HOUR_11)
    alone = [running.of_vehicle(number) for number in range(len(running.vehicles))]
    for _ in range(5):
        edges = st.integers(0, 3600 * 1_000_000)  # in the middle of readings as well
        first, last = sorted(data.draw(st.lists(edges, min_size=2, max_size=2, unique=True)))
        start, end = (HOUR_10 + timedelta(microseconds=edge) for edge in (first, last))
        whole = facts_of_few(ac, dc, links, start, end)
        found = [running.between(start, end)]
        if alone:
            found.append(joined_few([one.between(start, end) for one in alone]))
        for facts in found:
            assert facts.vehicles == whole.vehicles
            assert facts.packed.tolist() == whole.packed.tolist()
            assert facts.given == whole.given


def test_a_clock_that_stood_years_ago_moves_no_energy_of_a_large_fleet() -> None:
    """Times of all devices lie on one axis, which has no room for 50 years of each."""
    fleet = [f"M{n:05}" for n in range(7_000)]
    old = {
        "meter_id": "M00001",
        "timestamp": datetime(1971, 1, 1, tzinfo=UTC),
        "kwh_consumed_ac": 9.0,
    }
    meters = [
        {"meter_id": meter, "timestamp": seconds(60 * minute), "kwh_consumed_ac": 0.1}
        for meter in fleet
        for minute in (1, 2)
    ]
    vehicle = {"vehicle_id": "V1", "timestamp": seconds(90), "kwh_delivered_dc": 0.1}
    last = (fleet[-1], "V1", HOUR_10, HOUR_11, "link")
    found = tables([old, *meters], [vehicle], [last])
    assert found.vehicles["energy_ac_kwh"].to_list() == [0.2]
    assert found.vehicles["data_points_meter"].to_list() == [2]
    assert set(found.chargers["energy_ac_kwh"]) == {0.2}
    rows = readings(METER, [old, *meters]).collect()
    energies = energy_of_devices(
        rows, METER, SETTINGS, charger_classes({}).collect(), HOUR_10, HOUR_11
    )
    assert set(energies["energy_kwh"]) == {0.2}


@patiently
@given(meter_rows(), vehicle_rows(), exclusive_links(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_no_bit(
    meters: list[Row], vehicles: list[Row], ranges: list[Range], random: Any
) -> None:
    before = tables(meters, vehicles, ranges)
    for rows in (meters, vehicles, ranges):
        random.shuffle(rows)
    after = tables(meters, vehicles, ranges)
    assert after.vehicles.equals(before.vehicles)
    assert after.chargers.equals(before.chargers)


@patiently
@given(meter_rows(), vehicle_rows(), exclusive_links())
def test_all_meter_energy_is_credited_once_or_unlinked(
    meters: list[Row], vehicles: list[Row], ranges: list[Range]
) -> None:
    found = tables(meters, vehicles, ranges)
    measured = found.chargers["energy_ac_kwh"].fill_null(0).sum()
    for fleet in fleet_of(meters, vehicles, ranges):
        assert fleet["energy_ac_kwh"] + fleet["unlinked_energy_ac_kwh"] == pytest.approx(measured)
        assert fleet["vehicles"] == sum(fleet[f"vehicles_{status}"] for status in STATUSES)


def test_thousands_of_readings_in_few_groups_give_the_same_bits_each_time() -> None:
    kwh = [0.1 + n % 97 / 997 for n in range(200_000)]
    frame = pl.LazyFrame({"group": [n % 3 for n in range(200_000)], "kwh": kwh})
    query = frame.group_by("group").agg(exact_sum(pl.col("kwh"))).sort("group")
    first = query.collect()
    assert all(query.collect().equals(first) for _ in range(10))
