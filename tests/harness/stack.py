"""`wattlake up` as a process of its own, watched from outside."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from local_stack.stack.embedded_postgres import EmbeddedPostgres
from tests.harness.collector import clean_environment
from tests.harness.processes import free_port, states_of_children
from tests.harness.waiting import wait_for

FLEET = 40
STOP_SECONDS = 90  # a slow machine fails no test: this is there to end one that hangs


@dataclass
class RunningStack:
    """Running `wattlake up`, and the lines that it has printed so far."""

    process: subprocess.Popen[str]
    data: Path
    url: str
    dagster_url: str
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Everything that it has printed."""
        return "".join(self.lines)

    @property
    def database_url(self) -> str:
        """URL of its embedded database; PostgresError while none runs."""
        return EmbeddedPostgres(self.data / "postgres").url_of_running()

    @property
    def has_zombies(self) -> bool:
        """True while a child has ended that nobody reaps."""
        return "Z" in states_of_children(self.process.pid)

    def wait_for(
        self,
        condition: Callable[[], object],
        seconds: float,
        describe: Callable[[], str] = lambda: "",
    ) -> None:
        """Return once the condition holds; AssertionError if it does not in time."""
        wait_for(
            condition,
            seconds,
            describe=lambda: f"{describe()}\n{self.text}",
            meanwhile=self._check_that_it_runs,
            pause=0.1,
        )

    def acknowledged(self) -> int:
        """Count of heartbeats, by the collector's own account."""
        count: int = httpx.get(f"{self.url}/v1/status").json()["recordsAcknowledged"]
        return count

    def stop(self) -> int:
        """Ctrl-C; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_SECONDS)

    def _check_that_it_runs(self) -> None:
        assert self.process.poll() is None, f"`wattlake up` ended:\n{self.text}"


@contextmanager
def running_stack(data: Path, *arguments: str, **environment: str) -> Iterator[RunningStack]:
    """Start the stack in a data folder, on free ports; stop it at the end."""
    port, dagster_port = free_port(), free_port()
    command = ["up", "--fleet", str(FLEET), "--data", str(data)]
    command += ["--port", str(port), "--dagster-port", str(dagster_port), *arguments]
    with subprocess.Popen(
        [sys.executable, "-m", "local_stack", *command],
        cwd=data.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=clean_environment(**environment),
    ) as process:
        local = "http://127.0.0.1"
        running = RunningStack(process, data, f"{local}:{port}", f"{local}:{dagster_port}")
        assert process.stdout is not None
        reader = threading.Thread(target=running.lines.extend, args=(process.stdout,))
        reader.start()
        try:
            yield running
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(STOP_SECONDS)
            reader.join()


def ask(url: str) -> dict[str, Any] | None:
    """JSON answer to a GET, whatever its status; None if there is no answer."""
    try:
        answer: dict[str, Any] = httpx.get(url, timeout=10).json()
    except (httpx.TransportError, ValueError):
        return None
    return answer
