"""The lake in an object store: all of it works there, and no fault of the store loses a row.

It speaks S3, or with `--store az` as Azure does: `make nightly PARTS=azure`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from pathlib import Path

import psycopg
import pytest
from deltalake.exceptions import DeltaError
from fastapi import status

from ingestion_api.outbox.flush import OutboxFlush
from lake import (
    HOUR,
    METER,
    Lake,
    LakeError,
    append_once,
    compact_hour,
    read_delivered_horizon,
)
from lake.schema import CHARGER_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_DAILY, history_table
from lake.upkeep import (
    archive_day,
    checkpoint_if_due,
    clean_log,
    drop_raw_partitions,
    merge_raw_hours,
    vacuum,
)
from tests.harness.collector import Collector
from tests.harness.flaky_proxy import Fault
from tests.harness.heartbeats import meter
from tests.harness.object_store import (
    COMMIT,
    SERVERS,
    ObjectStore,
    StoreServer,
    object_store,
)
from tests.harness.outbox import store as put
from tests.harness.pipelines import (
    PipelineStack,
    StackTemplate,
    copied_stack,
    minutes_of,
    pipeline_stack,
)
from tests.harness.raw_table import append_from
from tests.harness.waiting import wait_for
from tests.integration.conftest import charge, compute
from tests.samples import HOUR_10, meter_rows

FIRST, LAST = HOUR_10 - HOUR, HOUR_10 + HOUR
NAMES = count()


@pytest.fixture(scope="module")
def server(pytestconfig: pytest.Config) -> Iterator[StoreServer]:
    """A server of the kind that was asked for."""
    with SERVERS[pytestconfig.getoption("store")]() as server:
        yield server


@pytest.fixture
def store(server: StoreServer) -> Iterator[ObjectStore]:
    """A way to it of this test alone."""
    with object_store(server) as store:
        yield store


@pytest.fixture
def remote(store: ObjectStore) -> Lake:
    """A lake in it with its tables."""
    lake = store.lake(f"lake{next(NAMES)}")
    lake.create_tables()
    return lake


@pytest.fixture
def stack(
    remote: Lake, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PipelineStack]:
    """Empty stack on it."""
    monkeypatch.setenv("LAKE_STORAGE_OPTIONS", json.dumps(remote.storage_options))
    with pipeline_stack(remote, database_url, monkeypatch) as stack:
        yield stack


def command(stack: PipelineStack, folder: Path, *arguments: str) -> str:
    """What `wattlake` prints; in a process of its own, as a fork has no client of the store."""
    settings = {
        "DATABASE_URL": stack.database_url,
        "LAKE_URI": stack.lake.uri,
        "LAKE_STORAGE_OPTIONS": json.dumps(stack.lake.storage_options),
        "XDG_STATE_HOME": str(folder / "state"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "local_stack", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.getcwd(), **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_whole_lake_works_in_an_object_store(
    stack: PipelineStack, computed_template: StackTemplate, tmp_path: Path
) -> None:
    charge(stack)
    compute(stack)

    with copied_stack(computed_template, tmp_path / "local") as local:
        for name in ("vehicle_efficiency_hourly", "vehicle_efficiency_daily", "charging_session"):
            assert stack.table(name).equals(local.table(name)), name

    for spec in (history_table(METER), CHARGER_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_DAILY):
        before = stack.table(spec.name)
        archive_day(stack.lake, spec, HOUR_10.date())
        checkpoint_if_due(stack.lake, spec.name)
        clean_log(stack.lake, spec.name)
        vacuum(stack.lake, spec.name)
        assert stack.table(spec.name).equals(before)

    asked = "SELECT count(*) AS hours FROM vehicle_efficiency_hourly"
    assert command(stack, tmp_path, "query", "--format", "csv", asked) == '"hours"\n9\n'
    command(stack, tmp_path, "verify")
    report = f"reports/day/fleet/{HOUR_10:%Y-%m-%d}/v1/efficiency.html"
    assert b"VEH002" in stack.lake.file_system().open_input_file(report).read()


def test_what_no_version_needs_any_more_goes_from_a_store(remote: Lake) -> None:
    raw, of_no_time = METER.raw_table, "interval 0 seconds"
    retention = ("delta.deletedFileRetentionDuration", "delta.logRetentionDuration")
    remote.open(raw).alter.set_table_properties(dict.fromkeys(retention, of_no_time))
    for n in range(1, 4):
        append_from(remote, METER, meter_rows({"meter_id": f"METER{n}"}), "A", n, n - 1)
    merge_raw_hours(remote, METER, HOUR_10 + 48 * HOUR)

    wait_for(lambda: vacuum(remote, raw).files == 3)
    checkpoint_if_due(remote, raw, commits=1)
    wait_for(lambda: clean_log(remote, raw).files)
    assert remote.open(raw).count() == 3

    compact_hour(remote, METER, HOUR_10)
    assert drop_raw_partitions(remote, METER, {HOUR_10: 3}).kept == {}
    wait_for(lambda: vacuum(remote, raw).files == 1)
    assert remote.open(raw).count() == 0
    assert remote.open(METER.history_table).count() == 3


def test_two_writers_of_one_table_lose_and_double_nothing(remote: Lake) -> None:
    """As cells do: each has an outbox and an app id of its own."""

    def write(app: str) -> None:
        delivered = read_delivered_horizon(remote, METER, app)
        for n in range(1, 6):
            rows = meter_rows({"meter_id": f"{app}{n}", "timestamp": HOUR_10})
            delivered = append_from(remote, METER, rows, app, n, delivered.horizon)

    with ThreadPoolExecutor() as threads:
        list(threads.map(write, "ABC"))

    rows = remote.scan(remote.open(METER.raw_table)).collect()
    assert sorted(rows["meter_id"]) == [f"{app}{n}" for app in "ABC" for n in range(1, 6)]


def test_a_flush_asks_its_store_for_the_same_few_things_each_time(
    remote: Lake, store: ObjectStore
) -> None:
    delivered, asked = read_delivered_horizon(remote, METER, "A"), []
    for n in range(1, 6):
        before = sum(store.requests().values())
        delivered = append_once(remote, METER, meter_rows({}), "A", n, delivered)
        asked.append(sum(store.requests().values()) - before)
    assert len(set(asked)) == 1
    assert asked[0] <= 12


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(".", 4, status=503), id="unavailable"),
        pytest.param(Fault(".", 4, status=429), id="too-many-requests"),
        pytest.param(Fault("PUT", 2, cut="before"), id="cut-before"),
        pytest.param(Fault("PUT .*parquet", 1, cut="after"), id="cut-after-a-file"),
        pytest.param(Fault(COMMIT, 1, cut="after"), id="cut-after-the-commit"),
        pytest.param(Fault(COMMIT, 1, status=500), id="error-at-the-commit"),
        pytest.param(Fault(COMMIT, 1, status=403), id="refused"),
    ],
)
def test_a_flush_to_a_failing_store_delivers_each_heartbeat_once(
    stack: PipelineStack, store: ObjectStore, fault: Fault
) -> None:
    rows = minutes_of(HOUR_10, meter_id="METER001")
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        put(connection, METER, meter_rows(*rows))
        store.fail(fault)

        def flushed() -> bool:
            try:
                with OutboxFlush(stack.database_url, connection, stack.lake, 20) as flush:
                    while flush.flush(METER)[1]:
                        pass
            except (OSError, DeltaError, LakeError):
                return False
            return True

        wait_for(flushed)
    found = stack.table(METER.raw_table)
    assert found["timestamp"].to_list() == [row["timestamp"] for row in rows]
    (counted,) = stack.rows(b"SELECT sum(raw_rows) AS n FROM partition_ledger")
    assert counted["n"] == len(rows)


def written(store: ObjectStore) -> int:
    """How many writes have reached it."""
    return sum(store.requests().get(method, 0) for method in ("PUT", "POST"))


def test_a_collector_takes_heartbeats_while_its_store_is_gone(
    remote: Lake, store: ObjectStore, database_url: str, tmp_path: Path
) -> None:
    settings = {
        "LAKE_URI": remote.uri,
        "LAKE_STORAGE_OPTIONS": json.dumps(remote.storage_options),
        "FLUSH_SECONDS": "0.2",
    }
    with Collector(database_url, tmp_path, settings) as collector:
        collector.wait_until_ready()
        store.fail(Fault("^P", 10_000, is_held=True))
        sent, before = [meter(f"METER{n:03d}") for n in range(30)], written(store)
        for heartbeat in sent:
            answer = collector.post("/v1/ingest/meter/batch", [heartbeat])
            assert answer.status_code == status.HTTP_201_CREATED
            # Far less than a flush waits for the store.
            assert answer.elapsed < timedelta(seconds=5)
            wait_for(lambda: written(store) > before)
        store.fail()
        wait_for(lambda: remote.scan(remote.open(METER.raw_table)).collect().height == len(sent))
