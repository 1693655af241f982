"""Devices and gateways that post all the time, each with its own habits, none of them patient.

Some give up early, some repeat what they have no answer for or send it corrected, some repeat
what was acknowledged already, and one goes on until everything it ever sent is acknowledged.
"""

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import httpx

from lake import METER, VEHICLE, Stream
from tests.faults.ledger import Heartbeat, Ledger

DEVICES: Final = 12  # of each stream, shared by all clients
_CLIENTS_AT_MOST: Final = 16
_HOUR: Final = 3600
_REST_SECONDS: Final = 0.2  # the mean time between an answer and the next request


@dataclass(frozen=True)
class Habit:
    """Habit of a client: batches of up to `largest`; `patience` is its timeout in seconds."""

    path: str
    streams: tuple[Stream, ...]
    largest: int
    patience: float
    persistent: bool = False


HABITS: Final = (
    Habit("/v1/ingest/meter", (METER,), 1, 1.5),
    Habit("/v1/ingest/vehicle", (VEHICLE,), 1, 20),
    Habit("/v1/ingest/meter/batch", (METER,), 30, 20),
    Habit("/v1/ingestion/vehicle/batch", (VEHICLE,), 30, 1.5),
    Habit("/v1/ingest/telemetry", (METER, VEHICLE), 20, 5),
    Habit("/v1/ingest/telemetry", (METER, VEHICLE), 40, 5, persistent=True),
)


class Clients:
    """A thread for each habit, from the start to the end of the block."""

    def __init__(self, ledger: Ledger, addresses: Sequence[str], seed: int) -> None:
        self.broken_promises: list[str] = []
        self.resent = 0
        self._ledger, self._addresses = ledger, addresses
        self._end, self._given_up = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=self._live, args=(habit, number, random.Random(seed + number)))
            for number, habit in enumerate(HABITS)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._given_up.set()  # the persistent one would wait for ever
        else:
            assert all(thread.is_alive() for thread in self._threads), "a client has failed"
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _live(self, habit: Habit, number: int, chance: random.Random) -> None:
        with httpx.Client(timeout=habit.patience) as http:
            while not self._end.is_set():
                made = self._new(habit, number, chance)
                acknowledged = self._post(http, habit, made, chance)
                while habit.persistent and not acknowledged and not self._given_up.is_set():
                    time.sleep(chance.uniform(0.02, 0.3))
                    acknowledged = self._again(http, habit, made, chance)
                if not acknowledged:
                    time.sleep(chance.uniform(0.02, 0.3))
                again = chance.random()
                if again < (0.1 if acknowledged else 0.6):
                    self._again(http, habit, made, chance)
                elif again < (0.2 if acknowledged else 0.8):
                    corrected = [
                        self._ledger.heartbeat(one.stream, one.device, one.micros) for one in made
                    ]
                    self._again(http, habit, corrected, chance)
                self._end.wait(chance.expovariate(1 / _REST_SECONDS))

    def _again(
        self, http: httpx.Client, habit: Habit, made: Sequence[Heartbeat], chance: random.Random
    ) -> bool:
        self.resent += len(made)
        return self._post(http, habit, made, chance)

    def _new(self, habit: Habit, number: int, chance: random.Random) -> list[Heartbeat]:
        """Heartbeats of random devices; no other client uses the same identity."""
        made = []
        for _ in range(chance.randint(1, habit.largest)):
            stream = chance.choice(habit.streams)
            age = chance.choices((2, _HOUR, 4 * _HOUR), (90, 8, 2))[0] * chance.random()
            micros = int((time.time() - age) * 1e6)
            micros += number - micros % _CLIENTS_AT_MOST
            device = f"{stream.name[0].upper()}{chance.randrange(DEVICES)}"
            made.append(self._ledger.heartbeat(stream, device, micros))
        return made

    def _post(
        self, http: httpx.Client, habit: Habit, made: Sequence[Heartbeat], chance: random.Random
    ) -> bool:
        """Post to any collector; True if it says that all of them are taken."""
        url = chance.choice(self._addresses) + habit.path
        bodies = [one.body for one in made]

        def post() -> bool:
            try:
                answer = http.post(url, json=bodies if habit.largest > 1 else bodies[0])
            except httpx.TransportError:  # nobody there, cut off, or too slow
                return False
            if answer.status_code == 201 and answer.json()["accepted"] == len(made):
                return True
            if answer.status_code != 503 or "retry-after" not in answer.headers:
                self.broken_promises.append(f"{answer.status_code} from {url}: {answer.text[:300]}")
            return False

        return self._ledger.send(made, post)
