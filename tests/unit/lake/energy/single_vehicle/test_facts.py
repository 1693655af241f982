"""One vehicle and its meter: the short way gives what the way of a whole fleet gives."""

import itertools
from datetime import datetime

import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lake import METER, REGISTER, VEHICLE, EnergySettings, Stream
from lake.energy.efficiency import VEHICLE_FACTS, vehicle_facts
from lake.energy.interval_energy import measured_energy
from lake.energy.single_vehicle.facts import LinkedMeter, facts_of_pair
from lake.energy.single_vehicle.readings import Readings
from tests.unit.energy_recomputation import (
    HOUR_10,
    HOUR_11,
    Row,
    charger_classes,
    links,
    readings,
    seconds,
)
from tests.unit.energy_samples import meter_rows, patiently, vehicle_rows, with_context

WINDOW = HOUR_10, HOUR_11
RANGES = st.one_of(
    st.just([WINDOW]),
    st.lists(st.integers(0, 60), min_size=2, max_size=6, unique=True).map(
        lambda minutes: [
            (seconds(60 * since), seconds(60 * until))
            for since, until in [*itertools.pairwise(sorted(minutes))][::2]
        ]
    ),
)


def _register(minutes: int, state: float) -> Row:
    of_device = {"meter_id": "M1", "timestamp": seconds(60 * minutes), "duplicates": 0}
    return {**of_device, "reading_type": REGISTER, METER.energy: state}


# The last value of a register is from long before the window.
FAR = [_register(-20, 1.0), _register(7, 1.5)]


@settings(patiently, max_examples=40)
@example(FAR, [], 1, None, "link", [WINDOW])
@given(
    meter_rows(),
    vehicle_rows(),
    st.sampled_from([1, 3, 7e6, 1e12]),
    st.sampled_from([None, 4.0, 16.0, 0.2]),
    st.sampled_from(["link", None]),
    RANGES,
)
def test_a_pair_has_the_facts_of_the_fleet_to_the_last_bit(
    meters: list[Row],
    vehicles: list[Row],
    divisor: float,
    register_size: float | None,
    source: str | None,
    ranges: list[tuple[datetime, datetime]],
) -> None:
    limits = EnergySettings(_env_file=None, register_size_kwh=register_size)
    ac, dc = (
        _context(_of_device(rows, stream, device), stream, divisor, limits)
        for rows, stream, device in ((meters, METER, "M1"), (vehicles, VEHICLE, "V1"))
    )
    fed = [("M1", "V1", *since_until, source) for since_until in ranges if source]
    expected = vehicle_facts(
        measured_energy(ac.lazy(), METER, *WINDOW, limits),
        measured_energy(dc.lazy(), VEHICLE, *WINDOW, limits),
        links(fed),
        charger_classes({}),
        *WINDOW,
    ).collect()
    found = facts_of_pair(
        LinkedMeter(Readings.from_rows(ac, METER), ranges, register_size) if fed else None,
        Readings.from_rows(dc, VEHICLE),
        *WINDOW,
        limits,
    )
    assert expected.height == 1 or not fed  # no row of a silent vehicle without a link
    for row in expected.iter_rows(named=True):
        assert repr({name: row[name] for name in found}) == repr(found)
    assert {*found} == {*VEHICLE_FACTS} - {
        "vehicle_id",
        "link_source",
        "meter_ids",
        "charger_class",
    }


def _of_device(rows: list[Row], stream: Stream, device: str) -> list[Row]:
    return [row for row in rows if row[stream.device] == device]


def _context(
    rows: list[Row], stream: Stream, divisor: float, settings: EnergySettings
) -> pl.DataFrame:
    """Readings of the window and its context, with more decimals than microwatt-hours have."""
    found = readings(stream, with_context(rows, stream, *WINDOW, settings))
    return found.with_columns(pl.col(stream.energy) / divisor).sort("timestamp").collect()
