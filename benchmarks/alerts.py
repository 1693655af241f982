"""`python -m benchmarks.alerts`: what alert rules cost, and how soon an alert follows a heartbeat.

A database of its own with 10,000 meters and 10,000 vehicles, the shipped rules, and one collector
that takes the fleet's 333 heartbeats a second while hot batteries are reported now and then.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles
from typing import Final

import httpx
import psycopg
from psycopg.rows import dict_row

from ingestion_api.alerts.live import LiveLook
from ingestion_api.alerts.rule_file import read_rules
from lake import EnergySettings
from local_stack.embedded_postgres import EmbeddedPostgres
from warehouse_sql.migrate import migrate

_DEVICES: Final = 10_000
_A_SECOND: Final = 333
_LOOKS: Final = 30
_PORT: Final = 3990
_FLEET: Final = (
    "INSERT INTO meter_live_state SELECT 'METER' || n, now(), 0.1, 225 + 10 * random(), 'interval',"
    " now() - make_interval(secs => n %% 60) FROM generate_series(1, %s) AS n",
    "INSERT INTO vehicle_live_state SELECT 'VEH' || n, now(), 0.1, 50 + 10 * random(),"
    " 20 + 10 * random(), CASE WHEN n %% 2 = 0 THEN 'METER' || n END, 'interval',"
    " now() - make_interval(secs => n %% 60) FROM generate_series(1, %s) AS n",
    "INSERT INTO charging_link (meter_id, vehicle_id, valid) SELECT 'METER' || n, 'VEH' || n,"
    " tstzrange('2026-01-01', NULL) FROM generate_series(1, %s) AS n",
    "INSERT INTO device (stream, device_id, first_heard_at) SELECT stream, prefix || n, now()"
    " FROM generate_series(1, %s) AS n, (VALUES ('meter', 'METER'), ('vehicle', 'VEH'))"
    " AS kind (stream, prefix)",
)


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    seconds: float = parser.parse_args().seconds
    with _database() as url:
        took, cpu = _looks(url)
        _print("a look at 20,000 devices", took, f", CPU of Postgres {cpu * 1000:.1f} ms")
        with _collector(url) as http:
            _print("from acknowledgement to alert", _latencies(http, seconds), "")


def _print(what: str, seconds: list[float], more: str) -> None:
    cuts = quantiles(seconds, n=100, method="inclusive")
    sys.stdout.write(
        f"{what}: p50 {cuts[49] * 1000:.0f} ms, p95 {cuts[94] * 1000:.0f} ms, "
        f"max {max(seconds) * 1000:.0f} ms of {len(seconds)}{more}\n"
    )


@contextmanager
def _database() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="wattlake-alerts-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the server's own account must reach it
        server = EmbeddedPostgres(folder / "postgres")
        (folder / "postgres").mkdir(exist_ok=True)
        (folder / "postgres").chmod(0o711)
        try:
            url = server.start()
            migrate(url)
            with psycopg.connect(url, autocommit=True) as conn:
                for statement in _FLEET:
                    conn.execute(statement.encode(), (_DEVICES,))
                conn.execute("VACUUM ANALYZE")
            yield url
        finally:
            server.stop()


def _looks(url: str) -> tuple[list[float], float]:
    """Seconds of each of some looks at a quiet fleet, and of one the CPU time of the server."""
    look = LiveLook(read_rules(), EnergySettings())
    options = "-c TimeZone=UTC -c max_parallel_workers_per_gather=0"
    took = []
    with psycopg.connect(url, autocommit=True, row_factory=dict_row, options=options) as conn:
        for _ in range(3):
            look.look(conn)
        before = _cpu_seconds(conn.info.backend_pid)
        for _ in range(_LOOKS):
            started = time.perf_counter()
            look.look(conn)
            took.append(time.perf_counter() - started)
        return took, (_cpu_seconds(conn.info.backend_pid) - before) / _LOOKS


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _collector(url: str) -> Iterator[httpx.Client]:
    with (
        tempfile.TemporaryDirectory(prefix="wattlake-lake-") as lake,
        subprocess.Popen(
            [sys.executable, "-m", "ingestion_api"],
            env={**os.environ, "DATABASE_URL": url, "LAKE_URI": lake, "PORT": str(_PORT)},
            stderr=subprocess.DEVNULL,
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{_PORT}", timeout=30) as http,
    ):
        try:
            _wait_until_ready(http)
            yield http
        finally:
            process.terminate()


def _wait_until_ready(http: httpx.Client) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if http.get("/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def _latencies(http: httpx.Client, seconds: float) -> list[float]:
    """Seconds from the answer to a hot battery's heartbeat until the alert can be read."""
    ending, numbers = threading.Event(), itertools.count()
    found: list[float] = []
    background = threading.Thread(target=_post_fleet, args=(http, ending))
    background.start()
    try:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            car = f"HOT{next(numbers)}"
            body = {"vehicleId": car, "timestamp": _now(), "kwhDeliveredDc": 0.1, "batteryTemp": 60}
            http.post("/v1/ingest/vehicle", json=body).raise_for_status()
            acknowledged = time.perf_counter()
            while not http.get("/v1/alerts", params={"deviceId": car}).json()["alerts"]:
                time.sleep(0.01)
            found.append(time.perf_counter() - acknowledged)
        return found
    finally:
        ending.set()
        background.join()


def _post_fleet(http: httpx.Client, ending: threading.Event) -> None:
    """The heartbeats of one second in one request, as gateways send them, every second."""
    numbers = itertools.cycle(range(1, _DEVICES + 1))
    while not ending.wait(1):
        some = list(itertools.islice(numbers, _A_SECOND // 2))
        meters = [
            {"meterId": f"METER{n}", "timestamp": _now(), "kwhConsumedAc": 0.1, "voltage": 231.0}
            for n in some
        ]
        vehicles = [
            {"vehicleId": f"VEH{n}", "timestamp": _now(), "kwhDeliveredDc": 0.09, "soc": 61.0}
            for n in some
        ]
        http.post("/v1/ingest/telemetry", json=[*meters, *vehicles]).raise_for_status()


def _now() -> str:
    return datetime.now(UTC).isoformat()


if __name__ == "__main__":
    main()
