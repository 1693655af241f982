"""Stretches of an hour: where they begin and end, and that they add up to the hour."""

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake import HOUR, METER, VEHICLE
from lake.energy.efficiency import efficiency_of_window
from lake.energy.exact import exact_sum
from lake.schema.charging_stretch import CHARGING_STRETCH_HOURLY
from lake.schema.fact_columns import FACT_COLUMNS
from lake.sessions.stretches import charging_stretches
from tests.unit.energy_recomputation import HOUR_10, Row, charger_classes, links, readings
from tests.unit.energy_samples import Range, exclusive_links, meter_rows, patiently, vehicle_rows
from tests.unit.lake.sessions.samples import (
    SETTINGS,
    at,
    by_rule,
    heartbeats,
    minutes,
    tables_of_hours,
)

ADDED = [
    "energy_ac_kwh",
    "energy_dc_kwh",
    "data_points_meter",
    "data_points_vehicle",
    "resets",
    "duplicates",
    "battery_temp_sum",
    "battery_temp_count",
    *(c.name for c in FACT_COLUMNS if not c.name.startswith(("first", "last", "inner_gap"))),
]


def parts(rows: pl.DataFrame) -> list[tuple[object, ...]]:
    return rows.select("begins", "ends", "evidence").rows()


@patiently
@given(meter_rows(), vehicle_rows(), exclusive_links())
def test_the_stretches_of_an_hour_cut_it_and_add_up_to_it(
    meters: list[Row], vehicles: list[Row], ranges: list[Range]
) -> None:
    frames = readings(METER, meters).collect(), readings(VEHICLE, vehicles).collect()
    linked = links(ranges).collect(), charger_classes({"M1": "fast"}).collect()
    found = efficiency_of_window(*frames, *linked, HOUR_10, HOUR_10 + HOUR, SETTINGS)
    rows = charging_stretches(found, frames[1], *linked, SETTINGS)
    assert rows.select(CHARGING_STRETCH_HOURLY.key).is_unique().all()
    own = rows.group_by("vehicle_id").agg(
        pl.col("begins").min(),
        pl.col("ends").max(),
        length=(pl.col("ends") - pl.col("begins")).sum(),
        **{name: exact_sum(pl.col(name).fill_null(0).cast(pl.Float64)) for name in ADDED},
    )
    for part in own.iter_rows(named=True):
        assert (part["begins"], part["ends"]) == (HOUR_10, HOUR_10 + HOUR)
        assert part["length"] == HOUR
        (hour,) = found.tables.vehicles.filter(vehicle_id=part["vehicle_id"]).to_dicts()
        for name in ADDED:
            assert part[name] == pytest.approx(hour[name] or 0, abs=1e-10), name


def test_a_charge_over_hours_is_cut_where_energy_begins_and_ceases() -> None:
    fleet = heartbeats([(8.5, 10.25)], 7, 11, soc=50.0, battery_temp=20.0)
    stretches, _ = tables_of_hours(*fleet, [by_rule(0, 24)], 7, 12)
    assert parts(stretches) == [
        (at(8), at(8.5), None),
        (at(8.5), at(9), "ac+dc"),
        (at(9), at(10), "ac+dc"),
        (at(10), at(10.25), "ac+dc"),
        (at(10.25), at(11), None),
    ]
    charging = stretches.filter(pl.col("evidence").is_not_null())
    assert charging["energy_ac_kwh"].to_list() == pytest.approx([3.6, 7.2, 1.8])
    assert charging["peak_power_ac_kw"].to_list() == pytest.approx([7.2] * 3)
    assert charging["charging_seconds"].sum() == 105 * 60
    assert charging["battery_temp_max"].to_list() == [20.0] * 3


def test_a_charger_that_stands_by_does_not_charge_however_coarse_its_readings() -> None:
    meters, vehicles = heartbeats([], 8, 10, stand_by_kwh=0.0005)
    coarse = [
        {**row, "kwh_consumed_ac": 0.01 if n % 20 == 0 else 0.0} for n, row in enumerate(meters)
    ]
    for own in (meters, coarse):
        stretches, _ = tables_of_hours(own, vehicles, [by_rule(0, 24)], 8, 10)
        assert stretches.is_empty()


def test_a_vehicle_that_counts_in_coarse_steps_charges_all_the_time() -> None:
    steps = [
        {
            "vehicle_id": "V1",
            "timestamp": moment,
            "kwh_delivered_dc": 0.1 if n % 5 == 4 else 0.0,
        }
        for n, moment in enumerate(minutes(8, 9))
    ]
    stretches, _ = tables_of_hours([], steps, [], 8, 9)
    assert parts(stretches) == [(at(8), at(8 + 4 / 60), None), (at(8 + 4 / 60), at(9), "dc")]
    assert stretches["energy_dc_kwh"].sum() == pytest.approx(1.2)


def test_a_state_of_charge_that_rises_is_charging_only_where_no_energy_is_known() -> None:
    def vehicle(energy: float | None) -> list[Row]:
        return [
            {
                "vehicle_id": "V1",
                "timestamp": moment,
                "kwh_delivered_dc": energy,
                "soc": 50.0 + max(0, n - 10) // 5,
            }
            for n, moment in enumerate(minutes(8, 9))
        ]

    stretches, _ = tables_of_hours([], vehicle(None), [], 8, 9)
    assert parts(stretches) == [
        (at(8), at(8.25), None),
        (at(8.25), at(8 + 56 / 60), "soc"),
        (at(8 + 56 / 60), at(9), None),
    ]
    assert stretches.select("soc_from", "soc_to").row(1) == (50.0, 59.0)
    assert tables_of_hours([], vehicle(0.0), [], 8, 9)[0].is_empty()


def test_energy_after_a_silence_is_a_stretch_that_says_since_when() -> None:
    register = [
        {"vehicle_id": "V1", "timestamp": moment, "kwh_delivered_dc": value}
        for moment, value in [(at(7), 9.5), (at(8), 10.0), (at(10.5), 30.0), (at(10.75), 30.0)]
    ]
    rows = [{**row, "reading_type": "register"} for row in register]
    stretches, _ = tables_of_hours([], rows, [], 8, 11)
    late = stretches.filter(pl.col("evidence").is_not_null()).row(-1, named=True)
    assert (late["begins"], late["silent_since"]) == (at(10.5), at(8))
    assert late["ends"] - late["begins"] == timedelta(microseconds=1)
    assert late["energy_dc_kwh"] == late["unplaced_energy_dc_kwh"] == 20.0


@patiently
@given(st.integers(0, 59), st.integers(1, 59))
def test_a_stretch_is_cut_where_a_link_begins_or_ends(start: int, length: int) -> None:
    fleet = heartbeats([(7, 11)], 7, 11)
    since, until = at(8) + timedelta(minutes=start), at(8) + timedelta(minutes=start + length)
    link = ("M1", "V1", since, until, "link")
    stretches, _ = tables_of_hours(*fleet, [link], 8, 10)
    bounds = {*stretches["begins"], *stretches["ends"]}
    assert {since, until} <= bounds
    linked = stretches.filter(pl.col("link_source") == "link")
    assert linked["begins"].min() == since
    assert linked["ends"].max() == until
    assert linked["meter_ids"].to_list() == [["M1"]] * linked.height
