"""A lake that an older version has written goes on: what it did not know of is null there."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from lake import (
    HOUR,
    METER,
    VEHICLE,
    Lake,
    Stream,
    compact_hour,
    scan_heartbeats,
    scan_history,
)
from lake.delta.raw_files import RawSnapshot
from lake.history.deduplication import as_history
from lake.reads import DeviceReader, HourIndex
from lake.schema.history import encode_history, history_table
from lake.schema.partitions import with_partition
from tests.harness.raw_table import append_from
from tests.samples import HOUR_10, heartbeats

NEW = ("interval_seconds", "phase", "imported_at", "conflicts", "conflicting_energy")
MINUTE = timedelta(minutes=1)


def older_lake(folder: Path, stream: Stream) -> Lake:
    """A lake with a raw and a compacted heartbeat of 10:00, as the version before has left it."""
    lake = Lake(str(folder))
    rows = pl.DataFrame(heartbeats(stream, [{stream.device: "D1", stream.energy: 0.1}]))
    history = encode_history(as_history(rows.lazy()).collect()).with_columns(
        date=pl.col("timestamp").dt.date()
    )
    raw = with_partition(rows, "timestamp")
    tables = {stream.raw_table: raw, stream.history_table: history}
    for name, content in tables.items():
        known = [column for column in content.columns if column not in NEW]
        by = ["date", "hour"] if name == stream.raw_table else ["date"]
        data = content.select(known).to_arrow()
        write_deltalake(lake.table_uri(name), data, partition_by=by)
        assert not {*NEW} & {
            field.name for field in DeltaTable(lake.table_uri(name)).schema().fields
        }
    return lake


@pytest.mark.parametrize("stream", [METER, VEHICLE], ids=lambda stream: stream.name)
def test_tables_of_the_version_before_are_read_and_written(stream: Stream, tmp_path: Path) -> None:
    lake = older_lake(tmp_path / "lake", stream)
    window = HOUR_10, HOUR_10 + HOUR
    for scan in (
        scan_history(lake, stream, *window),
        scan_heartbeats(lake, stream, *window, dirty_hours={HOUR_10}),
        RawSnapshot(lake, stream, lake.open(stream.raw_table)).scan([HOUR_10]),
    ):
        (row,) = scan.collect().to_dicts()
        assert (row[stream.device], row[stream.energy], row["interval_seconds"]) == (
            "D1",
            0.1,
            None,
        )
    older = scan_history(lake, stream, *window).collect()
    lake.create_tables()
    assert scan_history(lake, stream, *window).collect().equals(older)
    compact_hour(lake, stream, HOUR_10)  # which counts the conflicts
    assert not compact_hour(lake, stream, HOUR_10).changed

    more = {stream.device: "D1", stream.energy: 0.2, "interval_seconds": 60.0, "phase": "L1"}
    rows = heartbeats(stream, [{**more, "timestamp": HOUR_10 + MINUTE}])
    append_from(lake, stream, rows, "test", 1, 0)
    compact_hour(lake, stream, HOUR_10)
    found = scan_history(lake, stream, *window).collect()
    assert found["interval_seconds"].to_list() == [None, 60.0]
    if stream is METER:
        assert found["phase"].to_list() == [None, "L1"]
    seen = lake.scan(lake.open(history_table(stream).name)).collect().sort("timestamp")
    assert seen["interval_seconds"].to_list() == [None, 60.0]
    for hours in (0, 26):  # from the files, and from the index
        reader = DeviceReader(lake, 1_000_000, HourIndex(lake, tmp_path, hours))
        while reader.index_next_hour(HOUR_10 + HOUR):
            pass
        nothing = stream.arrow_schema.empty_table()
        readings, _ = reader.snapshot().readings_of_device(stream, "D1", *window, set(), nothing)
        assert readings.value.tolist() == [0.1, 0.2]
        assert readings.details is not None
        assert readings.details["interval_seconds"].to_list() == [None, 60.0]


def test_a_heartbeat_of_an_older_pack_has_every_column() -> None:
    rows = heartbeats(METER, [{"meter_id": "M1", "kwh_consumed_ac": 0.1}])
    older = rows.drop_columns(["interval_seconds", "phase", "imported_at"])
    assert METER.with_all_columns(older).equals(rows)
    with pytest.raises(pa.ArrowInvalid):
        METER.with_all_columns(older.set_column(2, "kwh_consumed_ac", pa.array(["x"])))


def test_phases_of_one_moment_are_rows_of_their_own(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    lake.create_tables()
    energies = {"L1": 0.04, "L2": 0.05, "L3": 0.03, None: 0.5}
    sent = [
        {
            "meter_id": "M1",
            "timestamp": HOUR_10 + n * MINUTE,
            "phase": phase,
            "kwh_consumed_ac": energy,
        }
        for n in range(2)
        for phase, energy in energies.items()
    ]
    append_from(lake, METER, heartbeats(METER, sent), "test", 1, 0)
    dirty = scan_heartbeats(lake, METER, HOUR_10, HOUR_10 + HOUR, dirty_hours={HOUR_10}).collect()
    compacted = compact_hour(lake, METER, HOUR_10)
    assert (compacted.rows, compacted.duplicates_removed) == (8, 0)
    found = scan_history(lake, METER, HOUR_10, HOUR_10 + HOUR).collect()
    assert found.equals(dirty)
    assert found["phase"].to_list() == [None, "L1", "L2", "L3"] * 2
    assert found["kwh_consumed_ac"].sum() == pytest.approx(1.24)
    assert not compact_hour(lake, METER, HOUR_10).changed
    (tmp_path / "index").mkdir()
    for hours in (0, 26):
        reader = DeviceReader(lake, 1_000_000, HourIndex(lake, tmp_path / "index", hours))
        while reader.index_next_hour(HOUR_10 + HOUR):
            pass
        late = heartbeats(METER, [{**sent[1], "kwh_consumed_ac": 0.06, "received_at": LATE}])
        readings, _ = reader.snapshot().readings_of_device(
            METER, "M1", HOUR_10, HOUR_10 + HOUR, set(), late
        )
        assert readings.at.size == 8
        assert sorted(readings.value.tolist()) == [0.03, 0.03, 0.04, 0.04, 0.05, 0.06, 0.5, 0.5]
        assert readings.details is not None
        assert readings.details["conflicts"].sum() == 1


LATE = HOUR_10 + timedelta(hours=9)
