"""A long-lived reader and its caches give what the lake says."""

import math
from dataclasses import fields
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from lake import (
    HOUR,
    METER,
    REGISTER,
    VEHICLE,
    EnergySettings,
    Lake,
    append_once,
    compact_hour,
    hour_of,
    read_delivered_horizon,
    replace_hours,
    scan_context,
    scan_heartbeats,
)
from lake.energy.interval_energy import measured_energy
from lake.energy.single_vehicle.energy import MeasuredReadings, measure_energy
from lake.energy.single_vehicle.readings import Readings
from lake.reads.device_reader import DeviceReader
from lake.reads.hour_index import HourIndex
from lake.schema.history import history_table
from lake.upkeep.archive import archive_day
from tests.samples import HOUR_10, meter_rows, vehicle_rows

ENERGY = EnergySettings(register_lookback_hours=6)
END = HOUR_10 + HOUR
MINUTE = timedelta(minutes=1)
DEVICES = ["A", "B", "C"]
HEARTBEAT = st.builds(
    lambda device, minutes, kwh, kind: {
        "meter_id": device,
        "timestamp": END - timedelta(minutes=minutes),
        "kwh_consumed_ac": kwh,
        "reading_type": kind,
    },
    st.sampled_from(DEVICES),
    st.integers(1, 600),
    st.sampled_from([None, 0.5, 1.25, 100.0]),
    st.sampled_from(["interval", REGISTER]),
)
STEPS = st.lists(
    st.one_of(
        st.lists(HEARTBEAT, min_size=1, max_size=20),
        st.integers(0, 10),  # compact so many hours before the last one
        st.sampled_from(["archive the day", "index an hour"]),
    ),
    min_size=3,
    max_size=8,
)
WINDOWS = st.lists(
    st.tuples(st.integers(1, 300), st.sets(st.sampled_from(DEVICES), min_size=1)),
    min_size=2,
    max_size=2,
)


# Each example writes a lake: what fails is told as it is, without a search for something smaller.
@settings(max_examples=5, derandomize=True, phases=[Phase.generate])
@given(STEPS, WINDOWS)
def test_a_reader_that_keeps_what_it_read_agrees_with_one_that_keeps_nothing(
    steps: list[list[dict[str, object]] | int | str], windows: list[tuple[int, set[str]]]
) -> None:
    with TemporaryDirectory() as folder:
        lake = Lake(folder)
        lake.create_tables()
        reader = DeviceReader(lake, 50_000, HourIndex(lake, Path(folder), 8))
        dirty: set[datetime] = set()
        for step in steps:
            if isinstance(step, list):
                before = read_delivered_horizon(lake, METER, "test").horizon
                append_once(lake, METER, meter_rows(*step), "test", before + 1, before)
                dirty |= {hour_of(moment) for moment in _times(step)}
            elif step == "archive the day":
                archive_day(lake, history_table(METER), HOUR_10.date())
            elif step == "index an hour":
                reader.index_next_hour(END)
            elif isinstance(step, int):
                compact_hour(lake, METER, HOUR_10 - step * HOUR)
                dirty.discard(HOUR_10 - step * HOUR)
            for minutes, devices in windows:
                window = END - timedelta(minutes=minutes), END
                kept, fresh = (
                    _kept(reader, devices, dirty, *window),
                    _fresh(lake, devices, dirty, *window),
                )
                assert_frame_equal(kept, fresh)
                for device in devices:
                    alone = fresh.filter(pl.col("meter_id") == device)
                    found = _alone(reader, device, dirty, *window)
                    assert found.energy_kwh.tolist() == pytest.approx(
                        alone["energy_kwh"].fill_null(math.nan).to_list(), abs=0, nan_ok=True
                    )
                    assert (found.readings.at == alone["timestamp"].to_physical().to_numpy()).all()
                    assert found.readings.duplicates.tolist() == alone["duplicates"].to_list()


def test_hours_that_were_read_ahead_are_not_read_again(lake: Lake, tmp_path: Path) -> None:
    append_once(lake, METER, meter_rows({"meter_id": "A", "timestamp": HOUR_10}), "test", 1, 0)
    reader = DeviceReader(lake, 1_000_000, HourIndex(lake, tmp_path, 26))
    reader.snapshot().preload(METER, {HOUR_10})
    assert lake.local_folder
    for file in lake.local_folder.rglob("*.parquet"):
        file.unlink()
    assert _alone(reader, "A", {HOUR_10}, HOUR_10, END).readings.at.size == 1


