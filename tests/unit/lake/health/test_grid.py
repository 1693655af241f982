"""The voltage at the meters: spread, minutes outside the limits, sags and swells."""

import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake import METER, EnergySettings
from lake.health.grid import grid_health
from lake.schema.grid_health import GRID_HEALTH_HOURLY
from lake.settings import ChargerClass
from tests.unit.energy_recomputation import HOUR_10, HOUR_11, Row, readings, seconds
from tests.unit.energy_samples import METERS, patiently

CLASSES = {"M1": "american", "M2": "depot"}
NOMINAL = {"M1": 120.0, "M2": 230.0, "M3": 230.0}
SETTINGS = EnergySettings(
    _env_file=None,
    charger_classes={"american": ChargerClass(nominal_voltage=120), "depot": ChargerClass()},
)


def voltages(*volts: float | None, meter: str = "M3", since: int = 0, step: int = 60) -> list[Row]:
    return [
        {"meter_id": meter, "timestamp": seconds(since + n * step), "voltage": volt}
        for n, volt in enumerate(volts)
    ]


def health(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    classes = pl.LazyFrame({"meter_id": CLASSES.keys(), "charger_class": CLASSES.values()})
    table = grid_health(readings(METER, rows), classes, HOUR_10, HOUR_11, SETTINGS).collect()
    assert table["meter_id"].is_sorted()
    return {row["meter_id"]: row for row in table.to_dicts()}


def test_an_hour_of_voltages() -> None:
    before = voltages(230.0, since=-60)
    assert health([*before, *voltages(*(230.0 + n for n in range(21)))]) == {
        "M3": {
            "hour_start": HOUR_10,
            "meter_id": "M3",
            "nominal_voltage": 230.0,
            "readings": 21,
            "voltage_min": 230.0,
            "voltage_mean": 240.0,
            "voltage_max": 250.0,
            "voltage_p01": 230.2,
            "voltage_p05": 231.0,
            "voltage_p50": 240.0,
            "voltage_p95": 249.0,
            "voltage_p99": 249.8,
            "minutes_measured": 21.0,
            "minutes_below": 0.0,
            "minutes_above": 0.0,
            "sags": 0,
            "swells": 0,
        }
    }


def test_the_limits_themselves_are_within_the_limits() -> None:
    row = health(voltages(207.0, 206.9, 207.0, 253.0, 253.1, 253.0))["M3"]
    assert (row["minutes_below"], row["minutes_above"]) == (1.0, 1.0)
    assert (row["sags"], row["swells"]) == (1, 1)


def test_the_limits_are_those_of_the_class_of_the_charger() -> None:
    rows = health([*voltages(120.0, meter="M1"), *voltages(120.0, meter="M2")])
    assert [rows[meter]["nominal_voltage"] for meter in ("M1", "M2")] == [120.0, 230.0]
    assert [rows[meter]["sags"] for meter in ("M1", "M2")] == [0, 1]


def test_a_run_is_one_sag_until_the_voltage_is_back() -> None:
    row = health(voltages(200.0, 190.0, None, 195.0, 230.0, 200.0, 260.0, 200.0))["M3"]
    assert (row["sags"], row["swells"]) == (3, 1)
    assert (row["minutes_below"], row["minutes_above"]) == (5.0, 1.0)


def test_a_run_counts_in_the_hour_where_it_begins() -> None:
    assert health(voltages(200.0, 200.0, 200.0, 230.0, since=-60))["M3"]["sags"] == 0
    assert health(voltages(230.0, 200.0, 200.0, 230.0, since=-60))["M3"]["sags"] == 1
    assert health(voltages(200.0, since=3540))["M3"]["sags"] == 1


def test_a_silence_longer_than_the_largest_gap_parts_two_sags() -> None:
    assert health(voltages(200.0, 200.0, step=300))["M3"]["sags"] == 1
    row = health(voltages(200.0, 200.0, step=301))["M3"]
    assert (row["sags"], row["minutes_below"]) == (2, 6.0)


def test_a_meter_without_a_voltage_has_no_row() -> None:
    assert health(voltages(None, None)) == {}
    assert health(voltages(230.0, since=-60)) == {}


def test_the_columns_and_types_are_those_of_the_table() -> None:
    none = pl.LazyFrame(schema={"meter_id": pl.String, "charger_class": pl.String})
    table = grid_health(readings(METER, []), none, HOUR_10, HOUR_11, SETTINGS).collect().to_arrow()
    schema = pa.schema([column.field() for column in GRID_HEALTH_HOURLY.columns])
    assert table.schema.names == schema.names
    assert table.cast(schema).schema.equals(schema)


@st.composite
def voltage_rows(draw: st.DrawFn) -> list[Row]:
    """Voltages of three meters around their limits, from 20 minutes before 10:00."""
    rows: list[Row] = []
    for meter in METERS:
        at = draw(st.integers(-1200, 3600))
        for tenths in draw(st.lists(st.none() | st.sampled_from([8, 9, 10, 11, 12]), max_size=25)):
            volts = None if tenths is None else NOMINAL[meter] * tenths / 10
            rows += voltages(volts, meter=meter, since=at)
            at += draw(st.sampled_from([1, 60, 60, 60, 300, 301, 900]))
    return draw(st.permutations(rows))


def recompute(meter: str, rows: Sequence[Row]) -> dict[str, Any] | None:
    """One meter's row in plain Python, in seconds and with NumPy's percentiles."""
    own = sorted((row for row in rows if row["meter_id"] == meter), key=lambda r: r["timestamp"])
    nominal, largest_gap = NOMINAL[meter], timedelta(minutes=5)
    states = []  # (timestamp, voltage, seconds, low or high) of each reading with a voltage
    for before, row in itertools.pairwise([None, *own]):
        assert row is not None
        time = timedelta(minutes=1)
        hour = row["timestamp"].replace(minute=0, second=0)
        if before and before["timestamp"] >= hour - largest_gap:
            time = row["timestamp"] - before["timestamp"]
        if (volts := row["voltage"]) is not None:
            state = "low" if volts < nominal * 9 / 10 else ""
            state = "high" if volts > nominal * 11 / 10 else state
            states.append((row["timestamp"], volts, min(time, largest_gap), state))
    runs = {"low": 0, "high": 0}
    for n, now in enumerate(states):
        last = states[n - 1] if n else None
        goes_on = last and last[3] == now[3] and now[0] - last[0] <= largest_gap
        if now[3] and not goes_on and HOUR_10 <= now[0] < HOUR_11:
            runs[now[3]] += 1
    inside = [state for state in states if HOUR_10 <= state[0] < HOUR_11]
    if not inside:
        return None
    values = [volts for _, volts, _, _ in inside]

    def total(*wanted: str) -> float:
        return sum(time.total_seconds() for _, _, time, state in inside if state in wanted) / 60

    return {
        "nominal_voltage": nominal,
        "readings": len(values),
        "voltage_min": min(values),
        "voltage_mean": pytest.approx(sum(values) / len(values)),
        "voltage_max": max(values),
        **{
            f"voltage_p{percent:02}": pytest.approx(np.percentile(values, percent), abs=1e-6)
            for percent in (1, 5, 50, 95, 99)
        },
        "minutes_measured": pytest.approx(total("", "low", "high")),
        "minutes_below": pytest.approx(total("low")),
        "minutes_above": pytest.approx(total("high")),
        "sags": runs["low"],
        "swells": runs["high"],
    }


@patiently
@given(voltage_rows(), st.randoms(use_true_random=False))
def test_every_meter_agrees_with_the_recomputation_in_any_order(
    rows: list[Row], random: Any
) -> None:
    table = health(rows)
    expected = {meter: row for meter in METERS if (row := recompute(meter, rows))}
    assert table == {
        meter: {"hour_start": HOUR_10, "meter_id": meter, **row} for meter, row in expected.items()
    }
    random.shuffle(rows)
    assert health(rows) == table
