"""`wattlake verify`: what does not agree with raw is found, named, and computed again."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any

import polars as pl
import psycopg
import pytest
from deltalake import write_deltalake

from ingestion_api.outbox.flush import OutboxFlush
from lake import HOUR, METER, REGISTER, VEHICLE, Lake
from lake.schema.vehicle_efficiency import FLEET_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_HOURLY
from pipelines.automation.sensors import late_hours
from pipelines.verify.__main__ import main
from tests.harness.command_line import failed_with, wattlake
from tests.harness.outbox import store
from tests.harness.pipelines import (
    PipelineStack,
    StackTemplate,
    copied_stack,
    minutes_of,
    prepared_template,
)
from tests.harness.postgres import someone_waits
from tests.harness.waiting import wait_for
from tests.samples import HOUR_10, meter_rows
from warehouse_sql.named_queries import query

AGREES, CANNOT, WRONG_USAGE, DIFFERS, NOT_JUDGED = 0, 1, 2, 3, 4


@pytest.fixture(scope="module")
def agreeing(
    charged_template: StackTemplate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StackTemplate]:
    """Three computed hours, one with copies and with a register, one of them late."""

    def prepare(stack: PipelineStack) -> None:
        stack.deliver(METER, meter_rows(*minutes_of(HOUR_10, kwh_consumed_ac=0.1)[:7]))
        for hour, kwh in ((HOUR_10 - HOUR, 100.0), (HOUR_10 + HOUR, 104.5)):
            register = {"meter_id": "METER009", "timestamp": hour, "reading_type": REGISTER}
            stack.deliver(METER, meter_rows({**register, "kwh_consumed_ac": kwh}))
        stack.run_hours(HOUR_10 - HOUR, HOUR_10 + HOUR)

    with prepared_template(
        charged_template, tmp_path_factory.mktemp("agreeing") / "lake", prepare
    ) as made:
        yield made


@pytest.fixture
def computed(agreeing: StackTemplate, tmp_path: Path) -> Iterator[PipelineStack]:
    """A stack of this test alone, like that."""
    with copied_stack(agreeing, tmp_path / "lake") as stack:
        yield stack


class Verified:
    """The report of a verification of everything."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        capsys.readouterr()  # what was printed before
        self.code = main([*arguments, "--json"])
        self.report: dict[str, Any] = json.loads(capsys.readouterr().out)

    @property
    def findings(self) -> list[tuple[str, str]]:
        """Hour and table of each finding."""
        return [(found["hour"][:13], found["table"]) for found in self.report["findings"]]

    def first(self, table: str) -> dict[str, Any]:
        """The first finding of a table."""
        found: dict[str, Any] = next(f for f in self.report["findings"] if f["table"] == table)
        return found


def recover(stack: PipelineStack, capsys: pytest.CaptureFixture[str]) -> None:
    """Repair, run what the sensor asks for, and find that everything agrees."""
    assert Verified(capsys, "--repair").code == DIFFERS
    again = Verified(capsys, "--repair")
    assert again.code == NOT_JUDGED, again.report
    assert again.report["hoursWaiting"]
    requests = stack.evaluate_sensor(late_hours).run_requests or []
    assert requests
    for request in requests:
        assert stack.run("hourly", request.tags).success
    after = Verified(capsys)
    # The day is yet to follow.
    assert (after.code, after.report["hoursWaiting"]) == (NOT_JUDGED, []), after.report
    assert after.report["daysNotJudged"] == ["2026-11-20"]


def change_value(lake: Lake, name: str, column: str, row: tuple[str | None, datetime]) -> None:
    """Add 1 to a column of a device's hour, as a broken tool may."""
    table, (device, hour) = lake.open(name), row
    rows = lake.scan(table).collect()
    time = "hour_start" if "hour_start" in rows.columns else "timestamp"
    where = pl.col(time).dt.truncate("1h") == hour
    if device:
        where &= pl.col("vehicle_id") == device
    changed = rows.with_columns(
        pl.when(where).then(pl.col(column) + 1).otherwise(column).alias(column)
    )
    write_deltalake(table, changed.rechunk().to_arrow(), mode="overwrite")


def execute(stack: PipelineStack, sql: bytes) -> None:
    with psycopg.connect(stack.database_url) as connection:
        connection.execute(sql)