def test_an_indexed_hour_is_what_its_file_says_without_a_look_at_it(
    lake: Lake, tmp_path: Path
) -> None:
    rows: list[dict[str, object]] = [
        {"timestamp": HOUR_10, "meter_id": None, "battery_temp": None, "kwh_delivered_dc": 0.1},
        {"timestamp": HOUR_10 + MINUTE, "meter_id": "M|ä", "battery_temp": 31.5},
        {"timestamp": HOUR_10 + MINUTE, "meter_id": "M|ä", "battery_temp": 31.5},
        {"timestamp": HOUR_10 + 2 * MINUTE, "kwh_delivered_dc": None, "reading_type": REGISTER},
        {"timestamp": HOUR_10 + HOUR, "meter_id": "other", "kwh_delivered_dc": 1 / 3},
        {"timestamp": HOUR_10 + HOUR, "kwh_delivered_dc": 0.5, "interval_seconds": 0.1},
    ]
    of_another = {"vehicle_id": "B", "timestamp": HOUR_10, "meter_id": "third"}
    every = vehicle_rows(of_another, *({"vehicle_id": "A", **row} for row in rows))
    append_once(lake, VEHICLE, every, "test", 1, 0)
    for hour in (HOUR_10, HOUR_10 + HOUR):
        compact_hour(lake, VEHICLE, hour)
    readers = [
        DeviceReader(lake, 0, HourIndex(lake, tmp_path, hours_indexed)) for hours_indexed in (26, 0)
    ]
    for reader in readers:
        while reader.index_next_hour(END + HOUR):
            pass
    plain = _of_vehicle(readers[1], "A")
    assert lake.local_folder
    for file in lake.local_folder.rglob("*.parquet"):
        file.unlink()
    indexed = _of_vehicle(readers[0], "A")
    for field in fields(Readings):
        one, other = getattr(indexed, field.name), getattr(plain, field.name)
        if isinstance(one, np.ndarray):
            assert _same(one, other)
        else:
            assert one.equals(other)
    assert indexed.at.size == 4
    assert indexed.duplicates.tolist() == [0, 1, 0, 1]
    assert indexed.names is not None
    assert indexed.names.to_list() == [None, "M|ä", None, None]
    assert indexed.details is not None
    assert indexed.details.row(3) == (0.1, None, 1, 1 / 3)
    assert _of_vehicle(readers[0], "unheard-of").at.size == 0


def test_an_hour_that_is_compacted_anew_is_indexed_anew_and_an_old_one_forgotten(
    lake: Lake, tmp_path: Path
) -> None:
    folder = tmp_path / "index"
    folder.mkdir()
    reader = DeviceReader(lake, 0, HourIndex(lake, folder, 2))
    for count in (1, 2):
        row = {"meter_id": "A", "timestamp": HOUR_10 + count * MINUTE}
        append_once(lake, METER, meter_rows(row), "test", count, count - 1)
        compact_hour(lake, METER, HOUR_10)
        assert reader.index_next_hour(END)
        assert not reader.index_next_hour(END)
        assert reader.indexed_hours == 1
        assert _alone(reader, "A", set(), HOUR_10, END).readings.at.size == count
    assert not reader.index_next_hour(END + 3 * HOUR)
    assert reader.indexed_hours == 0
    assert _alone(reader, "A", set(), HOUR_10, END).readings.at.size == 2
    assert not list(folder.iterdir())


def test_what_has_gone_from_the_lake_is_not_told_any_more(lake: Lake, tmp_path: Path) -> None:
    rows = [{"meter_id": "A", "timestamp": END - HOUR * hours} for hours in (1, 2)]
    append_once(lake, METER, meter_rows(*rows), "test", 1, 0)
    reader = DeviceReader(lake, 1_000_000, HourIndex(lake, tmp_path, 26))
    for hours in (1, 2):
        compact_hour(lake, METER, END - HOUR * hours)
    window = END - 2 * HOUR, END
    assert _alone(reader, "A", set(), *window).readings.at.size == 2
    nothing = pl.DataFrame(history_table(METER).schema.empty_table())
    replace_hours(lake, history_table(METER), nothing, END - 2 * HOUR, END - HOUR)
    assert _alone(reader, "A", set(), *window).readings.at.size == 1


def _of_vehicle(reader: DeviceReader, vehicle: str) -> Readings:
    nothing, window = VEHICLE.arrow_schema.empty_table(), (HOUR_10, END + HOUR)
    return reader.snapshot().readings_of_device(VEHICLE, vehicle, *window, ENERGY, set(), nothing)


def _same(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> bool:
    """In type, values and their absence."""
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _times(rows: list[dict[str, object]]) -> list[datetime]:
    return [row["timestamp"] for row in rows if isinstance(row["timestamp"], datetime)]


def _kept(
    reader: DeviceReader, devices: set[str], dirty: set[datetime], start: datetime, end: datetime
) -> pl.DataFrame:
    nothing = METER.arrow_schema.empty_table()
    found = reader.snapshot().readings(METER, sorted(devices), start, end, ENERGY, dirty, nothing)
    return measured_energy(found.lazy(), METER, start, end, ENERGY).collect()


def _alone(
    reader: DeviceReader, device: str, dirty: set[datetime], start: datetime, end: datetime
) -> MeasuredReadings:
    nothing = METER.arrow_schema.empty_table()
    view = reader.snapshot()
    found = view.readings_of_device(METER, device, start, end, ENERGY, dirty, nothing)
    return measure_energy(found, start, end, ENERGY, None)


def _fresh(
    lake: Lake, devices: set[str], dirty: set[datetime], start: datetime, end: datetime
) -> pl.DataFrame:
    rows = [
        scan_context(lake, METER, start, ENERGY, sorted(devices), dirty),
        scan_heartbeats(lake, METER, start, end, sorted(devices), dirty),
    ]
    return measured_energy(pl.concat(rows), METER, start, end, ENERGY).collect()
