"""A day of a battery: temperature, state of charge, energy."""

import itertools
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake import VEHICLE, EnergySettings
from lake.health.battery import battery_health, battery_health_in_parts
from lake.schema.battery_health import BATTERY_HEALTH_DAILY
from tests.unit.energy_recomputation import Row, readings
from tests.unit.energy_samples import VEHICLES, patiently

DAY = datetime(2026, 11, 20, tzinfo=UTC)
NEXT_DAY = DAY + timedelta(days=1)
SETTINGS = EnergySettings(_env_file=None)
NO_HOURS: dict[str, list[float | None]] = {}


def heartbeat(
    second: float, soc: float | None = None, temperature: float | None = None, vehicle: str = "V1"
) -> Row:
    at = DAY + timedelta(seconds=second)
    return {"vehicle_id": vehicle, "timestamp": at, "soc": soc, "battery_temp": temperature}


def hours_of(energies: dict[str, list[float | None]]) -> pl.LazyFrame:
    rows = [(vehicle, kwh) for vehicle, values in energies.items() for kwh in values]
    schema = {"vehicle_id": pl.String, "energy_dc_kwh": pl.Float64}
    return pl.LazyFrame(rows, schema=schema, orient="row")


def health(
    rows: Sequence[Row], energies: dict[str, list[float | None]] = NO_HOURS
) -> dict[str, dict[str, Any]]:
    frames = readings(VEHICLE, rows), hours_of(energies)
    table = battery_health(*frames, DAY, NEXT_DAY, SETTINGS).collect()
    assert table["vehicle_id"].is_sorted()
    return {row["vehicle_id"]: row for row in table.to_dicts()}


def test_a_day_of_a_battery() -> None:
    rows = [
        heartbeat(-60, soc=50.0),
        heartbeat(0, soc=50.5, temperature=-1.0),
        heartbeat(60, soc=None, temperature=35.0),
        heartbeat(180, soc=60.5, temperature=46.0),
        heartbeat(30_000, soc=40.5, temperature=60.0),
        heartbeat(30_060),
    ]
    assert health(rows, {"V1": [1.5, None, 2.25], "V2": [1.0]}) == {
        "V1": {
            "date": date(2026, 11, 20),
            "vehicle_id": "V1",
            "readings": 5,
            "temperature_min": -1.0,
            "temperature_mean": 35.0,
            "temperature_max": 60.0,
            "temperature_p05": 4.4,
            "temperature_p50": 40.5,
            "temperature_p95": 57.9,
            "minutes_measured": 5.0,  # 1 + 1 + 2, and 1 after a silence that began hours before
            "minutes_above_35": 3.0,
            "minutes_above_45": 3.0,
            "minutes_above_55": 1.0,
            "minutes_below_0": 1.0,
            "soc_min": 40.5,
            "soc_max": 60.5,
            "soc_first": 50.5,
            "soc_last": 40.5,
            "soc_swing": 20.0,
            "soc_charged": 10.5,
            "soc_discharged": 20.0,
            "energy_dc_kwh": 3.75,
        }
    }


def test_a_battery_that_tells_nothing_has_heartbeats_and_no_values() -> None:
    row = health([heartbeat(0), heartbeat(60)])["V1"]
    assert (row["readings"], row["minutes_measured"]) == (2, 0.0)
    unknown = {name for name, value in row.items() if value is None}
    assert {"temperature_mean", "temperature_p50", "soc_swing", "soc_charged"} <= unknown
    assert "energy_dc_kwh" in unknown


def test_a_state_of_charge_before_the_day_counts_up_to_the_largest_gap() -> None:
    assert health([heartbeat(-300, soc=50.0), heartbeat(0, soc=49.0)])["V1"]["soc_discharged"] == 1
    assert health([heartbeat(-301, soc=50.0), heartbeat(0, soc=49.0)])["V1"]["soc_discharged"] == 0


def test_a_fall_over_a_long_silence_within_the_day_counts() -> None:
    row = health([heartbeat(0, soc=80.0), heartbeat(40_000, soc=30.0)])["V1"]
    assert (row["soc_charged"], row["soc_discharged"]) == (0.0, 50.0)


def test_the_columns_and_types_are_those_of_the_table() -> None:
    frames = readings(VEHICLE, []), hours_of({})
    schema = pa.schema([column.field() for column in BATTERY_HEALTH_DAILY.columns])
    for table in (
        battery_health(*frames, DAY, NEXT_DAY, SETTINGS).collect(),
        battery_health_in_parts(*frames, DAY, NEXT_DAY, SETTINGS),
    ):
        arrow = table.to_arrow()
        assert arrow.schema.names == schema.names
        assert arrow.cast(schema).schema.equals(schema)


