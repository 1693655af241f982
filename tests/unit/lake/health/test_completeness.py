"""Completeness of heartbeats, and the silent devices."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake import METER, VEHICLE, EnergySettings, Stream
from lake.energy import CHARGER_CLASSES
from lake.health.cadence import device_cadences
from lake.health.completeness import heartbeat_completeness
from lake.schema.completeness import HEARTBEAT_COMPLETENESS_HOURLY
from tests.oracle.cadences import NOMINAL, cadence_of
from tests.oracle.rows import micro
from tests.unit.energy_recomputation import HOUR_10, HOUR_11, Row, readings, seconds
from tests.unit.energy_samples import METERS, meter_rows, patiently

SETTINGS = EnergySettings(_env_file=None)
CLASSES = pl.DataFrame(schema=CHARGER_CLASSES)


def of_hour(rows: pl.LazyFrame, expected: pl.LazyFrame, stream: Stream) -> pl.LazyFrame:
    window = HOUR_10, HOUR_11
    cadences = device_cadences(rows.collect(), stream, CLASSES, *window, SETTINGS)
    return heartbeat_completeness(rows, expected, cadences.lazy(), stream, *window, SETTINGS)


def completeness(
    rows: Sequence[Row], expected: Sequence[str], stream: Stream = METER
) -> dict[str, Any]:
    devices = pl.LazyFrame({stream.device: expected}, schema={stream.device: pl.String})
    table = of_hour(readings(stream, rows), devices, stream)
    (row,) = table.collect().to_dicts()
    return row


def heartbeats(device: str, count: int, stream: Stream = METER, **other: Any) -> list[Row]:
    return [{stream.device: device, "timestamp": seconds(n * 60), **other} for n in range(count)]


def test_an_hour_of_a_fleet() -> None:
    rows = [
        *heartbeats("V1", 60, VEHICLE, duplicates=1, received_at=seconds(3700)),
        *heartbeats("V2", 29, VEHICLE, received_at=seconds(9000)),
        *heartbeats("V3", 30, VEHICLE),
    ]
    assert completeness(rows, ["V3", "V5", "V4", "V2", "V1"], VEHICLE) == {
        "hour_start": HOUR_10,
        "stream": "vehicle",
        "devices_expected": 5,
        "heartbeats_expected": 300.0,
        "heartbeats_received": 119,
        "completeness_percent": pytest.approx(100 * 119 / 300),
        "duplicates": 60,
        "devices_heard": 3,
        "devices_silent": 2,
        "silent_devices": ["V4", "V5"],
        "devices_late": 1,
        "last_received_at": seconds(9000),
    }


def test_three_phases_at_a_time_are_one_heartbeat_of_the_meter() -> None:
    rows = [
        {**row, "phase": phase, "duplicates": 1}
        for phase in ("L1", "L2", "L3")
        for row in heartbeats("M1", 60)
    ]
    row = completeness(rows, ["M1"])
    assert (row["heartbeats_received"], row["completeness_percent"]) == (60, 100)
    assert (row["devices_late"], row["duplicates"]) == (0, 180)


def slow(device: str, step: int, *, since: int = -7, until: int = 0) -> list[Row]:
    """Heartbeats each `step` minutes, from so many steps before the hour on."""
    times = [seconds(n * step * 60) for n in range(since, until)]
    return [{"meter_id": device, "timestamp": at, "kwh_consumed_ac": 0.1} for at in times]


def test_of_each_device_as_many_are_expected_as_it_sends() -> None:
    rows = [*slow("M1", 15, until=4), *slow("M2", 5, until=6), *heartbeats("M3", 60)]
    row = completeness(rows, ["M1", "M2", "M3"])
    assert (row["heartbeats_expected"], row["heartbeats_received"]) == (4 + 12 + 60, 4 + 6 + 60)
    assert (row["devices_silent"], row["devices_late"]) == (0, 0)
    row = completeness(slow("M1", 15, until=1), ["M1"])
    assert (row["completeness_percent"], row["devices_late"]) == (25, 1)


def test_a_slow_device_that_falls_silent_is_missed_by_its_own_cadence() -> None:
    rows = [*slow("M1", 15), *slow("M2", 60), *slow("M3", 60, until=-1), *slow("M4", 1440)]
    row = completeness(rows, ["M1", "M2", "M3", "M4"])
    assert row["heartbeats_expected"] == pytest.approx(4 + 1 + 1 + 1 / 24, abs=1e-6)
    # At the end of the hour the last of M2 is two hours old, that of M4 a day and an hour.
    assert row["silent_devices"] == ["M1", "M2", "M3"]


def test_a_device_that_nobody_expected_counts_as_heard_and_over_100_percent() -> None:
    row = completeness([*heartbeats("M1", 60), *heartbeats("NEW", 30)], ["M1"])
    assert (row["completeness_percent"], row["devices_heard"]) == (150.0, 2)
    assert (row["devices_silent"], row["devices_late"]) == (0, 0)


def test_a_silent_hour_names_the_first_hundred_and_counts_all() -> None:
    row = completeness([], [f"M{n:03}" for n in range(249, -1, -1)])
    assert (row["devices_silent"], row["completeness_percent"]) == (250, 0.0)
    assert row["silent_devices"] == [f"M{n:03}" for n in range(100)]
    assert row["last_received_at"] is None


def test_a_lake_without_devices_has_a_row_without_a_percentage() -> None:
    row = completeness([], [])
    assert (row["devices_expected"], row["heartbeats_received"]) == (0, 0)
    assert (row["completeness_percent"], row["silent_devices"]) == (None, [])


def test_the_columns_and_types_are_those_of_the_table() -> None:
    devices = pl.LazyFrame(schema={"meter_id": pl.String})
    table = of_hour(readings(METER, []), devices, METER).collect().to_arrow()
    schema = pa.schema([column.field() for column in HEARTBEAT_COMPLETENESS_HOURLY.columns])
    assert table.schema.names == schema.names
    assert table.cast(schema).schema.equals(schema)


@patiently
@given(
    meter_rows(), st.permutations((*METERS, "M4", "M5")), st.integers(0, 5), st.integers(0, 1000)
)
def test_every_number_agrees_with_the_recomputation(
    rows: list[Row], ids: list[str], expected: int, late: int
) -> None:
    devices = ids[:expected]
    rows = [
        {**row, "received_at": row["timestamp"] + timedelta(seconds=(n * late) % 997)}
        for n, row in enumerate(rows)
    ]
    inside = [row for row in rows if HOUR_10 <= row["timestamp"] < HOUR_11]
    counts = {name: sum(row["meter_id"] == name for row in inside) for name in (*ids, *METERS)}
    of_one, is_due = {}, {}
    for name in devices:
        own = [row for row in rows if row["meter_id"] == name]
        cadence, newest = cadence_of(own, METER, micro(HOUR_10))
        of_one[name] = round(3600e12 / (cadence or NOMINAL)) / 1e6
        since = None if newest is None else micro(HOUR_11) - newest
        is_due[name] = since is None or 2 * since > 3 * (cadence or NOMINAL)
    silent = sorted(name for name in devices if counts[name] == 0 and is_due[name])
    total = sum(of_one.values())
    assert completeness(rows, devices) == {
        "hour_start": HOUR_10,
        "stream": "meter",
        "devices_expected": expected,
        "heartbeats_expected": pytest.approx(total),
        "heartbeats_received": len(inside),
        "completeness_percent": pytest.approx(100 * len(inside) / total) if expected else None,
        "duplicates": sum(row["duplicates"] for row in inside),
        "devices_heard": len({row["meter_id"] for row in inside}),
        "devices_silent": len(silent),
        "silent_devices": silent,
        "devices_late": sum(0 < 2 * counts[name] < of_one[name] for name in devices),
        "last_received_at": max((row["received_at"] for row in inside), default=None),
    }
