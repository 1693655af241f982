"""`wattlake import` as its users run it, beside a collector that takes and flushes heartbeats."""

import re
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from lake import METER, STREAMS, Lake, rows_by_hour
from tests.harness.collector import Collector, collector_of_module
from tests.harness.command_line import (
    DONE,
    FAILED,
    SOME_REFUSED,
    WRONG_USAGE,
    failed_with,
    url_of,
    wattlake,
)
from tests.harness.heartbeats import device
from tests.harness.postgres import running_postgres, server_folder
from tests.harness.waiting import wait_for
from warehouse_sql.migrate import migrate
from warehouse_sql.named_queries import query

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

collector = collector_of_module(FLUSH_SECONDS="0.05")


def minutes(meter: str, count: int) -> pa.Table:
    moments = [NOON + timedelta(minutes=n) for n in range(count)]
    times = pa.array(moments, pa.timestamp("us", "UTC"))
    return pa.table({"meter_id": [meter] * count, "timestamp": times, "voltage": [230.0] * count})


def where(collector: Collector) -> dict[str, str]:
    return {"DATABASE_URL": collector.database_url, "LAKE_URI": str(collector.lake_folder)}


def test_files_are_imported_while_the_collector_flushes_into_the_same_hours(
    tmp_path: Path, collector: Collector
) -> None:
    posted, done = 0, threading.Event()
    live = device("M")

    def post() -> None:
        nonlocal posted
        while not done.is_set():
            time = f"{NOON + timedelta(seconds=posted):%Y-%m-%dT%H:%M:%SZ}"
            body = {"meterId": live, "timestamp": time, "voltage": 230}
            assert collector.post("/v1/ingest/meter", body).status_code == 201
            posted += 1

    poster = threading.Thread(target=post)
    poster.start()
    devices = [device("M") for _ in range(3)]
    try:
        for name in devices:
            pq.write_table(minutes(name, 600), tmp_path / f"{name}.parquet")
        files = [f"{name}.parquet" for name in devices]
        imported = wattlake(tmp_path, "import", *files, **where(collector))
    finally:
        done.set()
        poster.join()
    assert (imported.returncode, imported.stderr) == (DONE, "")
    assert "\x1b" not in imported.stdout
    assert imported.stdout.count("taken                 600") == 3
    wait_for(lambda: collector.http.get("/v1/status").json()["outboxRows"] == 0)
    lake = Lake(str(collector.lake_folder))
    raw = lake.scan(lake.open(METER.raw_table)).collect()
    counts = dict(raw.group_by("meter_id").len().rows())
    assert {name: counts[name] for name in devices} == dict.fromkeys(devices, 600)
    assert counts[live] == posted > 0
    with psycopg.connect(collector.database_url) as conn:
        ledger = conn.execute("SELECT stream, hour, raw_rows FROM partition_ledger").fetchall()
    assert {(stream, hour): rows for stream, hour, rows in ledger} == {
        (stream.name, hour): rows
        for stream in STREAMS.values()
        for hour, rows in rows_by_hour(lake, stream).items()
    }


def test_refused_rows_are_kept_and_a_second_import_does_nothing(
    tmp_path: Path, collector: Collector
) -> None:
    (tmp_path / "a.csv").write_text(
        "meter_id,timestamp,volts\n"
        f"{device('M')},2026-03-01T12:00:00Z,230\n"
        f"{device('M')},2026-03-01T12:00:00Z,-1\n"
    )
    arguments = ("import", "a.csv", "--rename", "volts=voltage", "--rejects", "bad.csv")
    done = wattlake(tmp_path, *arguments, **where(collector))
    assert (done.returncode, done.stderr) == (SOME_REFUSED, "")
    assert "1 x voltage: must be greater than or equal to 0" in done.stdout
    header, row = (tmp_path / "bad.csv").read_text().splitlines()
    assert header == "row,stream,device,timestamp,codes,reasons,record"
    assert row.startswith("2,")
    again = wattlake(tmp_path, *arguments, **where(collector))
    assert again.returncode == DONE
    assert again.stdout == "a.csv was imported before, all 2 rows; nothing to do\n"
    assert (tmp_path / "bad.csv").exists()


def test_a_file_that_does_not_say_all_is_asked_about_and_goes_in_once_the_options_say_it(
    tmp_path: Path, collector: Collector
) -> None:
    box = device("M")
    local = ["01:45", *["02:00", "02:30"] * 2, "03:00"]
    rows = "".join(
        f"2026-10-25 {time}:00,{energy}\n" for time, energy in zip(local, range(5, 11), strict=True)
    )
    (tmp_path / "a.csv").write_text(f"time,Energy (Wh)\n{rows}2026-03-29 02:30:00,7\n")
    columns = ("--rename", "time=timestamp", "--rename", "Energy (Wh)=kwhConsumedAc")
    options: list[str] = []
    for told, missing in (
        ("--unit Wh if they are", ("--unit", "Wh")),
        ("--meter-id ID", ("--meter-id", box)),
        ("--time-zone Europe/Amsterdam", ("--time-zone", "Europe/Amsterdam")),
    ):
        arguments = ("a.csv", *columns, *options)
        asked = wattlake(tmp_path, "import", *arguments, **where(collector))
        assert told in failed_with(asked, FAILED)
        assert not (tmp_path / "a.csv.rejects.csv").exists()
        options += missing
    arguments = ("a.csv", *columns, *options)
    done = wattlake(tmp_path, "import", *arguments, **where(collector))
    assert (done.returncode, done.stderr) == (SOME_REFUSED, "")
    assert "taken                 6" in done.stdout
    assert "1 x timestamp: does not exist in Europe/Amsterdam" in done.stdout
    posted = wattlake(tmp_path, "replay", *arguments, "--url", url_of(collector))
    assert "6 accepted, 1 rejected" in posted.stdout
    lake = Lake(str(collector.lake_folder))

    def raw() -> list[tuple[str, float]]:
        found = lake.scan(lake.open(METER.raw_table)).filter(pl.col("meter_id") == box).collect()
        return sorted(
            (f"{time:%d %H:%M}", energy)
            for time, energy in found.select("timestamp", "kwh_consumed_ac").rows()
        )

    once = [
        ("24 23:45", 0.005),
        ("25 00:00", 0.006),
        ("25 00:30", 0.007),
        ("25 01:00", 0.008),
        ("25 01:30", 0.009),
        ("25 02:00", 0.01),
    ]
    wait_for(lambda: raw() == sorted(once * 2))
    both = wattlake(tmp_path, "import", "a.csv", "--assume-utc", "--time-zone", "UTC")
    assert "say two things" in failed_with(both, WRONG_USAGE)
    unknown = wattlake(tmp_path, "replay", "a.csv", "--time-zone", "Europe/Atlantis")
    assert "there is no time zone 'Europe/Atlantis'" in failed_with(unknown, WRONG_USAGE)


