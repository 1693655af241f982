"""Files that go into the lake in bulk.

Invariants, whatever the file and whatever dies:
- the lake holds what it would hold if the rows had been posted one after the other;
- each row of a file is in the raw table once, or in the file of the refused ones with its reasons;
- the ledger counts exactly the rows of the raw table.
"""

import csv
import json
import os
import signal
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion_api.bulk_import import source as reading
from ingestion_api.bulk_import.file_import import STEPS, FileImport
from ingestion_api.bulk_import.ledger import Ledger
from ingestion_api.bulk_import.source import Source
from ingestion_api.commit.receipt_clock import ReceiptClock
from ingestion_api.commit.transaction import statements, unknown_pairs
from ingestion_api.heartbeats.batch import Limits
from ingestion_api.heartbeats.strict_decoder import decode_values_strict
from ingestion_api.outbox.flush import OutboxFlush
from lake import (
    HOUR,
    METER,
    STREAMS,
    VEHICLE,
    EnergySettings,
    Lake,
    Stream,
    UnusableFile,
    WrongLake,
    compact_hour,
    rows_by_hour,
    scan_history,
)
from lake.history.deduplication import merge_heartbeats, no_heartbeats
from lake.recordings import ColumnMapping, parse_number
from pipelines.ledger import import_under_way
from tests.harness.forked import assert_kills_itself
from tests.harness.outbox import execute
from tests.harness.postgres import copied_database
from tests.harness.waiting import wait_for
from tests.samples import ANY_TIME, HOUR_10

TOLERANCE = 300.0
ENERGY = EnergySettings(_env_file=None)
METER_COLUMNS = ("meter_id", "timestamp", "kwh_consumed_ac", "voltage", "reading_type")


def import_file(
    dsn: str, lake: Lake, file: Path, meaning: ColumnMapping | None = None, **options: Any
) -> FileImport:
    meaning = meaning or ColumnMapping()
    with Ledger(dsn, lake) as ledger:
        done = FileImport(
            Source(file, meaning), meaning, lake, ledger, TOLERANCE, ENERGY, **options
        )
        done.run(rejects_of(file), lambda: None)
    return done


def rejects_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.rejects.csv")


def refused_rows(file: Path) -> list[dict[str, str]]:
    path = rejects_of(file)
    if not path.exists():
        return []
    with path.open(newline="") as opened:
        return list(csv.DictReader(opened))


def minutes(first: int, count: int, meter: str = "M1") -> pa.Table:
    moments = [HOUR_10 + timedelta(minutes=first + n) for n in range(count)]
    return pa.table(
        {
            "meter_id": [meter] * count,
            "timestamp": pa.array(moments, pa.timestamp("us", "UTC")),
            "kwh_consumed_ac": [n / 1000 for n in range(first, first + count)],
        }
    )


def parquet(folder: Path, rows: pa.Table, name: str = "a.parquet") -> Path:
    file = folder / name
    pq.write_table(rows, file)
    return file


def raw(lake: Lake, stream: Stream = METER) -> pl.DataFrame:
    return lake.scan(lake.open(stream.raw_table)).collect()


def ledger(dsn: str) -> dict[tuple[str, datetime], int]:
    with psycopg.connect(dsn) as conn:
        rows = conn.execute("SELECT stream, hour, raw_rows FROM partition_ledger").fetchall()
    return {(stream, hour): count for stream, hour, count in rows}


def assert_ledger_agrees(dsn: str, lake: Lake) -> None:
    assert ledger(dsn) == {
        (stream.name, hour): count
        for stream in STREAMS.values()
        for hour, count in rows_by_hour(lake, stream).items()
    }


# -- the same as posting -------------------------------------------------------------------------

