"""Process of the stack that dies with its parent, is watched, started again, and stopped."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from rich.text import Text

from local_stack.stack.parent_death import die_with_parent
from local_stack.stack.supervision import Supervised

_TAIL_BYTES = 4_096
STOP_SECONDS = 20.0


class Service(Supervised):
    """One child process with its output in a file, or where that of this process goes.

    Start and watch it from the main thread: at that thread's end the child is told to end.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path | None,
        environment: Mapping[str, str],
        is_alive: Callable[[], bool] = lambda: True,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        super().__init__(name, is_alive)
        self.log = log
        self._command, self._environment = command, dict(environment)
        self._stop_seconds = stop_seconds
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; its output of before is kept in NAME.log.1."""
        if self.log is not None:
            with contextlib.suppress(OSError):  # the first start, or a disk that takes nothing
                self.log.replace(self.log.with_suffix(".log.1"))
        self._launch()
        self._note_start()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def terminate(self) -> None:
        """Tell the process to end, without waiting for it."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> None:
        """End the process and whatever it started: ask, wait, then force."""
        self.terminate()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self._stop_seconds)
        self.kill()

    def kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def exit_reason(self) -> str:
        """Exit code or signal, with the last line of its log and the path of the log."""
        assert self._process is not None, "asked only of one that was started"
        code = self._process.returncode
        where = f"; see {self.log}" if self.log is not None else ""
        if code < 0:
            return f"{signal.Signals(-code).name}{where}"  # its last line is no reason
        last = self._last_line()
        return f"exit code {code}{': ' if last else ''}{last}{where}"

    def _last_line(self) -> str:
        if self.log is None:
            return ""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
                said = Text.from_ansi(log.read().decode(errors="replace")).plain
        except OSError:
            return ""
        return next((line.strip() for line in reversed(said.split("\n")) if line.strip()), "")

    def _launch(self) -> None:
        with _appending(self.log) as log:
            self._process = subprocess.Popen(
                die_with_parent(self._command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )


@contextlib.contextmanager
def _appending(log: Path | None) -> Iterator[IO[bytes] | int | None]:
    """Open the log, or nothing where it can't be opened: what a process does matters more."""
    if log is None:
        yield None
        return
    with contextlib.ExitStack() as opened:
        file: IO[bytes] | int = subprocess.DEVNULL
        with contextlib.suppress(OSError):
            file = opened.enter_context(log.open("ab"))
        yield file
