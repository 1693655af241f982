"""The collector as a real process, for tests that speak HTTP to it."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from ingestion_api.__main__ import main
from tests.integration.forking import Forked

START_SECONDS = 120


@dataclass
class Collector:
    """A running collector; `http` has its address as base URL."""

    process: Forked | subprocess.Popen[bytes]
    http: httpx.Client
    port: int
    log: Path
    database_url: str
    lake_folder: Path

    def post(self, path: str, body: Any) -> httpx.Response:
        """POST a value as JSON."""
        return self.http.post(path, json=body)

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a statement on the collector's database."""
        with psycopg.connect(self.database_url, autocommit=True) as conn:
            cursor = conn.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def stop(self) -> int:
        """Ask it to end in order; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def running_collector(
    database_url: str, folder: Path, beside: bool = False, /, **settings: str
) -> Iterator[Collector]:
    """Start a collector on a free port with its lake below `folder`; stop it at the end.

    One `beside` another is ready though it does not write the lake. It runs what
    `python -m ingestion_api` does once it has imported everything.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), folder / "collector.log"
    with (
        log.open("wb") as output,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
    ):
        variables = environment(database_url, folder, PORT=str(port), **settings)
        process = Forked(main, folder, variables, output.fileno(), output.fileno())
        collector = Collector(process, http, port, log, database_url, folder / "lake")
        try:
            wait_for(lambda: _is_ready(collector, beside), START_SECONDS)
            yield collector
        finally:
            if process.poll() is None:
                collector.stop()


def collector_of_module(**settings: str) -> Any:
    """A fixture: one collector for all tests of a module; each uses devices of its own."""

    @pytest.fixture(scope="module")
    def collector(
        postgres: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Collector]:
        folder = tmp_path_factory.mktemp("collector")
        with (
            copied_database(postgres, migrated_template) as url,
            running_collector(url, folder, **settings) as running,
        ):
            yield running

    return collector


def environment(database_url: str, folder: Path, **settings: str) -> dict[str, str]:
    """The environment of a collector process."""
    root = str(Path(__file__).parents[2])
    return {
        **os.environ,
        "PYTHONPATH": root,
        "DATABASE_URL": database_url,
        "LAKE_URI": str(folder / "lake"),
        **settings,
    }


@contextmanager
def copied_database(postgres: str, template: str) -> Iterator[str]:
    """URL of a copy of a database, dropped at the end."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as conn:
        # Its files as they are: a copy through the log takes three times as long.
        copy = f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"
        conn.execute(copy.encode())
        yield postgres.rsplit("/", 1)[0] + "/" + name
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    """Return once the condition holds; AssertionError if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def device(kind: str) -> str:
    """An id that no other test uses, and that ends in no number."""
    return f"{kind}-{uuid4().hex}-x"


def moment(seconds: float = 0) -> str:
    """Seconds from now on, as devices write it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def meter(meter_id: str, seconds: float = 0, **fields: Any) -> dict[str, Any]:
    """A meter heartbeat, `seconds` from now."""
    return {"meterId": meter_id, "timestamp": moment(seconds), "kwhConsumedAc": 0.2, **fields}


def vehicle(vehicle_id: str, seconds: float = 0, **fields: Any) -> dict[str, Any]:
    """A vehicle heartbeat, `seconds` from now."""
    return {"vehicleId": vehicle_id, "timestamp": moment(seconds), "kwhDeliveredDc": 0.18, **fields}


def _is_ready(collector: Collector, beside: bool) -> bool:
    assert collector.process.poll() is None, collector.log.read_text()
    try:
        answer = collector.http.get("/readyz")
    except httpx.TransportError:
        return False
    return answer.status_code == 200 and (beside or answer.json()["lakeWriter"] is True)
