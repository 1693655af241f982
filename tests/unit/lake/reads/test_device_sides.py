"""The arrays of single devices say what the rows of the history say."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from lake import METER, REGISTER, VEHICLE, EnergySettings, Stream
from lake.energy import CHARGER_CLASSES
from lake.energy.readings import CADENCE, Side, read_side
from lake.reads.device_readings import Readings
from lake.reads.device_sides import side_of_devices
from lake.settings import ChargerClass
from tests.samples import HOUR_10, meter_rows, vehicle_rows

SETTINGS = EnergySettings(
    _env_file=None,
    charger_classes={"slow": ChargerClass(greatest_power_kw=22, cadence_seconds=900)},
)
CLASSES = pl.DataFrame([("B", "slow")], schema=CHARGER_CLASSES, orient="row")
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "device": st.sampled_from("ABC"),
            "minute": st.integers(0, 60),
            "energy": st.sampled_from([None, 0.0, 0.1, 1 / 3, 917.25]),
            "reading_type": st.sampled_from(["interval", REGISTER]),
            "battery_temp": st.sampled_from([None, 21.5, -3.0004]),
        }
    ),
    unique_by=lambda row: (row["device"], row["minute"]),
)


@given(
    ROWS,
    st.sampled_from([METER, VEHICLE]),
    st.dictionaries(st.sampled_from("AB"), st.sampled_from([5.0, 1800.0])),
)
def test_a_side_of_arrays_is_the_side_of_their_rows(
    rows: list[dict[str, Any]], stream: Stream, told: dict[str, float]
) -> None:
    history = _history(rows, stream)
    arrays = side_of_devices(_of_devices(history, stream), stream, SETTINGS, CLASSES, told)
    cadence = pl.col(stream.device).replace_strict(told, default=None, return_dtype=pl.Float64)
    of_rows = read_side(history.with_columns(cadence.alias(CADENCE)), stream, SETTINGS, CLASSES)
    _require_same(arrays, of_rows)


def test_what_the_arrays_of_a_device_don_t_hold_counts_as_in_its_rows() -> None:
    rows = [
        {"device": name, "minute": minute, "energy": 1.0, "reading_type": "interval"}
        for name in "AB"
        for minute in (0, 1, 2)
    ]
    details = pl.DataFrame(
        {
            "interval_seconds": [None, 30.0, None],
            "phase": ["L1", "L1", "L2"],
            "conflicting_energy": [None, None, 1.5],
        }
    )
    history = _history(rows, METER)
    found = _of_devices(history, METER)
    found["A"] = replace(found["A"], details=details)
    every = history.with_columns(pl.concat([details, details.clear(3)]).get_columns())
    side = side_of_devices(found, METER, SETTINGS, CLASSES)
    _require_same(side, read_side(every, METER, SETTINGS, CLASSES))
    assert side.channel_device.tolist() == [0, 0, 1]
    assert side.readings.declared.tolist() == [0, 30_000_000, 0, 0, 0, 0]


def _history(rows: list[dict[str, Any]], stream: Stream) -> pl.DataFrame:
    named = [
        {
            stream.device: row["device"],
            "timestamp": HOUR_10 + timedelta(minutes=row["minute"]),
            stream.energy: row["energy"],
            "reading_type": row["reading_type"],
            **({"battery_temp": row["battery_temp"]} if stream is VEHICLE else {}),
        }
        for row in rows
    ]
    table = meter_rows(*named) if stream is METER else vehicle_rows(*named)
    counted = pl.DataFrame(table).with_columns(duplicates=pl.int_range(pl.len()))
    return counted.sort(stream.device, "timestamp")


def _of_devices(history: pl.DataFrame, stream: Stream) -> dict[str, Readings]:
    return {
        name: Readings.from_rows(history.filter(pl.col(stream.device) == name), stream)
        for name in "CBA"
    }


def _require_same(one: Side, other: Side) -> None:
    for name in Side._fields:
        mine, theirs = getattr(one, name), getattr(other, name)
        if isinstance(mine, pl.Series):
            assert mine.to_list() == theirs.to_list()
        elif isinstance(mine, tuple):
            for column, again in zip(mine, theirs, strict=True):
                np.testing.assert_array_equal(column, again)
        else:
            np.testing.assert_array_equal(mine, theirs)
