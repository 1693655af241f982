"""`wattlake query` as people without a notebook use it."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from lake import HOUR, METER, Lake, compact_hour
from lake.delta.sql import SqlError, run_sql
from local_stack.cli.lake_tables import TABLES
from tests.harness.command_line import DONE, FAILED, WRONG_USAGE, failed_with, wattlake
from tests.harness.raw_table import append_from
from tests.samples import HOUR_10, meter_rows

BY_METER = (
    "SELECT meter_id, sum(kwh_consumed_ac) AS energy_kwh, max(timestamp) AS newest "
    "FROM meter_telemetry_history GROUP BY meter_id ORDER BY meter_id"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a `wattlake up` that has run: two hours of three meters."""
    folder = tmp_path_factory.mktemp("data")
    lake = Lake(str(folder / "lake"))
    lake.create_tables()
    rows = [
        {
            "meter_id": f"METER00{meter}",
            "timestamp": HOUR_10 + timedelta(minutes=minute),
            "kwh_consumed_ac": 0.125,
            "voltage": 230.0 + meter,
        }
        for meter in (1, 2, 3)
        for minute in range(120)
    ]
    append_from(lake, METER, meter_rows(*rows), "test", 1, 0)
    for hour in (HOUR_10, HOUR_10 + HOUR):
        compact_hour(lake, METER, hour)
    return folder


@pytest.fixture
def lake(data: Path) -> Lake:
    return Lake(str(data / "lake"))


def rows_of(lake: Lake, sql: str) -> list[dict[str, object]]:
    return run_sql(lake, sql, TABLES).read_all().to_pylist()


@pytest.mark.parametrize(
    ("sql", "first"),
    [
        (
            "WITH e AS (SELECT meter_id, date_trunc('hour', timestamp) AS h,"
            " sum(kwh_consumed_ac) AS kwh FROM meter_telemetry_history GROUP BY 1, 2)"
            " SELECT meter_id, kwh, rank() OVER (PARTITION BY h ORDER BY meter_id DESC) AS place,"
            " sum(kwh) OVER (PARTITION BY meter_id ORDER BY h) AS so_far FROM e"
            " ORDER BY h DESC, meter_id LIMIT 1",
            {"meter_id": "METER001", "kwh": 7.5, "place": 3, "so_far": 15.0},
        ),
        (
            "SELECT median(voltage) AS middle, percentile_cont(0.25) WITHIN GROUP"
            " (ORDER BY voltage) AS low FROM meter_telemetry_history",
            {"middle": 232.0, "low": 231.0},
        ),
        (
            "SELECT to_char(timestamp, '%d.%m. %H:%M') AS t, extract(dow FROM timestamp) AS day,"
            " date_bin(INTERVAL '15 minutes', timestamp) AS quarter FROM meter_telemetry_history"
            " WHERE timestamp >= TIMESTAMP '2026-11-20 10:20:00' ORDER BY timestamp LIMIT 1",
            {
                "t": "20.11. 10:20",
                "day": 5,
                "quarter": datetime(2026, 11, 20, 10, 15, tzinfo=UTC),
            },
        ),
        (
            "SELECT count(*) AS n FROM raw_meter_heartbeats AS r"
            " JOIN meter_telemetry_history AS h USING (meter_id, timestamp)"
            " WHERE r.hour = 11 AND h.date = '2026-11-20'",
            {"n": 180},
        ),
    ],
)
def test_window_functions_percentiles_dates_and_joins_are_there(
    lake: Lake, sql: str, first: dict[str, object]
) -> None:
    assert rows_of(lake, sql)[0] == first


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO 'TARGET'",
        "COPY meter_telemetry_history TO 'TARGET'",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE TABLE x AS SELECT 1",
        "CREATE VIEW x AS SELECT 1",
        "SELECT 1 INTO x",
        "INSERT INTO meter_telemetry_history SELECT * FROM meter_telemetry_history",
        "WITH x AS (INSERT INTO meter_telemetry_history VALUES (1)) SELECT * FROM x",
        "(INSERT INTO meter_telemetry_history SELECT * FROM meter_telemetry_history)",
        "UPDATE meter_telemetry_history SET voltage = 1",
        "DELETE FROM meter_telemetry_history",
        "DROP TABLE meter_telemetry_history",
        "TRUNCATE TABLE meter_telemetry_history",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO 'TARGET'",
        "SELECT 1; COPY (SELECT 1) TO 'TARGET'",
        "SELECT 1) AS x; COPY (SELECT 1) TO 'TARGET'; SELECT * FROM (SELECT 1",
        "-- a remark\nCOPY (SELECT 1) TO 'TARGET'",
        "/* a remark */ COPY (SELECT 1) TO 'TARGET'",
        "(COPY (SELECT 1) TO 'TARGET')",
        "SELECT * FROM (COPY (SELECT 1) TO 'TARGET')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_parquet('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        'SELECT * FROM "/etc/passwd"',
        "SELECT * FROM 'file:///etc/passwd'",
        "ATTACH '/etc/passwd' AS x",
        "SET datafusion.runtime.memory_limit = '1T'",
        "SELECT * FROM information_schema.tables",
        "INSTALL httpfs",
        "",
        ";",
    ],
)
def test_nothing_is_written_and_nothing_but_the_lake_is_read(
    lake: Lake, tmp_path: Path, sql: str
) -> None:
    versions = {name: lake.open(name).version() for name in TABLES}
    with pytest.raises(SqlError):
        rows_of(lake, sql.replace("TARGET", str(tmp_path / "out.csv")))
    assert list(tmp_path.iterdir()) == []
    assert {name: lake.open(name).version() for name in TABLES} == versions


