"""The disks of a whole `wattlake up` fill up under load, one after the other and all at once.

Each is full for a while and then free again; sometimes a process is killed meanwhile. Nothing is
repaired by hand: the supervisor and the parts themselves have to. Afterwards

- within `RECOVERY_SECONDS` of the disk being free the collector is ready, the lake grows, Dagster's
  webserver answers and its daemon sends heartbeats; `wattlake up` itself has never ended;
- every heartbeat that was acknowledged is in the raw table as often as the oracle of the other
  campaign allows, and of every hour that has ended it is in the history once;
- every hour that has ended is computed, and no process is left as a zombie.

Where this process may not mount, nothing is done.
"""

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Self

import polars as pl
import psycopg

from lake import STREAMS, Lake
from lake.schema.history import decode_history
from lake.schema.partitions import hour_of
from local_stack.stack.liveness import daemon_works, url_answers
from tests.faults.clients import Clients
from tests.faults.console import print_line
from tests.faults.disk import Disk
from tests.faults.ledger import Ledger, serial_of
from tests.faults.oracle import not_once_in_history, raw_problems
from tests.harness.postgres import server_folder
from tests.harness.processes import child_of, log_end
from tests.harness.stack import ask, running_stack

RECOVERY_SECONDS: Final = 60
_PATIENCE_SECONDS: Final = 300
_FLEET: Final = "20"
_PLACES: Final = {  # below the data folder; the simulator's state lies in it directly
    "simulator's disk": ".",
    "database's disk": "postgres",
    "lake's disk": "lake",
    "log's disk": "logs",
    "Dagster's disk": "dagster",
}
_VICTIMS: Final = ("ingestion_api", "postgres", "dagster._daemon", "simulate")


class FullDisks:
    """A stack on disks of its own; `with` starts it, and clears it away at the end."""

    def __init__(self, seed: int) -> None:
        self.ledger, self._seed, self._chance = Ledger(), seed, random.Random(seed)
        self.database_faults: list[tuple[float, float]] = []
        self.can_fill = False

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self._data = undo.enter_context(server_folder()) / "data"
            self._disks = {name: Disk(self._data / place) for name, place in _PLACES.items()}
            for disk in self._disks.values():
                undo.enter_context(disk)
            self.can_fill = all(disk.can_fill for disk in self._disks.values())
            if self.can_fill:
                self.stack = undo.enter_context(
                    running_stack(self._data, "--fleet", _FLEET, FLUSH_SECONDS="0.5")
                )
                self.stack.wait_for(lambda: "asset graph" in self.stack.text, _PATIENCE_SECONDS)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def run(self, seconds: float, only: str = "") -> None:
        """Fill each disk, and then all, for so many seconds; judge at the end."""
        kinds = {name: [disk] for name, disk in self._disks.items()}
        kinds["all disks"] = list(self._disks.values())
        names = [name for name in kinds if only in name]
        print_line(f"SEED={self._seed}")
        if not self.can_fill or not names:
            print_line(
                "no disk is filled" if self.can_fill else "no file system can be mounted here"
            )
            return
        with Clients(self.ledger, [self.stack.url], self._chance.randrange(2**32)) as clients:
            for name in self._chance.sample(names, len(names)):
                recovery = self._fill(kinds[name], seconds)
                print_line(f"{name} full for {seconds:g} s: recovered in {recovery:.1f} s")
        assert not clients.broken_promises, clients.broken_promises[:5]
        self._judge()

    def _fill(self, disks: list[Disk], seconds: float) -> float:
        started = time.monotonic()
        try:
            for disk in disks:
                disk.fill(self._chance)
            time.sleep(seconds / 2)
            if self._chance.random() < 1 / 2:
                victim = self._chance.choice(_VICTIMS)
                with suppress(AssertionError):  # it may have ended by itself
                    os.kill(child_of(self.stack.process.pid, victim), signal.SIGKILL)
                    print_line(f"{victim} was killed meanwhile")
            time.sleep(seconds / 2)
        finally:
            for disk in disks:
                disk.free()
        freed = time.monotonic()
        self._wait_until("the collector is ready", self._is_ready, RECOVERY_SECONDS)
        before = self._status()["rowsInLake"]
        left = RECOVERY_SECONDS - (time.monotonic() - freed)
        self._wait_until("the lake grows", lambda: self._status()["rowsInLake"] > before, left)
        recovery = time.monotonic() - freed
        dagster = url_answers(self.stack.dagster_url + "/server_info")
        self._wait_until("Dagster's webserver answers", dagster, _PATIENCE_SECONDS)
        self._wait_until(
            "its daemon works", daemon_works(self.stack.database_url), _PATIENCE_SECONDS
        )
        self.database_faults.append((started, time.monotonic()))
        return recovery

    def _judge(self) -> None:
        self._wait_until("the outbox is empty", self._is_drained, _PATIENCE_SECONDS)
        running = hour_of(datetime.now(UTC))
        computed = partial(self._is_computed, running)
        self._wait_until("all hours are computed", computed, 2 * _PATIENCE_SECONDS)
        problems, rows = [], 0
        outcomes, lake = self.ledger.outcomes(self.database_faults), Lake(str(self._data / "lake"))
        for stream in STREAMS.values():
            sent = self.ledger.sent(stream).join(outcomes, on="serial")
            ours = pl.col(stream.device).is_in(sent[stream.device].unique().implode())
            raw = lake.scan(lake.open(stream.raw_table)).filter(ours)
            raw_rows = raw.with_columns(serial_of(stream)).collect()
            history = decode_history(lake.scan(lake.open(stream.history_table)), stream).filter(
                ours
            )
            history_rows = history.with_columns(serial_of(stream)).collect()
            ended = pl.col("timestamp") < running
            problems += raw_problems(stream, sent, raw_rows)
            problems += not_once_in_history(
                stream, raw_rows.filter(ended), history_rows.filter(ended)
            )
            rows += raw_rows.height
        assert not problems, "\n".join(problems)
        self._wait_until("no zombie is left", lambda: not self.stack.has_zombies, _PATIENCE_SECONDS)
        acknowledged = {one.serial for one in self.ledger.sendings if one.acknowledged}
        print_line(
            f"all accounted for: records sent {len(self.ledger.heartbeats)}, acknowledged "
            f"{len(acknowledged)}, raw {rows}"
        )

    def _is_ready(self) -> bool:
        answer = self._ask("/readyz")
        return bool(answer and answer["ready"] and answer["lakeWriter"])

    def _is_drained(self) -> bool:
        status = self._ask("/v1/status") or {}
        return status.get("outboxRows") == 0

    def _is_computed(self, until: datetime) -> bool:
        waiting = "SELECT count(*) FROM unpublished_hour WHERE hour < %s"
        with psycopg.connect(self.stack.database_url) as conn:
            return conn.execute(waiting, (until,)).fetchone() == (0,)

    def _status(self) -> dict[str, Any]:
        return self._ask("/v1/status") or {"rowsInLake": -1}

    def _ask(self, path: str) -> dict[str, Any] | None:
        return ask(self.stack.url + path)

    def _wait_until(self, what: str, condition: Callable[[], object], seconds: float) -> None:
        def describe() -> str:
            logs = [*self._data.glob("logs/*.log"), self._data / "postgres" / "server.log"]
            ends = [f"{log}:\n{log_end(log)}" for log in logs]
            return "\n".join([f"until {what}", *ends])

        self.stack.wait_for(condition, seconds, describe)
