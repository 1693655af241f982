"""The collector's process: how it starts, ends, and outlives its database."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg
import pytest

from ingestion_api.__main__ import main
from ingestion_api.database import pool as database
from ingestion_api.outbox import backlog as outbox_watch
from lake import METER, Lake
from local_stack.stack.embedded_postgres import EmbeddedPostgres
from tests.harness.collector import Collector, environment, running_collector
from tests.harness.command_line import wattlake
from tests.harness.heartbeats import meter, moment
from tests.harness.postgres import running_postgres, server_folder
from tests.harness.processes import free_port
from tests.harness.relay import Relay
from tests.harness.waiting import wait_for
from warehouse_sql.api_keys import create_key
from warehouse_sql.migrate import migrate


def start(database_url: str, folder: Path, **settings: str) -> tuple[int, str]:
    """Exit code and output of a collector that can't start."""
    with Collector(database_url, folder, settings) as collector:
        return collector.wait(), collector.log.read_text()


def test_a_taken_port_is_one_clear_line(database_url: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "ingestion_api"],
            cwd=tmp_path,
            env=environment(database_url, tmp_path, PORT=str(port)),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == f"collector: port {port} on 127.0.0.1 is taken; set PORT to another\n"


def test_a_database_that_does_not_answer_is_one_clear_line(tmp_path: Path) -> None:
    url = f"postgresql://nobody:secret@127.0.0.1:{free_port()}/none"
    code, text = start(url, tmp_path, PORT=str(free_port()))
    assert code == 3
    assert text.startswith("collector: the database at DATABASE_URL does not answer")
    assert "Connection refused" in text
    assert text.count("\n") == 1
    assert "secret" not in text


def test_a_database_without_migrations_is_one_clear_line(postgres: str, tmp_path: Path) -> None:
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute("CREATE DATABASE never_migrated")
        url = postgres.rsplit("/", 1)[0] + "/never_migrated"
        code, text = start(url, tmp_path, PORT=str(free_port()))
        conn.execute("DROP DATABASE never_migrated WITH (FORCE)")
    assert code == 3
    assert "wattlake migrate" in text
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "high"),
        ("DATABASE_URL", "mysql://x"),
        ("FLUSH_ROWS", "0"),
        ("TARIFF_FILE", "none.yaml"),
        ("LAKE_URI", "s3:/bucket/lake"),
    ],
)
def test_a_wrong_setting_is_one_clear_line_with_its_name(
    database_url: str, tmp_path: Path, name: str, value: str
) -> None:
    code, text = start(database_url, tmp_path, **{name: value})
    assert code == 2
    assert text.startswith(f"collector: {name}: ")
    assert text.count("\n") == 1


def test_a_stop_answers_what_runs_and_brings_everything_to_the_lake(
    database_url: str, tmp_path: Path
) -> None:
    with running_collector(database_url, tmp_path, FLUSH_SECONDS="600") as collector:
        for second in range(5):
            assert collector.post("/v1/ingest/meter", meter("M", -second)).status_code == 201
        assert collector.stop() == 0
        assert collector.sql("SELECT count(*) FROM meter_heartbeat_outbox") == [(0,)]
        assert raw_times(collector) == 5
    log = collector.log.read_text()
    assert "collector stopped" in log
    assert "Traceback" not in log


@pytest.fixture
def own_server() -> Iterator[EmbeddedPostgres]:
    """A server that the test may stop."""
    with server_folder() as folder, running_postgres(folder) as server:
        yield server


