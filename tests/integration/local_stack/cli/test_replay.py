"""`wattlake replay`: every recorded heartbeat arrives once more, also after interruptions."""

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.harness.collector import Collector, collector_of_module
from tests.harness.command_line import DONE, FAILED, SOME_REFUSED, failed_with, url_of, wattlake
from tests.harness.flaky_collector import flaky_collector
from tests.harness.heartbeats import device

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


collector = collector_of_module(FLUSH_SECONDS="0.2")


def recording(folder: Path, rows: int, meter: str = "M1") -> Path:
    file = folder / "recording.parquet"
    table = {
        "meter_id": [meter] * rows,
        "timestamp": [NOON + timedelta(seconds=row) for row in range(rows)],
        "kwh_consumed_ac": [row / 1000 for row in range(rows)],
    }
    pq.write_table(pa.table(table), file)
    return file


def test_a_parquet_file_arrives_in_the_collector(tmp_path: Path, collector: Collector) -> None:
    meter = device("M")
    recording(tmp_path, 250, meter)
    arguments = ("recording.parquet", "--batch", "100", "--url", url_of(collector))
    done = wattlake(tmp_path, "replay", *arguments)
    assert (done.returncode, done.stderr) == (DONE, "")
    assert done.stdout == "recording.parquet: 250 accepted, 0 rejected\n"
    live = collector.http.get(f"/v1/analytics/meter/{meter}/live").json()
    assert live["kwhConsumedAc"] == 0.249
    assert "\x1b" not in done.stdout


def test_refused_rows_are_told_and_kept_with_their_reasons(
    tmp_path: Path, collector: Collector
) -> None:
    (tmp_path / "a.csv").write_text(
        "meter_id,timestamp,voltage\n"
        f"{device('M')},2026-03-01T12:00:00Z,230\n"
        f"{device('M')},2026-03-01T12:00:00Z,abc\n"
        f",2026-03-01T12:00:00Z,230\n"
    )
    done = wattlake(tmp_path, "replay", "a.csv", "--url", url_of(collector))
    assert done.returncode == SOME_REFUSED
    assert "a.csv: 1 accepted, 2 rejected" in done.stdout
    assert "1 x voltage: " in done.stdout
    kept = (tmp_path / "a.csv.rejected.ndjson").read_text().splitlines()
    first, second = map(json.loads, kept)
    assert (first["row"], first["errors"][0]["field"]) == (2, "voltage")
    assert first["heartbeat"]["voltage"] == "abc"
    assert (second["row"], second["errors"][0]["field"]) == (3, "meterId")


def test_a_file_of_refused_rows_alone_does_not_stop_the_replay(
    tmp_path: Path, collector: Collector
) -> None:
    (tmp_path / "a.csv").write_text("meter_id,timestamp,voltage\nM1,2026-03-01T12:00:00Z,-5\n")
    done = wattlake(tmp_path, "replay", "a.csv", "--url", url_of(collector))
    assert (done.returncode, done.stderr) == (SOME_REFUSED, "")
    assert "a.csv: 0 accepted, 1 rejected" in done.stdout


def test_rows_are_posted_in_file_order_with_their_true_names(tmp_path: Path) -> None:
    rows = {
        "vehicle_id": ["V1", "V1", "V1"],
        "timestamp": [NOON, NOON, NOON],
        "charge_energy_added_kwh": [0.1, 0.2, 0.3],
        "source_row": [3, 1, 2],
    }
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    renamed = ("--rename", "charge_energy_added_kwh=kwh_delivered_dc")
    with flaky_collector() as collector:
        for order in ((), ("--order-by", "source_row")):
            done = wattlake(
                tmp_path,
                *("replay", "a.parquet", *renamed, *order),
                *("--reading-type", "register", "--url", collector.url),
            )
            assert done.returncode == DONE, done.stderr
        sent = [heartbeat for _, heartbeat in collector.heartbeats]
    assert [heartbeat["kwhDeliveredDc"] for heartbeat in sent] == [0.1, 0.2, 0.3, 0.2, 0.3, 0.1]
    assert {heartbeat["readingType"] for heartbeat in sent} == {"register"}


def test_a_file_is_not_replayed_twice_unless_it_is_wanted(tmp_path: Path) -> None:
    recording(tmp_path, 3)
    with flaky_collector() as collector:
        for arguments, arrived in (((), 3), ((), 3), (("--restart",), 6)):
            done = wattlake(
                tmp_path, "replay", "recording.parquet", *arguments, "--url", collector.url
            )
            assert done.returncode == DONE
            assert len(collector.heartbeats) == arrived
        (tmp_path / "recording.parquet").rename(tmp_path / "renamed.parquet")
        done = wattlake(tmp_path, "replay", "renamed.parquet", "--url", collector.url)
        assert "was replayed before; --restart does it again" in done.stdout


