"""Simulator of a fleet: posts its last three hours in batches, then every device each minute."""

import contextlib
import json
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from local_stack.client.collector import Collector, refusal
from local_stack.errors import CollectorError, KeyRefused
from local_stack.simulator.fleet_model import FleetModel
from local_stack.simulator.heartbeats import Arrival, arrivals

HISTORY_HOURS: Final = 3
BATCH: Final = 1_000
_CONNECTIONS: Final = 4
_ARRIVALS_AT_ONCE: Final = 100_000  # bounds the memory of the history
_BACKLOG: Final = 200  # more heartbeats than this do not go one by one


@dataclass(frozen=True)
class Progress:
    """Progress of the fleet that is acknowledged, in minutes since 1970."""

    since: int
    posted_before: int


_PROGRESS: Final = TypeAdapter(Progress)


def read_progress(state: Path) -> Progress | None:
    """Read the state file of a simulator; None if it can't be read."""
    try:
        return _PROGRESS.validate_json(state.read_bytes())
    except (OSError, ValidationError):
        return None


class Simulator:
    """Fleet that is posted to a collector; the file `state` has its progress.

    Every heartbeat is posted until the collector acknowledges it; what was posted when the
    simulator ended, but not noted, is posted again the same at the next start. A note that can't
    be written is left to the next minute's.
    """

    def __init__(
        self, model: FleetModel, collector: Collector, state: Path, say: Callable[[str], None]
    ) -> None:
        self._model, self._collector, self._state, self._say = model, collector, state, say
        self._waiting: queue.Queue[Arrival] = queue.Queue()
        self._refused: list[str] = []
        self._last_said = ""

    def run(self, clock: Callable[[], float] = time.time) -> None:
        """Simulate until the process ends; CollectorError if the collector refuses a heartbeat."""
        for _ in range(_CONNECTIONS):
            threading.Thread(target=self._post_until_the_end, daemon=True).start()
        minute = int(clock() // 60)
        progress = self._continue(minute)
        self._post_history(progress, minute)
        self._live(Progress(progress.since, minute), clock)

    def _continue(self, minute: int) -> Progress:
        begin = (minute // 60 - HISTORY_HOURS) * 60
        known = read_progress(self._state)
        if known and known.posted_before >= begin:
            return known
        return Progress(since=begin, posted_before=begin)

    def _post_history(self, progress: Progress, end: int) -> None:
        began, count = time.monotonic(), 0
        step = max(1, _ARRIVALS_AT_ONCE // (2 * len(self._model.numbers)))
        for first in range(progress.posted_before, end, step):
            last = min(first + step, end)
            found = arrivals(self._model, first, last, progress.since)
            for arrival in found:
                self._waiting.put(arrival)
            count += len(found)
            self._wait_until_posted()
            self._note(Progress(progress.since, last))
        if count:
            seconds = time.monotonic() - began
            self._say(f"history: {count:,} heartbeats acknowledged in {seconds:.1f} s")

    def _live(self, progress: Progress, clock: Callable[[], float]) -> None:
        self._say(f"live: {2 * len(self._model.numbers):,} devices, one heartbeat a minute each")
        minute = progress.posted_before
        while True:
            for arrival in arrivals(self._model, minute, minute + 1, progress.since):
                time.sleep(max(0, arrival.at - clock()))
                self._waiting.put(arrival)
            minute += 1
            time.sleep(max(0, 60 * minute - clock()))
            self._raise_refusal()
            if not self._waiting.unfinished_tasks:
                self._note(Progress(progress.since, minute))

    def _wait_until_posted(self) -> None:
        with self._waiting.all_tasks_done:
            while self._waiting.unfinished_tasks:
                self._waiting.all_tasks_done.wait(timeout=1)
                self._raise_refusal()
        self._raise_refusal()

    def _note(self, progress: Progress) -> None:
        unfinished = self._state.with_suffix(".unfinished")
        try:
            unfinished.write_bytes(_PROGRESS.dump_json(progress))
            unfinished.replace(self._state)
        except OSError as error:
            self._say_once(f"how far it came is not noted ({error.strerror}), so it goes on")

    # -- in the threads ------------------------------------------------------------------------

    def _post_until_the_end(self) -> None:
        is_unharmed = False
        try:
            self._post_what_waits()
            is_unharmed = True
        finally:
            if not is_unharmed:
                self._refused.append("a thread that posts has died; its traceback is above")

    def _post_what_waits(self) -> None:
        while True:
            taken = [self._waiting.get()]
            if self._waiting.qsize() > _BACKLOG:
                with contextlib.suppress(queue.Empty):
                    while len(taken) < BATCH:
                        taken.append(self._waiting.get_nowait())
            self._post(taken)
            for _ in taken:
                self._waiting.task_done()

    def _post(self, taken: Sequence[Arrival]) -> None:
        if self._refused:
            return  # the run is about to end
        try:
            if len(taken) == 1:
                self._post_one(taken[0])
            else:
                self._post_batch(taken)
        except KeyRefused as error:
            self._refused.append(str(error))

    def _post_one(self, arrival: Arrival) -> None:
        path, body = f"/v1/ingest/{arrival.stream}", json.dumps(arrival.heartbeat)
        response = self._collector.post_until_answered(path, body.encode(), on_wait=self._wait)
        if response.status_code != 201:
            self._refused.append(refusal(path, response))

    def _post_batch(self, taken: Sequence[Arrival]) -> None:
        path, heartbeats = "/v1/ingest/telemetry", [arrival.heartbeat for arrival in taken]
        for posted in self._collector.post_records(path, heartbeats, on_wait=self._wait):
            response = posted.response
            if response.status_code != 201 and not (
                posted.later and len(posted.later) == response.json()["rejected"]
            ):
                self._refused.append(refusal(path, response))
                return

    def _wait(self, reason: str) -> None:
        self._say_once(f"waiting: {reason}")

    def _say_once(self, reason: str) -> None:
        if reason != self._last_said:
            self._last_said = reason
            self._say(reason)

    def _raise_refusal(self) -> None:
        if self._refused:
            raise CollectorError(self._refused[0])