def test_only_the_tables_that_the_sql_names_are_opened(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    open_table = Lake.open

    def spy(self: Lake, table: str) -> object:
        opened.append(table)
        return open_table(self, table)

    monkeypatch.setattr(Lake, "open", spy)
    rows_of(lake, "SELECT count(*) AS n FROM meter_telemetry_history")
    assert opened == ["meter_telemetry_history"]


@pytest.mark.parametrize(
    ("table", "where"),
    [
        (METER.raw_table, "hour = 11"),
        (METER.history_table, "timestamp >= '2026-11-20T11:00:00Z'"),
        (METER.history_table, "date = '2026-11-20' AND timestamp >= '2026-11-20T11:00:00Z'"),
    ],
)
def test_a_query_reads_only_the_files_of_the_time_that_it_asks_for(
    lake: Lake, table: str, where: str
) -> None:
    """A damaged file of another hour does no harm: nobody opens it."""
    (other,) = [
        path
        for path in map(Path, lake.open(table).file_uris())
        if pl.read_parquet(path, hive_partitioning=False)["timestamp"].min() == HOUR_10
    ]
    kept = other.read_bytes()
    other.write_bytes(b"damaged")
    try:
        sql = f"SELECT count(*) AS n FROM {table} WHERE "  # noqa: S608 - a table of ours
        assert rows_of(lake, sql + where) == [{"n": 180}]
    finally:
        other.write_bytes(kept)


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("SELECT * FROM nothing", f"no table nothing; there are {', '.join(sorted(TABLES))}"),
        ("SELECT metr_id FROM meter_telemetry_history", "column metr_id; near is meter_id"),
        ("SELECT zzz FROM meter_telemetry_history", "column zzz; there are meter_id, timestamp"),
        ("SELECT 1,\n FROM , x", "the SQL can't be read in line 2"),
        (
            "SELECT a.voltage, b.voltage FROM meter_telemetry_history a, meter_telemetry_history b",
            "two columns are called voltage",
        ),
        ("SELECT CAST(meter_id AS int) FROM meter_telemetry_history", "Cannot cast string"),
        ("SELECT nonsense(1)", "Invalid function 'nonsense'"),
    ],
)
def test_what_is_wrong_is_one_line_that_helps(lake: Lake, sql: str, told: str) -> None:
    with pytest.raises(SqlError) as raised:
        rows_of(lake, sql)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_wrong_query_ends_with_one_line(data: Path, tmp_path: Path) -> None:
    done = wattlake(tmp_path, "query", "--data", str(data), "SELECT 1 FROM nothing")
    assert "there is no table nothing" in failed_with(done, FAILED)


