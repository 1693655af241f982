"""Queue of heartbeats that wait for a commit, and the groups that are taken from it."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ingestion_api.errors import NotCommitted
from ingestion_api.heartbeats.batch import HeartbeatBatch, Limits, concat, invalid_mask
from ingestion_api.observability.metrics import QUEUED_ROWS
from lake import STREAMS

Done = asyncio.Future[bool]  # True when durable, False for a record that breaks a rule


@dataclass
class Group:
    """The content of one commit, and the futures of those who wait for it."""

    parts: dict[str, list[HeartbeatBatch]] = field(
        default_factory=lambda: {name: [] for name in STREAMS}
    )
    waiting: list[Done] = field(default_factory=list)
    count: int = 0

    def add(self, rows: Mapping[str, HeartbeatBatch], *waiting: Done) -> None:
        """Add rows, and those who wait for them."""
        for name, some in rows.items():
            self.parts[name].append(some)
            self.count += len(some)
        self.waiting += waiting

    @property
    def rows(self) -> dict[str, HeartbeatBatch]:
        """All rows of each stream that has some, in order of arrival."""
        return {name: concat(parts) for name, parts in self.parts.items() if parts}


class CommitQueue:
    """Waiting requests, answered once their group is committed.

    Requests with many heartbeats bring columns. Single ones bring the decoded record: all that wait
    are made into columns and validated together, which costs a fraction.
    """

    def __init__(self, limits: Callable[[], Limits]) -> None:
        """`limits` returns the limits of this moment."""
        self._limits = limits
        self._many: deque[tuple[Mapping[str, HeartbeatBatch], int, Done]] = deque()
        self._singles: dict[str, deque[tuple[Any, Done]]] = {name: deque() for name in STREAMS}
        self.waiting_rows = 0
        self.rows = 0  # waiting or being committed
        QUEUED_ROWS.set_function(lambda: self.rows)

    def enqueue(self, rows: Mapping[str, HeartbeatBatch], count: int) -> Done:
        """Add the rows of a request, all of which are valid."""
        done: Done = asyncio.get_running_loop().create_future()
        self._many.append((rows, count, done))
        self._count(waiting=count, all_rows=count)
        return done

    def enqueue_one(self, stream: str, record: Any) -> Done:
        """Add a record."""
        done: Done = asyncio.get_running_loop().create_future()
        self._singles[stream].append((record, done))
        self._count(waiting=1, all_rows=1)
        return done

    def next_group(self, most_rows: int) -> Group:
        """Take the next group: up to `most_rows`, but at least one request.

        The group is empty if none waits, or none that holds.
        """
        group = Group()
        for name in STREAMS:
            self._take_singles(name, most_rows, group)
        while self._many and (not group.count or group.count + self._many[0][1] <= most_rows):
            rows, count, done = self._many.popleft()
            group.add(rows, done)
            self._count(waiting=-count)
        return group

    def resolve(self, group: Group, failure: NotCommitted | None) -> None:
        """Answer those who wait for a group."""
        self._count(all_rows=-group.count)
        _resolve(group.waiting, failure)

    def reject_all(self, failure: NotCommitted) -> None:
        """Answer all who wait that they must send again."""
        waiting = [done for _, _, done in self._many]
        self._many.clear()
        for singles in self._singles.values():
            waiting += [done for _, done in singles]
            singles.clear()
        self._count(waiting=-self.waiting_rows, all_rows=-self.waiting_rows)
        _resolve(waiting, failure)

    def _take_singles(self, stream: str, most_rows: int, group: Group) -> None:
        singles = self._singles[stream]
        count = min(len(singles), most_rows)
        if not count:
            return
        records, waiting = zip(*(singles.popleft() for _ in range(count)), strict=True)
        self._count(waiting=-count)
        rows = HeartbeatBatch.from_records(STREAMS[stream], records)
        wrong = invalid_mask(rows, self._limits())
        if wrong.any():
            at_fault = np.flatnonzero(wrong).tolist()
            self._count(all_rows=-len(at_fault))
            for row in at_fault:
                if not waiting[row].done():
                    waiting[row].set_result(False)
            kept = np.flatnonzero(~wrong)
            rows, waiting = rows.take(kept), tuple(waiting[row] for row in kept.tolist())
        if len(rows):
            group.add({stream: rows}, *waiting)

    def _count(self, *, waiting: int = 0, all_rows: int = 0) -> None:
        self.waiting_rows += waiting
        self.rows += all_rows


def _resolve(waiting: Iterable[Done], failure: NotCommitted | None) -> None:
    for done in waiting:
        if done.done():  # its client has gone
            continue
        if failure is None:
            done.set_result(True)
        else:
            done.set_exception(failure)
