"""The processes under test: collectors, and a database server that can be killed whole."""

import contextlib
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from local_stack.stack.parent_death import leashed
from tests.faults.collector import FAULT_FILE, arm, run
from tests.integration.forking import Forked

_ROOT: Final = Path(__file__).parents[2]
_SETTINGS: Final = {
    "FLUSH_SECONDS": "0.3",
    "FLUSH_ROWS": "500",
    "COMMIT_TIMEOUT_SECONDS": "2",
    "LAST_FLUSH_SECONDS": "10",
}


class CollectorProcess:
    """A collector that can be killed, stopped, told where to die, and started again.

    `meant_to_end`: somebody has ended it or will. `was_ready`: it has said so since its start.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        port: int,
        database_url: str,
        lake: Path,
        wrapper: Sequence[str] = (),
    ) -> None:
        """`wrapper` is a command that becomes the command after it, as `strace -D` does."""
        self.name, self.address = name, f"http://127.0.0.1:{port}"
        self.meant_to_end = self.was_ready = False
        self.log = folder / f"{name}.log"
        self._wrapper = wrapper
        self._fault_file = folder / f"{name}.fault"
        self._environment = {
            **os.environ,
            **_SETTINGS,
            "PYTHONPATH": str(_ROOT),
            "DATABASE_URL": database_url,
            "LAKE_URI": str(lake),
            "PORT": str(port),
            FAULT_FILE: str(self._fault_file),
        }
        self._http = httpx.Client(base_url=self.address, timeout=10)
        self._process: Forked | subprocess.Popen[bytes] | None = None
        self._copier: threading.Thread | None = None

    def start(self) -> None:
        """Start it, whatever ended it before; does not wait until it is ready."""
        self._fault_file.unlink(missing_ok=True)
        self.meant_to_end = self.was_ready = False
        # Through a pipe, because a limit on the size of files would hit the log, too.
        reading, writing = os.pipe()
        self._copier = threading.Thread(target=self._keep_log, args=(reading,))
        self._copier.start()
        try:
            self._process = self._started(writing)
        finally:
            os.close(writing)

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        assert self._process is not None, "not started yet"
        return self._process.poll()

    def kill(self) -> None:
        """SIGKILL."""
        self._signal(signal.SIGKILL)
        self.wait(10)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self._signal(signal.SIGTERM)
        return self.wait(60)

    def die_at(self, step: str, passes: int) -> None:
        """Let it die by SIGKILL when its lake writer comes to `step` for that many times."""
        self.meant_to_end = True
        arm(self._fault_file, step, passes, signal.SIGKILL)

    def hang_at(self, step: str, passes: int) -> None:
        """Let all of it stop at once when its lake writer comes to `step`; see `go_on`."""
        arm(self._fault_file, step, passes, signal.SIGSTOP)

    @property
    def hangs(self) -> bool:
        """Whether it was stopped and waits for `go_on`."""
        assert self._process is not None, "not started yet"
        return _status(self._process.pid)[0] == "T"

    def go_on(self) -> None:
        """End a hang."""
        assert self._process is not None, "not started yet"
        self._process.send_signal(signal.SIGCONT)

    def wait(self, seconds: float) -> int:
        """Its exit code, once it has ended; subprocess.TimeoutExpired if it has not."""
        assert self._process is not None, "not started yet"
        code = self._process.wait(seconds)
        if self._copier is not None:
            self._copier.join()
        return code

    def limit_files(self, size: int) -> None:
        """Let writes beyond `size` bytes of a file fail (EFBIG); -1 takes the limit back."""
        assert self._process is not None, "not started yet"
        _, hard = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (size, hard))

    def ask(self, path: str) -> dict[str, Any] | None:
        """The JSON answer to a GET, whatever its status; None if there is no answer."""
        try:
            answer: dict[str, Any] = self._http.get(path).json()
        except httpx.TransportError:
            return None
        if path == "/readyz" and answer["ready"]:
            self.was_ready = True
        return answer

    def close(self) -> None:
        """End it for good."""
        if self._process is not None and self.exit_code is None:
            self.kill()
        self._http.close()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "not started yet"
        self.meant_to_end = True
        self._process.send_signal(number)

    def _started(self, output: int) -> Forked | subprocess.Popen[bytes]:
        folder = self.log.parent
        if not self._wrapper:
            return Forked(run, folder, self._environment, output, output)
        command = [*self._wrapper, sys.executable, "-m", "tests.faults.collector"]
        return subprocess.Popen(
            leashed(command, at_death=signal.SIGKILL),
            cwd=folder,
            env=self._environment,
            stdout=output,
            stderr=output,
        )

    def _keep_log(self, output: int) -> None:
        with open(output, "rb") as lines, self.log.open("ab", buffering=0) as log:
            log.writelines(lines)


def signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to those of the processes that still live."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def children(parent: int) -> list[int]:
    """The processes that a process has started and that live."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if _status(int(entry.name))[1] == str(parent):
                found.append(int(entry.name))
    return found


def _status(pid: int) -> list[str]:
    """State, parent and more of a process; OSError if there is none."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def quiet_port(chance: random.Random) -> int:
    """A free port below those that the kernel gives to clients.

    A client that tries to reach a server that is down can be given the server's own port, and
    then talks to itself while the server finds its port taken.
    """
    while True:
        port = chance.randrange(15_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
