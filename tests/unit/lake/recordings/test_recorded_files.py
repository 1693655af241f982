"""`wattlake replay` and `wattlake import` take the same of a file, and say the same of the rest."""

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion_api.bulk_import.encoded_batch import IdEncoder, to_arrow
from ingestion_api.bulk_import.intake import decode_part
from ingestion_api.bulk_import.source import Source
from ingestion_api.heartbeats.batch import Limits
from ingestion_api.heartbeats.strict_decoder import TELEMETRY, decode_values_strict
from lake import EnergySettings, UnusableFile
from lake.recordings import ColumnMapping, LocalTimes, UnitCheck, parse_number, with_default_stream
from lake.recordings.local_times import local_micros
from lake.recordings.units import unit_of_name
from local_stack.client.recordings import recorded_heartbeats
from local_stack.errors import RecordingError

LIMITS = Limits(10_000, 2**62)
METER = "meterId,timestamp,kwhConsumedAc"
TIME = "2026-11-17T10:00:00Z"

Taken = list[dict[str, Any]]
Refused = dict[int, list[str]]


def by_replay(file: Path, meaning: ColumnMapping) -> tuple[Taken, Refused]:
    """Return what the collector takes and refuses of a replay; rows by their number."""
    taken: Taken = []
    refused: Refused = {}
    for recorded in recorded_heartbeats(file, meaning):
        if recorded.problem is not None:
            refused[recorded.row] = [f"{recorded.field}: {recorded.problem}"]
            continue
        intake = decode_values_strict([recorded.heartbeat], TELEMETRY, LIMITS)
        if intake.refusals:
            refused[recorded.row] = [f"{one.field}: {one.reason}" for one in intake.refusals]
        for rows in intake.rows.values():
            taken += rows.to_arrow().to_pylist()
    return in_order(taken), refused


def by_import(file: Path, meaning: ColumnMapping) -> tuple[Taken, Refused]:
    source, ids, check = Source(file, meaning), IdEncoder(), UnitCheck(EnergySettings())
    meaning = with_default_stream(meaning, source.fields)
    taken: Taken = []
    refused: Refused = {}
    for part in source.parts(0):
        judged = decode_part(part, meaning, ids, LIMITS, check)
        for block in judged.blocks.values():
            rows = to_arrow(block, ids.to_arrow(), np.zeros(len(block), np.int64), 0)
            taken += rows.drop_columns(["received_at", "imported_at"]).to_pylist()
        for one in judged.refused:
            refused[one.row] = [f"{each.field}: {each.reason}" for each in one.refusals]
    if meaning.unit is None:
        check.require_kwh()
    return in_order(taken), refused


def in_order(rows: Taken) -> Taken:
    return sorted(rows, key=lambda row: (row["timestamp"], repr(row)))


def by_both(file: Path, meaning: ColumnMapping | None = None) -> tuple[Taken, Refused]:
    replayed = by_replay(file, meaning or ColumnMapping())
    assert by_import(file, meaning or ColumnMapping()) == replayed
    return replayed


def refused_by_both(file: Path, meaning: ColumnMapping | None = None) -> str:
    """The one line that both say of a file, without its name."""
    with pytest.raises(RecordingError) as by_one:
        by_replay(file, meaning or ColumnMapping())
    with pytest.raises(UnusableFile) as by_other:
        by_import(file, meaning or ColumnMapping())
    assert str(by_one.value) == f"{file} {by_other.value}"
    assert "\n" not in str(by_other.value)
    return str(by_other.value)


def write(folder: Path, text: str | bytes) -> Path:
    file = folder / "a.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def energies(rows: Taken) -> list[float]:
    return [row["kwh_consumed_ac"] for row in rows]


# -- numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["0.25", " 7 ", "+1", "1e-3", "1.", ".5", "007", "1E2"])
def test_a_number_is_taken(tmp_path: Path, text: str) -> None:
    taken, refused = by_both(write(tmp_path, f"{METER}\nM1,{TIME},{text}\n"))
    assert (energies(taken), refused) == ([float(text)], {})