NUMBER = st.one_of(
    st.none(),
    st.sampled_from(["0.25", "1e-3", " 7", "abc", "nan", "-1", "5000", "100.5", "1_0"]),
)
TIME = st.one_of(
    st.integers(0, 150).map(lambda n: f"{HOUR_10 + timedelta(minutes=n):%Y-%m-%dT%H:%M:%SZ}"),
    st.sampled_from(
        [
            None,
            "2026-11-20T10:00:00",
            "2026-11-20 12:00:00.1234567+02:00",
            "2026-02-30T10:00:00Z",
            "1999-12-31T23:59:59Z",
            "2999-01-01T00:00:00Z",
            "now",
        ]
    ),
)
DEVICE = st.one_of(st.none(), st.sampled_from(["1", "2", 'a|"ö', "x" * 80]))
ROW = st.fixed_dictionaries(
    {
        "meterId": DEVICE,
        "vehicleId": DEVICE,
        "timestamp": TIME,
        "kwhConsumedAc": NUMBER,
        "voltage": NUMBER,
        "kwhDeliveredDc": NUMBER,
        "soc": NUMBER,
        "readingType": st.sampled_from([None, "interval", "register", "both"]),
        "type": st.sampled_from([None, None, "meter", "vehicle", "car"]),
    }
)