def test_a_collector_that_is_busy_or_hangs_up_gets_every_heartbeat_once_it_answers(
    tmp_path: Path,
) -> None:
    recording(tmp_path, 40)
    with flaky_collector(503, 0, 201, 503) as collector:
        began = time.monotonic()
        arguments = ("recording.parquet", "--batch", "10", "--url", collector.url)
        done = wattlake(tmp_path, "replay", *arguments)
        assert done.returncode == DONE, done.stderr
        assert time.monotonic() - began > 2  # two answers said: come back in a second
        energies = [heartbeat["kwhConsumedAc"] for _, heartbeat in collector.heartbeats]
    assert energies == [row / 1000 for row in range(40)]
    assert "waiting: 503 (answer 503)" in done.stdout


def test_rows_of_too_many_new_devices_are_sent_again_and_none_is_refused(tmp_path: Path) -> None:
    recording(tmp_path, 10)
    with flaky_collector(207, 207, 429) as collector:
        done = wattlake(tmp_path, "replay", "recording.parquet", "--url", collector.url)
        energies = [heartbeat["kwhConsumedAc"] for _, heartbeat in collector.heartbeats]
    assert (done.returncode, done.stderr) == (DONE, "")
    assert "10 accepted, 0 rejected" in done.stdout
    assert energies == [row / 1000 for row in (*range(1, 10), 0)]
    assert not (tmp_path / "recording.parquet.rejected.ndjson").exists()


def test_a_collector_that_stays_away_ends_the_replay_which_then_goes_on(tmp_path: Path) -> None:
    recording(tmp_path, 30)
    replay = ("replay", "recording.parquet", "--batch", "10", "--patience", "0.5")
    with flaky_collector(201, *[503] * 50) as collector:
        done = wattlake(tmp_path, *replay, "--url", collector.url)
        assert "gave up after" in failed_with(done, FAILED)
        assert len(collector.heartbeats) == 10
        collector.answers.clear()
        done = wattlake(tmp_path, *replay, "--url", collector.url)
        assert done.returncode == DONE
        assert "going on after row 10" in done.stdout
        assert "30 accepted, 0 rejected" in done.stdout
        energies = [heartbeat["kwhConsumedAc"] for _, heartbeat in collector.heartbeats]
    assert energies == [row / 1000 for row in range(30)]


def test_ctrl_c_ends_a_replay_which_then_goes_on(tmp_path: Path) -> None:
    recording(tmp_path, 30)
    with flaky_collector(201, *[503] * 50) as collector:
        arguments = ["replay", "recording.parquet", "--batch", "10", "--url", collector.url]
        environment = {"PATH": "/usr/bin:/bin", "XDG_STATE_HOME": str(tmp_path / "state")}
        with subprocess.Popen(
            [sys.executable, "-m", "local_stack", *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as interrupted:
            assert interrupted.stdout is not None
            assert interrupted.stdout.readline().startswith("waiting: ")
            interrupted.send_signal(signal.SIGINT)
            said, error = interrupted.communicate(timeout=30)
        assert interrupted.returncode == 130
        assert said.endswith("stopped after row 10; the same command goes on\n")
        assert error == ""
        collector.answers.clear()
        done = wattlake(tmp_path, *arguments)
        assert done.returncode == DONE, done.stderr
        assert [h["kwhConsumedAc"] for _, h in collector.heartbeats] == [
            row / 1000 for row in range(30)
        ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", None, "can't be read: No such file"),
        ("a.txt", "x", "is not one of .parquet, .csv, .ndjson, .jsonl"),
        ("a.csv", "a,b\n1,2\n", "has no meterId for a meter; it has: a, b"),
        ("a.csv", "meter_id,timestamp,voltage\n1,2026-03-01 12:00,1\n", "add --assume-utc"),
    ],
)
def test_a_file_that_is_no_recording_is_one_clear_line(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with flaky_collector() as collector:
        done = wattlake(tmp_path, "replay", name, "--url", collector.url)
        assert collector.posts == 0
    assert message in failed_with(done, FAILED)


def test_a_rename_without_two_names_is_wrong_usage(tmp_path: Path) -> None:
    done = wattlake(tmp_path, "replay", "a.csv", "--rename", "x")
    assert done.returncode == 2
    assert "--rename takes COLUMN=NAME" in done.stderr