@pytest.mark.parametrize(
    "text",
    [
        *("0_25", "1_000", "\uff11\uff12", "\u0661", "nan", "NaN", "inf", "-inf", "Infinity"),
        *("1e400", "0x10", "1e5_0", "1f", "--1", "1 000", "1'000", "+", "1e", "true"),
    ],
)
def test_what_is_no_number_is_refused_in_every_format(tmp_path: Path, text: str) -> None:
    taken, refused = by_both(write(tmp_path, f"{METER}\nM1,{TIME},{text}\nM1,{TIME},1\n"))
    assert energies(taken) == [1.0]
    assert refused == {1: ["kwhConsumedAc: must be a valid number"]}
    (tmp_path / "a.ndjson").write_text(
        f'{{"meterId": "M1", "timestamp": "{TIME}", "kwhConsumedAc": "{text}"}}'
    )
    assert by_replay(tmp_path / "a.ndjson", ColumnMapping()) == ([], refused)
    rows = {"meterId": ["M1"], "timestamp": [TIME], "kwhConsumedAc": [text]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    assert by_both(tmp_path / "a.parquet") == ([], refused)
    assert parse_number(text) is None


def test_numbers_of_parquet_are_taken_whatever_their_type(tmp_path: Path) -> None:
    for kind in (pa.float32(), pa.int16(), pa.decimal128(9, 3), pa.string()):
        values = pa.array([1, 2], pa.int16()).cast(kind)
        rows = {"meterId": ["M1", "M1"], "timestamp": [TIME] * 2, "kwhConsumedAc": values}
        pq.write_table(pa.table(rows), tmp_path / "a.parquet")
        taken, refused = by_both(tmp_path / "a.parquet")
        assert (energies(taken), refused) == ([1.0, 2.0], {})


# -- rows and cells --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f"{METER}\r\nM1,{TIME},1\r\n\r\nM1,{TIME},2\r\n",
        f"\ufeff{METER}\nM1,{TIME},1\nM1,{TIME},2",
        f"\n\n meterId , timestamp,kwhConsumedAc\t\n M1 , {TIME} , 1 \nM1,{TIME},2\n",
        f'"meterId","timestamp","kwhConsumedAc"\n"M1","{TIME}","1"\n"M1","{TIME}","2"\n',
        f'note,{METER}\n"two\nlines",M1,{TIME},1\n"and ""quotes""",M1,{TIME},2\n',
        f"{METER},,\nM1,{TIME},1,,\nM1,{TIME},2,,\n",
        f"note,note,{METER}\nx,y,M1,{TIME},1\nx,y,M1,{TIME},2\n",
    ],
)
def test_a_file_is_read_however_it_is_written(tmp_path: Path, text: str) -> None:
    taken, refused = by_both(write(tmp_path, text))
    assert (energies(taken), refused) == ([1.0, 2.0], {})
    assert {row["meter_id"] for row in taken} == {"M1"}


