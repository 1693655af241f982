"""The stack that is measured: Postgres and a collector of its own, and what they consume."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg

from benchmarks.processes import PeakShare, cpu_seconds, nameless_files, peak_resident_bytes
from ingestion_api.settings import CollectorSettings
from lake import EnergySettings, LakeSettings
from local_stack.stack.embedded_postgres import EmbeddedPostgres
from local_stack.stack.parent_death import leashed
from warehouse_sql.migrate import migrate
from warehouse_sql.named_queries import query

_REPOSITORY: Final = Path(__file__).parents[1]
_READY_SECONDS: Final = 60
_STOP_SECONDS: Final = 60


class BenchmarkError(Exception):
    """A measurement failed, or what it measured is wrong; one line."""


@dataclass(frozen=True)
class Cpu:
    """CPU seconds."""

    collector: float = 0
    postgres: float = 0

    def __add__(self, other: "Cpu") -> "Cpu":
        return Cpu(self.collector + other.collector, self.postgres + other.postgres)

    def __sub__(self, other: "Cpu") -> "Cpu":
        return Cpu(self.collector - other.collector, self.postgres - other.postgres)


class House:
    """A running Postgres and a running collector with the settings of production."""

    def __init__(
        self,
        folder: Path,
        postgres: EmbeddedPostgres,
        collector: subprocess.Popen[bytes],
        port: int,
    ) -> None:
        self.port = port
        self._folder, self._postgres, self._collector = folder, postgres, collector
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        self._postgres_share = PeakShare(postgres.pid)

    def cpu(self) -> Cpu:
        """What was used up to now."""
        return Cpu(cpu_seconds(self._collector.pid), cpu_seconds(self._postgres.pid))

    @property
    def collector_peak_bytes(self) -> int:
        """The most memory that the collector has held."""
        return peak_resident_bytes(self._collector.pid)

    @property
    def postgres_peak_bytes(self) -> int:
        """The most memory that Postgres has held, sampled once a second."""
        return self._postgres_share.bytes

    def status(self) -> dict[str, Any]:
        """GET /v1/status."""
        answer: dict[str, Any] = self._ask("GET", "/v1/status").json()
        return answer

    def metric(self, name: str) -> float:
        """The value of a metric; its labels, if any, belong to the name."""
        for line in self._ask("GET", "/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        raise BenchmarkError(f"the collector has no metric {name}")

    def get(self, path: str) -> Any:
        """The answer to a GET of the collector."""
        return self._ask("GET", path).json()

    def post(self, path: str, body: Any) -> None:
        """POST a body as JSON to the collector, which has to take all of it."""
        answer = self._ask("POST", path, body)
        if answer.status_code != 201:
            raise BenchmarkError(f"{path} is answered {answer.status_code}: {answer.text[:200]}")

    @property
    def lake(self) -> Path:
        """The collector's lake."""
        return self._folder / "lake"

    @property
    def nameless_files(self) -> list[Path]:
        """The collector's files on a disk that have no name any more."""
        return nameless_files(self._collector.pid)

    @property
    def database_url(self) -> str:
        """The collector's database."""
        return self._postgres.url()

    def check_counts(self, acknowledged: int) -> None:
        """BenchmarkError unless exactly what was acknowledged is in the lake or on its way."""
        status = self.status()
        _check(acknowledged, status["rowsInLake"], status["outboxRows"])
        if status["recordsAcknowledged"] != acknowledged:
            raise BenchmarkError(
                f"{acknowledged:,} records were acknowledged, /v1/status counts "
                f"{status['recordsAcknowledged']:,}"
            )

    def client(self, module: str, *arguments: object) -> Any:
        """The JSON that a process of this suite reports about its work for this house."""
        return self._run(module, arguments, {})

    def beside(self, name: str) -> "Beside":
        """Another migrated database of the same server, with a lake of its own."""
        with psycopg.connect(self._postgres.url(), autocommit=True) as conn:
            conn.execute(f"CREATE DATABASE {name}".encode())
        migrate(self._postgres.url(name))
        return Beside(self, self._postgres.url(name), self._folder / name)

    def _run(self, module: str, arguments: tuple[object, ...], settings: Mapping[str, str]) -> Any:
        done = subprocess.run(
            leashed([sys.executable, "-m", module, *map(str, arguments)], signal.SIGKILL),
            cwd=self._folder,
            env=environment(settings),
            capture_output=True,
            text=True,
            start_new_session=True,  # Ctrl-C is for the one who started it
            check=False,
        )
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"{module} failed"])[-1]
            if self._collector.poll() is not None:
                said += f"; the collector ended: {self._last_words()}"
            raise BenchmarkError(said)
        return json.loads(done.stdout)

    def _ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        try:
            return self._http.request(method, path, json=body).raise_for_status()
        except httpx.HTTPError as error:
            raise BenchmarkError(f"the collector does not answer {path}: {error}") from error

    @contextmanager
    def _open(self) -> Iterator["House"]:
        with self._http:
            deadline = time.monotonic() + _READY_SECONDS
            while not self._is_ready():
                if self._collector.poll() is not None or time.monotonic() > deadline:
                    raise BenchmarkError(f"the collector does not start: {self._last_words()}")
                time.sleep(0.05)
            with self._postgres_share:
                yield self

    def _last_words(self) -> str:
        log = (self._folder / "collector.log").read_text(encoding="utf-8", errors="replace")
        return (log.strip().splitlines() or ["it said nothing"])[-1]

    def _is_ready(self) -> bool:
        try:
            answer = self._http.get("/readyz")
        except httpx.TransportError:
            return False
        return answer.status_code == 200 and bool(answer.json()["lakeWriter"])


