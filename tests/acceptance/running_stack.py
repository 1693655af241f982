"""`wattlake up` as a process of its own, for tests that watch it from outside."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.integration.api_collector import free_port

FLEET = 40
STOP_SECONDS = 90  # a slow machine fails no test: this is there to end one that hangs


@dataclass
class Up:
    """A running `wattlake up`, and the lines that it has printed so far."""

    process: subprocess.Popen[str]
    url: str
    dagster_url: str
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Everything that it has printed."""
        return "".join(self.lines)

    def wait_for(self, condition: Callable[[], object], seconds: float) -> None:
        """Return once the condition holds; AssertionError if it does not in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.1)

    def acknowledged(self) -> int:
        """Heartbeats, by the collector's own account."""
        count: int = httpx.get(f"{self.url}/v1/status").json()["recordsAcknowledged"]
        return count

    def stop(self) -> int:
        """Ctrl-C; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def up(data: Path, *arguments: str, **environment: str) -> Iterator[Up]:
    """The stack in a data folder, on free ports; stopped at the end."""
    port, dagster_port = free_port(), free_port()
    command = ["up", "--fleet", str(FLEET), "--data", str(data)]
    command += ["--port", str(port), "--dagster-port", str(dagster_port), *arguments]
    own = {"DATABASE_URL", "LAKE_URI", "PORT"}
    with subprocess.Popen(
        [sys.executable, "-m", "local_stack", *command],
        cwd=data.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={name: text for name, text in os.environ.items() if name not in own} | environment,
    ) as process:
        local = "http://127.0.0.1"
        running = Up(process, f"{local}:{port}", f"{local}:{dagster_port}")
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


def processes_of(data: Path) -> list[str]:
    """Command lines of every process that works for this data folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            told = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            if str(data).encode() in told:
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def child_of(parent: int, module: str) -> int:
    """Process id of the child that runs a module."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(stat[1]) == parent and module in (entry / "cmdline").read_text():
                return int(entry.name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    raise AssertionError(f"no {module} runs")


def states_of_children(parent: int) -> list[str]:
    """What the kernel says that the children of a process do; Z is one that nobody buries."""
    states = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            state, its_parent, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(its_parent) == parent:
                states.append(state)
    return states
