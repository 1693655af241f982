"""A database server, a disk and two collectors under one roof, and how they are doing."""

import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from lake import Lake
from local_stack.stack.embedded_postgres import EmbeddedPostgres
from tests.faults.disk import LakeDisk
from tests.faults.processes import CollectorProcess, quiet_port
from warehouse_sql.migrate import migrate

RECOVERY_SECONDS: Final = 90
_T = TypeVar("_T")


class House:
    """Everything that heartbeats pass; `with` starts it, and clears it away at the end."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        # Not pytest's temporary folder: as root, the server's own account could not reach it.
        self.folder = Path(tempfile.mkdtemp(prefix="wattlake-faults-"))
        self.folder.chmod(0o711)
        self.postgres = EmbeddedPostgres(self.folder / "postgres", quiet_port(chance))
        self.disk = LakeDisk(self.folder / "disk")
        self.collectors: list[CollectorProcess] = []
        self.database_faults: list[tuple[float, float]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.callback(shutil.rmtree, self.folder)
            undo.enter_context(self.disk)
            undo.callback(self.postgres.stop)
            url = self.postgres.start()
            migrate(url)
            for name in ("collector-a", "collector-b"):
                port = quiet_port(self.chance)
                collector = CollectorProcess(self.folder, name, port, url, self.disk.lake)
                undo.callback(collector.close)
                self.collectors.append(collector)
                collector.start()
            self.wait_until("the start", lambda: len(self._writers()) == 1)
            self._stack = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def lake(self) -> Lake:
        """The lake that the collectors write."""
        return Lake(str(self.disk.lake))

    def ask_any(self, path: str) -> dict[str, Any]:
        """The answer of a collector to a GET."""
        return self.wait_until(f"an answer to {path}", lambda: self.collectors[0].ask(path))

    def some_collector(self) -> CollectorProcess:
        """One of them, by chance."""
        return self.chance.choice(self.collectors)

    def writer(self) -> CollectorProcess:
        """The collector that writes the lake."""
        return self.wait_until("a lake writer", self._writers)[0]

    def pause(self, longest: float) -> None:
        """Let a random time pass, up to `longest` seconds."""
        time.sleep(self.chance.uniform(0, longest))

    @contextmanager
    def database_fault(self) -> Iterator[None]:
        """Inside, connections to the database may break."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.database_faults.append((started, time.monotonic()))

    def flush_failed(self) -> bool:
        """Whether a lake writer says that its last flush failed."""
        return any(
            (collector.ask("/readyz") or {}).get("warnings") for collector in self.collectors
        )

    def wait_for_recovery(self) -> float:
        """Wait until both collectors are ready and the lake grows; returns the seconds.

        Nothing is restarted but a collector that ended before it was ready, because its database
        was away at its start: any service manager does that.
        """
        started = time.monotonic()
        self.wait_until("everything is healthy", self._all_healthy)
        before = self.ask_any("/v1/status")["rowsInLake"]
        self.wait_until("the lake grows", lambda: self.ask_any("/v1/status")["rowsInLake"] > before)
        return time.monotonic() - started

    def wait_until_drained(self) -> dict[str, Any]:
        """Wait until nothing is on its way to the lake any more; returns /v1/status."""

        def drained() -> dict[str, Any] | None:
            status = self.ask_any("/v1/status")
            return status if status["outboxRows"] == 0 and self._all_healthy() else None

        return self.wait_until("the outbox is empty", drained)

    def wait_until(self, what: str, condition: Callable[[], _T | None]) -> _T:
        """The condition's value, once it is true; AssertionError if it takes too long."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        while not (value := condition()):
            self._look_after_collectors()
            assert time.monotonic() < deadline, f"waited too long for: {what}. {self.how_it_is()}"
            time.sleep(0.05)
        return value

    def how_it_is(self) -> str:
        """The collectors' own words and the ends of their logs."""
        told = [
            f"{collector.name}: exit code {collector.exit_code}, /readyz "
            f"{collector.ask('/readyz')}, log:\n{log_end(collector.log)}"
            for collector in self.collectors
        ]
        return "\n".join([*told, f"database log:\n{log_end(self.postgres.log)}"])

    def _look_after_collectors(self) -> None:
        for collector in self.collectors:
            if collector.exit_code is None or collector.meant_to_end:
                continue
            assert not collector.was_ready, f"{collector.name} ended. {self.how_it_is()}"
            collector.start()

    def _all_healthy(self) -> bool:
        answers = [collector.ask("/readyz") for collector in self.collectors]
        return any(answer and answer["lakeWriter"] for answer in answers) and all(
            answer and answer["ready"] and not answer["warnings"] for answer in answers
        )

    def _writers(self) -> list[CollectorProcess]:
        return [collector for collector in self.collectors if writes(collector)]


def writes(collector: CollectorProcess) -> bool:
    """Whether it says that it writes the lake."""
    return bool((collector.ask("/readyz") or {}).get("lakeWriter"))


def log_end(file: Path) -> str:
    """The last 3000 bytes of a log."""
    with file.open("rb") as log:
        log.seek(max(0, os.path.getsize(file) - 3000))
        return log.read().decode(errors="replace")