def test_rows_with_too_few_or_too_many_cells_are_refused_with_their_numbers(tmp_path: Path) -> None:
    rows = f"M1,{TIME}\nM1,{TIME},1\n\nM1,{TIME},2,\n   \n,,\nM1,{TIME},3\nM1,2026-11"
    taken, refused = by_both(write(tmp_path, f"{METER}\n{rows}"))
    assert energies(taken) == [1.0, 3.0]
    assert {row: told[0] for row, told in refused.items() if row != 5} == {
        1: "None: has 2 cells, not 3 as the first line",
        3: "None: has 4 cells, not 3 as the first line",
        4: "None: has 1 cell, not 3 as the first line",
        7: "None: has 2 cells, not 3 as the first line",
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{METER}\nM1,{TIME},1\n".encode("utf-16"), "is UTF-16 text: save it as UTF-8"),
        (f"{METER}\nM1,{TIME},1\n".encode("utf-16-le"), "is UTF-16 text: save it as UTF-8"),
        (f"{METER},Zähler\nM1,{TIME},1,x\n".encode("latin-1"), "is not UTF-8 (line 1)"),
        (f"{METER},x\nM1,{TIME},1,\nM1,{TIME},1,ä\n".encode("latin-1"), "is not UTF-8 (line 3)"),
        (METER.replace(",", ";") + f"\nM1;{TIME};0,25\n", "has semicolons between its cells"),
        (METER.replace(",", "\t") + f"\nM1\t{TIME}\t1\n", "has tabs between its cells"),
        (f"{METER},meter_id\nM1,{TIME},1,M2\n", "has two columns for meterId"),
        (f"{METER}, timestamp \nM1,{TIME},1,\n", "has two columns for timestamp"),
        (f"x,{METER.removeprefix('meterId,')}\nM1,{TIME},1\n", "say it with --meter-id ID"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_alike(
    tmp_path: Path, text: str | bytes, told: str
) -> None:
    assert told in refused_by_both(write(tmp_path, text))


def test_ndjson_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "a.ndjson"
    file.write_text(
        f'\ufeff{{"meterId": "M1", "timestamp": "{TIME}", "kwhConsumedAc": 1}}\n', encoding="utf-8"
    )
    assert energies(by_replay(file, ColumnMapping())[0]) == [1.0]


CELL = st.sampled_from(
    [
        *("", " ", "M1", " V1 ", "0.5", "1_0", "7 ", "x,y", 'a"b', "two\nlines", "register", "ü"),
        *(TIME, "2026-11-17 10:00:00+01:00", "vehicle", "-1", "2000"),
    ]
)
NAMES = ("meterId", "vehicleId", "timestamp", "kwhConsumedAc", "soc", "readingType", "type", "x")


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(st.lists(CELL, min_size=1, max_size=9), max_size=12), quoted=st.booleans())
def test_any_csv_is_taken_and_refused_alike(
    rows: list[list[str]], quoted: bool, tmp_path: Path
) -> None:
    first = ["M1", "", TIME, "1", "", "", "", ""]

    def text(cells: list[str]) -> str:
        needed = (quoted or any(mark in cell for mark in ',"\n') for cell in cells)
        return ",".join(
            '"' + cell.replace('"', '""') + '"' if quote else cell
            for cell, quote in zip(cells, needed, strict=True)
        )

    lines = "\n".join(map(text, [list(NAMES), first, *rows]))
    by_both(write(tmp_path, lines), ColumnMapping(unit="kWh"))


# -- units -----------------------------------------------------------------------------------------

WATT_HOURS = "Serial Number,Timestamp,Diverter Energy (L1) (Wh)\n" + "".join(
    f"ZAP1,2026-11-17T{hour:02}:00:00.000Z,{energy}\n"
    for hour, energy in ((8, "0.0"), (9, "812.5"), (10, "2879.68"), (11, "640.1"))
)
OF_ZAP = {
    "Serial Number": "meterId",
    "Timestamp": "timestamp",
    "Diverter Energy (L1) (Wh)": "kwhConsumedAc",
}


def test_a_column_in_watt_hours_is_asked_about_and_taken_with_its_unit(tmp_path: Path) -> None:
    file = write(tmp_path, WATT_HOURS)
    told = refused_by_both(file, ColumnMapping(renames=OF_ZAP))
    assert "has Wh in 'Diverter Energy (L1) (Wh)'" in told
    assert "--unit Wh" in told
    taken, refused = by_both(file, ColumnMapping(renames=OF_ZAP, unit="Wh"))
    assert sum(energies(taken)) == pytest.approx(4.33228, abs=1e-12)
    assert refused == {}
    assert energies(taken)[1] == 0.8125


def test_watt_hours_are_seen_by_their_size_where_no_name_tells_them(tmp_path: Path) -> None:
    file = write(tmp_path, WATT_HOURS.replace("Diverter Energy (L1) (Wh)", "kwhConsumedAc"))
    renames = {name: OF_ZAP[name] for name in ("Serial Number", "Timestamp")}
    told = refused_by_both(file, ColumnMapping(renames=renames))
    assert "1 of 3 energies in kwhConsumedAc above 1,000 kWh in one interval: are they Wh?" in told
    _, refused = by_both(file, ColumnMapping(renames=renames, unit="kWh"))
    assert [*refused] == [3]
    assert "is it a register, or Wh?" in refused[3][0]
    by_both(file, ColumnMapping(renames=renames, reading_type="register"))


def test_watt_hours_are_seen_by_the_power_that_they_mean(tmp_path: Path) -> None:
    columns = "meterId,timestamp,kwhConsumedAc,intervalStart,phase"
    text = f"{columns}\n" + "".join(
        f"M{n % 3},2026-11-17T{10 + n // 60}:{n % 60:02}:00+01:00,183,,L{n % 3}\n"
        for n in reversed(range(180))
    )
    told = refused_by_both(write(tmp_path, text))
    assert "177 of 177 energies in kwhConsumedAc above 500 kW, by the time since the row" in told
    lone = f"{columns}\nM1,2026-11-17T11:00:00Z,183,2026-11-17T10:59:00Z,\n"
    assert "1 of 1 energies" in refused_by_both(write(tmp_path, lone))
    taken, refused = by_both(write(tmp_path, text), ColumnMapping(unit="Wh"))
    assert (energies(taken), refused) == ([0.183] * 180, {})
    by_both(write(tmp_path, lone.replace("10:59", "10:00")))
    other = {"meterId": {"id": "M1"}, "timestamp": TIME, "kwhConsumedAc": 1, "phase": []}
    (tmp_path / "a.ndjson").write_text(json.dumps(other))
    assert [*by_replay(tmp_path / "a.ndjson", ColumnMapping())[1]] == [1]
    registers = text.replace(",183,", ",830.4,")
    by_both(write(tmp_path, registers), ColumnMapping(reading_type="register"))


def test_one_absurd_energy_among_many_is_refused_alone(tmp_path: Path) -> None:
    rows = "".join(f"M1,2026-11-17T10:{n // 60:02}:{n % 60:02}Z,0.1\n" for n in range(300))
    taken, refused = by_both(write(tmp_path, f"{METER}\n{rows}M1,{TIME},5000000\n"))
    assert (len(taken), [*refused]) == (300, [301])


@pytest.mark.parametrize(
    ("unit", "energy"),
    [("Wh", 3.6e5), ("MWh", 0.36), ("J", 1.296e9), ("kJ", 1.296e6), ("MJ", 1296)],
)
def test_every_unit_becomes_kilowatt_hours(tmp_path: Path, unit: str, energy: float) -> None:
    file = write(tmp_path, f"{METER},soc\nM1,{TIME},{energy!r},5\n")
    taken, _ = by_both(file, ColumnMapping(unit=unit))
    assert energies(taken) == [360.0]


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        *[
            (name, "Wh")
            for name in ("Wh", "energy_wh", "Energy [Wh]", "W h", "energyWh", "whTotal")
        ],
        *[(name, "Wh") for name in ("watt-hours", "Verbrauch_Wh", "totalWattHours", "Wattstunden")],
        *[(name, "kWh") for name in ("kwh", "kwh_consumed_ac", "kwhConsumedAc", "energykWh")],
        *[(name, "kWh") for name in ("Energy (kWh) at 11 kW", "kilowatt hours", "EnergyKWh")],
        *[("MWh", "MWh"), ("energy (kJ)", "kJ"), ("Joule", "J")],
        *[(name, "kW") for name in ("Power (kW)", "power_kw", "Leistung kW")],
        *[("Power [W]", "W"), ("watts", "W")],
        *[(name, None) for name in ("energy", "total", "weight", "which", "width", "show", "VAh")],
    ],
)
def test_the_name_of_a_column_tells_its_unit(name: str, unit: str | None) -> None:
    assert unit_of_name(name) == unit


