"""Collectors as real processes, to speak HTTP to."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
import psycopg
import pytest

from ingestion_api.__main__ import main
from ingestion_api.settings import CollectorSettings
from lake import EnergySettings, LakeSettings
from local_stack.stack.parent_death import die_with_parent
from tests.harness.forked import Forked
from tests.harness.postgres import copied_database
from tests.harness.processes import free_port
from tests.harness.waiting import wait_for

START_SECONDS: Final = 120
_ROOT: Final = Path(__file__).parents[2]
_STOP_SECONDS: Final = 60
_SETTINGS: Final = {
    *CollectorSettings.model_fields,
    *LakeSettings.model_fields,
    *EnergySettings.model_fields,
}


class Collector:
    """Collector on a free port; `with` starts it and stops it at the end.

    It runs what `python -m ingestion_api` does once it has imported everything; or `program` in
    its place, or a `command` line. `http` has its address as base URL.
    """

    def __init__(
        self,
        database_url: str,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        *,
        name: str = "collector",
        program: Callable[[], int | None] = main,
        command: Sequence[str] = (),
        timeout: float = 60,
    ) -> None:
        """Only `settings` differ from their defaults; log and lake lie below `folder`."""
        given = settings or {}
        port = given.get("PORT", "")
        self.port = int(port) if port.isdigit() else free_port()
        self.environment = environment(database_url, folder, **{"PORT": str(self.port), **given})
        self.name, self.database_url = name, database_url
        self.address = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"{name}.log"
        self.lake_folder = Path(self.environment["LAKE_URI"])
        self.http = httpx.Client(base_url=self.address, timeout=timeout)
        self._folder, self._program, self._command = folder, program, command
        self._process: Forked | subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self.exit_code is None:
                self.stop()
        finally:
            self.close()

    @property
    def pid(self) -> int:
        """Process id, once it was started."""
        return self._started.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return self._started.poll()

    def start(self) -> None:
        """Start it, without waiting until it is ready."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            self._process = self._launch(output.fileno())

    def wait_until_ready(self, seconds: float = START_SECONDS, *, writes_lake: bool = True) -> None:
        """Wait until it takes heartbeats and, unless told otherwise, writes the lake."""

        def is_ready() -> bool:
            assert self.exit_code is None, self.log.read_text()
            answer = self.ask("/readyz")
            return bool(answer and answer["ready"] and (answer["lakeWriter"] or not writes_lake))

        wait_for(is_ready, seconds, describe=self.log.read_text)

    def ask(self, path: str) -> dict[str, Any] | None:
        """JSON answer to a GET, whatever its status; None if there is no answer."""
        try:
            answer: dict[str, Any] = self.http.get(path).json()
        except httpx.TransportError:
            return None
        return answer

    def post(self, path: str, body: Any) -> httpx.Response:
        """POST a value as JSON."""
        return self.http.post(path, json=body)

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a statement on the collector's database."""
        with psycopg.connect(self.database_url, autocommit=True) as conn:
            cursor = conn.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._started.send_signal(number)

    def wait(self, seconds: float = _STOP_SECONDS) -> int:
        """Exit code, once it has ended; subprocess.TimeoutExpired if it has not in time."""
        return self._started.wait(seconds)

    def stop(self) -> int:
        """Ask it to end in order; returns its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL."""
        self.signal(signal.SIGKILL)
        self.wait()

    def close(self) -> None:
        """Kill it if it runs, and close the connections to it."""
        if self._process is not None and self.exit_code is None:
            self.kill()
        self.http.close()

    @property
    def _started(self) -> Forked | subprocess.Popen[bytes]:
        assert self._process is not None, "not started yet"
        return self._process

    def _launch(self, output: int) -> Forked | subprocess.Popen[bytes]:
        if not self._command:
            return Forked(self._program, self._folder, self.environment, output, output)
        return subprocess.Popen(
            die_with_parent(self._command, signal.SIGKILL),
            cwd=self._folder,
            env=self.environment,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the one who started it
        )


@contextmanager
def running_collector(
    database_url: str, folder: Path, beside: bool = False, /, **settings: str
) -> Iterator[Collector]:
    """Start a collector with its lake below `folder`, wait until it is ready; stop it at the end.

    One `beside` another is ready though it does not write the lake.
    """
    with Collector(database_url, folder, settings) as collector:
        collector.wait_until_ready(writes_lake=not beside)
        yield collector


def collector_of_module(**settings: str) -> Any:
    """Fixture of one collector for all tests of a module; each uses devices of its own."""

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
    """Environment of a collector process with its lake below `folder`."""
    places = {"DATABASE_URL": database_url, "LAKE_URI": str(folder / "lake")}
    return clean_environment(**{**places, **settings})


def clean_environment(**settings: str) -> dict[str, str]:
    """Environment of this process, without settings of the collector and the lake but these."""
    kept = {name: text for name, text in os.environ.items() if name.lower() not in _SETTINGS}
    return {**kept, "PYTHONPATH": str(_ROOT), **settings}