def test_a_restart_of_the_database_under_load_loses_nothing_that_was_acknowledged(
    own_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    url = own_server.url()
    migrate(url)
    with running_collector(url, tmp_path, FLUSH_SECONDS="0.5") as collector:
        load = Load(collector)
        with load:
            wait_for(lambda: load.acknowledged_now() > 200)
            own_server.stop()
            wait_for(lambda: 503 in load.statuses)
            ready = collector.http.get("/readyz")
            assert ready.status_code == 503
            assert "the database does not answer" in ready.json()["reasons"]
            refused = collector.post("/v1/ingest/meter", meter("LATE"))
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.headers["content-type"] == "application/problem+json"
            # At once, on a busy machine too: who waits for a commit is answered after 15.
            assert refused.elapsed.total_seconds() < 10
            for path in ("/v1/analytics/fleet/live", "/v1/analytics/performance/V", "/v1/links"):
                assert collector.http.get(path).status_code == 503
            assert collector.http.get("/healthz").status_code == 200
            own_server.start()
            back = load.acknowledged_now()
            wait_for(lambda: load.acknowledged_now() > back + 200)
        assert set(load.statuses) <= {201, 503}
        assert collector.stop() == 0
        assert load.acknowledged <= stored(collector)
        assert stored(collector) <= load.sent


class Load:
    """Clients that post heartbeats until the end, and know what was acknowledged."""

    def __init__(self, collector: Collector, clients: int = 8) -> None:
        self.sent: set[tuple[str, datetime]] = set()
        self.acknowledged: set[tuple[str, datetime]] = set()
        self.statuses: set[int] = set()
        self._collector, self._end = collector, threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._post, args=(client,)) for client in range(clients)
        ]

    def acknowledged_now(self) -> int:
        """Number of heartbeats acknowledged up to this moment."""
        with self._lock:
            return len(self.acknowledged)

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _post(self, client: int) -> None:
        with httpx.Client(base_url=self._collector.http.base_url, timeout=60) as http:
            while not self._end.is_set():
                batch = [meter(f"M{client}-{n}") for n in range(3)]
                identities = {
                    (one["meterId"], datetime.fromisoformat(one["timestamp"])) for one in batch
                }
                with self._lock:
                    self.sent |= identities
                answer = http.post("/v1/ingest/meter/batch", json=batch)
                with self._lock:
                    self.statuses.add(answer.status_code)
                    if answer.status_code == 201:
                        self.acknowledged |= identities
                if answer.status_code == 503:
                    time.sleep(0.05)


def stored(collector: Collector) -> set[tuple[str, datetime]]:
    """Identities of the meter heartbeats in the outbox and in the lake."""
    lake = Lake(str(collector.lake_folder))
    raw = lake.open(METER.raw_table).to_pyarrow_table(columns=["meter_id", "timestamp"])
    waiting = collector.sql('SELECT meter_id, "timestamp" FROM meter_heartbeat_outbox')
    in_lake = {(row["meter_id"], row["timestamp"]) for row in raw.to_pylist()}
    return in_lake | {(device, at.astimezone(UTC)) for device, at in waiting}


def raw_times(collector: Collector) -> int:
    """Number of meter heartbeats in the raw table."""
    lake = Lake(str(collector.lake_folder))
    return lake.open(METER.raw_table).to_pyarrow_table(columns=["timestamp"]).num_rows


def test_readiness_names_the_transaction_that_holds_up_the_flush(
    database_url: str, tmp_path: Path
) -> None:
    settings = {"FLUSH_SECONDS": "0.2", "LAKE_LAG_WARNING_SECONDS": "0.5"}
    with running_collector(database_url, tmp_path, **settings) as collector:
        with psycopg.connect(database_url, application_name="a forgotten shell") as conn:
            conn.execute("UPDATE outbox_delivery SET lake_table = lake_table")
            assert collector.post("/v1/ingest/meter", meter("M")).status_code == 201

            def warnings() -> str:
                return " ".join(collector.http.get("/readyz").json()["warnings"])

            wait_for(lambda: "a forgotten shell" in warnings())
            assert f"process {conn.info.backend_pid} of" in warnings()
        wait_for(lambda: not warnings())
        assert collector.sql("SELECT count(*) FROM meter_heartbeat_outbox") == [(0,)]


def main_in_a_hurry() -> int:
    """The collector, in the process of its own that it is forked into."""
    patch = pytest.MonkeyPatch()  # of that process, which ends with it
    patch.setattr(database, "_STATEMENT_SECONDS", 8)
    patch.setattr(outbox_watch, "_MOST_SECONDS", 0.5)
    patch.setattr(outbox_watch, "_MISSED_LOOKS", 1)
    return main()


