"""The CSV of `wattlake devices import`, row by row."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from local_stack.cli.device_csv import read_updates
from local_stack.errors import RecordingError
from warehouse_sql.device_attributes import DeviceAttributes
from warehouse_sql.devices import DeviceUpdate

CLASSES = {"household", "fast"}
DEPOTS = ["north"]


def write(folder: Path, text: str) -> Path:
    file = folder / "devices.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_an_empty_cell_keeps_a_value_and_a_word_clears_it(tmp_path: Path) -> None:
    text = (
        "\ufeffretired_at, kind ,device_id,charger_class,\n"
        "2026-03-01T15:30:00+02:00,meter, M 1 ,fast\n"
        "\n"
        "none,vehicle,V1\n"
        ",meter,M2,none,,\n"
    )
    told, refused = read_updates(write(tmp_path, text), CLASSES, DEPOTS)
    assert refused == []
    retired = datetime(2026, 3, 1, 13, 30, tzinfo=UTC)
    assert [
        (one.stream, one.device_id, one.attributes.model_dump(exclude_unset=True)) for one in told
    ] == [
        ("meter", "M 1", {"charger_class": "fast", "retired_at": retired}),
        ("vehicle", "V1", {"retired_at": None}),
        ("meter", "M2", {"charger_class": None}),
    ]


def test_a_row_may_say_everything_that_people_say_of_a_device(tmp_path: Path) -> None:
    text = (
        "kind,device_id,depot,group,driver,label,latitude,longitude,time_zone,cadence_seconds\n"
        'vehicle,V1,north,vans,"Ada, L.",Van 1,-33.9,151.2,Australia/Sydney,900\n'
    )
    told, refused = read_updates(write(tmp_path, text), CLASSES, DEPOTS)
    assert refused == []
    attributes = DeviceAttributes(
        depot="north",
        group="vans",
        driver="Ada, L.",
        label="Van 1",
        latitude=-33.9,
        longitude=151.2,
        time_zone="Australia/Sydney",
        cadence_seconds=900,
    )
    assert told == [DeviceUpdate("vehicle", "V1", attributes)]


def test_each_fault_of_a_row_is_told_with_its_line(tmp_path: Path) -> None:
    text = (
        "stream,device_id,depot,label,latitude,longitude,time_zone,cadence_seconds\n"
        '\nmeter,M1,north,"two\nlines",,,,\n'
        "car,M2,nowhere,,91,1,Berlin,0\n"
        "meter,M3,south,,50,,,\n"
        "meter,M4,south\n"
    )
    told, refused = read_updates(write(tmp_path, text), CLASSES, DEPOTS)
    assert told == []
    assert [(row.number, row.line, [column for column, _ in row.faults]) for row in refused] == [
        (1, 3, ["label"]),
        (2, 5, ["stream", "latitude", "time_zone", "cadence_seconds"]),
        (3, 6, [None]),
        (4, 7, ["depot"]),
    ]
    assert refused[3].faults[0][1].startswith("there is no depot 'south'; PUT /v1/depots/south")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("meter,M1,houshold,", "'houshold' is not described in CHARGER_CLASSES ('fast', 'house"),
        ("vehicle,V1,fast,", "the class belongs to the charger, name it with its meter"),
        ("charger,M1,fast,", "a device is a meter or a vehicle, not 'charger'"),
        ("meter,,fast,", "an id has 1 to 100 printable characters"),
        (f"meter,{'M' * 101},fast,", "an id has 1 to 100 printable characters"),
        ("meter,M\x07,fast,", "an id has 1 to 100 printable characters"),
        ("meter,M1,,2026-03-01T12:00:00", "is no time with its zone, such as"),
        ("meter,M1,,yesterday", "'yesterday' is no time with its zone"),
        ("meter,M1,,0001-01-01T00:00:00+14:00", "is no time with its zone"),
        ("meter,METER001,fast,", "meter METER001 stands in a row before this"),
        ("meter,M1,fast,,x", "'x' stands in no column; the first line is stream,device_id"),
    ],
)
def test_a_row_that_cannot_be_taken_says_why(tmp_path: Path, row: str, reason: str) -> None:
    text = f"stream,device_id,charger_class,retired_at\nmeter,METER001,household,\n{row}\n"
    told, [refused] = read_updates(write(tmp_path, text), CLASSES, DEPOTS)
    assert [one.device_id for one in told] == ["METER001"]
    assert refused.number == 2
    assert any(reason in why for _, why in refused.faults)
    assert [*refused.cells.values()] == [cell for cell in row.split(",") if cell]


def test_a_class_is_refused_with_what_to_do_where_none_is_described(tmp_path: Path) -> None:
    file = write(tmp_path, "stream,device_id,charger_class\nmeter,M1,fast\n")
    told, [refused] = read_updates(file, set(), DEPOTS)
    ((_, reason),) = refused.faults
    assert told == []
    assert "'fast' is not described in CHARGER_CLASSES (it describes none); correct" in reason
    assert "describe the class there, here and where Dagster and the collector run" in reason


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't be read: No such file"),
        ("", "is empty"),
        ("stream,device_id\n", "has no devices, only a header"),
        ("stream,meter_id\nmeter,M1\n", "needs one column device_id"),
        ("stream,kind,device_id\nmeter,meter,M1\n", "needs one column stream"),
        ("stream,device_id,class\nmeter,M1,fast\n", "has a column 'class'; the columns are str"),
        ("stream,device_id,retired_at,retired_at\nmeter,M1,,\n", "has twice a column 'retired"),
        ('stream,device_id\nmeter,"M1\n', "can't be read: "),
        ("stream;device_id\nmeter;M1\n", "has semicolons between its cells: save it with commas"),
    ],
)
def test_a_file_without_devices_says_what_is_wrong(
    tmp_path: Path, content: str | None, message: str
) -> None:
    file = tmp_path / "devices.csv" if content is None else write(tmp_path, content)
    with pytest.raises(RecordingError, match=message):
        read_updates(file, CLASSES, DEPOTS)
