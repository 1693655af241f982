"""The CSV of `wattlake devices import`, row by row."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from local_stack.cli.device_csv import read_devices
from local_stack.errors import RecordingError
from warehouse_sql.devices import DeviceUpdate, Unchanged

CLASSES = {"household", "fast"}


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
    told, refused = read_devices(write(tmp_path, text), CLASSES)
    assert refused == []
    assert told == [
        DeviceUpdate("meter", "M 1", "fast", datetime(2026, 3, 1, 13, 30, tzinfo=UTC)),
        DeviceUpdate("vehicle", "V1", Unchanged.UNCHANGED, None),
        DeviceUpdate("meter", "M2", None, Unchanged.UNCHANGED),
    ]


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
    told, [refused] = read_devices(write(tmp_path, text), CLASSES)
    assert [one.device_id for one in told] == ["METER001"]
    assert refused.number == 2
    assert reason in refused.reasons
    assert [cell for cell in refused.cells if cell] == [cell for cell in row.split(",") if cell]


def test_a_class_is_refused_with_what_to_do_where_none_is_described(tmp_path: Path) -> None:
    file = write(tmp_path, "stream,device_id,charger_class\nmeter,M1,fast\n")
    told, [refused] = read_devices(file, set())
    reason = refused.reasons
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
        read_devices(file, CLASSES)
