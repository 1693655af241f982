"""A process of the stack: started on a leash, watched, started again, and stopped with its kin."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.text import Text

from local_stack.leash import leashed

_LONGEST_PAUSE = 30.0
_TAIL_BYTES = 4_096
_STEADY_SECONDS = 60.0  # who lived so long starts again at once


class Service:
    """One child process with its output in a file.

    Start and watch it from the main thread: at that thread's end the child is told to end.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        stop_seconds: float = 20,
    ) -> None:
        self.name, self.log = name, log
        self.restarts = 0
        self._command, self._environment = command, dict(environment)
        self._stop_seconds = stop_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._start_again_at: float | None = None
        self._pause = 1.0

    def start(self) -> None:
        """Start the process; its output of before is kept in NAME.log.1."""
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        self._launch()

    @property
    def running(self) -> bool:
        """True while the process lives."""
        return self._process is not None and self._process.poll() is None

    def watch(self) -> str | None:
        """Start the process again if it has ended, after growing pauses; says what happened."""
        if self._process is None or self.running:
            return None
        now = time.monotonic()
        if self._start_again_at is None:
            if now - self._started_at > _STEADY_SECONDS:
                self._pause = 1.0
            self._start_again_at = now + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            self._end_group(signal.SIGKILL)
            return f"{self.name} ended ({self.how_it_ended()}) and starts again; see {self.log}"
        if now >= self._start_again_at:
            self.restarts += 1
            self._launch()
        return None

    def ask_to_end(self) -> None:
        """Tell the process to end, without waiting for it."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> None:
        """End the process and whatever it started: ask, wait, then force."""
        self.ask_to_end()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self._stop_seconds)
        self.kill()

    def kill(self) -> None:
        """End the process and whatever it started, at once."""
        if self._process is not None:
            self._end_group(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def how_it_ended(self) -> str:
        """Exit code or signal, with the last line that it said."""
        assert self._process is not None, "asked only of one that was started"
        code = self._process.returncode
        if code < 0:
            return signal.Signals(-code).name  # what it said last is no reason
        how = f"exit code {code}"
        last = self._last_line()
        return f"{how}: {last}" if last else how

    def _last_line(self) -> str:
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            said = Text.from_ansi(log.read().decode(errors="replace")).plain
        return next((line.strip() for line in reversed(said.split("\n")) if line.strip()), "")

    def _launch(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                leashed(self._command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        self._started_at, self._start_again_at = time.monotonic(), None

    def _end_group(self, how: signal.Signals) -> None:
        assert self._process is not None, "asked only of one that was started"
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, how)
