"""`wattlake up` as a new user runs it: from nothing to the first table, and no trace at the end."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.integration.api_collector import free_port

FLEET = 40
# A slow machine fails no test: these are there to end one that hangs.
FIRST_TABLE_SECONDS = 200
STOP_SECONDS = 90
RECOVERY_SECONDS = 90
pytestmark = pytest.mark.timeout(600)
HOUR_ROW = r"\d\d \w{3} \d\d:00 +([\d,.]+) +([\d,.]+) +[\d,.]+ +([\d.]+) %"


@dataclass
class Up:
    """A running `wattlake up`, and the lines that it has printed so far."""

    process: subprocess.Popen[str]
    url: str
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


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """A data folder that every account reaches, also the database's."""
    folder = Path(tempfile.mkdtemp(prefix="wattlake-up-"))
    folder.chmod(0o711)
    yield folder / "data"
    shutil.rmtree(folder)


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
        running = Up(process, f"http://127.0.0.1:{port}")
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


def test_the_first_table_comes_and_ctrl_c_leaves_nothing_behind(data: Path) -> None:
    with up(data) as stack:
        stack.wait_for(lambda: "Worst vehicles" in stack.text, FIRST_TABLE_SECONDS)
        assert f"{stack.url}/docs" in stack.text
        assert "asset graph" in stack.text
        assert httpx.get(f"{stack.url}/docs").status_code == 200
        table = re.findall(HOUR_ROW, stack.text)
        assert len(table) in {2, 3}  # the history's whole hours, but for one that has just ended
        for ac, dc, percent in table:
            ratio = 100 * float(dc.replace(",", "")) / float(ac.replace(",", ""))
            assert float(percent) == pytest.approx(ratio, abs=0.2)
            assert 75 < ratio < 95
        stack.wait_for(
            lambda: re.search(r"\d acknowledged \| .* in the lake", stack.text), RECOVERY_SECONDS
        )
        assert "\x1b" not in stack.text  # no terminal, no control codes
        assert stack.stop() == 0
    assert processes_of(data) == []


def test_a_stack_goes_on_with_its_data_however_it_ended_and_no_second_one_runs_in_its_folder(
    data: Path,
) -> None:
    with up(data) as stack:
        stack.wait_for(lambda: "asset graph" in stack.text, FIRST_TABLE_SECONDS)
        assert stack.acknowledged() > 3 * 60 * 2 * FLEET * 0.95
        stack.wait_for(lambda: "Fleet efficiency" in stack.text, RECOVERY_SECONDS)
        with up(data) as second:
            assert second.process.wait(RECOVERY_SECONDS) == 1
        assert f"Wattlake already runs in {data}" in second.text
        assert second.text.count("\n") == 1
        a_collector_that_dies_is_started_again_and_nothing_is_lost(stack)
        a_database_that_dies_is_started_again_and_nothing_is_lost(stack)
        no_process_that_ended_is_kept(stack)
        before = stack.acknowledged()
        a_second_signal_kills(stack)
    assert processes_of(data) == []
    with up(data) as stack:
        stack.wait_for(lambda: "asset graph" in stack.text, FIRST_TABLE_SECONDS)
        assert stack.acknowledged() >= before  # the data survives
        a_killed_supervisor_takes_everything_along(stack, data)


def a_collector_that_dies_is_started_again_and_nothing_is_lost(stack: Up) -> None:
    before = stack.acknowledged()
    os.kill(child_of(stack.process.pid, "ingestion_api"), signal.SIGKILL)
    stack.wait_for(lambda: "collector ended (SIGKILL" in stack.text, RECOVERY_SECONDS)
    stack.wait_for(lambda: is_ready(stack.url), RECOVERY_SECONDS)
    assert stack.acknowledged() >= before


def a_database_that_dies_is_started_again_and_nothing_is_lost(stack: Up) -> None:
    before = stack.acknowledged()
    os.kill(child_of(stack.process.pid, "postgres"), signal.SIGKILL)
    stack.wait_for(lambda: "the database ended" in stack.text, RECOVERY_SECONDS)
    stack.wait_for(lambda: is_ready(stack.url), RECOVERY_SECONDS)
    assert stack.acknowledged() >= before


def no_process_that_ended_is_kept(stack: Up) -> None:
    """Dagster's runs have ended by now, and the processes of what was killed."""
    stack.wait_for(lambda: "Z" not in states_of_children(stack.process.pid), RECOVERY_SECONDS)


def states_of_children(parent: int) -> list[str]:
    """What the kernel says that the children of a process do; Z is one that nobody buries."""
    states = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            state, its_parent, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(its_parent) == parent:
                states.append(state)
    return states


def a_second_signal_kills(stack: Up) -> None:
    stack.process.send_signal(signal.SIGINT)
    stack.wait_for(lambda: "stopping" in stack.text, RECOVERY_SECONDS)
    stack.process.send_signal(signal.SIGINT)
    assert stack.process.wait(STOP_SECONDS) == 0


def a_killed_supervisor_takes_everything_along(stack: Up, data: Path) -> None:
    stack.process.kill()
    stack.process.wait()
    deadline = time.monotonic() + STOP_SECONDS
    while left := processes_of(data):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def test_it_runs_on_a_database_of_the_users_own(database_url: str, tmp_path: Path) -> None:
    # the folder needs no way for a database account: there is no embedded database in it
    with up(tmp_path / "data", "--seed", "2", DATABASE_URL=database_url) as stack:
        stack.wait_for(lambda: "asset graph" in stack.text, FIRST_TABLE_SECONDS)
        assert stack.stop() == 0
    assert not (tmp_path / "data" / "postgres").exists()


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


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False