def test_the_table_aligns_numbers_shows_utc_and_says_how_much_it_leaves_out(
    data: Path, tmp_path: Path
) -> None:
    done = wattlake(tmp_path, "query", "--data", str(data), "--limit", "2", BY_METER)
    assert done.returncode == DONE, done.stderr
    lines = [line.rstrip() for line in done.stdout.splitlines() if line.strip()]
    assert lines[0].split() == ["meter_id", "energy_kwh", "newest"]
    assert lines[2].endswith("METER001           15   2026-11-20 11:59:00Z")
    assert lines[3].startswith(" METER002")
    assert lines[4].startswith("1 more row; --limit 0 shows all")


def test_a_file_holds_every_row_in_each_format(data: Path, tmp_path: Path) -> None:
    for form in ("csv", "json", "parquet"):
        arguments = ("--data", str(data), "--format", form, "-o", f"out.{form}", BY_METER)
        done = wattlake(tmp_path, "query", *arguments)
        assert (done.returncode, done.stdout) == (DONE, ""), done.stderr
        assert done.stderr == f"3 rows in out.{form}\n"
    newest = datetime(2026, 11, 20, 11, 59, tzinfo=UTC)
    assert pl.read_parquet(tmp_path / "out.parquet").rows()[2] == ("METER003", 15.0, newest)
    assert json.loads((tmp_path / "out.json").read_text())[2] == {
        "meter_id": "METER003",
        "energy_kwh": 15.0,
        "newest": "2026-11-20T11:59:00Z",
    }
    (row,) = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))[2:]
    assert (row["meter_id"], row["energy_kwh"]) == ("METER003", "15")
    assert datetime.fromisoformat(row["newest"]) == newest


def test_local_times_have_their_own_offset_in_every_format(data: Path, tmp_path: Path) -> None:
    zones = {"utc": "UTC", "summer": "Europe/Amsterdam", "lane": "+05:45", "behind": "-09:30"}
    columns = [f"t AT TIME ZONE '{zone}' AS {name}" for name, zone in zones.items()]
    columns.append("[t AT TIME ZONE 'Europe/Amsterdam'] AS list")
    shift = "TIMESTAMP '2026-07-01 22:00:00' - TIMESTAMP '2026-11-20 11:59:00'"
    one = f"SELECT max(timestamp) + ({shift}) AS t FROM meter_telemetry_history"  # noqa: S608
    sql = f"SELECT {', '.join(columns)} FROM ({one})"  # noqa: S608
    told = {
        "utc": "2026-07-01T22:00:00Z",
        "summer": "2026-07-02T00:00:00+02:00",
        "lane": "2026-07-02T03:45:00+05:45",
        "behind": "2026-07-01T12:30:00-09:30",
        "list": ["2026-07-02T00:00:00+02:00"],
    }
    out = {
        form: wattlake(tmp_path, "query", "--data", str(data), "--format", form, sql)
        for form in ("json", "table", "csv")
    }
    assert json.loads(out["json"].stdout) == [told]
    assert all(
        str(text).replace("T", " ") in out["table"].stdout
        for text in told.values()
        if isinstance(text, str)
    )
    (row,) = csv.DictReader(io.StringIO(out["csv"].stdout))
    moments = {datetime.fromisoformat(row[name]) for name in zones}
    assert moments == {datetime(2026, 7, 1, 22, tzinfo=UTC)}