def test_readers_that_wait_hold_up_nobody_else_and_are_given_up(
    database_url: str, tmp_path: Path
) -> None:
    settings = {"READ_CONNECTIONS": "1", "KEY_REFRESH_SECONDS": "0.1"}
    with (
        Collector(database_url, tmp_path, settings, program=main_in_a_hurry) as collector,
        psycopg.connect(database_url) as conn,
        ThreadPoolExecutor(1) as reader,
    ):
        collector.wait_until_ready()
        conn.execute("LOCK TABLE vehicle_efficiency_hourly IN ACCESS EXCLUSIVE MODE")
        given_up = reader.submit(collector.http.get, "/v1/status")
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        wait_for(lambda: collector.sql(waits) == [(1,)])
        busy = collector.http.get("/v1/status")
        assert busy.status_code == 503
        assert busy.json()["detail"] == "all reading connections are busy; ask again later"
        ready = collector.http.get("/readyz")
        assert (ready.status_code, ready.json()["reasons"]) == (200, [])
        assert collector.post("/v1/ingest/meter", meter("M")).status_code == 201
        create_key(database_url, "a new one", ["ingest"])
        wait_for(lambda: collector.http.get("/v1/status").status_code == 401)
        assert given_up.result(60).status_code == 503
        conn.rollback()


def test_readiness_tells_that_the_outbox_was_not_looked_at_for_long(
    database_url: str, tmp_path: Path
) -> None:
    with Collector(database_url, tmp_path, program=main_in_a_hurry) as collector:
        collector.wait_until_ready()

        def warnings() -> str:
            return " ".join(collector.http.get("/readyz").json()["warnings"])

        assert "last looked at" not in warnings()
        with psycopg.connect(database_url) as conn:
            conn.execute("LOCK TABLE heartbeat_pack IN ACCESS EXCLUSIVE MODE")
            wait_for(lambda: "the outbox was last looked at" in warnings())


@pytest.mark.parametrize("zone", ["Etc/UTC", "Europe/Berlin"])
def test_the_servers_time_zone_changes_no_answer(
    zone: str, database_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        name = conn.info.dbname
        conn.execute(f"ALTER DATABASE {name} SET timezone = '{zone}'".encode())
    with running_collector(database_url, tmp_path, FLUSH_SECONDS="0.2") as collector:
        assert collector.post("/v1/ingest/meter", meter("M7")).status_code == 201
        car = {"vehicleId": "V7", "timestamp": moment(), "kwhDeliveredDc": 0.18}
        assert collector.post("/v1/ingest/vehicle", car).status_code == 201
        wait_for(lambda: collector.http.get("/v1/status").json()["rowsInLake"] == 2)
        answer = collector.http.get("/v1/analytics/performance/V7")
        assert answer.status_code == 200, answer.text
        assert answer.json()["energyConsumedAc"] == 0.2
        live = collector.http.get("/v1/analytics/vehicle/V7/live").json()
        assert live["timestamp"].endswith("Z")


def test_a_packed_row_that_is_damaged_is_warned_of_and_the_collector_goes_on(
    database_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO heartbeat_pack (stream, heartbeats, rows, hours, hour_rows, last_received)"
            " VALUES ('meter', 'no Arrow', 1, ARRAY[date_trunc('hour', now())], ARRAY[1], now())"
        )
    # While its flushes fail it does not write the lake.
    with running_collector(database_url, tmp_path, True, FLUSH_SECONDS="0.2") as collector:
        why = "the last flush to the lake failed: a row of heartbeat_pack can't be read"
        wait_for(lambda: why in " ".join(collector.http.get("/readyz").json()["warnings"]))
        told = wattlake(tmp_path, "status", "--url", str(collector.http.base_url))
        assert f"warning: {why}" in told.stdout
        assert collector.http.get("/healthz").status_code == 200
        assert collector.post("/v1/ingest/meter", meter("M")).status_code == 201
        assert "heartbeat_pack" in collector.log.read_text()


def test_a_database_that_hangs_right_after_a_reconnect_is_given_up(
    database_url: str, tmp_path: Path
) -> None:
    with Relay(database_url) as relay:
        settings = {"COMMIT_TIMEOUT_SECONDS": "1"}
        with running_collector(relay.url, tmp_path, **settings) as collector:
            relay.cut_and_hang()
            answer = collector.post("/v1/ingest/meter", meter("M"))
            assert answer.status_code == 503
            relay.resume()
            wait_for(
                lambda: collector.post("/v1/ingest/meter", meter("M")).status_code == 201,
                seconds=30,
            )
