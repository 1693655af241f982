"""The stack under test: a database server, a lake and two collectors, and how they are doing.

The lake lies on a disk of its own, or in an object store behind a proxy.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from lake import Lake
from tests.faults.disk import LakeDisk
from tests.faults.faulty_collector import FaultyCollector
from tests.harness.object_store import SERVERS, ObjectStore, Scheme, object_store
from tests.harness.postgres import running_postgres, server_folder
from tests.harness.processes import free_port, log_end
from tests.harness.waiting import wait_for
from warehouse_sql.migrate import migrate

RECOVERY_SECONDS: Final = 90
_T = TypeVar("_T")


class StackUnderTest:
    """Everything that heartbeats pass; `with` starts it, and clears it away at the end.

    `left_out` are kinds of faults that it has no way to recover from.
    """

    left_out: tuple[str, ...] = ()
    lake_writers = 1  # one for each database; whoever lost its lock may not know it yet

    def __init__(self, chance: random.Random, *, in_store: Scheme | None = None) -> None:
        self.chance = chance
        self.disk: LakeDisk | None = None
        self.store: ObjectStore | None = None
        self._in_store = in_store
        self.collectors: list[FaultyCollector] = []
        self.database_faults: list[tuple[float, float]] = []
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            folder = undo.enter_context(server_folder())
            self._open_lake(undo, folder)
            port = free_port(self.chance)
            self.postgres = undo.enter_context(running_postgres(folder / "postgres", port))
            url = self.postgres.url()
            migrate(url)
            for name in ("collector-a", "collector-b"):
                port = free_port(self.chance)
                collector = FaultyCollector(folder, name, url, self.lake, port=port)
                undo.callback(collector.close)
                self.collectors.append(collector)
                collector.start()
            self.wait_until("the start", lambda: len(self._writers()) == 1)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _open_lake(self, undo: ExitStack, folder: Path) -> None:
        if self._in_store:
            self.store = undo.enter_context(
                object_store(undo.enter_context(SERVERS[self._in_store]()))
            )
            self.lake = self.store.lake("campaign")
        else:
            self.disk = undo.enter_context(LakeDisk(folder / "disk"))
            self.lake = Lake(str(self.disk.lake))

    @property
    def database_url(self) -> str:
        """URL of the database whose ledger counts what the lake has."""
        return self.postgres.url()

    def next_fault(self) -> None:
        """Get ready for another fault."""

    def ask_any(self, path: str) -> dict[str, Any]:
        """Answer of a collector to a GET."""
        return self.wait_until(f"an answer to {path}", lambda: self.collectors[0].ask(path))

    def some_collector(self) -> FaultyCollector:
        """One of them, by chance."""
        return self.chance.choice(self.collectors)

    def writer(self) -> FaultyCollector:
        """The collector that writes the lake."""
        return self.wait_until("a lake writer", self._writers)[0]

    def pause(self, longest: float) -> None:
        """Let a random time pass, up to `longest` seconds."""
        time.sleep(self.chance.uniform(0, longest))

    @contextmanager
    def database_fault(self) -> Iterator[None]:
        """Note that connections to the database may break inside the block."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.database_faults.append((started, time.monotonic()))

    def flush_failed(self) -> bool:
        """Tell if a lake writer says that its last flush failed."""
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
        """Value of the condition, once it is true; AssertionError if it takes too long."""
        return wait_for(
            condition,
            RECOVERY_SECONDS,
            describe=lambda: f"{what}. {self.describe()}",
            meanwhile=self._restart_unready_collectors,
        )

    def describe(self) -> str:
        """Answers of the collectors to /readyz, and the ends of all logs."""
        collectors = [
            f"{collector.name}: exit code {collector.exit_code}, /readyz "
            f"{collector.ask('/readyz')}, log:\n{log_end(collector.log)}"
            for collector in self.collectors
        ]
        return "\n".join([*collectors, f"database log:\n{log_end(self.postgres.log)}"])

    def _restart_unready_collectors(self) -> None:
        for collector in self.collectors:
            if collector.exit_code is None or collector.meant_to_end:
                continue
            assert not collector.was_ready, f"{collector.name} ended. {self.describe()}"
            collector.start()

    def _all_healthy(self) -> bool:
        answers = [collector.ask("/readyz") for collector in self.collectors]
        writers = sum(bool(answer and answer["lakeWriter"]) for answer in answers)
        return writers == self.lake_writers and all(
            answer and answer["ready"] and not answer["warnings"] for answer in answers
        )

    def _writers(self) -> list[FaultyCollector]:
        return [collector for collector in self.collectors if collector.writes_lake]
