"""Processes forked from a server that has imported the modules and done nothing with them.

That takes a tenth of the time of a start. The Delta runtime does not survive a fork once it is in
use, so the server itself may use none of them.
"""

import multiprocessing
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Mapping
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

from local_stack.stack.parent_death import set_parent_death_signal

forking = multiprocessing.get_context("forkserver")
forking.set_forkserver_preload(
    [
        "local_stack.cli.main",
        "tests.faults.collector",
        "tests.harness.outbox",
        "tests.integration.ingestion_api.bulk_import.test_bulk_import",
    ]
)


class Forked:
    """Program that runs as if it had just been started, with as much of `Popen` as tests need.

    `program` returns or exits with its exit code. Only what `environment` names is in its
    environment; limits of files are the caller's. It ends when the caller ends.
    """

    def __init__(
        self,
        program: Callable[[], int | None],
        folder: Path,
        environment: Mapping[str, str],
        stdout: int,
        stderr: int,
    ) -> None:
        """`folder` is where it works; `stdout` and `stderr` are descriptors of the caller's."""
        files = resource.getrlimit(resource.RLIMIT_NOFILE)
        outputs = (DupFd(stdout), DupFd(stderr))
        self._process = forking.Process(
            target=_become, args=(program, folder, dict(environment), files, outputs)
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Exit code, once it has ended; subprocess.TimeoutExpired if it has not in time."""
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired([str(self.pid)], timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def assert_kills_itself(target: Callable[..., object], *arguments: Any) -> None:
    """Call `target` in a process of its own, which has to die by its own SIGKILL."""
    process = forking.Process(target=target, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


def _become(
    program: Callable[[], int | None],
    folder: Path,
    environment: Mapping[str, str],
    files: tuple[int, int],
    outputs: tuple[Any, Any],
) -> None:
    set_parent_death_signal(signal.SIGKILL)
    for output, descriptor in zip(outputs, (1, 2), strict=True):
        received = output.detach()
        os.dup2(received, descriptor)
        os.close(received)
    resource.setrlimit(resource.RLIMIT_NOFILE, files)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    raise SystemExit(program())
