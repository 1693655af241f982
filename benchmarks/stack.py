"""The stack under test: Postgres and a collector of its own, and what they consume."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg

from benchmarks.processes import PeakShare, cpu_seconds, open_files, peak_resident_bytes
from local_stack.settings import LocalStackSettings
from local_stack.stack.collectors import collector_ports
from local_stack.stack.embedded_postgres import EmbeddedPostgres
from local_stack.stack.liveness import url_answers
from local_stack.stack.parent_death import die_with_parent
from tests.harness.collector import Collector, clean_environment
from tests.harness.postgres import running_postgres, server_folder
from tests.harness.waiting import wait_for
from warehouse_sql.migrate import migrate
from warehouse_sql.named_queries import query

_READY_SECONDS: Final = 60


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


class StackUnderTest:
    """Running Postgres and collectors with the settings of production."""

    def __init__(
        self, folder: Path, postgres: EmbeddedPostgres, collector: Collector, own_ports: list[int]
    ) -> None:
        """`collector` is the process that runs all collectors, or the one; each has a port."""
        self.port, self._own_ports = collector.port, own_ports
        self._folder, self._postgres, self._collector = folder, postgres, collector
        self._postgres_share = PeakShare(postgres.pid)

    def cpu(self) -> Cpu:
        """CPU time up to now."""
        return Cpu(cpu_seconds(self._collector.pid), cpu_seconds(self._postgres.pid))

    @property
    def collector_peak_bytes(self) -> int:
        """Most memory that the collectors have held."""
        return peak_resident_bytes(self._collector.pid)

    @property
    def postgres_peak_bytes(self) -> int:
        """Most memory that Postgres has held, sampled once a second."""
        return self._postgres_share.bytes

    def status(self) -> dict[str, Any]:
        """GET /v1/status."""
        answer: dict[str, Any] = self._ask("GET", "/v1/status").json()
        return answer

    def metric(self, name: str) -> float:
        """Sum of a metric over the collectors; its labels, if any, belong to the name."""
        found = [
            float(line.split()[1])
            for port in self._own_ports
            for line in self._ask("GET", f"http://127.0.0.1:{port}/metrics").text.splitlines()
            if line.startswith(f"{name} ")
        ]
        if len(found) < len(self._own_ports):
            raise BenchmarkError(f"a collector has no metric {name}")
        return sum(found)

    def get(self, path: str) -> Any:
        """Answer to a GET of the collector."""
        return self._ask("GET", path).json()

    def post(self, path: str, body: Any) -> None:
        """POST a body as JSON to the collector, which has to take all of it."""
        answer = self._ask("POST", path, body)
        if answer.status_code != 201:
            raise BenchmarkError(f"{path} is answered {answer.status_code}: {answer.text[:200]}")

    @property
    def lake(self) -> Path:
        """The collector's lake."""
        return self._collector.lake_folder

    @property
    def index_files(self) -> list[Path]:
        """The files of the collector's index."""
        return open_files(self._collector.pid, ".hour")

    @property
    def database_url(self) -> str:
        """The collector's database."""
        return self._postgres.url()

    def check_counts(self, acknowledged: int) -> None:
        """Raise BenchmarkError unless what was acknowledged is in the lake or on its way."""
        status = self.status()
        _check(acknowledged, status["rowsInLake"], status["outboxRows"])
        if status["recordsAcknowledged"] != acknowledged:
            raise BenchmarkError(
                f"{acknowledged:,} records were acknowledged, /v1/status counts "
                f"{status['recordsAcknowledged']:,}"
            )

    def client(self, module: str, *arguments: object) -> Any:
        """Return the JSON that a module of this suite reports about its work for this stack."""
        return self._run(module, arguments)

    def create_database(self, name: str) -> str:
        """Create an empty database of the same server; its URL."""
        with psycopg.connect(self._postgres.url(), autocommit=True) as conn:
            conn.execute(f"CREATE DATABASE {name}".encode())
        return self._postgres.url(name)

    def second_database(self, name: str) -> "SecondDatabase":
        """Create another migrated database of the same server, with a lake of its own."""
        url = self.create_database(name)
        migrate(url)
        return SecondDatabase(self, url, self._folder / name)

    def _run(self, module: str, arguments: tuple[object, ...], **settings: str) -> Any:
        try:
            return run_process(module, *arguments, folder=self._folder, **settings)
        except BenchmarkError as error:
            if self._collector.exit_code is None:
                raise
            raise BenchmarkError(f"{error}; the collector ended: {self._last_line()}") from error

    def _ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        try:
            return self._collector.http.request(method, path, json=body).raise_for_status()
        except httpx.HTTPError as error:
            raise BenchmarkError(f"the collector does not answer {path}: {error}") from error

    @contextmanager
    def _measured(self) -> Iterator["StackUnderTest"]:
        try:
            for port in self._own_ports:
                wait_for(url_answers(f"http://127.0.0.1:{port}/readyz"), _READY_SECONDS)
            self._collector.wait_until_ready(_READY_SECONDS, writes_lake=len(self._own_ports) == 1)
        except AssertionError as error:
            raise BenchmarkError(f"the collector does not start: {self._last_line()}") from error
        with self._postgres_share:
            yield self

    def _last_line(self) -> str:
        log = self._collector.log.read_text(encoding="utf-8", errors="replace")
        return (log.strip().splitlines() or ["it said nothing"])[-1]


