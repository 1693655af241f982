"""`wattlake up` for hours, with a fault every few minutes and no repair by hand.

What comes is drawn by chance: a part is killed, the database is killed whole or restarted, the
disk of everything is full for a while, or all is killed at once and started again as a service
manager does. Each time the collector is ready again and the lake grows within
`RECOVERY_SECONDS`. At the end

- every hour that has ended is computed, and `wattlake verify` finds nothing that differs;
- no process is left as a zombie, and after Ctrl-C none is left at all.

Where this process may not mount, nothing is done.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Final, Self

import psycopg

from local_stack.errors import PostgresError
from tests.faults.console import print_line
from tests.faults.disk import Disk
from tests.harness.postgres import server_folder
from tests.harness.processes import (
    child_of,
    children,
    command_line,
    kill_with_children,
    processes_of,
    signal_all,
)
from tests.harness.stack import RunningStack, ask, running_stack

RECOVERY_SECONDS: Final = 180
_START_SECONDS: Final = 300
_COMPUTED_SECONDS: Final = 900
_LOCAL_STACK: Final = (sys.executable, "-m", "local_stack")
_PARTS: Final = ("ingestion_api", "simulate", "dagster._daemon", "dagster_webserver", "postgres")
_WAITING: Final = """
    SELECT count(DISTINCT hour) FROM unpublished_hour
    WHERE hour + interval '1 hour 2 minutes' < now()
"""


class Soak:
    """A stack on a disk of its own; `with` starts it, and clears it away at the end."""

    def __init__(self, seed: int, fleet: int, full_seconds: float) -> None:
        self._seed, self._fleet, self._full_seconds = seed, str(fleet), full_seconds
        self._chance = random.Random(seed)
        self._running = ExitStack()
        self._faults: dict[str, Callable[[], None]] = {
            **{f"{part} killed": partial(self._kill, part) for part in _PARTS},
            "run killed": self._kill_run,
            "database killed whole": partial(self._end_database, kill_with_children),
            "database restarted": partial(
                self._end_database, lambda server: os.kill(server, signal.SIGINT)
            ),
            "disk full": self._fill,
            "everything killed": self._kill_everything,
        }

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self._folder = undo.enter_context(server_folder())
            self._disk = undo.enter_context(Disk(self._folder / "disk"))
            self._data = self._disk.folder / "data"
            if self._disk.can_fill:
                undo.callback(self._close)
                self._start()
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def run(self, minutes: float, every: float) -> None:
        """One fault in so many seconds, each kind before any comes again; judge at the end."""
        print_line(f"SEED={self._seed}")
        if not self._disk.can_fill:
            print_line("no file system can be mounted here")
            return
        self._recovered()  # a start on a full disk is refused, and is no fault of a running stack
        end, waiting = time.monotonic() + minutes * 60, list[str]()
        worst = (0.0, "none")
        while time.monotonic() < end:
            began = time.monotonic()
            waiting = waiting or self._chance.sample(list(self._faults), len(self._faults))
            kind = waiting.pop()
            self._faults[kind]()
            recovery = self._recovered()
            worst = max(worst, (recovery, kind))
            print_line(f"{kind}: recovered in {recovery:.1f} s")
            time.sleep(max(0.0, began + every - time.monotonic()))
        print_line(f"longest time to recovery {worst[0]:.1f} s ({worst[1]})")
        self._judge()

    # -- the faults ----------------------------------------------------------------------------

    def _kill(self, part: str) -> None:
        with suppress(AssertionError):  # it may be about to be started again
            os.kill(child_of(self._up.process.pid, part), signal.SIGKILL)

    def _kill_run(self) -> None:
        runs = [pid for pid in self._all() if "execute_run" in command_line(pid)]
        signal_all(runs[:1], signal.SIGKILL)

    def _end_database(self, end: Callable[[int], None]) -> None:
        with suppress(AssertionError, ProcessLookupError):  # it may be about to be started again
            end(child_of(self._up.process.pid, "postgres"))

    def _fill(self) -> None:
        self._disk.fill(self._chance)
        time.sleep(self._full_seconds)
        self._disk.free()

    def _kill_everything(self) -> None:
        signal_all([self._up.process.pid, *self._all()], signal.SIGKILL)
        self._running.close()
        self._start()

    # -- how it is -----------------------------------------------------------------------------

    def _start(self) -> None:
        self._running = ExitStack()
        self._up: RunningStack = self._running.enter_context(
            running_stack(self._data, "--fleet", self._fleet, "--collectors", "2")
        )

    def _close(self) -> None:
        self._running.close()

    def _all(self) -> list[int]:
        found, left = list[int](), [self._up.process.pid]
        while left:
            kin = children(left.pop())
            found += kin
            left += kin
        return found

    def _recovered(self) -> float:
        """Wait until all works again; the seconds that it took."""
        began = time.monotonic()
        self._wait_until("everything answers", self._is_well, RECOVERY_SECONDS)
        before = self._rows()
        self._wait_until("the lake grows", lambda: self._rows() > before, RECOVERY_SECONDS)
        return time.monotonic() - began

    def _is_well(self) -> bool:
        ready = ask(self._up.url + "/readyz")
        dagster = ask(self._up.dagster_url + "/server_info")
        return bool(ready and ready["ready"] and not ready["warnings"] and dagster)

    def _rows(self) -> int:
        status = ask(self._up.url + "/v1/status")
        return int(status["rowsInLake"]) if status and "rowsInLake" in status else -1

    def _hours_waiting(self) -> int:
        try:
            with psycopg.connect(self._up.database_url) as conn:
                row = conn.execute(_WAITING).fetchone()
        except (psycopg.Error, PostgresError):
            return -1
        return int(row[0]) if row else -1

    def _judge(self) -> None:
        self._wait_until("no hour waits", lambda: self._hours_waiting() == 0, _COMPUTED_SECONDS)
        self._wait_until("no zombie is left", lambda: not self._up.has_zombies, 60)
        verify = subprocess.run(
            [*_LOCAL_STACK, "verify", "--data", str(self._data)],
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
        )
        print_line(f"verify: exit code {verify.returncode}\n{verify.stdout}{verify.stderr}")
        # 4: nothing differs, and the hour that has just begun waits.
        assert verify.returncode in (0, 4), "verify found a difference"
        code = self._up.stop()
        assert (code, processes_of(self._data)) == (0, []), "something is left"
        print_line(f"all is well at {datetime.now(UTC):%H:%M} UTC")

    def _wait_until(self, what: str, condition: Callable[[], object], seconds: float) -> None:
        self._up.wait_for(condition, seconds, lambda: f"until {what}")