@dataclass(frozen=True)
class Beside:
    """A database and a lake in a house that its collector does not know."""

    house: House
    database_url: str
    lake: Path

    def client(self, module: str, *arguments: object) -> Any:
        """The JSON that a process of this suite reports about its work with this database."""
        settings = {"DATABASE_URL": self.database_url, "LAKE_URI": str(self.lake)}
        return self.house._run(module, arguments, settings)

    def check_counts(self, written: int) -> None:
        """BenchmarkError unless exactly what was written is in the lake or on its way."""
        with psycopg.connect(self.database_url) as conn:
            row = conn.execute(query("whole_status"), {"now": datetime.now(UTC)}).fetchone()
        assert row is not None, "the query always has one row"
        _check(written, row[1], row[2])


@contextmanager
def house(below: Path, fill: Callable[[Path], None] | None = None) -> Iterator[House]:
    """A fresh house in a temporary folder below `below`; it is gone at the end.

    `fill` makes its lake, before the collector starts.

    The folder must not lie in memory, as /tmp may: a commit that reaches no disk is too fast.
    """
    with ExitStack() as ending:
        folder = Path(tempfile.mkdtemp(prefix="wattlake-benchmark-", dir=below))
        ending.callback(shutil.rmtree, folder)
        folder.chmod(0o711)  # as root, the server's own account has to reach its files
        postgres = EmbeddedPostgres(folder / "postgres")
        ending.callback(postgres.stop)
        database_url = postgres.start()
        migrate(database_url)
        if fill:
            fill(folder / "lake")
        port = _free_port()
        with (folder / "collector.log").open("wb") as log:
            collector = subprocess.Popen(
                leashed([sys.executable, "-m", "ingestion_api"], signal.SIGKILL),
                cwd=folder,
                env=environment(
                    {
                        "DATABASE_URL": database_url,
                        "LAKE_URI": str(folder / "lake"),
                        "PORT": str(port),
                    }
                ),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        ending.callback(_stop, collector)
        yield ending.enter_context(House(folder, postgres, collector, port)._open())


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Ours, without settings of the collector and the lake but these: the defaults are measured."""
    ours = {
        *CollectorSettings.model_fields,
        *LakeSettings.model_fields,
        *EnergySettings.model_fields,
    }
    kept = {name: value for name, value in os.environ.items() if name.lower() not in ours}
    return {**kept, "PYTHONPATH": str(_REPOSITORY), **settings}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _check(acknowledged: int, in_lake: int, in_outbox: int) -> None:
    if in_lake + in_outbox != acknowledged:
        raise BenchmarkError(
            f"{acknowledged:,} records were acknowledged, but {in_lake:,} are in the lake and "
            f"{in_outbox:,} in the outbox: {in_lake + in_outbox - acknowledged:+,}"
        )