@dataclass(frozen=True)
class SecondDatabase:
    """Database and lake beside those of a stack, which its collector does not know."""

    stack: StackUnderTest
    database_url: str
    lake: Path

    def client(self, module: str, *arguments: object) -> Any:
        """Return the JSON that a module of this suite reports about its work with this database."""
        places = {"DATABASE_URL": self.database_url, "LAKE_URI": str(self.lake)}
        return self.stack._run(module, arguments, **places)

    def check_counts(self, written: int) -> None:
        """Raise BenchmarkError unless exactly what was written is in the lake or on its way."""
        with psycopg.connect(self.database_url) as conn:
            row = conn.execute(query("whole_status"), {"now": datetime.now(UTC)}).fetchone()
        assert row is not None, "the query always has one row"
        _check(written, row[1], row[2])


@contextmanager
def stack_under_test(
    below: Path, fill: Callable[[Path], None] | None = None, collectors: int = 1
) -> Iterator[StackUnderTest]:
    """Fresh stack in a temporary folder below `below`; it is gone at the end.

    `fill` makes its lake, before the `collectors` start, which share a port.

    The folder must not lie in memory, as /tmp may: a commit that reaches no disk is too fast.
    """
    with ExitStack() as ending:
        folder = ending.enter_context(server_folder(below))
        postgres = ending.enter_context(running_postgres(folder / "postgres"))
        migrate(postgres.url())
        if fill:
            fill(folder / "lake")
        module = "ingestion_api" if collectors == 1 else "local_stack.stack.collectors"
        collector = Collector(
            postgres.url(),
            folder,
            {"COLLECTORS": str(collectors)},
            command=(sys.executable, "-m", module),
        )
        settings = LocalStackSettings(_env_file=None, port=collector.port, collectors=collectors)
        ending.callback(collector.close)
        collector.start()
        ending.callback(_stop, collector)
        stack = StackUnderTest(folder, postgres, collector, [*collector_ports(settings).values()])
        yield ending.enter_context(stack._measured())


def run_process(module: str, *arguments: object, folder: Path, **settings: str) -> Any:
    """Return the JSON that a module of this suite prints in a process of its own.

    BenchmarkError with the last line of its standard error if it fails.
    """
    done = subprocess.run(
        die_with_parent([sys.executable, "-m", module, *map(str, arguments)], signal.SIGKILL),
        cwd=folder,
        env=clean_environment(**settings),
        capture_output=True,
        text=True,
        start_new_session=True,  # Ctrl-C is for the one who started it
        check=False,
    )
    if done.returncode:
        raise BenchmarkError((done.stderr.strip().splitlines() or [f"{module} failed"])[-1])
    return json.loads(done.stdout)


def _stop(collector: Collector) -> None:
    with suppress(subprocess.TimeoutExpired):  # then it is killed
        collector.stop()


def _check(acknowledged: int, in_lake: int, in_outbox: int) -> None:
    if in_lake + in_outbox != acknowledged:
        raise BenchmarkError(
            f"{acknowledged:,} records were acknowledged, but {in_lake:,} are in the lake and "
            f"{in_outbox:,} in the outbox: {in_lake + in_outbox - acknowledged:+,}"
        )
