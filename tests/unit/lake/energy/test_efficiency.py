"""Efficiency and status of vehicles and of the fleet."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake import HOUR, METER, VEHICLE, EnergySettings, Stream
from lake.energy.efficiency import (
    STATUSES,
    fleet_efficiency,
    unlinked_energy,
    vehicle_efficiency,
    with_efficiency,
)
from lake.energy.interval_energy import exact_sum, measured_energy
from lake.schema.catalog import DERIVED_TABLES
from lake.schema.vehicle_efficiency import FLEET_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_HOURLY
from lake.settings import ChargerClass
from tests.unit.energy_recomputation import (
    HOUR_10,
    HOUR_11,
    Row,
    charger_classes,
    links,
    readings,
    recompute_readings,
    recompute_status,
    recompute_vehicle,
    seconds,
)
from tests.unit.energy_samples import (
    VEHICLES,
    charged_at,
    exclusive_links,
    meter_rows,
    patiently,
    vehicle_rows,
    with_context,
)

SETTINGS = EnergySettings(_env_file=None)
MINUTES = range(0, 3600, 60)

Range = tuple[str, str, datetime, datetime, str]
LINKED: list[Range] = [("M1", "V1", HOUR_10, HOUR_11, "link")]


def meter(offset: float, kwh: float | None, meter_id: str = "M1", **other: Any) -> Row:
    return {"meter_id": meter_id, "timestamp": seconds(offset), "kwh_consumed_ac": kwh, **other}


def vehicle(offset: float, kwh: float | None, vehicle_id: str = "V1", **other: Any) -> Row:
    row = {"vehicle_id": vehicle_id, "timestamp": seconds(offset), "kwh_delivered_dc": kwh}
    return {**row, **other}


def measured(stream: Stream, rows: list[Row], start: datetime, end: datetime) -> pl.LazyFrame:
    return measured_energy(readings(stream, rows), stream, start, end, SETTINGS)


def efficiency(
    meters: list[Row],
    vehicles: list[Row],
    ranges: list[Range] | None = None,
    start: datetime = HOUR_10,
    end: datetime = HOUR_11,
    classes: Mapping[str, str] | None = None,
    settings: EnergySettings = SETTINGS,
) -> dict[str, dict[str, Any]]:
    table = vehicle_efficiency(
        measured(METER, meters, start, end),
        measured(VEHICLE, vehicles, start, end),
        links(LINKED if ranges is None else ranges),
        charger_classes(classes or {}),
        start,
        end,
        settings,
    ).collect()
    return {row["vehicle_id"]: row for row in table.to_dicts()}


def hour_of(kwh_ac: float | None, kwh_dc: float | None) -> dict[str, Any]:
    """The row of a vehicle with these energies each minute."""
    meters = [meter(t, kwh_ac) for t in MINUTES]
    return efficiency(meters, [vehicle(t, kwh_dc) for t in MINUTES])["V1"]


def test_an_hour_of_steady_charging() -> None:
    context = [meter(-60, 0.2), meter(3600, 0.2)], [vehicle(-60, 0.18), vehicle(3600, 0.18)]
    meters = [meter(t, 0.2, duplicates=1) for t in MINUTES]
    vehicles = [vehicle(t, 0.176, battery_temp=20.0 if t else None) for t in MINUTES]
    (row,) = efficiency(meters + context[0], vehicles + context[1]).values()
    assert row == {
        "hour_start": HOUR_10,
        "vehicle_id": "V1",
        "energy_ac_kwh": 12.0,
        "energy_dc_kwh": 10.56,
        "loss_kwh": 1.44,
        "efficiency_percent": 88.0,
        "status": "good",
        "charger_class": None,
        "data_points_meter": 60,
        "data_points_vehicle": 60,
        "coverage_ac": pytest.approx(59 / 60),
        "coverage_dc": pytest.approx(59 / 60),
        "matched_share_ac": 1.0,
        "matched_share_dc": 1.0,
        "longest_gap_seconds": 60.0,
        "resets": 0,
        "duplicates": 60,
        "average_battery_temp": 20.0,
        "link_source": "link",
        "meter_ids": ["M1"],
    }


def test_the_columns_and_types_are_those_of_the_tables() -> None:
    window = HOUR_10, HOUR_11
    nothing = measured(METER, [], *window), measured(VEHICLE, [], *window)
    vehicles = vehicle_efficiency(*nothing, links([]), charger_classes({}), *window, SETTINGS)
    unlinked = unlinked_energy(nothing[0], links([]), *window)
    fleet = fleet_efficiency(vehicles, unlinked, SETTINGS)
    for spec, frame in ((VEHICLE_EFFICIENCY_HOURLY, vehicles), (FLEET_EFFICIENCY_HOURLY, fleet)):
        table = frame.collect().to_arrow()
        schema = pa.schema([column.field() for column in spec.columns])
        assert table.schema.names == [column.name for column in spec.columns]
        assert table.cast(schema).schema.equals(schema)
        assert all(column.description for column in spec.columns)
    assert {spec.time_column for spec in DERIVED_TABLES} == {"hour_start", "date"}


def test_nothing_gives_no_vehicles_and_a_fleet_without_energy() -> None:
    assert efficiency([], [], []) == {}
    (fleet,) = fleet_of([], [], [])
    assert (fleet["hour_start"], fleet["vehicles"]) == (HOUR_10, 0)
    assert fleet["energy_ac_kwh"] == fleet["unlinked_energy_ac_kwh"] == fleet["loss_kwh"] == 0
    assert fleet["efficiency_percent"] is None


@pytest.mark.parametrize(
    ("kwh_ac", "kwh_dc", "status", "percent"),
    [
        (10.0, 9.001, "excellent", 90.01),
        (10.0, 9.0, "good", 90.0),
        (10.0, 8.5, "good", 85.0),
        (12.0, 10.2, "good", 85.0),  # floats make a little less of it
        (10.0, 8.499, "warning", 84.99),
        (10.0, 8.0, "warning", 80.0),
        (10.0, 7.999, "critical", 79.99),
        (10.0, 0.001, "critical", 0.01),
        (10.0, 10.0, "excellent", 100.0),
        (10.0, 10.001, "implausible", 100.01),
        (10.0, 0.0, "implausible", 0.0),
        (10.0, -0.2, "implausible", -2.0),
        (0.049, 0.049, "idle", None),
        (0.05, 0.0499, "excellent", 99.8),
        (0.049, 0.05, "implausible", None),
        (0.0, 5.0, "implausible", None),
        (-0.1, 0.0, "idle", None),
        (0.0, None, "idle", None),
        (None, 0.0, "insufficient_data", None),
        (None, None, "insufficient_data", None),
        (10.0, None, "insufficient_data", None),
        (None, 10.0, "insufficient_data", None),
    ],
)
def test_limits_of_every_status(
    kwh_ac: float | None, kwh_dc: float | None, status: str, percent: float | None
) -> None:
    row = {"link_source": "link", "energy_ac_kwh": kwh_ac, "energy_dc_kwh": kwh_dc}
    shares = {"matched_share_ac": 1.0, "matched_share_dc": 1.0}
    assert status_of({**row, **shares}) == recompute_status({**row, **shares}, SETTINGS) == status
    of_hour = efficiency([meter(1800, kwh_ac)], [vehicle(1800, kwh_dc)])["V1"]
    assert of_hour["status"] == status
    assert of_hour["efficiency_percent"] == (percent and pytest.approx(percent, abs=1e-9))


@pytest.mark.parametrize(
    ("share_ac", "share_dc", "status"),
    [
        (0.9, 0.9, "good"),
        (0.899, 1.0, "insufficient_data"),
        (1.0, 0.899, "insufficient_data"),
        (None, None, "good"),
        (0.0, None, "insufficient_data"),
    ],
)
def test_limits_of_the_matched_share(
    share_ac: float | None, share_dc: float | None, status: str
) -> None:
    row = {"link_source": "link", "energy_ac_kwh": 10.0, "energy_dc_kwh": 8.8}
    shares = {"matched_share_ac": share_ac, "matched_share_dc": share_dc}
    assert status_of({**row, **shares}) == recompute_status({**row, **shares}, SETTINGS) == status


def test_what_is_not_known_stands_before_what_is_wrong() -> None:
    row = {
        "link_source": "rule",
        "energy_ac_kwh": 1.0,
        "energy_dc_kwh": 2.0,
        "matched_share_ac": 1.0,
        "matched_share_dc": 1.0,
    }
    assert status_of({**row, "link_source": None}) == "unmapped"
    assert status_of({**row, "matched_share_ac": 0.5}) == "insufficient_data"
    assert status_of(row) == "implausible"
    nothing = {"energy_ac_kwh": 0.0, "energy_dc_kwh": 0.0}
    assert status_of({**row, **nothing, "matched_share_ac": 0.1}) == "idle"


def test_the_limits_come_from_the_settings() -> None:
    household = EnergySettings(
        _env_file=None, excellent_above_percent=87, good_from_percent=80, warning_from_percent=76
    )
    row = {"link_source": "link", "energy_ac_kwh": 10.0, "energy_dc_kwh": 8.0}
    shares = {"matched_share_ac": 1.0, "matched_share_dc": 1.0}
    assert status_of({**row, **shares}, household) == "good"


HOUSEHOLD = EnergySettings(
    _env_file=None,
    charger_classes={
        "household": ChargerClass(good_from_percent=76, warning_from_percent=70),
        "fast": ChargerClass(excellent_above_percent=95),
    },
)


@pytest.mark.parametrize(
    ("charger_class", "kwh_dc", "status"),
    [
        ("household", 7.7, "good"),
        ("household", 7.0, "warning"),
        ("household", 9.1, "excellent"),  # a limit that the class does not have is that of all
        ("fast", 9.1, "good"),
        ("fast", 7.7, "critical"),
        ("nobody described", 7.7, "critical"),
        (None, 7.7, "critical"),
    ],
)
def test_a_charger_class_has_its_own_limits(
    charger_class: str | None, kwh_dc: float, status: str
) -> None:
    row = {"link_source": "link", "energy_ac_kwh": 10.0, "energy_dc_kwh": kwh_dc}
    row |= {"matched_share_ac": 1.0, "matched_share_dc": 1.0, "charger_class": charger_class}
    assert status_of(row, HOUSEHOLD) == recompute_status(row, HOUSEHOLD) == status


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
    meters = [meter(t, k, m) for m, k in zip(("M1", "M2"), kwh, strict=True) for t in MINUTES]
    vehicles = [vehicle(t, 0.31) for t in MINUTES]
    row = efficiency(meters, vehicles, ranges, classes=classes, settings=HOUSEHOLD)["V1"]
    assert row["charger_class"] == charger_class
    assert row["status"] == recompute_status(row, HOUSEHOLD)


@pytest.mark.parametrize(
    ("kwh_ac", "kwh_dc", "status"),
    [
        (1.1, 0.0, "idle"),
        (1.21, 0.0, "implausible"),
        (1.1, 0.05, "critical"),
        (1.1, None, "insufficient_data"),
        (0.04, None, "idle"),
    ],
)
def test_the_stand_by_of_a_day_is_idle_and_a_small_charge_is_not(
    kwh_ac: float, kwh_dc: float | None, status: str
) -> None:
    row = {"link_source": "link", "energy_ac_kwh": kwh_ac, "energy_dc_kwh": kwh_dc}
    row |= {"matched_share_ac": 1.0, "matched_share_dc": 1.0}
    assert status_of(row, window=24 * HOUR) == recompute_status(row, SETTINGS, 24) == status


def test_without_an_idle_limit_nothing_is_still_idle() -> None:
    eager = EnergySettings(_env_file=None, idle_below_kwh=0)
    row = {"link_source": "link", "energy_ac_kwh": 0.0, "energy_dc_kwh": 0.0}
    shares = {"matched_share_ac": None, "matched_share_dc": None}
    assert status_of({**row, **shares}, eager) == "idle"


def test_an_efficiency_over_100_percent_is_shown() -> None:
    row = hour_of(0.1, 0.15)
    assert (row["status"], row["efficiency_percent"]) == ("implausible", pytest.approx(150.0))
    assert row["loss_kwh"] == -3.0


def test_a_vehicle_without_a_link_is_unmapped() -> None:
    row = efficiency([meter(60, 1.0)], [vehicle(60, 0.9)], [])["V1"]
    assert (row["status"], row["link_source"], row["meter_ids"]) == ("unmapped", None, [])
    assert (row["energy_ac_kwh"], row["energy_dc_kwh"]) == (None, 0.9)


def test_a_linked_vehicle_without_a_heartbeat_has_a_row() -> None:
    row = efficiency([meter(t, 0.2) for t in MINUTES], [])["V1"]
    assert (row["status"], row["energy_ac_kwh"]) == ("insufficient_data", 12.0)
    assert (row["energy_dc_kwh"], row["loss_kwh"], row["coverage_dc"]) == (None, None, 0.0)
    assert (row["data_points_vehicle"], row["longest_gap_seconds"]) == (0, 3600.0)
    assert row["matched_share_ac"] == 0.0
    assert row["matched_share_dc"] is None


def test_a_car_that_sleeps_while_nothing_flows_costs_nothing() -> None:
    meters = [meter(t, 0.2 if t <= 1800 else 0.0) for t in range(-60, 3600, 60)]
    awake = [vehicle(t, 0.18) for t in range(-60, 1801, 60)]
    row = efficiency(meters, awake)["V1"]
    assert (row["status"], row["matched_share_ac"]) == ("good", 1.0)
    assert row["longest_gap_seconds"] == 1800.0


def test_a_car_that_is_silent_while_it_charges_does() -> None:
    meters = [meter(t, 0.2) for t in range(-60, 3600, 60)]
    awake = [vehicle(t, 0.18) for t in range(-60, 1801, 60)]
    row = efficiency(meters, awake)["V1"]
    assert row["status"] == "insufficient_data"
    assert row["matched_share_ac"] == pytest.approx(31 / 60)


def test_a_car_that_sends_everything_but_its_energy_says_nothing_about_it() -> None:
    meters = [meter(t, 0.2) for t in range(-60, 3600, 60)]
    half = [vehicle(t, 0.18 if t % 120 else None, soc=50.0) for t in range(-60, 3600, 60)]
    row = efficiency(meters, half)["V1"]
    assert (row["status"], row["data_points_vehicle"]) == ("insufficient_data", 60)
    assert row["coverage_dc"] == pytest.approx(0.5)


def test_a_register_that_freezes_while_the_other_side_moves_is_implausible() -> None:
    meters = [meter(t, 0.2) for t in range(-60, 3600, 60)]
    frozen = [vehicle(t, 7.0, reading_type="register") for t in range(-60, 3600, 60)]
    row = efficiency(meters, frozen)["V1"]
    assert (row["status"], row["efficiency_percent"]) == ("implausible", 0.0)


def test_a_register_closes_a_gap_once_and_in_its_hour() -> None:
    rows = [vehicle(t, 10 + t / 1000, reading_type="register") for t in (-3600, -60, 1800, 3599)]
    assert efficiency([], rows)["V1"]["energy_dc_kwh"] == pytest.approx(3.659)
    assert efficiency([], rows)["V1"]["longest_gap_seconds"] == 3600.0  # no meter reading at all


def test_different_cadences_match() -> None:
    meters = [meter(t, 0.05) for t in range(-15, 3600, 15)]
    vehicles = [vehicle(t, 0.9) for t in range(-100, 3600, 300)]
    row = efficiency(meters, vehicles)["V1"]
    assert row["status"] == "good"
    assert row["matched_share_ac"] == pytest.approx(3500 / 3585, abs=0.002)


def test_a_meter_that_moves_within_the_hour_gives_each_vehicle_its_part() -> None:
    moves: list[Range] = [
        ("M1", "V1", HOUR_10, seconds(1200), "link"),
        ("M1", "V2", seconds(1200), HOUR_11, "heartbeat"),
    ]
    meters = [meter(t, 0.2) for t in range(-60, 3600, 60)]
    vehicles = [vehicle(t, 0.18, v) for v in ("V1", "V2") for t in range(-60, 3600, 60)]
    rows = efficiency(meters, vehicles, moves)
    assert rows["V1"]["energy_ac_kwh"] == pytest.approx(4.0)
    assert rows["V2"]["energy_ac_kwh"] == pytest.approx(8.0)
    assert rows["V1"]["data_points_meter"] + rows["V2"]["data_points_meter"] == 60


def test_a_link_holds_from_its_first_moment_and_not_at_its_end() -> None:
    meters = [meter(t, 0.2) for t in range(-60, 3600, 60)]
    row = efficiency(meters, [], [("M1", "V1", seconds(600), seconds(1200), "link")])["V1"]
    assert (row["data_points_meter"], row["energy_ac_kwh"]) == (10, 2.0)
    assert row["coverage_ac"] == pytest.approx(540 / 3600)


def test_the_known_time_of_one_vehicle_does_not_run_on_into_the_next() -> None:
    rows = efficiency([], [vehicle(1800, 0.1, "V1"), vehicle(1860, 0.1, "V2")], [])
    assert [row["coverage_dc"] for row in rows.values()] == [pytest.approx(60 / 3600)] * 2


def test_a_vehicle_at_several_meters_counts_their_time_once_and_their_energy_each() -> None:
    both: list[Range] = [
        ("M2", "V1", HOUR_10, HOUR_11, "rule"),
        ("M1", "V1", HOUR_10, HOUR_11, "link"),
    ]
    meters = [meter(t, 0.1, m) for m in ("M1", "M2") for t in range(-60, 3600, 60)]
    row = efficiency(meters, [vehicle(t, 0.18) for t in range(-60, 3600, 60)], both)["V1"]
    assert row["energy_ac_kwh"] == 12.0
    assert row["coverage_ac"] == pytest.approx(59 / 60)
    assert (row["link_source"], row["meter_ids"]) == ("link+rule", ["M1", "M2"])


def test_the_readings_of_several_meters_close_each_others_gaps_and_match_each_for_itself() -> None:
    both: list[Range] = [(m, "V1", HOUR_10, HOUR_11, "link") for m in ("M1", "M2")]
    meters = [meter(t, 0.1, "M1") for t in range(-120, 3600, 120)]
    meters += [meter(t, 0.1, "M2") for t in range(-60, 3600, 120)]
    awake = [*range(0, 900, 60), *range(2700, 3600, 60)]
    row = efficiency(meters, [vehicle(t, 0.1) for t in awake], both)["V1"]
    assert row["longest_gap_seconds"] == 1860.0
    # Known DC time: 0 to 840 s, and the largest gap before each reading from 2,700 s on.
    assert row["matched_share_ac"] == pytest.approx((840 + 300 + 840) / 3600, abs=0.02)
    row = efficiency(meters, [vehicle(t, 0.1) for t in range(0, 3600, 60)], both)["V1"]
    assert row["longest_gap_seconds"] == 60.0


def fleet_of(meters: list[Row], vehicles: list[Row], ranges: list[Range]) -> list[dict[str, Any]]:
    window = HOUR_10, HOUR_11
    of_meters, of_vehicles = measured(METER, meters, *window), measured(VEHICLE, vehicles, *window)
    by_vehicle = vehicle_efficiency(
        of_meters, of_vehicles, links(ranges), charger_classes({}), *window, SETTINGS
    )
    unlinked = unlinked_energy(of_meters, links(ranges), *window)
    return fleet_efficiency(by_vehicle, unlinked, SETTINGS).collect().to_dicts()


def test_the_fleet_is_rated_by_sums_over_believable_ratios_only() -> None:
    ranges = [(f"M{n}", f"V{n}", HOUR_10, HOUR_11, "link") for n in range(1, 5)]
    meters = [
        meter(t, kwh, f"M{n}")
        for n, kwh in ((1, 0.1), (2, 0.3), (3, 0.2), (9, 0.05))
        for t in MINUTES
    ]
    vehicles = [
        vehicle(t, kwh, f"V{n}")
        for n, kwh in ((1, 0.095), (2, 0.21), (3, 0.3), (5, 0.1))
        for t in MINUTES
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


@patiently
@given(meter_rows(), vehicle_rows(), exclusive_links(), charged_at)
def test_every_vehicle_agrees_with_the_recomputation(
    meters: list[Row], vehicles: list[Row], ranges: list[Range], classes: dict[str, str]
) -> None:
    rows = efficiency(meters, vehicles, ranges, classes=classes, settings=HOUSEHOLD)
    ac = recompute_readings(meters, METER, HOUR_10, HOUR_11, SETTINGS)
    dc = recompute_readings(vehicles, VEHICLE, HOUR_10, HOUR_11, SETTINGS)
    present = {r.device for r in dc}
    present |= {r[1] for r in ranges if r[2] < HOUR_11 and r[3] > HOUR_10}
    assert list(rows) == sorted(present)
    for name, row in rows.items():
        expected = recompute_vehicle(name, ac, dc, ranges, classes, HOUR_10, HOUR_11)
        for column, value in expected.items():
            assert row[column] == (
                pytest.approx(value, abs=1e-7) if isinstance(value, float) else value
            ), column
        assert row["status"] == recompute_status(row, HOUSEHOLD)


@patiently
@given(meter_rows(), vehicle_rows(), exclusive_links(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_no_bit(
    meters: list[Row], vehicles: list[Row], ranges: list[Range], random: Any
) -> None:
    before = efficiency(meters, vehicles, ranges)
    for rows in (meters, vehicles, ranges):
        random.shuffle(rows)
    assert efficiency(meters, vehicles, ranges) == before


@patiently
@given(meter_rows(), vehicle_rows(), exclusive_links())
def test_all_meter_energy_is_credited_once_or_unlinked(
    meters: list[Row], vehicles: list[Row], ranges: list[Range]
) -> None:
    (fleet,) = fleet_of(meters, vehicles, ranges)
    measured = recompute_readings(meters, METER, HOUR_10, HOUR_11, SETTINGS)
    total = sum(reading.energy or 0.0 for reading in measured)
    assert fleet["energy_ac_kwh"] + fleet["unlinked_energy_ac_kwh"] == pytest.approx(total)
    assert fleet["vehicles"] == sum(fleet[f"vehicles_{status}"] for status in STATUSES)


@patiently
@given(meter_rows(hours=3), vehicle_rows(hours=3), exclusive_links())
def test_the_energies_of_a_day_are_the_sums_of_its_hours(
    meters: list[Row], vehicles: list[Row], ranges: list[Range]
) -> None:
    end = HOUR_10 + timedelta(hours=3)
    whole = efficiency(meters, vehicles, ranges, end=end)
    hours = []
    for n in range(3):
        window = HOUR_10 + timedelta(hours=n), HOUR_10 + timedelta(hours=n + 1)
        hours.append(
            efficiency(
                with_context(meters, METER, *window, SETTINGS),
                with_context(vehicles, VEHICLE, *window, SETTINGS),
                ranges,
                *window,
            )
        )
    for name in VEHICLES:
        for column in ("energy_ac_kwh", "energy_dc_kwh", "data_points_meter", "resets"):
            values = [hour[name][column] for hour in hours if name in hour]
            known = [value for value in values if value is not None]
            if name in whole and whole[name][column] is not None:
                assert round(sum(known), 9) == whole[name][column]
            else:
                assert not known


def test_thousands_of_readings_in_few_groups_give_the_same_bits_each_time() -> None:
    kwh = [0.1 + n % 97 / 997 for n in range(200_000)]
    frame = pl.LazyFrame({"group": [n % 3 for n in range(200_000)], "kwh": kwh})
    query = frame.group_by("group").agg(exact_sum(pl.col("kwh"))).sort("group")
    first = query.collect()
    assert all(query.collect().equals(first) for _ in range(10))


def status_of(row: Row, settings: EnergySettings = SETTINGS, window: timedelta = HOUR) -> str:
    row = {"charger_class": None, **row}
    texts = "link_source", "charger_class"
    schema = {name: pl.String() if name in texts else pl.Float64() for name in row}
    rated = with_efficiency(pl.LazyFrame([row], schema=schema), window, settings)
    return str(rated.collect()["status"].item())