def test_a_time_without_a_zone_is_not_called_utc(data: Path, tmp_path: Path) -> None:
    sql = (
        "SELECT to_local_time(timestamp AT TIME ZONE 'Europe/Amsterdam') AS local"
        " FROM meter_telemetry_history ORDER BY timestamp LIMIT 1"
    )
    done = wattlake(tmp_path, "query", "--data", str(data), "--format", "json", sql)
    assert json.loads(done.stdout) == [{"local": "2026-11-20T11:00:00"}], done.stderr


def test_a_query_that_fails_leaves_the_file_of_before(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("precious")
    sql = "SELECT CAST(meter_id AS int) AS n FROM meter_telemetry_history"
    arguments = ("--data", str(data), "--format", "csv", "-o", "out.csv", sql)
    failed_with(wattlake(tmp_path, "query", *arguments), FAILED)
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert (tmp_path / "out.csv").read_text() == "precious"


def test_lists_and_nulls_are_readable_in_csv_and_json(
    lake: Lake, data: Path, tmp_path: Path
) -> None:
    sql = (
        "SELECT array_agg(DISTINCT voltage ORDER BY voltage) AS volts, NULL AS nothing"
        " FROM meter_telemetry_history"
    )
    as_json = wattlake(tmp_path, "query", "--data", str(data), "--format", "json", sql)
    assert json.loads(as_json.stdout) == [{"volts": [231.0, 232.0, 233.0], "nothing": None}]
    as_csv = wattlake(tmp_path, "query", "--data", str(data), "--format", "csv", sql)
    assert list(csv.reader(io.StringIO(as_csv.stdout))) == [
        ["volts", "nothing"],
        ["[231.0, 232.0, 233.0]", ""],
    ]


def test_a_csv_has_no_formula_and_its_numbers_are_numbers(data: Path, tmp_path: Path) -> None:
    sql = "SELECT '=1+1' AS \"@name\", '-V1' AS id, -0.5 AS kwh, arrow_cast('+x', 'Utf8View') AS v"
    done = wattlake(tmp_path, "query", "--data", str(data), "--format", "csv", sql)
    assert done.returncode == DONE, done.stderr
    names, row = csv.reader(io.StringIO(done.stdout))
    assert (names, row) == (["'@name", "id", "kwh", "v"], ["'=1+1", "'-V1", "-0.5", "'+x"])


def test_the_lake_is_found_by_lake_uri_as_well(data: Path, tmp_path: Path) -> None:
    sql = "SELECT count(*) AS n FROM raw_meter_heartbeats"
    done = wattlake(tmp_path, "query", "--format", "csv", sql, LAKE_URI=str(data / "lake"))
    assert done.stdout == '"n"\n360\n'


def test_tables_lists_what_there_is_with_units(data: Path, tmp_path: Path) -> None:
    done = wattlake(tmp_path, "query", "--tables", "--data", str(data))
    assert done.returncode == DONE, done.stderr
    assert all(name in done.stdout for name in TABLES)
    assert "360 rows in 2 partitions, 2026-11-20 10:00 to 2026-11-20 11:00 UTC" in done.stdout
    assert "AC energy drawn from the grid, kWh" in done.stdout
    assert "list of string" in done.stdout


def test_no_lake_and_no_sql_are_one_clear_line(tmp_path: Path) -> None:
    nowhere = ("--data", str(tmp_path / "nowhere"))
    sql = "SELECT 1 FROM raw_meter_heartbeats"
    assert "has no table" in failed_with(wattlake(tmp_path, "query", *nowhere, sql), FAILED)
    listed = wattlake(tmp_path, "query", *nowhere, "--tables")
    assert "there is no lake at" in failed_with(listed, FAILED)
    assert "give the SQL" in failed_with(wattlake(tmp_path, "query", *nowhere), WRONG_USAGE)
    parquet = wattlake(tmp_path, "query", *nowhere, "--format", "parquet", sql)
    assert "name it with -o" in failed_with(parquet, WRONG_USAGE)
    typo = wattlake(tmp_path, "query", sql, LAKE_URI="s3:/bucket/lake")
    assert "LAKE_URI: is no URL of a store" in failed_with(typo, WRONG_USAGE)
