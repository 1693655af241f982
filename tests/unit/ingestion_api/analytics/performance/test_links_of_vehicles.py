"""The links of an answer where heartbeats name meters."""

import itertools
from datetime import datetime

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from ingestion_api.analytics.performance import readings as module
from ingestion_api.analytics.performance.vehicle_context import VehicleContext
from ingestion_api.rest.parameters import Period
from lake import VEHICLE, EnergySettings
from lake.energy import Link, uncontested_links
from lake.reads import Readings
from tests.unit.energy_recomputation import HOUR_10, HOUR_11, Row, readings, seconds
from tests.unit.energy_samples import METERS, VEHICLES, naming_rows, patiently

SETTINGS = EnergySettings(_env_file=None)

Range = tuple[str, str, datetime, datetime]


def context_of(asked: list[str], links: list[Range], pairs: dict[str, str]) -> VehicleContext:
    names = ("meter_id", "vehicle_id", "valid_from", "valid_to")
    rows = [dict(zip(names, link, strict=True)) for link in links]
    everyone, period = list(VEHICLES), Period(start=HOUR_10, end=HOUR_11)
    linked_to = {meter: set(VEHICLES) for meter in METERS}
    context = VehicleContext(
        everyone, period, everyone, list(METERS), rows, pairs, linked_to, {}, {}, {}, {}, {}
    )
    return context.only(asked)


def of_vehicles(rows: list[Row]) -> dict[str, Readings]:
    frame = readings(VEHICLE, rows).sort("vehicle_id", "timestamp").collect()
    return {
        name: Readings.from_rows(frame.filter(pl.col("vehicle_id") == name), VEHICLE)
        for name in VEHICLES
    }


@patiently
@given(
    naming_rows(),
    st.lists(st.sampled_from(VEHICLES), min_size=1, unique=True),
    st.dictionaries(st.sampled_from(VEHICLES), st.sampled_from(METERS), max_size=1),
    st.booleans(),
    st.booleans(),
)
def test_who_alone_names_a_meter_has_the_links_of_all_claims_together(
    rows: list[Row], asked: list[str], pairs: dict[str, str], is_linked: bool, is_own: bool
) -> None:
    if is_own:  # each names a meter of its own, if any: with others only links and pairs interfere
        own = dict(zip(VEHICLES, (*METERS, "M8", "M9"), strict=False))
        rows = [{**row, "meter_id": row["meter_id"] and own[row["vehicle_id"]]} for row in rows]
    links = [(METERS[0], VEHICLES[1], HOUR_10, HOUR_11)] if is_linked else []
    context, vehicles = context_of(sorted(asked), links, pairs), of_vehicles(rows)
    found, _ = module._named_links(context, vehicles, SETTINGS)
    assert sorted(found) == sorted(module._resolved_links(context, vehicles, SETTINGS))


@patiently
@given(st.lists(st.sampled_from([1, 60, 60, 60, 299, 300, 301]), max_size=30), st.integers(-2, 1))
def test_who_always_names_a_meter_has_the_link_of_all_claims_together(
    steps: list[int], days: int
) -> None:
    times = itertools.accumulate(steps, initial=days * 86_400 + 3_000)
    rows: list[Row] = [
        {"vehicle_id": "V1", "timestamp": seconds(at), "meter_id": "M1", "kwh_delivered_dc": 0.1}
        for at in times
    ]
    context, vehicles = context_of(["V1"], [], {}), of_vehicles(rows)
    found, _ = module._named_links(context, vehicles, SETTINGS)
    assert sorted(found) == sorted(module._resolved_links(context, vehicles, SETTINGS))


@patiently
@given(naming_rows(hours=3))
def test_a_name_that_nobody_contests_links_as_long_as_it_holds(rows: list[Row]) -> None:
    rows = [{**row, "meter_id": row["meter_id"] and "M" + row["vehicle_id"]} for row in rows]
    vehicles = of_vehicles(rows)
    names = pl.concat([module._names(name, vehicles[name]) for name in VEHICLES])
    alone = uncontested_links(names.lazy(), HOUR_10, HOUR_11, SETTINGS).collect()
    together = module._resolved_links(context_of([*VEHICLES], [], {}), vehicles, SETTINGS)
    assert [Link(*row) for row in alone.rows()] == sorted(together)