def good_row(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    rows: dict[str, st.SearchStrategy[Any]] = {
        "meterId": st.sampled_from(["1", "2"]),
        "timestamp": st.integers(0, 150).map(
            lambda n: f"{HOUR_10 + timedelta(minutes=n):%Y-%m-%dT%H:%M:%SZ}"
        ),
    }
    if kind == "meter":
        rows |= {"voltage": st.integers(200, 240).map(str)}
    else:
        rows |= {"vehicleId": st.sampled_from(["7", "8"]), "soc": st.integers(0, 100).map(str)}
    return st.fixed_dictionaries(rows)


def as_posted(row: dict[str, Any]) -> dict[str, Any]:
    """What `wattlake replay` would post of a row of texts."""
    posted = {}
    for name, value in row.items():
        if value is None:
            continue
        posted[name] = value
        if name in {"kwhConsumedAc", "voltage", "kwhDeliveredDc", "soc"}:
            number = parse_number(value)
            posted[name] = value if number is None else number
    return posted


def post(dsn: str, lake: Lake, rows: Sequence[dict[str, Any]]) -> dict[int, list[str]]:
    """As the collector does, one request a row; returns the codes of those refused."""
    clock, refused = ReceiptClock(TOLERANCE), {}
    with psycopg.connect(dsn, autocommit=True) as conn:
        for number, row in enumerate(rows, start=1):
            limits = Limits.from_clock(datetime.now(UTC), TOLERANCE, 1)
            intake = decode_values_strict([as_posted(row)], "telemetry", limits)
            if intake.refusals:
                refused[number] = [refusal.code for refusal in intake.refusals]
            stamped = {name: clock.stamp(some) for name, some in intake.rows.items()}
            pairs = unknown_pairs(stamped.get(VEHICLE.name), {})
            for statement in statements(stamped, pairs, 1, ANY_TIME):
                execute(conn, statement)
        with OutboxFlush(dsn, conn, lake, 1_000_000) as flush:
            for stream in STREAMS.values():
                flush.flush(stream)
    return refused


def history(lake: Lake, stream: Stream, devices: Sequence[str]) -> list[dict[str, Any]]:
    """Of devices that begin so, as their compaction would have it; without prefix and receipt."""
    (prefix,) = devices
    rows = raw(lake, stream).lazy().filter(pl.col(stream.device).str.starts_with(prefix))
    rows = rows.select([column.name for column in stream.columns])
    merged = (
        merge_heartbeats(stream, no_heartbeats(stream).lazy(), [rows])
        # What an import replaces is no conflict, and what is posted again may be one.
        .drop("received_at", "imported_at", "conflicts", "conflicting_energy")
        .collect()
    )
    return [
        {name: str(value).removeprefix(prefix) for name, value in row.items()}
        for row in merged.to_dicts()
    ]


def live(dsn: str, prefix: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as conn:
        return [
            tuple(str(value).removeprefix(prefix) for value in row)
            for sql in (
                "SELECT meter_id, timestamp, kwh_consumed_ac, voltage, reading_type"
                " FROM meter_live_state WHERE starts_with(meter_id, %s) ORDER BY 1",
                "SELECT vehicle_id, timestamp, soc, meter_id, reading_type"
                " FROM vehicle_live_state WHERE starts_with(vehicle_id, %s) ORDER BY 1",
                "SELECT vehicle_id, meter_id, first_named_at"
                " FROM named_link WHERE starts_with(vehicle_id, %s) ORDER BY 1, 2",
            )
            for row in conn.execute(sql.encode(), (prefix,)).fetchall()
        ]


def prefixed(rows: Sequence[dict[str, Any]], prefix: str) -> list[dict[str, Any]]:
    return [
        {
            name: prefix + value if name in {"meterId", "vehicleId"} and value else value
            for name, value in row.items()
        }
        for row in rows
    ]


def write(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """All columns as texts."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if file.suffix == ".csv":
        with file.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.DictWriter(opened, names)
            writer.writeheader()
            writer.writerows(rows)
    else:
        columns = {name: pa.array([row.get(name) for row in rows], pa.string()) for name in names}
        pq.write_table(pa.table(columns), file, row_group_size=7)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(
    rows=st.lists(st.one_of(good_row("meter"), good_row("vehicle"), ROW), min_size=1, max_size=40),
    ends=st.lists(st.integers(0, 40), max_size=3),
    suffix=st.sampled_from(["csv", "parquet"]),
    part=st.sampled_from([3, 1000]),
    section=st.sampled_from([5, 1000]),
)
def test_an_import_of_any_split_is_as_if_its_rows_were_posted(
    rows: list[dict[str, Any]],
    ends: list[int],
    suffix: str,
    part: int,
    section: int,
    database_url: str,
    lake: Lake,
    tmp_path: Path,
) -> None:
    # Every file has every column, or it would be unusable as a whole.
    first = {"meterId": "1", "vehicleId": None, "timestamp": "2026-11-20T10:00:00Z"}
    first |= {"voltage": "230", "soc": None}
    posted, name = uuid4().hex[:6], uuid4().hex[:6]
    places = sorted({0, len(rows), *(end for end in ends if end < len(rows))})
    pieces = [[first, *rows[a:b]] for a, b in pairwise(places)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "ROWS_A_PART", part)
        for number, piece in enumerate(pieces):
            wanted = post(database_url, lake, prefixed(piece, posted))
            file = tmp_path / f"{name}-{number}.{suffix}"
            write(file, prefixed(piece, name))
            done = import_file(
                database_url, lake, file, ColumnMapping(unit="kWh"), section_rows=section
            )
            found = {int(row["row"]): row["codes"].split() for row in refused_rows(file)}
            assert found == {row: list(dict.fromkeys(codes)) for row, codes in wanted.items()}
            assert done.progress.taken + done.progress.refused == len(piece)
    for stream in STREAMS.values():
        assert history(lake, stream, [name]) == history(lake, stream, [posted])
    assert live(database_url, name) == live(database_url, posted)
    assert_ledger_agrees(database_url, lake)


# -- exactly once ----------------------------------------------------------------------------------


def flush(dsn: str, lake: Lake) -> None:
    """Do what the lake writer does in each of its rounds."""
    with (
        psycopg.connect(dsn, autocommit=True) as conn,
        OutboxFlush(dsn, conn, lake, 1000) as writer,
    ):
        for stream in STREAMS.values():
            writer.flush(stream)


def import_and_die(dsn: str, lake: Lake, file: Path, fatal: str, which: int) -> None:
    met = 0

    def die(step: str) -> None:
        nonlocal met
        met += step == fatal
        if met == which:
            os.kill(os.getpid(), signal.SIGKILL)

    reading.ROWS_A_PART = 50  # type: ignore[misc]  # for several sections of a small file
    import_file(dsn, lake, file, section_rows=100, at_step=die)


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_loses_and_doubles_nothing(
    step: str, database_url: str, lake: Lake, tmp_path: Path
) -> None:
    rows = pa.concat_tables([minutes(0, 150), minutes(0, 150, "M2")])
    bad = {"meter_id": ["M3"], "timestamp": [HOUR_10], "kwh_consumed_ac": [-1.0]}
    refused = pa.table(bad).cast(rows.schema)
    file = parquet(tmp_path, pa.concat_tables([refused, rows, refused]))
    assert_kills_itself(import_and_die, database_url, lake, file, step, 2)
    with psycopg.connect(database_url, autocommit=True) as conn:  # as after an upgrade
        conn.execute("UPDATE outbox_delivery SET counted_version = NULL")
    flush(database_url, lake)
    done = import_file(database_url, lake, file)
    flush(database_url, lake)
    assert done.progress.began_after >= 100
    found = raw(lake)
    assert found.height == found.unique(["meter_id", "timestamp"]).height == 300
    assert [row["row"] for row in refused_rows(file)] == ["1", "302"]
    assert_ledger_agrees(database_url, lake)
    with psycopg.connect(database_url) as conn:
        newest = conn.execute('SELECT "timestamp" FROM meter_live_state ORDER BY meter_id')
        assert [time for (time,) in newest] == [HOUR_10 + timedelta(minutes=149)] * 2
    # The moment of the import is that of its first run.
    moments = sorted(found["received_at"].to_list())
    assert moments[-1] - moments[0] < timedelta(milliseconds=1)


@pytest.mark.parametrize("step", STEPS)
def test_a_count_of_the_raw_table_beside_an_import_misses_and_doubles_nothing(
    step: str, database_url: str, lake: Lake, tmp_path: Path
) -> None:
    flush(database_url, lake)
    import_file(database_url, lake, parquet(tmp_path, minutes(0, 30), "before.parquet"))

    def count(reached: str) -> None:
        if reached == step:
            with psycopg.connect(database_url, autocommit=True) as conn:
                conn.execute("UPDATE partition_ledger SET raw_rows = raw_rows - 7")
                conn.execute("UPDATE outbox_delivery SET counted_version = NULL")
            flush(database_url, lake)

    import_file(database_url, lake, parquet(tmp_path, minutes(30, 60)), at_step=count)
    flush(database_url, lake)
    assert_ledger_agrees(database_url, lake)


def test_what_a_killed_import_has_brought_is_counted_though_nobody_starts_it_again(
    database_url: str, lake: Lake, tmp_path: Path
) -> None:
    flush(database_url, lake)
    file = parquet(tmp_path, minutes(0, 150))
    assert_kills_itself(import_and_die, database_url, lake, file, "before_settle", 1)
    assert ledger(database_url) == {}
    flush(database_url, lake)
    assert_ledger_agrees(database_url, lake)
    import_file(database_url, lake, file)
    flush(database_url, lake)
    assert_ledger_agrees(database_url, lake)
    assert raw(lake).height == 150


def test_an_import_into_another_database_of_the_lake_is_counted_here(
    database_url: str, postgres: str, migrated_template: str, lake: Lake, tmp_path: Path
) -> None:
    with copied_database(postgres, migrated_template) as other:
        flush(database_url, lake)
        flush(other, lake)
        import_file(other, lake, parquet(tmp_path, minutes(0, 70), "there.parquet"))
        import_file(database_url, lake, parquet(tmp_path, minutes(70, 90, "M2"), "here.parquet"))
        for dsn in (database_url, other, database_url):
            flush(dsn, lake)
        assert_ledger_agrees(database_url, lake)
        assert_ledger_agrees(other, lake)


def test_an_import_that_a_restored_database_does_not_know_is_settled_from_the_lake(
    database_url: str, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = parquet(tmp_path, minutes(0, 150))
    assert_kills_itself(import_and_die, database_url, lake, file, "before_settle", 1)
    assert ledger(database_url) == {}
    monkeypatch.setattr(Ledger, "outcome", lambda self, transaction: None)
    import_file(database_url, lake, file)
    assert raw(lake).height == 150
    flush(database_url, lake)
    assert_ledger_agrees(database_url, lake)


def test_a_file_is_imported_once_whatever_its_name(
    database_url: str, lake: Lake, tmp_path: Path
) -> None:
    file = parquet(tmp_path, minutes(0, 90))
    assert not import_file(database_url, lake, file).progress.imported_before
    again = import_file(database_url, lake, file.rename(tmp_path / "b.parquet"))
    assert (again.progress.imported_before, again.progress.size) == (True, 90)
    assert raw(lake).height == 90
    parquet(tmp_path, minutes(0, 91))  # a corrected one is another
    import_file(database_url, lake, tmp_path / "a.parquet")
    assert raw(lake).height == 181
    assert_ledger_agrees(database_url, lake)


def test_a_file_is_imported_by_one_process_at_a_time_and_others_know_that_it_is(
    database_url: str, lake: Lake, tmp_path: Path
) -> None:
    file = parquet(tmp_path, minutes(0, 9))
    source = Source(file, ColumnMapping())
    with psycopg.connect(database_url, autocommit=True) as looking:
        with Ledger(database_url, lake) as first, Ledger(database_url, lake) as second:
            assert not import_under_way(looking)
            FileImport(source, ColumnMapping(), lake, first, TOLERANCE, ENERGY)
            assert import_under_way(looking)
            with pytest.raises(UnusableFile, match="by another process"):
                FileImport(source, ColumnMapping(), lake, second, TOLERANCE, ENERGY)
        wait_for(lambda: not import_under_way(looking))


def test_a_year_of_a_device_after_the_other_makes_a_file_an_hour(
    database_url: str, lake: Lake, tmp_path: Path
) -> None:
    moments = [HOUR_10 - n * HOUR / 2 for n in range(1, 401)]
    table = pa.concat_tables(
        pa.table({"meter_id": [f"M{n}"] * 400, "timestamp": moments, "voltage": [230.0] * 400})
        for n in range(5)
    )
    done = import_file(database_url, lake, parquet(tmp_path, table))
    files = lake.open(METER.raw_table).file_uris()
    assert len(files) == len(done.progress.hours) == 200
    assert raw(lake).height == 2000


# -- beside the rest -------------------------------------------------------------------------------


def test_imported_hours_wait_for_their_computation(
    database_url: str, lake: Lake, tmp_path: Path
) -> None:
    import_file(database_url, lake, parquet(tmp_path, minutes(30, 90)))
    with psycopg.connect(database_url) as conn:
        waiting = conn.execute("SELECT hour FROM unpublished_hour ORDER BY hour").fetchall()
    assert waiting == [(HOUR_10,), (HOUR_10 + HOUR,)]


def test_an_import_wins_over_what_was_received_before_and_loses_to_what_comes_after(
    database_url: str, lake: Lake, tmp_path: Path
) -> None:
    row = {"meterId": "M1", "timestamp": f"{HOUR_10:%Y-%m-%dT%H:%M:%SZ}"}
    post(database_url, lake, [{**row, "voltage": "1"}])
    write(tmp_path / "a.csv", [{**row, "voltage": "2"}, {**row, "voltage": "3"}])
    import_file(database_url, lake, tmp_path / "a.csv")
    assert [found["voltage"] for found in history(lake, METER, ["M"])] == ["3.0"]
    post(database_url, lake, [{**row, "voltage": "4"}])
    (found,) = history(lake, METER, ["M"])
    assert (found["voltage"], found["duplicates"]) == ("4.0", "3")


def test_a_lake_that_belongs_to_another_database_is_refused(
    database_url: str, lake: Lake, tmp_path: Path
) -> None:
    import_file(database_url, lake, parquet(tmp_path, minutes(0, 5)))
    other = Lake(str(tmp_path / "other"))
    other.create_tables()
    with pytest.raises(WrongLake):
        import_file(database_url, other, tmp_path / "a.parquet")


# -- refused rows and files ------------------------------------------------------------------------


def test_refused_rows_are_told_with_their_place_reasons_and_content(
    database_url: str, lake: Lake, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(
        "meter_id,timestamp,voltage,note\n"
        "M1,2026-03-01T12:00:00Z,230,\n"
        "\n"
        'M1,2026-03-01T12:01:00,230,"no\nzone"\n'
        "M1,2026-03-01T12:02:00Z\n"
        "-M1,2026-03-01T12:03:00Z,-5,\n"
        ",2026-03-01T12:04:00Z,230,\n"
        "M1,2026-03-01T12:05:00Z,230,\n"
        "=M1,torn"
    )
    meaning = ColumnMapping(stream="meter")
    done = import_file(database_url, lake, tmp_path / "a.csv", meaning)
    found = refused_rows(tmp_path / "a.csv")
    assert [(int(row["row"]), row["codes"]) for row in found] == [
        (2, "bad_time"),
        (3, "not_csv"),
        (4, "out_of_range"),
        (5, "missing_field"),
        (7, "not_csv"),
    ]
    assert (found[2]["stream"], found[2]["device"]) == ("meter", "'-M1")  # no formula
    assert found[4]["record"] == "'=M1,torn"
    assert found[2]["timestamp"] == "2026-03-01T12:03:00Z"
    assert found[2]["reasons"].startswith("voltage: ")
    assert json.loads(found[2]["record"])["voltage"] == -5
    assert (done.progress.taken, done.progress.refused) == (2, 5)
    assert raw(lake).height == 2


def test_typed_columns_and_texts_are_read_alike(
    database_url: str, lake: Lake, tmp_path: Path
) -> None:
    moments = [HOUR_10 + timedelta(seconds=n) for n in range(4)]
    typed = pa.table(
        {
            "vehicleId": pa.array(["V1", "V2", None, "V4"]).dictionary_encode(),
            "timestamp": pa.array(moments, pa.timestamp("ns", "Europe/Berlin")),
            "soc": pa.array([1, 2, 3, None], pa.int32()),
            "battery_temp": pa.array([float("nan"), None, 1.0, 2.0], pa.float32()),
            "meter_id": pa.array(["M1", None, None, ""], pa.large_string()),
        }
    )
    done = import_file(
        database_url, lake, parquet(tmp_path, typed), ColumnMapping(reading_type="register")
    )
    assert [(row["row"], row["codes"]) for row in refused_rows(tmp_path / "a.parquet")] == [
        ("3", "unknown_kind")
    ]
    assert done.progress.taken == 3
    assert done.progress.left_out == {"batteryTemp": 1, "meterId": 1}
    rows = raw(lake, VEHICLE).sort("vehicle_id")
    found = rows.select("vehicle_id", "soc", "battery_temp", "meter_id", "timestamp").rows()
    assert found == [
        ("V1", 1.0, None, "M1", moments[0]),
        ("V2", 2.0, None, None, moments[1]),
        ("V4", None, 2.0, None, moments[3]),
    ]
    assert set(rows["reading_type"]) == {"register"}
    assert rows["imported_at"].null_count() == 0


def test_intervals_and_phases_are_imported_and_other_columns_told(
    database_url: str, lake: Lake, tmp_path: Path
) -> None:
    start = [HOUR_10, HOUR_10, None, HOUR_10 - 8 * timedelta(days=1), HOUR_10]
    columns = {
        "meterId": [871687120061] * 5,
        "timestamp": [HOUR_10 + timedelta(minutes=15)] * 5,
        "intervalStart": start,
        "intervalSeconds": [None, 900.0, 60.0, None, 60.0],
        "phase": [1, 2, 3, 4, 5],
        "kwhConsumedAc": [0.1] * 5,
        "voltage": [230.0, float("nan"), -1.0, 230.0, 230.0],
        "KWHconsumed": [1.0] * 5,
    }
    done = import_file(
        database_url, lake, parquet(tmp_path, pa.table(columns)), ColumnMapping(stream="meter")
    )
    rows = raw(lake, METER).sort("phase")
    assert rows["interval_seconds"].to_list() == [900, 900, 60, None, None]
    assert rows["phase"].to_list() == ["1", "2", "3", "4", "5"]
    assert rows["voltage"].to_list() == [230, None, None, 230, 230]
    assert set(rows["meter_id"]) == {"871687120061"}
    progress = done.progress
    assert (progress.taken, progress.duplicates) == (5, 0)
    assert progress.left_out == {"intervalStart": 2, "voltage": 2}
    assert progress.unknown_columns == {"KWHconsumed": "kwhConsumedAc"}
    compact_hour(lake, METER, HOUR_10)
    assert scan_history(lake, METER, HOUR_10, HOUR_10 + HOUR).collect().height == 5


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", None, "can't be read: No such file"),
        ("a.txt", "x", "neither .parquet nor .csv"),
        ("a.csv", "a,b\n1,2\n", "has no meterId for a meter; it has: a, b"),
        ("a.csv", "meter_id,timestamp,meterId,voltage\n", "has two columns for meterId"),
        ("a.parquet", "no parquet", "can't be read: "),
    ],
)
def test_a_file_that_can_not_be_imported_says_why(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UnusableFile) as refused:
        Source(tmp_path / name, ColumnMapping())
    assert message in str(refused.value)


def test_a_timestamp_column_without_a_zone_is_refused_as_a_whole(tmp_path: Path) -> None:
    table = minutes(0, 3)
    naive = table["timestamp"].cast(pa.timestamp("us"))
    file = parquet(tmp_path, table.set_column(1, "timestamp", naive))
    with pytest.raises(UnusableFile, match="without a zone"):
        Source(file, ColumnMapping())
