"""`wattlake` as its users run it: what it prints, and how it ends."""

import csv
import os
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lake import Lake
from lake.schema.table_spec import TableSpec
from lake.schema.vehicle_efficiency import FLEET_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_HOURLY
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
from tests.harness.processes import free_port
from tests.maintenance_samples import store_visits
from tests.table_samples import put

COMMANDS = (
    *("up", "replay", "import", "links import", "status", "efficiency", "migrate", "simulate"),
    *("query", "verify", "report", "alerts", "maintenance list", "maintenance close"),
)


collector = collector_of_module(FLUSH_SECONDS="0.2")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example(tmp_path: Path, command: str) -> None:
    done = wattlake(tmp_path, *command.split(), "--help")
    assert done.returncode == DONE
    assert "Example:" in done.stdout
    assert f"wattlake {command}" in " ".join(done.stdout.split())


def test_the_help_lists_the_commands_and_the_exit_codes(tmp_path: Path) -> None:
    text = " ".join(wattlake(tmp_path, "--help").stdout.split())
    for command in COMMANDS:
        assert command.split()[0] in text
    assert "Exit codes: 0 done, 1 failed" in text


@pytest.mark.parametrize("arguments", [["unknown"], ["replay"], ["up", "--fleet", "many"]])
def test_wrong_usage_ends_with_2(tmp_path: Path, arguments: list[str]) -> None:
    assert wattlake(tmp_path, *arguments).returncode == WRONG_USAGE


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--week", "2026-01"], "2026-01 is a month: give it as --month"),
        (["--day", "tomorrow"], "name a day as 2026-01-15"),
        (["--day", "2026-01-15", "--week", "2026-W03"], "give one of them"),
    ],
)
def test_a_report_of_no_period_is_refused(tmp_path: Path, arguments: list[str], said: str) -> None:
    assert said in failed_with(wattlake(tmp_path, "report", *arguments), WRONG_USAGE)


def test_the_help_of_simulate_tells_how_odd_the_fleet_is(tmp_path: Path) -> None:
    text = " ".join(wattlake(tmp_path, "simulate", "--help").stdout.split())
    assert "4.0% of the chargers bring under 80 % into the battery" in text
    assert "1.0% of the heartbeats are sent twice" in text


@pytest.mark.parametrize(
    "command",
    [
        *("status", "efficiency", "alerts", "links import a.csv", "replay a.csv"),
        *("maintenance list", "maintenance reopen meter M1"),
    ],
)
def test_no_collector_at_the_url_is_one_clear_line(tmp_path: Path, command: str) -> None:
    (tmp_path / "a.csv").write_text("meter_id,timestamp,voltage\nM1,2026-03-01T12:00:00Z,230\n")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        line = failed_with(wattlake(tmp_path, *command.split(), "--url", url), FAILED)
    assert f"no collector answers at {url}: start one with `wattlake up`" in line


def test_a_url_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    failed_with(wattlake(tmp_path, "status", "--url", "http://[broken"), FAILED)
    failed_with(wattlake(tmp_path, "status", "--url", "nonsense"), FAILED)


def test_status_tells_what_was_acknowledged(tmp_path: Path, collector: Collector) -> None:
    meter = {"meterId": device("M"), "timestamp": "2026-03-01T12:00:00Z", "voltage": 230.0}
    assert collector.post("/v1/ingest/meter", meter).status_code == 201
    done = wattlake(tmp_path, "status", WATTLAKE_URL=url_of(collector))
    assert done.returncode == DONE, done.stderr
    assert "heartbeats acknowledged" in done.stdout
    assert "ready for heartbeats" in done.stdout


