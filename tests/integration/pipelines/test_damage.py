"""Files of the lake that are damaged: who names them, what goes on beside them, what comes back."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from lake import HOUR, METER, REGISTER, VEHICLE, Lake
from lake.delta.damage import data_files, find_damage
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_DAILY
from lake.schema.history import history_table
from lake.schema.vehicle_efficiency import FLEET_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_HOURLY
from lake.upkeep.archive import archive_day
from pipelines.automation.sensors import changed_days, late_hours
from tests.harness.pipelines import PipelineStack, StackTemplate, copied_stack, minutes_of
from tests.harness.raw_table import append_from
from tests.integration.pipelines.verify.test_verify import (
    AGREES,
    CANNOT,
    DIFFERS,
    NOT_JUDGED,
    Verified,
    execute,
)
from tests.samples import HOUR_10, heartbeats, meter_rows

TEN = "2026-11-20T10"
TABLES = (
    METER.history_table,
    VEHICLE.history_table,
    VEHICLE_EFFICIENCY_HOURLY.name,
    FLEET_EFFICIENCY_HOURLY.name,
    CHARGER_EFFICIENCY_DAILY.name,
)
ALL_HOURS = HOUR_10 - HOUR, HOUR_10 + 2 * HOUR


@pytest.fixture
def computed(computed_template: StackTemplate, tmp_path: Path) -> Iterator[PipelineStack]:
    """Three hours and their day, computed."""
    with copied_stack(computed_template, tmp_path / "lake") as stack:
        yield stack


def missing(file: Path) -> None:
    file.unlink()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def overwritten(file: Path) -> None:
    file.write_bytes(os.urandom(file.stat().st_size))


def flipped(file: Path) -> None:
    """One bit, in the values of a column."""
    column = pq.ParquetFile(file).metadata.row_group(0).column(0)
    content = bytearray(file.read_bytes())
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    file.write_bytes(content)


@contextmanager
def out_of_reach(*files: Path) -> Iterator[None]:
    """Let nobody read some files for a while, as it is without the rights; root has them all."""
    away = [file.with_suffix(".away") for file in files]
    for file, place in zip(files, away, strict=True):
        file.rename(place)
        file.symlink_to(file)
    yield
    for file, place in zip(files, away, strict=True):
        place.replace(file)


DAMAGES: tuple[Callable[[Path], None], ...] = (missing, cut, emptied, overwritten, flipped)


def files_of(stack: PipelineStack, table: str, hour: datetime = HOUR_10) -> list[Path]:
    """The live files of a table that may hold rows of an hour."""
    time = "hour_start" if table.endswith("hourly") else "timestamp"
    found = data_files(stack.lake.open(table), table, time, hour, hour + HOUR)
    return [Path(stack.lake.uri) / table / file.path for file in found]


def run_what_waits(stack: PipelineStack) -> None:
    """Run the requests of the sensors until there are none."""
    for request in stack.evaluate_sensor(late_hours).run_requests or []:
        assert stack.run("hourly", request.tags).success
    for request in stack.evaluate_sensor(changed_days).run_requests or []:
        assert stack.run("daily", request.tags).success


def reason_of_failure(stack: PipelineStack, hour: datetime) -> str:
    """Reason of a run of an hour that fails."""
    result = stack.run_hours(hour, hour, raise_on_error=False)
    assert not result.success
    (failed,) = [e for e in result.all_events if e.is_step_failure]
    data = failed.step_failure_data
    assert data.user_failure_data is not None
    return str(data.user_failure_data.description)


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_kind_of_damage_is_seen(lake: Lake, damage: Callable[[Path], None]) -> None:
    rows = heartbeats(METER, [{"meter_id": f"METER{n:03}"} for n in range(200)])
    append_from(lake, METER, rows, "app", 1, 0)
    (file,) = data_files(lake.open(METER.raw_table), METER.raw_table, "timestamp", *ALL_HOURS)
    assert find_damage(lake, file) is None
    damage(Path(lake.uri) / METER.raw_table / file.path)
    damaged = find_damage(lake, file)
    assert damaged is not None
    assert damaged.is_lost
    assert damaged.file.description.endswith("(2026-11-20 10:00 UTC, METER000 to METER199)")


def test_a_damaged_file_of_any_computed_table_is_told_and_comes_back(
    computed: PipelineStack, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: computed.table(name) for name in TABLES}
    for table, damage in zip(TABLES, DAMAGES, strict=True):
        (file,) = files_of(computed, table)
        damage(file)

    found = Verified(capsys)
    assert found.code == DIFFERS
    assert {one["table"] for one in found.report["findings"]} == set(TABLES)
    for table in TABLES:
        told = found.first(table)
        assert "can't be read" in told["found"]
        assert told["file"]["path"] in str(files_of(computed, table))
    meters = found.first(METER.history_table)
    assert meters["file"]["devices"] == ["METER001", "METER003"]
    assert {meters["hour"], meters["file"]["lastHour"]} == {f"{TEN}:00:00+00:00"}
    assert "is replaced by what raw gives" in meters["remedy"]
    assert len(found.report["hoursDiffering"]) == 3  # one file has the efficiency of all of them

    assert Verified(capsys, "--repair").code == DIFFERS
    assert Verified(capsys).code == NOT_JUDGED
    run_what_waits(computed)
    after = Verified(capsys)
    assert after.code == AGREES, after.report
    for name, rows in before.items():
        assert computed.table(name).equals(rows), name


@pytest.mark.parametrize("damage", [missing, flipped])
def test_a_lost_raw_file_is_told_and_the_hour_is_judged_by_its_history(
    computed: PipelineStack, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    (file,) = files_of(computed, METER.raw_table)
    damage(file)
    found = Verified(capsys, "--repair")
    assert found.code == DIFFERS
    assert found.findings == [(TEN, METER.raw_table)]
    assert "restore the raw heartbeats" in found.first(METER.raw_table)["remedy"]
    assert found.report["hoursReopened"] == []

    # What hangs on it is still found: the history tells what it should be.
    computed.lake.open(VEHICLE_EFFICIENCY_HOURLY.name).delete("vehicle_id = 'VEH001'")
    again = Verified(capsys)
    assert (TEN, VEHICLE_EFFICIENCY_HOURLY.name) in again.findings


def test_a_file_that_neither_raw_nor_the_history_has_any_more_is_left_for_a_backup(
    computed: PipelineStack, capsys: pytest.CaptureFixture[str]
) -> None:
    """And so are the tables of its hour, which could not be computed again."""
    (raw,), (history,) = (files_of(computed, t) for t in (METER.raw_table, METER.history_table))
    (derived,) = files_of(computed, FLEET_EFFICIENCY_HOURLY.name)
    kept = {file: file.read_bytes() for file in (raw, history, derived)}
    for file in kept:
        cut(file)
    versions = {t: computed.lake.open(t).version() for t in TABLES}

    found = Verified(capsys, "--repair")

    assert found.code == DIFFERS
    # Hour 9 as well: what flowed at its end is told in hour 10.
    assert found.report["hoursUnknown"] == ["2026-11-20T09:00:00+00:00", f"{TEN}:00:00+00:00"]
    assert found.report["daysNotJudged"] == ["2026-11-20"]
    assert "restore the raw heartbeats" in found.first(METER.raw_table)["remedy"]
    for table in (METER.history_table, FLEET_EFFICIENCY_HOURLY.name):
        assert "restore the file from a backup" in found.first(table)["remedy"]
    assert {t: computed.lake.open(t).version() for t in TABLES} == versions

    for file, content in kept.items():
        file.write_bytes(content)
    assert Verified(capsys).code == AGREES


def test_a_history_whose_raw_was_dropped_is_never_made_from_what_is_left(
    computed: PipelineStack, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(
        computed,
        b"UPDATE partition_ledger SET raw_dropped_at = now(), raw_dropped_rows = raw_rows"
        b" WHERE stream = 'meter' AND hour = '2026-11-20T10:00Z'",
    )
    computed.lake.open(METER.raw_table).delete("hour = 10")
    (file,) = files_of(computed, METER.history_table)
    cut(file)
    found = Verified(capsys, "--repair")
    assert found.findings == [(TEN, METER.history_table)]
    assert "restore the file from a backup" in found.first(METER.history_table)["remedy"]
    assert files_of(computed, METER.history_table) == [file]


def test_an_archived_day_that_is_damaged_comes_back_whole(
    computed: PipelineStack, capsys: pytest.CaptureFixture[str]
) -> None:
    """All hours of it, also where only one is verified."""
    before = {name: computed.table(name) for name in TABLES}
    for spec in (history_table(METER), VEHICLE_EFFICIENCY_HOURLY):
        archive_day(computed.lake, spec, HOUR_10.date())
        (file,) = files_of(computed, spec.name)
        overwritten(file)
    found = Verified(capsys, "--repair", "--from", TEN, "--to", TEN)
    assert found.code == DIFFERS
    assert len(found.findings) == 2
    assert len(found.report["hoursReopened"]) == 3
    run_what_waits(computed)
    assert Verified(capsys).code == AGREES
    for name, rows in before.items():
        assert computed.table(name).equals(rows), name


def test_damaged_files_that_overlap_come_back_together_and_hold_up_no_other_finding(
    computed: PipelineStack, capsys: pytest.CaptureFixture[str]
) -> None:
    """A range that was compacted into one file, and a late device of it in another."""
    first = HOUR_10 + 48 * HOUR
    computed.deliver(METER, meter_rows(*minutes_of(first), *minutes_of(first + 2 * HOUR)))
    computed.run_hours(first, first + 2 * HOUR)
    computed.deliver(METER, meter_rows(*minutes_of(first + HOUR)))
    computed.run_hours(first + HOUR, first + HOUR)
    overlapping = sorted(files_of(computed, METER.history_table, first + HOUR))
    assert len(overlapping) == 2
    before = {name: computed.table(name) for name in TABLES[:-1]}
    hours = {(first + n * HOUR).isoformat() for n in range(3)}
    (derived,) = files_of(computed, FLEET_EFFICIENCY_HOURLY.name)
    for file in (*overlapping, derived):
        cut(file)
    with out_of_reach(overlapping[0]):  # and so what lies beside it can't be made anew
        found = Verified(capsys, "--repair")
    assert found.code == DIFFERS
    (left,) = found.report["notRepaired"]
    assert left["table"] == METER.history_table
    assert f"{TEN}:00:00+00:00" in found.report["hoursReopened"]
    assert derived not in files_of(computed, FLEET_EFFICIENCY_HOURLY.name)
    assert sorted(files_of(computed, METER.history_table, first + HOUR)) == overlapping

    found = Verified(capsys, "--repair")
    assert (found.code, found.report["notRepaired"]) == (DIFFERS, [])
    assert hours <= {*found.report["hoursReopened"]}
    run_what_waits(computed)
    for name, rows in before.items():
        assert computed.table(name).equals(rows), name
    assert Verified(capsys).report["findings"] == []


def test_a_file_that_may_not_be_read_is_not_replaced_nor_is_what_is_computed_from_it_taken_away(
    computed: PipelineStack, capsys: pytest.CaptureFixture[str]
) -> None:
    (history,) = files_of(computed, METER.history_table)
    kept = {
        file: file.read_bytes()
        for table in (FLEET_EFFICIENCY_HOURLY.name, CHARGER_EFFICIENCY_DAILY.name)
        for file in files_of(computed, table)
    }
    for file in kept:
        cut(file)
    with out_of_reach(history):
        found = Verified(capsys, "--repair")
    assert found.code == DIFFERS
    assert "let this account read the file" in found.first(METER.history_table)["remedy"]
    assert files_of(computed, METER.history_table) == [history]
    for table in (FLEET_EFFICIENCY_HOURLY.name, CHARGER_EFFICIENCY_DAILY.name):
        assert files_of(computed, table)[0] in kept, table
    for file, content in kept.items():
        file.write_bytes(content)
    assert Verified(capsys).code == AGREES


def log_entry(stack: PipelineStack, table: str, number: int) -> Path:
    """An entry of the log of a table, by its place in time."""
    return sorted((Path(stack.lake.uri) / table / "_delta_log").glob("*.json"))[number]


@pytest.mark.parametrize(
    ("table", "damage"),
    [
        (METER.raw_table, missing),
        (METER.history_table, overwritten),
        ("grid_health_hourly", overwritten),
    ],
)
def test_a_table_whose_log_is_damaged_is_told_and_the_others_are_judged(
    computed: PipelineStack,
    capsys: pytest.CaptureFixture[str],
    table: str,
    damage: Callable[[Path], None],
) -> None:
    damage(log_entry(computed, table, 0))
    computed.lake.open(FLEET_EFFICIENCY_HOURLY.name).delete("hour_start = '2026-11-20T11:00:00Z'")
    found = Verified(capsys, "--repair")
    assert found.code == DIFFERS
    (damaged,) = [one for one in found.report["findings"] if one["hour"] is None]
    assert damaged["table"] == table
    assert "needs a person" in damaged["remedy"]
    assert ("2026-11-20T11", FLEET_EFFICIENCY_HOURLY.name) in [
        (str(one["hour"])[:13], one["table"]) for one in found.report["findings"]
    ]


@pytest.mark.parametrize("damage", [missing, emptied])
def test_a_raw_table_whose_newest_commit_is_lost_is_not_taken_for_the_truth(
    computed: PipelineStack, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    """Delta opens it all the same, at an older version or without the rows of that commit."""
    counts = computed.rows(b"SELECT stream, hour, raw_rows FROM partition_ledger ORDER BY 1, 2")
    damage(log_entry(computed, METER.raw_table, -1))
    found = Verified(capsys, "--repair")
    assert found.code == DIFFERS
    assert [(one["hour"], one["table"]) for one in found.report["findings"]] == [
        (None, METER.raw_table)
    ]
    assert (
        computed.rows(b"SELECT stream, hour, raw_rows FROM partition_ledger ORDER BY 1, 2")
        == counts
    )


def test_a_mart_that_is_gone_is_a_finding_and_the_lake_is_judged(
    computed: PipelineStack, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(computed, b"DROP TABLE fleet_efficiency_hourly CASCADE")
    found = Verified(capsys)
    assert found.code == DIFFERS
    mart = "warehouse/fleet_efficiency_hourly"
    assert {table for _, table in found.findings} == {mart}
    assert "restore this table" in found.first(mart)["remedy"]
    assert found.report["rawHeartbeats"] == 3 * 6 * 60


def test_what_keeps_it_from_running_is_json_as_well(
    computed: PipelineStack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKE_URI", computed.lake.uri + "-elsewhere")
    found = Verified(capsys)
    assert found.code == CANNOT
    assert "has no table" in found.report["error"]


# -- the runs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "damage"),
    [(METER.raw_table, missing), (METER.history_table, cut), (METER.history_table, overwritten)],
)
def test_a_run_over_a_damaged_file_names_it_and_its_hour(
    computed: PipelineStack, table: str, damage: Callable[[Path], None]
) -> None:
    (file,) = files_of(computed, table)
    damage(file)
    reason = reason_of_failure(computed, HOUR_10)
    assert file.name in reason
    assert f"{table}/" in reason
    assert "2026-11-20 10:00" in reason
    assert "wattlake verify --repair" in reason


@pytest.mark.parametrize("lost", [False, True])
def test_a_damaged_hour_holds_up_no_other_hour_not_even_one_counted_from_it(
    computed: PipelineStack, capsys: pytest.CaptureFixture[str], lost: bool
) -> None:
    """The hour after it has a register, whose last value lies in the damaged one."""
    register = {"meter_id": "METER009", "reading_type": REGISTER}
    ten, eleven = HOUR_10 + timedelta(minutes=5), HOUR_10 + HOUR + timedelta(minutes=5)
    computed.deliver(METER, meter_rows({**register, "timestamp": ten, "kwh_consumed_ac": 100.0}))
    computed.run_hours(HOUR_10, HOUR_10)
    for hour, kwh in ((eleven, 104.5), (ten - HOUR, 98.0)):
        row = {**register, "timestamp": hour, "kwh_consumed_ac": kwh}
        computed.deliver(METER, meter_rows(row))
    for table in (METER.history_table, METER.raw_table)[: 2 if lost else 1]:
        for file in files_of(computed, table):
            cut(file)

    computed.run_hours(HOUR_10 + HOUR, HOUR_10 + HOUR)
    computed.run_hours(HOUR_10 - HOUR, HOUR_10 - HOUR)

    found = computed.table("charger_efficiency_hourly").filter(
        pl.col("meter_id") == "METER009", pl.col("hour_start") == HOUR_10 + HOUR
    )
    # Of a reading that neither raw nor the history has any more nobody can tell.
    # In the hour from 10:05 on they flowed evenly; of two hours nobody can tell when.
    assert found["energy_ac_kwh"].to_list() == [pytest.approx(6.5 if lost else 4.5 * 5 / 60)]
    if not lost:
        assert Verified(capsys, "--repair").code == DIFFERS
        run_what_waits(computed)
        assert Verified(capsys).report["findings"] == []


def deliver_registers(house: PipelineStack, *readings: tuple[int, float]) -> None:
    """Readings of a register: minutes after 10 o'clock, and kWh."""
    rows = [
        {
            "meter_id": "METER009",
            "reading_type": REGISTER,
            "timestamp": HOUR_10 + timedelta(minutes=minute),
            "kwh_consumed_ac": kwh,
        }
        for minute, kwh in readings
    ]
    house.deliver(METER, meter_rows(*rows))


