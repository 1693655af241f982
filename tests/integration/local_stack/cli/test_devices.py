"""`wattlake devices`: what it shows, takes and refuses, and how it ends."""

import csv
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from tests.harness.command_line import (
    DONE,
    FAILED,
    SOME_REFUSED,
    WRONG_USAGE,
    failed_with,
    wattlake,
)
from warehouse_sql.device_attributes import DeviceAttributes
from warehouse_sql.devices import Device, DeviceUpdate, list_devices, update_devices

CLASSES = '{"household": {"good_from_percent": 76, "warning_from_percent": 70}, "fast": {}}'
HEARD = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


@pytest.fixture
def registry(database_url: str) -> str:
    """A database that has heard two meters, one of them long ago, and a vehicle just now."""
    now = datetime.now(UTC)
    with psycopg.connect(database_url) as connection:
        for stream, device, newest in (
            ("meter", "METER001", now - timedelta(hours=30)),
            ("meter", "METER002", now),
        ):
            connection.execute(
                "INSERT INTO device (stream, device_id, first_heard_at) VALUES (%s, %s, %s)",
                (stream, device, HEARD),
            )
            connection.execute(
                "INSERT INTO meter_live_state (meter_id, timestamp, reading_type, received_at)"
                " VALUES (%s, %s, 'interval', now())",
                (device, newest),
            )
        connection.execute(
            "INSERT INTO vehicle_live_state (vehicle_id, timestamp, reading_type, received_at)"
            " VALUES ('VEH [1]', now(), 'interval', now())"
        )
        connection.execute(
            "INSERT INTO partition_ledger (stream, hour, raw_version, last_arrival,"
            " compacted_version, computed_version)"
            " VALUES ('meter', '2026-03-01T12:00Z', 1, now(), 1, 1),"
            " ('meter', '2026-03-01T13:00Z', 1, now(), 1, 1),"
            " ('meter', '2026-03-01T14:00Z', 1, now(), NULL, NULL)"
        )
    return database_url