def test_alerts_show_the_gravest_that_are_open_and_who_cares(
    tmp_path: Path, collector: Collector
) -> None:
    where = {"WATTLAKE_URL": url_of(collector)}
    assert wattlake(tmp_path, "alerts", **where).stdout == "no alert is open\n"
    for hour, device_id, severity, is_over in (
        (0, "[b]old", "critical", False),
        (1, "over", "critical", True),
        (2, "mild", "info", False),
        (3, "new", "critical", False),
    ):
        since = datetime(2026, 3, 1, hour, tzinfo=UTC)
        collector.sql(
            "INSERT INTO alert (rule, kind, device_kind, device_id, severity, since, observed_at,"
            " resolved_at, message)"
            " VALUES ('hot', 'voltage', 'meter', %s, %s, %s, %s, %s, 'is [1]')",
            *(device_id, severity, since, since, since if is_over else None),
        )
    collector.sql("UPDATE alert SET acknowledged_at = now(), acknowledged_by = 'ann' WHERE id = 1")
    lines = wattlake(tmp_path, "alerts", **where).stdout.splitlines()
    assert [" ".join(line.split()) for line in lines if "meter" in line] == [
        "4 critical 2026-03-01 03:00 meter new hot is [1]",
        "1 critical 2026-03-01 00:00 meter [b]old hot is [1] acknowledged by ann",
        "3 info 2026-03-01 02:00 meter mild hot is [1]",
    ]
    fewer = wattlake(tmp_path, "alerts", "--limit", "2", **where).stdout
    assert "mild" not in fewer
    assert "there are more than these 2" in fewer


def test_maintenance_shows_whom_to_visit_and_closes_a_visit(
    tmp_path: Path, collector: Collector
) -> None:
    def told(*arguments: str) -> str:
        done = wattlake(tmp_path, "maintenance", *arguments, WATTLAKE_URL=url_of(collector))
        assert done.returncode == DONE, done.stderr
        return " ".join(done.stdout.split())

    assert "no day's condition is known yet" in told("list")
    store_visits(
        collector.database_url, {"device_id": "M/1", "reason": "It drifts."}, {"device_id": "M2"}
    )
    assert "It drifts." in told("list", "--kind", "meter")
    assert told("close", "meter", "M/1", "fuse replaced") == "meter M/1: closed"
    assert "M/1" not in told("list")
    assert "fuse replaced" in told("list", "--state", "closed")
    again = ("maintenance", "close", "meter", "M/1", "x")
    line = failed_with(wattlake(tmp_path, *again, WATTLAKE_URL=url_of(collector)), FAILED)
    assert "is not open: it is closed" in line
    assert told("reopen", "meter", "M/1") == "meter M/1: open again"


def test_efficiency_says_that_no_hour_was_computed(tmp_path: Path, collector: Collector) -> None:
    done = wattlake(tmp_path, "efficiency", "--before", "2001-01-01", "--url", url_of(collector))
    assert "no hour was computed in the 30 days before 2001-01-01" in failed_with(done, FAILED)


def computed(collector: Collector, spec: TableSpec, rows: Sequence[Mapping[str, object]]) -> None:
    """Let the lake hold these rows of an hour."""
    hour = datetime(2026, 2, 1, 10, tzinfo=UTC)
    put(Lake(str(collector.lake_folder)), spec, hour, *rows)


def test_efficiency_prints_the_fleet_and_its_worst_vehicles(
    tmp_path: Path, collector: Collector
) -> None:
    vehicles = [
        {
            "vehicle_id": name,
            "status": status,
            "reason": reason,
            "energy_ac_kwh": 10,
            "energy_dc_kwh": dc,
            "loss_kwh": 10 - dc,
            "efficiency_percent": 10 * dc,
        }
        for name, dc, status, reason in (
            ("GOOD1", 9.2, "excellent", "rated"),
            ("BAD1", 6.1, "critical", "rated"),
            ("IDLE1", 0.0, "idle", "nothing_flowed"),
            ("ODD1", 0.0, "insufficient_data", "left_out_ac"),
            ("ODD2", 0.0, "insufficient_data", "unmatched_dc"),
            ("ODD3", 0.0, "insufficient_data", "unmatched_dc"),
        )
    ]
    fleet = {
        "rated_energy_ac_kwh": 20,
        "rated_energy_dc_kwh": 15.3,
        "loss_kwh": 4.7,
        "efficiency_percent": 76.5,
        "vehicles_excellent": 1,
        "vehicles_critical": 1,
        "vehicles_idle": 1,
    }
    computed(collector, VEHICLE_EFFICIENCY_HOURLY, vehicles)
    computed(collector, FLEET_EFFICIENCY_HOURLY, [fleet])
    done = wattlake(tmp_path, "efficiency", "--before", "2026-02-02", "--url", url_of(collector))
    assert done.returncode == DONE, done.stderr
    assert "01 Feb 10:00" in done.stdout
    assert "76.5 %" in done.stdout
    assert "1 excellent, 1 critical" in done.stdout
    assert done.stdout.index("BAD1") < done.stdout.index("GOOD1")
    assert "IDLE1" not in done.stdout
    assert "not rated: 2 unmatched dc, 1 left out ac" in done.stdout
    assert "\x1b" not in done.stdout