def register_energy(house: PipelineStack, hour: datetime) -> float | None:
    """The energy of that register in an hour."""
    rows = house.table("charger_efficiency_hourly").filter(
        pl.col("meter_id") == "METER009", pl.col("hour_start") == hour
    )
    return float(rows["energy_ac_kwh"].item())


@pytest.mark.parametrize("context_only", [False, True])
def test_an_hour_waits_for_what_it_is_counted_from_or_with_while_that_can_not_be_read(
    computed: PipelineStack, context_only: bool
) -> None:
    """Out of reach, the run fails and names the file; gone, and back from a backup, it follows."""
    deliver_registers(computed, (30, 10.0), (65, 12.0), (95, 13.0))
    eleven = HOUR_10 + HOUR
    for hour in (HOUR_10, eleven):
        computed.run_hours(hour, hour)
    # 2 kWh from 10:30 to 11:05 flowed evenly.
    assert register_energy(computed, eleven) == pytest.approx(1 + 2 * 5 / 35)
    if context_only:  # a later reading in the hour after the one that can't be read
        run, damaged = eleven, HOUR_10
        deliver_registers(computed, (115, 14.0))
    else:  # a later reading in the hour before it
        run, damaged = HOUR_10, eleven
        deliver_registers(computed, (55, 11.9))
    files = [
        file
        for table in (METER.history_table, METER.raw_table)[: 2 if context_only else 1]
        for file in files_of(computed, table, damaged)
    ]
    with out_of_reach(*files):
        assert files[0].name in reason_of_failure(computed, run)
    contents = {file: file.read_bytes() for file in files}
    for file in files:
        missing(file)
    computed.run_hours(run, run)
    for file, content in contents.items():
        file.write_bytes(content)
    run_what_waits(computed)
    run_what_waits(computed)
    assert register_energy(computed, eleven) == pytest.approx(
        2 + 2 * 5 / 35 if context_only else 1.05
    )
    assert computed.rows(b"SELECT * FROM unpublished_hour") == []