def test_a_file_in_watt_hours_is_stopped_before_anything_of_it_is_taken(
    tmp_path: Path, collector: Collector
) -> None:
    box = device("M")
    rows = "".join(f"{box},2026-03-01T{hour:02}:00:00Z,{hour * 100}\n" for hour in range(24))
    (tmp_path / "a.csv").write_text(f"meter_id,timestamp,kwhConsumedAc\n{rows}{box},x,1\n")
    stopped = wattlake(tmp_path, "import", "a.csv", **where(collector))
    assert "13 of 24 energies in kwhConsumedAc above 1,000 kWh" in failed_with(stopped, FAILED)
    rows = "".join(f"{box},2026-03-01T{n // 60:02}:{n % 60:02}:00Z,183\n" for n in range(180))
    (tmp_path / "a.csv").write_text(f"meter_id,timestamp,kwhConsumedAc\n{rows}{box},x,1\n")
    stopped = wattlake(tmp_path, "import", "a.csv", **where(collector))
    assert "179 of 179 energies in kwhConsumedAc above 500 kW" in failed_with(stopped, FAILED)
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]
    stopped = wattlake(tmp_path, "replay", "a.csv", "--url", url_of(collector))
    assert "are they Wh?" in failed_with(stopped, FAILED)
    assert collector.http.get(f"/v1/analytics/meter/{box}/live").status_code == 404


def test_the_embedded_stack_of_a_data_folder_is_found() -> None:
    with server_folder() as folder:
        pq.write_table(minutes("M1", 5), folder / "a.parquet")
        missing = wattlake(folder, "import", "a.parquet", "--data", "stack")
        assert "start it with `wattlake up`" in failed_with(missing, FAILED)
        with running_postgres(folder / "stack" / "postgres") as server:
            migrate(server.url())
            done = wattlake(folder, "import", "a.parquet", "--data", "stack")
        assert (done.returncode, done.stderr) == (DONE, "")
        assert len(rows_by_hour(Lake(str(folder / "stack" / "lake")), METER)) == 1


def test_wrong_usage_and_unusable_files_are_one_clear_line(
    tmp_path: Path, collector: Collector
) -> None:
    wrong = wattlake(tmp_path, "import", "a.csv", "--rename", "x", **where(collector))
    assert wrong.returncode == WRONG_USAGE
    two = wattlake(tmp_path, "import", "a.csv", "b.csv", "--rejects", "r.csv", **where(collector))
    assert "--rejects is for one file" in failed_with(two, WRONG_USAGE)
    missing = wattlake(tmp_path, "import", "a.csv", **where(collector))
    assert "a.csv can't be read: No such file" in failed_with(missing, FAILED)
    (tmp_path / "a.csv").write_text("meter_id,timestamp,voltage\n")
    nowhere = {"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x", "LAKE_URI": "lake"}
    unreachable = wattlake(tmp_path, "import", "a.csv", **nowhere)
    assert "does not answer" in failed_with(unreachable, FAILED)


def test_a_file_of_years_ago_says_from_where_on_hours_are_computed(
    tmp_path: Path, collector: Collector
) -> None:
    def imported(year: int) -> str:
        csv = f"meterId,timestamp,kwhConsumedAc\n{device('M')},{year}-03-11T08:30:00-08:00,1.5\n"
        (tmp_path / f"{year}.csv").write_text(csv)
        done = wattlake(tmp_path, "import", f"{year}.csv", **where(collector))
        assert (done.returncode, done.stderr) == (DONE, "")
        return done.stdout

    def warnings() -> str:
        return " ".join(collector.http.get("/readyz").json()["warnings"])

    assert "hours from 2012-03-11 on are computed now" in (told := imported(2012))
    assert "Dagster advises at most 100,000" in told
    assert "computed" not in imported(2012) + imported(2013)
    assert warnings() == ""

    with psycopg.connect(collector.database_url) as conn:  # as the daemon with such a setting does
        conn.execute(query("note_partitions_start"), {"set_to": date(2016, 1, 1)})
    told = imported(2011)
    assert "1 hours before PARTITIONS_START 2016-01-01 are not computed" in told
    assert "set it to 2011-03-11 and restart Dagster" in told
    assert "3 hours before 2016-01-01 are not computed; 3 of them, from 2011-03-11" in warnings()
    status = wattlake(tmp_path, "status", "--url", str(collector.http.base_url))
    assert re.search(r"hours never computed +3", status.stdout)