def test_migrate_needs_a_database_url(tmp_path: Path) -> None:
    assert "DATABASE_URL is not set" in failed_with(wattlake(tmp_path, "migrate"), WRONG_USAGE)


def test_migrate_says_that_the_database_does_not_answer(tmp_path: Path) -> None:
    url = "postgresql://nobody:secret@127.0.0.1:1/none"
    line = failed_with(wattlake(tmp_path, "migrate", DATABASE_URL=url), FAILED)
    assert "does not answer" in line
    assert "secret" not in line


def test_migrate_applies_what_is_missing_and_then_nothing(
    tmp_path: Path, empty_database: str
) -> None:
    first = wattlake(tmp_path, "migrate", DATABASE_URL=empty_database)
    assert "applied 0001_live_state" in first.stdout
    assert first.returncode == DONE
    second = wattlake(tmp_path, "migrate", DATABASE_URL=empty_database)
    assert second.stdout == "nothing to apply\n"


def test_migrate_reads_the_database_url_from_a_dotenv_file(
    tmp_path: Path, database_url: str
) -> None:
    (tmp_path / ".env").write_text(f"DATABASE_URL={database_url}\n")
    assert wattlake(tmp_path, "migrate").stdout == "nothing to apply\n"


def test_links_are_imported_and_can_be_imported_again(tmp_path: Path, collector: Collector) -> None:
    meter = device("M")
    (tmp_path / "links.csv").write_text(
        "meter_id,vehicle_id,valid_from,valid_to\n"
        f"{meter},V1,2026-01-01T00:00:00Z,2026-02-01T00:00:00Z\n"
        f"{meter},V2,2026-02-01T00:00:00Z,\n"
    )
    for _ in range(2):
        done = wattlake(tmp_path, "links", "import", "links.csv", "--url", url_of(collector))
        assert (done.returncode, done.stdout) == (
            DONE,
            "links.csv: links accepted: 2, refused: 0\n",
        )


def test_a_link_that_collides_is_told_with_its_row(tmp_path: Path, collector: Collector) -> None:
    meter = device("M")
    (tmp_path / "links.csv").write_text(
        "meter_id,vehicle_id,valid_from\n"
        f"{meter},V1,2026-01-01T00:00:00Z\n{meter},V2,2026-02-01T00:00:00Z\n"
    )
    done = wattlake(tmp_path, "links", "import", "links.csv", "--url", url_of(collector))
    assert done.returncode == SOME_REFUSED
    assert "link 2: " in done.stdout
    assert "links.csv: links accepted: 1, refused: 1" in done.stdout


