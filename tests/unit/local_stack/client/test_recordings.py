"""Recording files become the heartbeats that devices would send."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.recordings import ColumnMapping
from local_stack.client.recordings import RecordedRow, recorded_heartbeats
from local_stack.errors import RecordingError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def parquet(folder: Path, **columns: object) -> Path:
    file = folder / "recording.parquet"
    pq.write_table(pa.table(columns), file)
    return file


def text(folder: Path, name: str, content: str) -> Path:
    file = folder / name
    file.write_text(content, encoding="utf-8")
    return file


def read(
    file: Path, meaning: ColumnMapping | None = None, order_by: str | None = None
) -> list[RecordedRow]:
    return list(recorded_heartbeats(file, meaning or ColumnMapping(), order_by))


def test_the_columns_of_the_lake_become_the_fields_of_a_heartbeat(tmp_path: Path) -> None:
    file = parquet(
        tmp_path,
        vehicle_id=["VEH001"],
        timestamp=[NOON],
        kwh_delivered_dc=[0.5],
        soc=[40.0],
        battery_temp=[21.5],
        meter_id=["METER001"],
        reading_type=["register"],
        duplicates=[3],
    )
    assert read(file) == [
        RecordedRow(
            1,
            {
                "vehicleId": "VEH001",
                "timestamp": "2026-03-01T12:00:00+00:00",
                "kwhDeliveredDc": 0.5,
                "soc": 40.0,
                "batteryTemp": 21.5,
                "meterId": "METER001",
                "readingType": "register",
            },
        )
    ]


def test_the_names_of_the_json_are_understood_as_well(tmp_path: Path) -> None:
    file = text(
        tmp_path, "a.csv", "meterId,timestamp,kwhConsumedAc\nM1,2026-03-01T12:00:00Z,0.25\n"
    )
    (record,) = read(file)
    assert record.heartbeat == {
        "type": "meter",
        "meterId": "M1",
        "timestamp": "2026-03-01T12:00:00Z",
        "kwhConsumedAc": 0.25,
    }


def test_a_null_is_left_out_and_never_a_zero(tmp_path: Path) -> None:
    file = parquet(tmp_path, meter_id=["M1", "M1"], timestamp=[NOON, NOON], voltage=[230.0, None])
    assert [("voltage" in record.heartbeat) for record in read(file)] == [True, False]


def test_a_foreign_column_is_renamed_and_gets_the_reading_type(tmp_path: Path) -> None:
    file = parquet(tmp_path, car=["V1"], timestamp=[NOON], charge_energy_added_kwh=[1.5])
    renames = {"charge_energy_added_kwh": "kwh_delivered_dc", "car": "vehicleId"}
    (record,) = read(file, ColumnMapping(renames=renames, reading_type="register"))
    assert record.heartbeat["kwhDeliveredDc"] == 1.5
    assert record.heartbeat["readingType"] == "register"


def test_rows_keep_the_order_of_the_file_or_get_that_of_a_column(tmp_path: Path) -> None:
    file = parquet(
        tmp_path,
        meter_id=["A", "B", "C"],
        timestamp=[NOON] * 3,
        voltage=[1.0, 2.0, 3.0],
        source_row=[10, 9, None],
    )
    assert [record.row for record in read(file)] == [1, 2, 3]
    assert [record.row for record in read(file, order_by="source_row")] == [2, 1, 3]


def test_numbers_in_a_csv_are_ordered_as_numbers(tmp_path: Path) -> None:
    rows = "".join(f"M1,2026-03-01T12:00:00Z,1,{number}\n" for number in (10, 9, 100))
    file = text(tmp_path, "a.csv", f"meter_id,timestamp,voltage,n\n{rows}")
    assert [record.row for record in read(file, order_by="n")] == [2, 1, 3]


def test_times_of_another_zone_stay_the_same_moment(tmp_path: Path) -> None:
    local = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    file = parquet(
        tmp_path,
        meter_id=["M1"],
        timestamp=pa.array([local], pa.timestamp("ns", "Asia/Kolkata")),
        voltage=[1.0],
    )
    (record,) = read(file)
    assert datetime.fromisoformat(str(record.heartbeat["timestamp"])) == NOON


@pytest.mark.parametrize("suffix", ["csv", "parquet", "ndjson"])
def test_times_without_a_zone_are_refused_until_they_are_said_to_be_utc(
    tmp_path: Path, suffix: str
) -> None:
    if suffix == "parquet":
        file = parquet(
            tmp_path, meter_id=["M1"], timestamp=[NOON.replace(tzinfo=None)], voltage=[1.0]
        )
    elif suffix == "csv":
        file = text(tmp_path, "a.csv", "meter_id,timestamp,voltage\nM1,2026-03-01 12:00:00,1\n")
    else:
        line = {"meterId": "M1", "timestamp": "2026-03-01T12:00:00", "voltage": 1}
        file = text(tmp_path, "a.ndjson", json.dumps(line))
    with pytest.raises(RecordingError, match=r"without a zone .* --assume-utc"):
        read(file)
    (record,) = read(file, ColumnMapping(time_zone="UTC"))
    assert datetime.fromisoformat(str(record.heartbeat["timestamp"])) == NOON


def test_ndjson_tells_the_stream_of_each_line_and_the_lines_that_are_no_heartbeat(
    tmp_path: Path,
) -> None:
    lines = [
        '{"meterId": "M1", "timestamp": "2026-03-01T12:00:00Z", "voltage": 230}',
        '{"vehicleId": "V1", "meterId": "M1", "timestamp": "2026-03-01T12:00:00Z", "soc": 5}',
        "",
        "[1, 2]",
        "{broken",
    ]
    found = read(text(tmp_path, "a.ndjson", "\n".join(lines)))
    assert [record.heartbeat.get("vehicleId") for record in found[:2]] == [None, "V1"]
    assert [record.problem for record in found[:2]] == [None, None]
    assert found[2].problem == "not a JSON object"
    assert str(found[3].problem).startswith("not JSON")


def test_what_is_no_number_is_left_for_the_collector_to_refuse(tmp_path: Path) -> None:
    rows = "M1,2026-03-01T12:00:00Z,abc\n007,2026-03-01T12:00:00Z,NaN\n"
    first, second = read(text(tmp_path, "a.csv", f"meter_id,timestamp,voltage\n{rows}"))
    assert first.heartbeat["voltage"] == "abc"
    assert second.heartbeat["meterId"] == "007"
    assert second.heartbeat["voltage"] == "NaN"  # as a text, for JSON has no word for it


def test_one_file_with_both_sides_can_be_sent_as_either(tmp_path: Path) -> None:
    file = parquet(
        tmp_path,
        meter_id=["M1"],
        vehicle_id=["V1"],
        timestamp=[NOON],
        kwh_consumed_ac=[1.0],
        kwh_delivered_dc=[0.9],
    )
    (meter,) = read(file, ColumnMapping(stream="meter"))
    (vehicle,) = read(file, ColumnMapping(stream="vehicle"))
    assert set(meter.heartbeat) == {"type", "meterId", "timestamp", "kwhConsumedAc"}
    assert set(vehicle.heartbeat) == {"type", "vehicleId", "timestamp", "kwhDeliveredDc", "meterId"}
    assert (meter.heartbeat["type"], vehicle.heartbeat["type"]) == ("meter", "vehicle")


@pytest.mark.parametrize(
    ("content", "meaning", "message"),
    [
        ("a,b\n1,2\n", ColumnMapping(), "no meterId for a meter; it has: a, b"),
        ("meter_id,voltage\nM1,2\n", ColumnMapping(), "no timestamp for a meter"),
        (
            "vehicle_id,timestamp\nV1,2026-03-01T12:00:00Z\n",
            ColumnMapping(),
            "no kwhDeliveredDc or soc or batteryTemp for a vehicle",
        ),
        ("a,b\n1,2\n", ColumnMapping(renames={"x": "meter_id"}), "no column x to rename"),
        ("a,b\n", ColumnMapping(), "has no rows"),
        ("", ColumnMapping(), "is empty"),
    ],
)
def test_a_file_that_is_no_recording_says_what_is_missing(
    tmp_path: Path, content: str, meaning: ColumnMapping, message: str
) -> None:
    with pytest.raises(RecordingError, match=message):
        read(text(tmp_path, "a.csv", content), meaning)


def test_a_column_to_order_by_that_is_not_there_is_told(tmp_path: Path) -> None:
    file = text(tmp_path, "a.csv", "meter_id,timestamp,voltage\nM1,2026-03-01T12:00:00Z,1\n")
    with pytest.raises(RecordingError, match="no column x to order by"):
        read(file, order_by="x")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "x", "is not one of .parquet, .csv, .ndjson, .jsonl"),
        ("a.parquet", "no parquet", "can't be read"),
        ("a.ndjson", "{", "the first line of .* is not JSON"),
        ("missing", None, "is not one of"),
        ("missing.csv", None, "can't be read: No such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_line(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    file = tmp_path / name if content is None else text(tmp_path, name, content)
    with pytest.raises(RecordingError, match=message) as error:
        read(file)
    assert "\n" not in str(error.value)