def devices(folder: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return wattlake(folder, "devices", *arguments, DATABASE_URL=url, CHARGER_CLASSES=CLASSES)


def take(folder: Path, url: str, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "devices.csv").write_text(text, encoding="utf-8")
    return devices(folder, url, "import", "devices.csv")


def known(url: str) -> dict[str, Device]:
    return {device.device_id: device for device in list_devices(url)}


@pytest.mark.parametrize("command", ["list", "import", "remove"])
def test_each_command_has_help_with_an_example(tmp_path: Path, command: str) -> None:
    done = wattlake(tmp_path, "devices", command, "--help")
    assert done.returncode == DONE
    assert f"Example: wattlake devices {command}" in " ".join(done.stdout.split())


def test_list_shows_every_device_that_was_heard_or_told_of(tmp_path: Path, registry: str) -> None:
    update_devices(
        registry, [DeviceUpdate("meter", "METER002", DeviceAttributes(charger_class="fast"))]
    )
    done = devices(tmp_path, registry, "list")
    assert done.returncode == DONE, done.stderr
    head, *rows = (line.split() for line in done.stdout.splitlines())
    assert head[:2] == ["stream", "id"]
    assert [row[:4] for row in rows[:2]] == [
        ["meter", "METER001", "2026-03-01", "12:30"],
        ["meter", "METER002", "2026-03-01", "12:30"],
    ]
    assert rows[1][-1] == "fast"
    assert rows[2][:3] == ["vehicle", "VEH", "[1]"]

    def shown(*options: str) -> list[str]:
        lines = devices(tmp_path, registry, "list", *options).stdout.splitlines()[1:]
        return [line.split()[1] for line in lines]

    assert shown("--stream", "vehicle") == ["VEH"]
    assert shown("--class", "fast") == ["METER002"]
    assert shown("--silent", "24") == ["METER001"]
    with psycopg.connect(registry) as connection:  # heard while a clock was ahead
        connection.execute("UPDATE vehicle_live_state SET timestamp = now() + interval '3 days'")
    assert shown("--silent", "24") == ["METER001", "VEH"]
    first = devices(tmp_path, registry, "list", "--limit", "2")
    assert "there are more than these 2: --limit N shows more\n" in first.stderr
    assert [line.split()[1] for line in first.stdout.splitlines()[1:]] == ["METER001", "METER002"]
    assert not devices(tmp_path, registry, "list", "--limit", "3").stderr
    gone = [("meter", "METER001"), ("vehicle", "VEH [1]")]
    update_devices(
        registry, [DeviceUpdate(*one, DeviceAttributes(retired_at=HEARD)) for one in gone]
    )
    silent = devices(tmp_path, registry, "list", "--silent", "24")
    assert (silent.returncode, silent.stdout) == (DONE, "there is no such device\n")


def test_an_import_sets_clears_and_leaves_what_a_row_says_and_can_be_repeated(
    tmp_path: Path, registry: str
) -> None:
    text = (
        "kind,device_id,charger_class,retired_at\n"
        "meter,METER001,household,\n"
        "vehicle,VEH [1],,2026-03-01T15:30:00+02:00\n"
        'meter,"NEW, ""7"" Zähler",fast,2030-01-01T00:00:00Z\n'
    )
    done = take(tmp_path, registry, text)
    assert done.returncode == DONE, done.stderr
    assert done.stdout.splitlines() == [
        '  never heard so far: 1 (NEW, "7" Zähler)',
        "devices.csv: devices accepted: 3, of them changed: 3, refused: 0",
        "hours that are computed again: 2",
    ]
    found = known(registry)
    assert found["METER001"].charger_class == "household"
    assert found["METER001"].first_heard_at == HEARD
    assert found["VEH [1]"].retired_at == datetime(2026, 3, 1, 13, 30, tzinfo=UTC)
    assert found['NEW, "7" Zähler'].charger_class == "fast"
    assert "accepted: 3, of them changed: 0, refused: 0\n" in take(tmp_path, registry, text).stdout

    text = (
        "stream,device_id,charger_class,retired_at\n"
        "meter,METER001,none\nvehicle,VEH [1],,none\n"
        'meter,"NEW, ""7"" Zähler",,\n'
    )
    assert "of them changed: 2" in take(tmp_path, registry, text).stdout
    found = known(registry)
    assert found["METER001"].charger_class is None
    assert found["VEH [1]"].retired_at is None
    assert found['NEW, "7" Zähler'].charger_class == "fast"


def test_a_row_that_cannot_be_taken_is_told_and_the_others_are(
    tmp_path: Path, registry: str
) -> None:
    text = "stream,device_id,charger_class\nmeter,METER001,household\nmeter,METER002,houshold\n"
    text += "".join(f"meter,BAD{n},houshold\n" for n in range(9))
    done = take(tmp_path, registry, text)
    assert done.returncode == SOME_REFUSED, done.stderr
    assert "  the refused rows are in devices.csv.rejects.csv" in done.stdout
    with (tmp_path / "devices.csv.rejects.csv").open(newline="") as opened:
        kept = list(csv.DictReader(opened))
    assert [int(row["row"]) for row in kept] == list(range(2, 12))
    assert kept[-1]["device_id"] == "BAD8"
    assert "is not described" in kept[-1]["reasons"]
    assert "  row 2: charger_class: 'houshold' is not described" in done.stdout
    assert "devices accepted: 1, of them changed: 1, refused: 10" in done.stdout
    assert known(registry)["METER001"].charger_class == "household"
    assert known(registry)["METER002"].charger_class is None


def test_a_file_without_devices_is_one_clear_line(tmp_path: Path, registry: str) -> None:
    line = failed_with(devices(tmp_path, registry, "import", "devices.csv"), FAILED)
    assert "devices.csv can't be read: No such file" in line


def test_wrong_usage_and_a_database_without_devices_are_one_line(
    tmp_path: Path, empty_database: str
) -> None:
    (tmp_path / "devices.csv").write_text("stream,device_id\nmeter,M1\n")
    for command in (["list"], ["import", "devices.csv"]):
        without = wattlake(tmp_path, "devices", *command, "--data", str(tmp_path))
        assert "DATABASE_URL" in failed_with(without, FAILED)
        line = failed_with(devices(tmp_path, empty_database, *command), FAILED)
        assert "run: wattlake migrate" in line
    silent = devices(tmp_path, empty_database, "list", "--silent", "nan")
    assert "--silent is a number of hours" in failed_with(silent, WRONG_USAGE)
    broken = wattlake(
        tmp_path, "devices", "import", "devices.csv",
        DATABASE_URL=empty_database, CHARGER_CLASSES='{"a": {"good_from_percent": 99}}',
    )  # fmt: skip
    assert "limits must rise" in failed_with(broken, WRONG_USAGE)


def test_devices_are_removed_by_id_by_file_and_by_a_pattern_that_is_confirmed(
    tmp_path: Path, registry: str
) -> None:
    with psycopg.connect(registry) as connection:
        connection.execute(
            "INSERT INTO vehicle_live_state (vehicle_id, timestamp, reading_type, received_at)"
            " SELECT unnest(ARRAY['stray_1', 'stray_2', 'strayX1', 'METER002']), now(), 'interval',"
            " now()"
        )
        connection.execute(
            "INSERT INTO alert (rule, kind, device_kind, device_id, severity, since, observed_at,"
            " message) VALUES ('r', 'silent', 'meter', 'METER001', 'info', now(), now(), 'x')"
        )

    def remove(*arguments: str) -> subprocess.CompletedProcess[str]:
        return devices(tmp_path, registry, "remove", *arguments)

    asked = failed_with(remove("--matching", "stray_?"), WRONG_USAGE)
    assert "2 devices match (stray_1, stray_2): --yes removes them" in asked
    assert (
        "devices removed: 2, alerts resolved: 0" in remove("--matching", "stray_?", "--yes").stdout
    )
    done = remove("METER001", "METER002", "nobody", "--stream", "meter")
    assert done.returncode == SOME_REFUSED
    assert "devices removed: 2, alerts resolved: 1" in done.stdout
    assert "not known: 1 (nobody)" in done.stdout
    assert {(one.stream, one.device_id) for one in list_devices(registry)} == {
        ("vehicle", "METER002"),
        ("vehicle", "VEH [1]"),
        ("vehicle", "strayX1"),
    }
    (tmp_path / "gone.csv").write_text("stream,device_id\nvehicle,VEH [1]\nmeter,METER001\n")
    done = remove("--ids-from", "gone.csv", "--stream", "vehicle")
    assert done.returncode == DONE
    assert "devices removed: 1," in done.stdout
    again = remove("--ids-from", "gone.csv").stdout
    assert "devices removed: 0, alerts resolved: 0\n  not known: 2 (METER001, VEH [1])" in again
    assert "by their ids, by --ids-from or by --matching" in failed_with(remove(), WRONG_USAGE)