TEN = "2026-11-20T10"
TABLES = (
    METER.history_table,
    VEHICLE.history_table,
    VEHICLE_EFFICIENCY_HOURLY.name,
    FLEET_EFFICIENCY_HOURLY.name,
)
FORGET = b"DELETE FROM partition_ledger WHERE hour = '2026-11-20T10:00Z'"
LEDGER_COUNTS = (
    b"SELECT stream, hour, raw_rows, last_arrival, compacted_rows, duplicates_removed"
    b" FROM partition_ledger ORDER BY stream, hour"
)


def test_a_computed_lake_agrees_with_its_raw_heartbeats_whatever_the_range(
    computed: PipelineStack, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Verified(capsys)
    assert (found.code, found.report["findings"]) == (NOT_JUDGED, [])
    assert found.report["daysNotJudged"] == ["2026-11-20"]  # its own run has yet to come
    assert found.report["hoursAgreeing"] == 3
    assert found.report["rawHeartbeats"] == 3 * 6 * 60 + 7 + 2
    assert found.report["distinctHeartbeats"] == 3 * 6 * 60 + 2
    # Each meter's 0.1 kWh a minute, and what the register counted over two hours. Of the minute
    # that the first heartbeat tells of, five seconds after the hour, the rest lies before it.
    minutes = 3 * 60 - 55 / 60
    assert found.report["energyKwh"]["meter"] == pytest.approx(3 * 0.1 * minutes + 4.5)
    assert found.report["energyKwh"]["vehicle"] == pytest.approx((0.092 + 0.07 + 0.13) * minutes)

    last = Verified(capsys, "--from", "2026-11-20T11", "--to", "2026-11-20T11")
    assert (last.code, last.report["hoursAgreeing"]) == (AGREES, 1)
    assert last.report["energyKwh"]["meter"] == pytest.approx(3 * 0.1 * (60 - 55 / 60) + 4.5)
    assert Verified(capsys, "--from", "2026-11-21").report["hoursAgreeing"] == 0

    # What a stray clock tells lies before the first hour that anybody computes.
    computed.deliver(METER, meter_rows({"timestamp": datetime(2003, 5, 1, tzinfo=UTC)}))
    all_but_today = Verified(capsys, "--to", "2026-11-20T11")
    assert (all_but_today.code, all_but_today.report["hoursAgreeing"]) == (AGREES, 3)
    assert all_but_today.report["hoursNeverComputed"] == ["2003-05-01T00:00:00+00:00"]


def test_each_kind_of_damage_is_found_named_and_computed_again(
    computed: PipelineStack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: computed.table(name) for name in TABLES}
    counts = computed.rows(LEDGER_COUNTS)
    lake = computed.lake
    lake.open(METER.history_table).delete(
        "meter_id = 'METER002' AND timestamp = '2026-11-20T09:05:05Z'"
    )
    change_value(lake, VEHICLE.history_table, "kwh_delivered_dc", ("VEH001", HOUR_10))
    change_value(lake, VEHICLE_EFFICIENCY_HOURLY.name, "energy_dc_kwh", ("VEH003", HOUR_10))
    change_value(lake, FLEET_EFFICIENCY_HOURLY.name, "unlinked_energy_ac_kwh", (None, HOUR_10))
    execute(
        computed,
        b"UPDATE vehicle_efficiency_hourly SET energy_ac_kwh = 7"
        b" WHERE vehicle_id = 'VEH002' AND hour_start = '2026-11-20T11:00Z'",
    )
    execute(
        computed,
        b"DELETE FROM partition_ledger WHERE stream = 'vehicle' AND hour = '2026-11-20T11:00Z'",
    )
    execute(
        computed,
        b"UPDATE partition_ledger SET raw_rows = raw_rows + 5"
        b" WHERE stream = 'meter' AND hour = '2026-11-20T10:00Z'",
    )

    found = Verified(capsys)
    assert found.code == DIFFERS
    assert {
        (one["hour"][11:13], one["table"], one["expected"], one["found"], *one["first"])
        for one in found.report["findings"]
    } == {
        ("09", "partition_ledger", "180 compacted rows", "181", "meter"),
        ("09", METER.history_table, "181 rows", "180 rows, 1 missing", "METER002"),
        ("10", "partition_ledger", "187 raw rows", "192", "meter"),
        (
            "10",
            VEHICLE.history_table,
            "180 rows; kwh_delivered_dc 0.092",
            "180 rows, 60 changed; kwh_delivered_dc 1.092",
            "VEH001",
        ),
        (
            "10",
            VEHICLE_EFFICIENCY_HOURLY.name,
            "3 rows; energy_dc_kwh 7.8",
            "3 rows, 1 changed; energy_dc_kwh 8.8",
            "VEH003",
        ),
        (
            "10",
            FLEET_EFFICIENCY_HOURLY.name,
            "1 row; unlinked_energy_ac_kwh 0",
            "1 row, 1 changed; unlinked_energy_ac_kwh 1",
        ),
        ("10", "AC energy, linked and unlinked", "18 kWh", "19 kWh"),
        ("10", "DC energy of all vehicles", "17.52 kWh", "18.52 kWh"),
        (
            "10",
            "warehouse/vehicle_efficiency_hourly",
            "3 rows; energy_dc_kwh 8.8",
            "3 rows, 1 changed; energy_dc_kwh 7.8",
            "VEH003",
        ),
        (
            "10",
            "warehouse/fleet_efficiency_hourly",
            "1 row; unlinked_energy_ac_kwh 1",
            "1 row, 1 changed; unlinked_energy_ac_kwh 0",
        ),
        ("11", "partition_ledger", "180 raw rows", "0", "vehicle"),
        (
            "11",
            "warehouse/vehicle_efficiency_hourly",
            "3 rows; energy_ac_kwh 5.908333333",  # less the 55 seconds that no heartbeat tells of
            "3 rows, 1 changed; energy_ac_kwh 7",
            "VEH002",
        ),
    }

    monkeypatch.setenv("COLUMNS", "40")  # no line is broken
    assert main(["--to", "2026-11-20T09"]) == DIFFERS
    text = capsys.readouterr().out
    assert "2026-11-20 09:00" in text
    assert "180 rows, 1 missing" in text
    assert "hours judged: 1; agree: 0; differ: 1" in text
    assert "--repair lets these hours be computed again" in text

    recover(computed, capsys)
    assert {name: computed.table(name).equals(before[name]) for name in TABLES} == dict.fromkeys(
        TABLES, True
    )
    assert computed.rows(LEDGER_COUNTS) == counts


def test_tables_whose_folders_were_removed_are_computed_anew(
    computed: PipelineStack, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: computed.table(name) for name in TABLES}
    for name in (METER.history_table, VEHICLE_EFFICIENCY_HOURLY.name):
        rmtree(Path(computed.lake.uri) / name)
    found = Verified(capsys)
    assert found.code == DIFFERS
    hours = ["2026-11-20T09", TEN, "2026-11-20T11"]
    for name in (METER.history_table, VEHICLE_EFFICIENCY_HOURLY.name):
        assert [hour for hour, table in found.findings if table == name] == hours
    recover(computed, capsys)
    for name in TABLES:
        assert computed.table(name).equals(before[name]), name


def test_raw_heartbeats_that_are_missing_are_told_and_nothing_is_forgotten(
    computed: PipelineStack, capsys: pytest.CaptureFixture[str]
) -> None:
    history = computed.table(METER.history_table)
    computed.lake.open(METER.raw_table).delete("hour = 10")
    found = Verified(capsys, "--repair")
    assert found.code == DIFFERS
    assert found.findings == [(TEN, METER.raw_table)]
    told = found.first(METER.raw_table)
    assert told["found"] == "180 of them are missing"
    assert told["remedy"] == "needs a person: restore the raw heartbeats"
    assert computed.table(METER.history_table).equals(history)
    (row,) = computed.rows(
        b"SELECT raw_rows FROM partition_ledger"
        b" WHERE stream = 'meter' AND hour = '2026-11-20T10:00Z'"
    )
    assert row["raw_rows"] == 187


def test_hours_that_wait_and_those_counted_from_them_are_not_judged(
    computed: PipelineStack, capsys: pytest.CaptureFixture[str]
) -> None:
    late = {"timestamp": HOUR_10 - timedelta(minutes=1), "kwh_consumed_ac": 0.3}
    computed.deliver(METER, meter_rows({**late, "reading_type": REGISTER}))
    found = Verified(capsys)
    assert (found.code, found.findings) == (NOT_JUDGED, [])
    assert found.report["hoursAgreeing"] == 2
    assert "2026-11-20T09:00:00+00:00" in found.report["hoursWaiting"]
    assert Verified(capsys, "--repair").code == NOT_JUDGED
    assert main([]) == NOT_JUDGED
    text = capsys.readouterr().out
    assert "hours judged: 2; agree: 2; differ: 0" in text
    assert "hours not judged: 1, they wait for their computation, first 2026-11-20 09:00" in text


@pytest.mark.parametrize("forgotten", [True, False])
def test_a_repair_in_the_middle_of_a_flush_counts_every_row_once(
    computed: PipelineStack, capsys: pytest.CaptureFixture[str], forgotten: bool
) -> None:
    """The flush has appended to the lake, and has not told the ledger yet."""
    codes = []

    def verify_at(now: str) -> None:
        if now == "before_settle":
            if forgotten:  # not before: the first flush of a copied database counts the ledger anew
                execute(computed, FORGET)
            codes.append(Verified(capsys, "--repair").code)

    late = [{"timestamp": HOUR_10 + timedelta(seconds=n), "voltage": 230} for n in range(4)]
    with psycopg.connect(computed.database_url, autocommit=True) as connection:
        store(connection, METER, meter_rows(*late))
        with OutboxFlush(
            computed.database_url, connection, computed.lake, 1_000_000, verify_at
        ) as flush:
            flush.flush(METER)
    assert codes == [DIFFERS if forgotten else NOT_JUDGED]
    (row,) = computed.rows(
        b"SELECT raw_rows FROM partition_ledger"
        b" WHERE stream = 'meter' AND hour = '2026-11-20T10:00Z'"
    )
    assert row["raw_rows"] == 191
    for request in computed.evaluate_sensor(late_hours).run_requests or []:
        computed.run("hourly", request.tags)
    done = Verified(capsys)  # but for the day, which is yet to follow
    assert (done.code, done.report["hoursAgreeing"]) == (NOT_JUDGED, 3)
    assert done.report["daysNotJudged"] == ["2026-11-20"]


def test_what_keeps_it_from_running_is_one_clear_line(
    stack: PipelineStack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([]) == AGREES
    assert "hours judged: 0; agree: 0" in capsys.readouterr().out
    monkeypatch.setenv("LAKE_URI", stack.lake.uri + "-elsewhere")
    stack.deliver(METER, meter_rows({"voltage": 230}))
    assert main([]) == CANNOT
    assert "has no table raw_meter_heartbeats" in capsys.readouterr().err
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    assert main([]) == CANNOT
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit) as ended:
        main(["--from", "yesterday"])
    assert ended.value.code == WRONG_USAGE


def test_a_ledger_is_not_counted_between_an_append_of_an_import_and_its_rows(
    stack: PipelineStack,
) -> None:
    stack.deliver(METER, meter_rows({"voltage": 230}))
    execute(stack, b"DELETE FROM partition_ledger")
    with ThreadPoolExecutor(1) as other, psycopg.connect(stack.database_url) as importing:
        importing.execute(query("hold_off_counts"))
        verified = other.submit(main, ["--repair"])
        wait_for(lambda: someone_waits(stack.database_url))
        assert stack.rows(b"SELECT FROM partition_ledger") == []
        importing.commit()
        assert verified.result() == DIFFERS
    assert [row["raw_rows"] for row in stack.rows(b"SELECT raw_rows FROM partition_ledger")] == [1]


def test_the_command_runs_on_the_database_and_lake_of_the_settings(
    stack: PipelineStack, tmp_path: Path
) -> None:
    stack.deliver(METER, meter_rows({"voltage": 230}))
    settings = {"DATABASE_URL": stack.database_url, "LAKE_URI": stack.lake.uri}
    done = wattlake(tmp_path, "verify", "--from", "2026-11-20", **settings)
    assert done.returncode == NOT_JUDGED, done.stderr
    assert "hours not judged: 1, they wait for their computation" in done.stdout
    execute(
        stack,
        b"UPDATE partition_ledger SET raw_rows = 2, published_version = raw_version,"
        b" published_revision = revision, computed_version = raw_version",
    )
    assert wattlake(tmp_path, "verify", **settings).returncode == DIFFERS
    nowhere = wattlake(tmp_path, "verify", "--data", str(tmp_path))
    assert "no database runs in" in failed_with(nowhere, CANNOT)