def test_a_power_is_no_energy(tmp_path: Path) -> None:
    file = write(tmp_path, f"meterId,timestamp,Power (kW)\nM1,{TIME},7.2\n")
    told = refused_by_both(file, ColumnMapping(renames={"Power (kW)": "kwhConsumedAc"}))
    assert "has a power (kW) in 'Power (kW)', and kwhConsumedAc is an energy" in told


# -- a file of one device --------------------------------------------------------------------------


def test_a_file_of_one_device_is_told_whose_it_is(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "time,kwh\n2026-11-17T10:00:00.000+01:00,28477.6\n2026-11-17T10:15:00.000+01:00,28477.9\n",
    )
    meaning = ColumnMapping(
        renames={"time": "timestamp", "kwh": "kwhConsumedAc"},
        reading_type="register",
        ids={"meterId": "P1"},
    )
    taken, refused = by_both(file, meaning)
    assert refused == {}
    assert [(row["meter_id"], row["kwh_consumed_ac"]) for row in taken] == [
        ("P1", 28477.6),
        ("P1", 28477.9),
    ]
    car = write(tmp_path, f"timestamp,soc\n{TIME},50\n")
    (row,), refused = by_both(car, ColumnMapping(ids={"vehicleId": "V1", "meterId": "P1"}))
    assert (row["vehicle_id"], row["meter_id"], row["soc"]) == ("V1", "P1", 50)


def test_an_id_for_all_rows_and_a_column_of_ids_do_not_go_together(tmp_path: Path) -> None:
    file = write(tmp_path, f"{METER}\nM1,{TIME},1\n")
    told = refused_by_both(file, ColumnMapping(ids={"meterId": "P1"}))
    assert told == "has a column for meterId: leave --meter-id away"