def test_every_refused_link_is_kept_beside_the_file(tmp_path: Path, collector: Collector) -> None:
    meter = device("M")
    bad = [f"{meter},C{n},2026-11-17T08:0{n}:00Z,2026-11-17T08:0{n}:00Z" for n in range(8)]
    good = f"{meter},C9,2026-11-17T09:00:00Z,"
    rows = [" meter_id,vehicle_id ,valid_from,valid_to", *bad[:4], "", good, *bad[4:]]
    (tmp_path / "links.csv").write_text("\n".join(rows))
    arguments = ("links", "import", "links.csv", "--url", url_of(collector))
    done = wattlake(tmp_path, *arguments)
    assert done.returncode == SOME_REFUSED
    *told, summary, where = done.stdout.splitlines()
    assert [line.split(":")[0] for line in told] == [f"  link {n}" for n in (1, 2, 3, 4, 6)]
    assert summary == "links.csv: links accepted: 1, refused: 8"
    assert where == "  the refused rows are in links.csv.rejects.csv"
    with (tmp_path / "links.csv.rejects.csv").open(newline="") as opened:
        header, *kept = csv.reader(opened)
    assert header == ["row", "reasons", "meter_id", "vehicle_id", "valid_from", "valid_to"]
    assert [int(row[0]) for row in kept] == [1, 2, 3, 4, 6, 7, 8, 9]
    assert [",".join(row[2:]) for row in kept] == bad
    assert {row[1] for row in kept} == {"validTo must be after validFrom"}
    (tmp_path / "links.csv").write_text("\n".join([rows[0], good]))
    assert wattlake(tmp_path, *arguments).returncode == DONE
    assert not (tmp_path / "links.csv.rejects.csv").exists()  # of the file as it was before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't be read: No such file"),
        ("", "is empty"),
        ("meter_id,vehicle_id,valid_from\n", "has no links"),
        ("meter_id;vehicle_id;valid_from\nM;V;2026-01-01T00:00:00Z\n", "has semicolons between"),
        ("m\x00e\x00t\x00e\x00r\x00", "is UTF-16 text: save it as UTF-8"),
        ("meter,vehicle\nM1,V1\n", "the CSV has no column meter_id"),
    ],
)
def test_a_file_without_links_is_one_clear_line(
    tmp_path: Path, collector: Collector, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "links.csv").write_text(content)
    done = wattlake(tmp_path, "links", "import", "links.csv", "--url", url_of(collector))
    assert message in failed_with(done, FAILED)


def test_up_says_which_port_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = wattlake(tmp_path, "up", "--data", str(tmp_path / "d"), "--port", str(port))
    assert f"port {port} on 127.0.0.1 can't be used" in failed_with(done, FAILED)


def test_up_says_that_the_data_folder_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = wattlake(tmp_path, "up", "--data", str(tmp_path / "file" / "data"))
    assert "choose another data folder" in failed_with(done, FAILED)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has an account for the database")
def test_up_as_root_says_that_the_database_cannot_reach_a_private_folder(tmp_path: Path) -> None:
    ports = ["--port", str(free_port()), "--dagster-port", str(free_port())]
    tmp_path.chmod(0o700)
    done = wattlake(tmp_path, "up", "--data", str(tmp_path / "data"), *ports)
    assert "choose a data folder under /var/lib or /srv" in failed_with(done, FAILED)


def test_up_says_that_the_external_database_does_not_answer(tmp_path: Path) -> None:
    ports = ["--port", str(free_port()), "--dagster-port", str(free_port())]
    url = "postgresql://nobody:secret@127.0.0.1:1/none"
    done = wattlake(tmp_path, "up", "--data", str(tmp_path), *ports, DATABASE_URL=url)
    line = failed_with(done, FAILED)
    assert "the database does not answer" in line
    assert '"127.0.0.1", port 1 failed' in line
    assert "secret" not in line


def test_up_says_which_setting_is_wrong(tmp_path: Path) -> None:
    assert "PORT: " in failed_with(wattlake(tmp_path, "up", PORT="many"), WRONG_USAGE)


@pytest.mark.parametrize(
    ("name", "value"), [("HOURS_PER_RUN", "many"), ("LAKE_URI", "s3:/bucket/lake")]
)
def test_up_says_which_setting_of_its_parts_is_wrong_before_it_starts_any(
    tmp_path: Path, name: str, value: str
) -> None:
    ports = ["--port", str(free_port()), "--dagster-port", str(free_port())]
    done = wattlake(tmp_path, "up", "--data", str(tmp_path / "d"), *ports, **{name: value})
    assert f"{name}: " in failed_with(done, FAILED)
    assert "starting" not in done.stdout
