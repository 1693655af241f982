"""A long-lived reader and its caches give what the lake says."""

from dataclasses import fields
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import polars as pl
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from lake import (
    DAY,
    HOUR,
    METER,
    REGISTER,
    VEHICLE,
    Lake,
    compact_hour,
    hour_of,
    read_delivered_horizon,
    replace_hours,
    scan_heartbeats,
)
from lake.reads.device_reader import READINGS_THAT_DECIDE, DeviceReader
from lake.reads.device_readings import Readings
from lake.reads.hour_index import HourIndex
from lake.schema.history import history_table
from lake.schema.partitions import microseconds
from lake.upkeep.archive import archive_day
from tests.harness.raw_table import append_from
from tests.samples import HOUR_10, meter_rows, vehicle_rows

END = HOUR_10 + HOUR
EVER = END - 30 * HOUR, END + 30 * HOUR
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
                append_from(lake, METER, meter_rows(*step), "test", before + 1, before)
                dirty |= {hour_of(moment) for moment in _times(step)}
            elif step == "archive the day":
                archive_day(lake, history_table(METER), HOUR_10.date())
            elif step == "index an hour":
                reader.index_next_hour(END)
            elif isinstance(step, int):
                compact_hour(lake, METER, HOUR_10 - step * HOUR)
                dirty.discard(HOUR_10 - step * HOUR)
            for minutes, devices in windows:
                window = END - timedelta(minutes=minutes), END - timedelta(minutes=minutes // 2)
                every = scan_heartbeats(lake, METER, *EVER, sorted(devices), dirty).collect()
                assert_frame_equal(
                    _kept(reader, devices, dirty, *window),
                    every.filter(pl.col("timestamp").is_between(*window, closed="left")),
                    check_row_order=False,
                )
                for device in devices:
                    of_device = every.filter(pl.col("meter_id") == device).sort("timestamp")
                    found = _alone(reader, device, dirty, *window)
                    _require_context(
                        found, Readings.from_rows(of_device, METER), *map(microseconds, window)
                    )


def _require_context(found: Readings, every: Readings, start: int, end: int) -> None:
    """What is found is a range of all there is, with what docs/energy.md names."""
    first = int(np.searchsorted(every.at, found.at[0])) if found.at.size else 0
    every_there = every.rows_at(slice(first, first + found.at.size))
    for name in ("at", "value", "is_register", "duplicates"):
        assert _same(getattr(found, name), getattr(every_there, name))
    hour = 3_600_000_000
    needed = (every.at >= start - hour) & (every.at <= end + hour)
    known = ~np.isnan(every.value)
    for kind in (True, False):
        of_series = np.flatnonzero(known & (every.is_register == kind))
        if (every.at[of_series] > start).any():
            needed[of_series[every.at[of_series] <= start - hour][-READINGS_THAT_DECIDE:]] = True
    after = np.flatnonzero(known & (every.at > end) & (every.at <= end + 24 * hour))
    needed[after[:READINGS_THAT_DECIDE]] = True
    assert set(every.at[needed].tolist()) <= set(found.at.tolist())


def test_the_context_of_a_slow_device_reaches_as_far_back_as_its_readings(
    lake: Lake, tmp_path: Path
) -> None:
    days = [HOUR_10 - 40 * DAY, *(HOUR_10 - n * DAY for n in range(12)), HOUR_10 + 30 * DAY]
    rows = [{"meter_id": "A", "timestamp": day, "kwh_consumed_ac": 1.0} for day in days]
    append_from(lake, METER, meter_rows(*rows), "test", 1, 0)
    for moment in days:
        compact_hour(lake, METER, moment)
    reader = DeviceReader(lake, 1_000_000, HourIndex(lake, tmp_path, 26))
    found = _alone(reader, "A", set(), HOUR_10 - 13 * HOUR, HOUR_10 - 12 * HOUR)
    assert found.at.size >= 1 + READINGS_THAT_DECIDE
    assert found.at[-1] == microseconds(HOUR_10)  # what comes a month later says nothing of it
    silent = _alone(reader, "A", set(), HOUR_10 + 10 * DAY, HOUR_10 + 11 * DAY)
    assert silent.at[-1] == microseconds(HOUR_10 + 30 * DAY)  # no matter how late
    assert (silent.at < microseconds(HOUR_10 + 10 * DAY)).sum() >= READINGS_THAT_DECIDE
    early = _alone(reader, "A", set(), HOUR_10 - 40 * DAY, HOUR_10 - 39 * DAY)
    assert early.at[0] == microseconds(HOUR_10 - 40 * DAY)


def test_hours_that_were_read_ahead_are_not_read_again(lake: Lake, tmp_path: Path) -> None:
    append_from(lake, METER, meter_rows({"meter_id": "A", "timestamp": HOUR_10}), "test", 1, 0)
    reader = DeviceReader(lake, 1_000_000, HourIndex(lake, tmp_path, 26))
    reader.snapshot().preload(METER, {HOUR_10})
    assert lake.local_folder
    for file in lake.local_folder.rglob("*.parquet"):
        file.unlink()
    assert _alone(reader, "A", {HOUR_10}, HOUR_10, END).at.size == 1


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
    append_from(lake, VEHICLE, every, "test", 1, 0)
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
        append_from(lake, METER, meter_rows(row), "test", count, count - 1)
        compact_hour(lake, METER, HOUR_10)
        assert reader.index_next_hour(END)
        assert not reader.index_next_hour(END)
        assert reader.indexed_hours == 1
        assert _alone(reader, "A", set(), HOUR_10, END).at.size == count
    assert not reader.index_next_hour(END + 3 * HOUR)
    assert reader.indexed_hours == 0
    assert _alone(reader, "A", set(), HOUR_10, END).at.size == 2
    assert not list(folder.rglob("*.hour"))


def test_an_hour_is_indexed_once_for_all_processes_and_nothing_stays_after_the_last(
    lake: Lake, tmp_path: Path
) -> None:
    append_from(lake, METER, meter_rows({"meter_id": "A", "timestamp": HOUR_10}), "test", 1, 0)
    compact_hour(lake, METER, HOUR_10)
    one, other, late = (HourIndex(lake, tmp_path, 26) for _ in range(3))
    readers = [DeviceReader(lake, 0, index) for index in (one, other)]
    assert readers[0].index_next_hour(END)
    (left_behind,) = tmp_path.rglob("*.hour")
    one.close()
    assert not left_behind.parent.exists()
    left_behind.parent.mkdir()
    left_behind.write_bytes(b"")  # as after a crash of the machine

    readers[0] = DeviceReader(lake, 0, late)
    assert readers[0].index_next_hour(END)
    made = left_behind.stat()
    assert made.st_size > 0
    assert readers[1].index_next_hour(END)
    assert left_behind.stat().st_ino == made.st_ino
    late.close()
    assert left_behind.exists()
    assert lake.local_folder
    for file in lake.local_folder.rglob("*.parquet"):
        file.unlink()
    assert _alone(readers[1], "A", set(), HOUR_10, END).at.size == 1
    other.close()
    assert not left_behind.parent.exists()


def test_what_has_gone_from_the_lake_is_not_told_any_more(lake: Lake, tmp_path: Path) -> None:
    rows = [{"meter_id": "A", "timestamp": END - HOUR * hours} for hours in (1, 2)]
    append_from(lake, METER, meter_rows(*rows), "test", 1, 0)
    reader = DeviceReader(lake, 1_000_000, HourIndex(lake, tmp_path, 26))
    for hours in (1, 2):
        compact_hour(lake, METER, END - HOUR * hours)
    window = END - 2 * HOUR, END
    assert _alone(reader, "A", set(), *window).at.size == 2
    nothing = pl.DataFrame(history_table(METER).schema.empty_table())
    replace_hours(lake, history_table(METER), nothing, END - 2 * HOUR, END - HOUR)
    assert _alone(reader, "A", set(), *window).at.size == 1


def _of_vehicle(reader: DeviceReader, vehicle: str) -> Readings:
    nothing, window = VEHICLE.arrow_schema.empty_table(), (HOUR_10, END + HOUR)
    return reader.snapshot().readings_of_device(VEHICLE, vehicle, *window, set(), nothing)[0]


def _same(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> bool:
    """In type, values and their absence."""
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _times(rows: list[dict[str, object]]) -> list[datetime]:
    return [row["timestamp"] for row in rows if isinstance(row["timestamp"], datetime)]


def _kept(
    reader: DeviceReader, devices: set[str], dirty: set[datetime], start: datetime, end: datetime
) -> pl.DataFrame:
    nothing = METER.arrow_schema.empty_table()
    return reader.snapshot().heartbeats(METER, sorted(devices), start, end, dirty, nothing)


def _alone(
    reader: DeviceReader, device: str, dirty: set[datetime], start: datetime, end: datetime
) -> Readings:
    nothing = METER.arrow_schema.empty_table()
    return reader.snapshot().readings_of_device(METER, device, start, end, dirty, nothing)[0]