# -- local times -----------------------------------------------------------------------------------

FIRST_PASS = [f"02:{minute:02}" for minute in (0, 15, 30, 45)]
LONG_DAY = ["01:45", *FIRST_PASS, *FIRST_PASS, "03:00"]


def local_rows(times: list[str], meter: str = "LT-BOX", day: str = "2026-10-25") -> str:
    return "".join(f"{meter},{day} {time}:00,0.5\n" for time in times)


def utc_times(rows: Taken) -> list[datetime]:
    return [row["timestamp"].replace(tzinfo=UTC) for row in rows]


AMSTERDAM = ColumnMapping(time_zone="Europe/Amsterdam")
QUARTERS = [
    datetime(2026, 10, 24, 23, 45, tzinfo=UTC) + n * timedelta(minutes=15) for n in range(10)
]


@pytest.mark.parametrize("order", [LONG_DAY, LONG_DAY[::-1]])
def test_the_hour_that_comes_twice_is_told_by_the_order_of_the_rows(
    tmp_path: Path, order: list[str]
) -> None:
    taken, refused = by_both(write(tmp_path, f"{METER}\n{local_rows(order)}"), AMSTERDAM)
    assert refused == {}
    assert utc_times(taken) == QUARTERS
    assert sum(energies(taken)) == 5.0


def test_the_order_is_that_of_each_device_also_across_the_parts_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestion_api.bulk_import.source.ROWS_A_PART", 3)
    pairs = zip(LONG_DAY, LONG_DAY[::-1], strict=True)
    rows = [(box, time) for up, down in pairs for box, time in (("UP", up), ("DOWN", down))]
    table = {
        "meterId": [box for box, _ in rows],
        "timestamp": [datetime.fromisoformat(f"2026-10-25T{time}:00") for _, time in rows],
        "kwhConsumedAc": [0.5] * len(rows),
    }
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table(table), file, row_group_size=5)
    taken, refused = by_both(file, AMSTERDAM)
    assert refused == {}
    for box in ("UP", "DOWN"):
        assert utc_times([row for row in taken if row["meter_id"] == box]) == QUARTERS
    (later,) = Source(file, AMSTERDAM).parts(18)
    assert later.numbers.tolist() == [19, 20]  # an import that goes on sees all the rows before
    assert str(later.rows["timestamp"][0]) == "2026-10-25 02:00:00+00:00"


def test_hourly_rows_of_the_day_with_25_hours_are_25_moments(tmp_path: Path) -> None:
    hours = [f"{hour:02}:00" for hour in (0, 1, 2, 2, *range(3, 24))]
    taken, refused = by_both(write(tmp_path, f"{METER}\n{local_rows(hours)}"), AMSTERDAM)
    assert refused == {}
    first = datetime(2026, 10, 24, 22, tzinfo=UTC)
    assert utc_times(taken) == [first + timedelta(hours=n) for n in range(25)]


@pytest.mark.parametrize(
    "times",
    [
        ["01:45", *FIRST_PASS, "03:00"],  # once: of which pass?
        ["02:00"],
        ["02:00", "02:00"],  # nothing before or after tells the direction
        ["01:45", "02:00", "02:30", "02:15", "02:45", "02:00", "03:00"],
        ["01:45", *sorted(FIRST_PASS * 2), "03:00"],
    ],
)
def test_where_the_order_does_not_tell_the_rows_of_that_hour_are_refused(
    tmp_path: Path, times: list[str]
) -> None:
    taken, refused = by_both(write(tmp_path, f"{METER}\n{local_rows(times)}"), AMSTERDAM)
    assert len(taken) == sum(not time.startswith("02") for time in times)
    assert {text for told in refused.values() for text in told} == {
        "timestamp: comes twice in Europe/Amsterdam, where the clock goes back, and the rows "
        "around it don't tell which of the two it is: write it with its offset"
    }


def test_an_hour_that_is_skipped_is_refused_and_a_time_with_a_zone_stays(tmp_path: Path) -> None:
    rows = local_rows(["01:59", "02:00", "02:59", "03:00"], day="2026-03-29")
    rows += "LT-BOX,2026-03-29T02:30:00+02:00,0.5\nLT-BOX,2026-02-30 02:30:00,0.5\n"
    taken, refused = by_both(write(tmp_path, f"{METER}\n{rows}"), AMSTERDAM)
    assert [f"{time:%d %H:%M}" for time in utc_times(taken)] == ["29 00:30", "29 00:59", "29 01:00"]
    assert [*refused] == [2, 3, 6]
    assert refused[2] == refused[3]
    assert "does not exist in Europe/Amsterdam" in refused[2][0]