@st.composite
def battery_rows(draw: st.DrawFn) -> list[Row]:
    """Heartbeats of three vehicles from before the day on, in any order."""
    rows: list[Row] = []
    tenths = st.none() | st.integers(0, 1000).map(lambda n: n / 10)
    degrees = st.none() | st.sampled_from([-0.1, 0.0, 35.0, 35.1, 45.0, 45.1, 55.0, 55.1])
    for vehicle in VEHICLES:
        at = draw(st.sampled_from([-1200, -301, -300, -60, 0, 70_000]))
        for _ in range(draw(st.integers(0, 20))):
            rows.append(heartbeat(at, draw(tenths), draw(degrees), vehicle))
            at += draw(st.sampled_from([1, 60, 60, 300, 301, 7200]))
    return draw(st.permutations(rows))


def recompute(vehicle: str, rows: Sequence[Row]) -> dict[str, Any] | None:
    """One vehicle's row in plain Python, but for its energy."""
    own = sorted((r for r in rows if r["vehicle_id"] == vehicle), key=lambda r: r["timestamp"])
    own = [row for row in own if row["timestamp"] < NEXT_DAY]
    inside = [row for row in own if row["timestamp"] >= DAY]
    if not inside:
        return None
    minutes = {}
    for n, row in enumerate(own):
        known = own[n - 1]["timestamp"] if n else datetime.min.replace(tzinfo=UTC)
        hour = row["timestamp"].replace(minute=0, second=0)
        is_far = known < hour - timedelta(minutes=5)
        since = timedelta(minutes=1) if is_far else row["timestamp"] - known
        minutes[row["timestamp"]] = min(since, timedelta(minutes=5)) / timedelta(minutes=1)
    warm = [
        (row["battery_temp"], minutes[row["timestamp"]])
        for row in inside
        if row["battery_temp"] is not None
    ]
    degrees = [value for value, _ in warm]
    charges = [(row["timestamp"], row["soc"]) for row in own if row["soc"] is not None]
    steps = [
        now[1] - before[1]
        for before, now in itertools.pairwise(charges)
        if now[0] >= DAY and (before[0] >= DAY or now[0] - before[0] <= timedelta(minutes=5))
    ]
    socs = [soc for at, soc in charges if at >= DAY]

    def near(value: float, known: Sequence[Any]) -> Any:
        return pytest.approx(value, abs=1e-6) if known else None

    return {
        "readings": len(inside),
        "temperature_min": min(degrees, default=None),
        "temperature_mean": near(sum(degrees) / max(len(degrees), 1), degrees),
        "temperature_max": max(degrees, default=None),
        **{
            f"temperature_p{n:02}": near(float(np.percentile(degrees or [0], n)), degrees)
            for n in (5, 50, 95)
        },
        "minutes_measured": pytest.approx(sum(time for _, time in warm)),
        **{
            f"minutes_above_{n}": pytest.approx(sum(time for value, time in warm if value > n))
            for n in (35, 45, 55)
        },
        "minutes_below_0": pytest.approx(sum(time for value, time in warm if value < 0)),
        "soc_min": min(socs, default=None),
        "soc_max": max(socs, default=None),
        "soc_first": socs[0] if socs else None,
        "soc_last": socs[-1] if socs else None,
        "soc_swing": near(max(socs, default=0) - min(socs, default=0), socs),
        "soc_charged": near(sum(step for step in steps if step > 0), socs),
        "soc_discharged": near(-sum(step for step in steps if step < 0), socs),
    }


@patiently
@given(
    battery_rows(),
    st.dictionaries(
        st.sampled_from(VEHICLES), st.lists(st.none() | st.integers(0, 9).map(float), max_size=3)
    ),
    st.randoms(use_true_random=False),
)
def test_every_vehicle_agrees_with_the_recomputation_in_any_order_and_in_parts(
    rows: list[Row], energies: dict[str, list[float | None]], random: Any
) -> None:
    table = health(rows, energies)
    expected = {vehicle: row for vehicle in VEHICLES if (row := recompute(vehicle, rows))}
    assert list(table) == list(expected)
    for vehicle, row in expected.items():
        known = [kwh for kwh in energies.get(vehicle, []) if kwh is not None]
        assert table[vehicle] == {
            "date": DAY.date(),
            "vehicle_id": vehicle,
            **row,
            "energy_dc_kwh": sum(known) if known else None,
        }
    random.shuffle(rows)
    assert health(rows, energies) == table
    frames = readings(VEHICLE, rows), hours_of(energies)
    parts = battery_health_in_parts(*frames, DAY, NEXT_DAY, SETTINGS, vehicles=2)
    assert parts.to_dicts() == list(table.values())
