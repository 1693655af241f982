"""The link of a vehicle that one meter feeds: the short way finds what the way of a fleet finds."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import event, given
from hypothesis import strategies as st

from ingestion_api.analytics.performance.single_meter import single_link
from ingestion_api.analytics.performance.vehicle_context import VehicleContext
from ingestion_api.rest.parameters import Period
from lake import STREAMS, VEHICLE, EnergySettings
from lake.energy.links import named_links, resolve_links
from lake.energy.single_vehicle.links import SeveralMeters
from lake.energy.single_vehicle.readings import Readings
from tests.unit.energy_recomputation import HOUR_10, HOUR_11, Row, readings, seconds
from tests.unit.energy_samples import naming_rows, patiently

SETTINGS = EnergySettings(_env_file=None)
NEAR = HOUR_10 - timedelta(seconds=SETTINGS.largest_gap_seconds)


@st.composite
def explicit_links(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Up to two links of V1 or V2, in which a meter feeds one vehicle at a time."""
    since, until, end = sorted(draw(st.sets(st.integers(-30, 90), min_size=3, max_size=3)))
    ranges = draw(st.sampled_from([[], [], [(since, end)], [(since, until), (until, end)]]))
    is_open = draw(st.booleans())
    return [
        {
            "meter_id": draw(st.sampled_from(["M1", "M2"])),
            "vehicle_id": draw(st.sampled_from(["V1", "V1", "V2"])),
            "valid_from": seconds(60 * first),
            "valid_to": None if is_open and last == end else seconds(60 * last),
        }
        for first, last in ranges
    ]


@st.composite
def steady_names(draw: st.DrawFn) -> list[Row]:
    """Heartbeats of V1 of which most name M1, or none any; with silences."""
    rows: list[Row] = []
    names: list[str | None] = draw(st.sampled_from([["M1", "M1", None], [None]]))
    at = draw(st.integers(-900, 1800))
    while at < 3700:
        name = draw(st.sampled_from(names))
        rows.append({"vehicle_id": "V1", "timestamp": seconds(at), "meter_id": name})
        at += draw(st.sampled_from([60, 60, 60, 300, 301, 1200]))
    return rows


@patiently
@given(
    st.one_of(steady_names(), steady_names(), naming_rows()),
    explicit_links(),
    st.sampled_from([{}, {"V1": "M3"}]),
)
def test_what_is_found_on_the_short_way_are_the_links_that_count(
    rows: list[Row], explicit: list[dict[str, Any]], pairs: dict[str, str]
) -> None:
    explicit = [link for link in explicit if _overlaps(link)]
    rows = [row for row in rows if NEAR <= row["timestamp"] < HOUR_11]
    claims = [
        (link["meter_id"], link["vehicle_id"])
        for link in [*rows, *explicit]
        if link["meter_id"] is not None
    ]
    # What was ever linked otherwise takes no part in the rule.
    linked = {device for claim in claims for device in claim}
    pairs = {v: m for v, m in pairs.items() if v not in linked and m not in linked}
    facts = _facts(explicit, pairs, claims)
    heartbeats = readings(VEHICLE, rows)
    own = heartbeats.filter(pl.col("vehicle_id") == "V1").sort("timestamp").collect()
    try:
        found = single_link(facts, "V1", Readings.from_rows(own, VEHICLE), SETTINGS)
    except SeveralMeters:
        event("the long way")
        return
    event("no link" if found is None else found[1])
    expected = resolve_links(
        facts.link_table.lazy(),
        named_links(heartbeats, SETTINGS),
        facts.pair_table.lazy(),
        HOUR_10,
        HOUR_11,
    )
    table = expected.filter(pl.col("vehicle_id") == "V1").collect()
    meter, source, ranges = found or ("", "", [])
    assert table.select("meter_id", "source", "valid_from", "valid_to").rows() == [
        (meter, source, *since_until) for since_until in ranges
    ]


def _overlaps(link: dict[str, Any]) -> bool:
    until: datetime | None = link["valid_to"]
    return link["valid_from"] < HOUR_11 and (until is None or until > HOUR_10)


def _facts(
    explicit: list[dict[str, Any]], pairs: dict[str, str], claims: list[tuple[str, str]]
) -> VehicleContext:
    meters = {meter for meter, _ in claims} | {*pairs.values()}
    return VehicleContext(
        asked=["V1"],
        period=Period(start=HOUR_10, end=HOUR_11),
        vehicles=["V1", "V2", "V3"],
        meters=sorted(meters),
        links=explicit,
        pairs=pairs,
        linked_to={m: {v for meter, v in claims if meter == m} for m in meters},
        charger_classes={},
        dirty_hours={name: set() for name in STREAMS},
        outbox={name: stream.arrow_schema.empty_table() for name, stream in STREAMS.items()},
    )