@pytest.mark.parametrize(
    ("zone", "local", "utc"),
    [
        ("UTC", "2026-10-25 02:30:00", "2026-10-25 02:30"),
        ("Australia/Lord_Howe", "2026-01-10 12:00:00", "2026-01-10 01:00"),
        ("Australia/Lord_Howe", "2026-07-10 12:00:00", "2026-07-10 01:30"),
        ("Asia/Pyongyang", "2016-01-10 12:00:00", "2016-01-10 03:30"),
        ("Asia/Pyongyang", "2019-01-10 12:00:00", "2019-01-10 03:00"),
        ("Pacific/Apia", "2011-12-29 12:00:00", "2011-12-29 22:00"),
        ("Pacific/Apia", "2011-12-31 12:00:00", "2011-12-30 22:00"),
        ("America/St_Johns", "2026-07-10 12:00", "2026-07-10 14:30"),
    ],
)
def test_a_zone_has_the_offset_of_that_day(tmp_path: Path, zone: str, local: str, utc: str) -> None:
    file = write(tmp_path, f"{METER}\nM1,{local},1\n")
    taken, _ = by_both(file, ColumnMapping(time_zone=zone))
    assert [f"{time:%Y-%m-%d %H:%M}" for time in utc_times(taken)] == [utc]


def test_half_an_hour_comes_twice_on_lord_howe(tmp_path: Path) -> None:
    times = ["01:15", "01:30", "01:45", "01:30", "01:45", "02:00"]
    rows = local_rows(times, day="2026-04-05")
    taken, refused = by_both(
        write(tmp_path, f"{METER}\n{rows}"), ColumnMapping(time_zone="Australia/Lord_Howe")
    )
    assert refused == {}
    first = datetime(2026, 4, 4, 14, 15, tzinfo=UTC)
    assert utc_times(taken) == [first + n * timedelta(minutes=15) for n in range(6)]


@settings(max_examples=300, deadline=None)
@given(
    zone=st.sampled_from(
        ["Europe/Amsterdam", "Australia/Lord_Howe", "America/New_York", "Africa/Casablanca"]
    ),
    moment=st.datetimes(datetime(2000, 1, 2), datetime(2040, 1, 1)),  # noqa: DTZ001
)
def test_a_clock_is_right_wherever_a_time_comes_once(zone: str, moment: datetime) -> None:
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    local = moment.replace(tzinfo=UTC).astimezone(ZoneInfo(zone))
    found = clock_of(zone).moment(1, local_micros(local.replace(tzinfo=None)) or 0)
    comes_twice = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
    expected = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)  # noqa: DTZ001
    assert isinstance(found, str) if comes_twice else found == expected


@cache
def clock_of(zone: str) -> LocalTimes:
    return LocalTimes(zone)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_times_without_a_zone_are_asked_about(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a.{suffix}"
    if suffix == "csv":
        file.write_text(f"{METER}\n{local_rows(['12:00'])}")
    else:
        noon = datetime(2026, 10, 25, 12)  # noqa: DTZ001
        rows = {"meterId": ["M1"], "timestamp": [noon], "kwhConsumedAc": [1.0]}
        pq.write_table(pa.table(rows), file)
    assert "without a zone (2026-10-25" in refused_by_both(file)
    assert "such as --time-zone Europe/Amsterdam" in refused_by_both(file)


def test_a_meaning_that_says_nothing_new_has_the_identity_it_had(tmp_path: Path) -> None:
    """Or a file that was imported by an earlier version would go in once more."""
    assert ColumnMapping().identity() == {"stream": None, "reading_type": None, "renames": {}}
    assert ColumnMapping(unit="kWh").identity() == ColumnMapping().identity()
    file = write(tmp_path, f"{METER}\nM1,{TIME},1\n")
    identities = {
        Source(file, meaning).identity
        for meaning in (
            ColumnMapping(),
            ColumnMapping(unit="Wh"),
            AMSTERDAM,
            ColumnMapping(time_zone="UTC"),
        )
    }
    assert len(identities) == 4
