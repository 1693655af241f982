"""Random readings and links for property tests."""

import itertools
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from lake import METER, VEHICLE, EnergySettings
from lake.energy.efficiency import EfficiencyTables, efficiency_of_window
from lake.schema.streams import REGISTER
from tests.unit.energy_recomputation import (
    HOUR_10,
    HOUR_11,
    Row,
    charger_classes,
    links,
    readings,
    seconds,
)

Range = tuple[str, str, datetime, datetime, str]

# A machine that is busy with other tests is no fault of the mathematics.
patiently = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])

METERS = ("M1", "M2", "M3")
VEHICLES = ("V1", "V2", "V3")

# The classes of some of the meters.
charged_at = st.dictionaries(st.sampled_from(METERS), st.sampled_from(["household", "fast", "new"]))


def tables(
    meters: Iterable[Row],
    vehicles: Iterable[Row],
    ranges: Iterable[Range],
    start: datetime = HOUR_10,
    end: datetime = HOUR_11,
    classes: Mapping[str, str] | None = None,
    settings: EnergySettings | None = None,
) -> EfficiencyTables:
    """The rows of vehicles and chargers; what is not in the window is context."""
    return efficiency_of_window(
        readings(METER, meters).collect(),
        readings(VEHICLE, vehicles).collect(),
        links(ranges).collect(),
        charger_classes(classes or {}).collect(),
        start,
        end,
        settings or EnergySettings(_env_file=None),
    ).tables


@st.composite
def meter_rows(draw: st.DrawFn, hours: int = 1) -> list[Row]:
    """Readings of three meters, from 20 minutes before 10:00, in any order."""
    rows: list[Row] = []
    for meter in METERS:
        rows += [
            {"meter_id": meter, **row, "kwh_consumed_ac": row["energy"]}
            for row in draw(_device_rows(hours))
        ]
    return draw(st.permutations(rows))


@st.composite
def vehicle_rows(draw: st.DrawFn, hours: int = 1) -> list[Row]:
    """Readings of three vehicles."""
    rows: list[Row] = []
    for vehicle in VEHICLES:
        for row in draw(_device_rows(hours)):
            rows.append(
                {
                    "vehicle_id": vehicle,
                    **row,
                    "kwh_delivered_dc": row["energy"],
                    "battery_temp": draw(st.none() | st.integers(-200, 500).map(lambda t: t / 10)),
                }
            )
    return draw(st.permutations(rows))


_CHANGES: list[dict[str, Any]] = [
    *[{}] * 6,
    *({"meter_id": meter} for meter in (None, *METERS)),
    *({"kwh_delivered_dc": energy} for energy in (None, 0.0, 0.1, 0.1)),
]


@st.composite
def naming_rows(draw: st.DrawFn, hours: int = 1) -> list[Row]:
    """Heartbeats of three vehicles that name meters, seldom changing, and charge now and then."""
    rows: list[Row] = []
    for vehicle in VEHICLES:
        at = draw(st.integers(-900, 0))
        now: dict[str, Any] = {"meter_id": None, "kwh_delivered_dc": None}
        step = 0
        while at < hours * 3600 + 600:
            now = now | draw(st.sampled_from(_CHANGES))
            rows.append({"vehicle_id": vehicle, "timestamp": seconds(at), **now})
            # Two long steps in a row are those of a slow vehicle, whose names hold longer.
            steps = [60, 60, 60, 45, 180, 300, *([301, 700] if step <= 300 else [])]
            step = draw(st.sampled_from(steps))
            at += step
    return draw(st.permutations(rows))


@st.composite
def exclusive_links(draw: st.DrawFn) -> list[Range]:
    """Links in which a meter feeds one vehicle at a time; a vehicle may have several meters."""
    result: list[Range] = []
    for meter in METERS:
        moments = sorted(draw(st.sets(st.integers(-10, 70).map(lambda m: m * 60), max_size=4)))
        for since, until in itertools.pairwise(moments):
            vehicle = draw(st.sampled_from([None, "V1", "V1", "V2"]))
            source = draw(st.sampled_from(["link", "heartbeat", "rule"]))
            if vehicle:
                result.append((meter, vehicle, seconds(since), seconds(until), source))
    return result


@st.composite
def _device_rows(draw: st.DrawFn, hours: int) -> list[Row]:
    """Readings of one device: a steady or a random cadence; intervals, a register, or both."""
    last = hours * 3600 + 120
    cadence = draw(st.sampled_from([None, 20, 60, 61, 600]))
    if cadence is None:
        offsets = sorted(draw(st.sets(st.integers(-1200, last), max_size=25)))
    else:
        first = draw(st.integers(-1200, last))
        offsets = list(range(first, last, cadence))[:30]
    kinds = draw(st.sampled_from([["interval"], ["register"], ["interval", "register"]]))
    state = draw(st.integers(0, 1000))
    rows: list[Row] = []
    for offset in offsets:
        kind = draw(st.sampled_from(kinds))
        # Hundredths of a kWh: growth, standstill, noise, a reset.
        step = draw(st.sampled_from([0, 1, 12, 20, -3, -15, -16, None, "reset"]))
        energy: float | None = None
        if kind == REGISTER and step is not None:
            state = draw(st.integers(0, 5)) if isinstance(step, str) else max(state + step, 0)
            energy = state / 100
        elif isinstance(step, int):
            energy = abs(step) / 100
        rows.append(
            {
                "timestamp": seconds(offset),
                "reading_type": kind,
                "energy": energy,
                "duplicates": draw(st.integers(0, 2)),
            }
        )
    return rows
