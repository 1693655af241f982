"""The load generator: a process of its own that posts heartbeats or asks; reports one JSON line.

It shares the processors with what it measures. So it is one thread on epoll, its requests are
built before it starts, only their event times are put in, and of an answer it reads what it must.
"""

import argparse
import json
import math
import random
import select
import socket
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks import fleet

_PATIENCE_SECONDS: Final = 30  # for the last answers
_TAKEN: Final = b"201"
_TRY_AGAIN: Final = b"503"


class LoadError(Exception):
    """The load can't go on, and what it measured says nothing."""


@dataclass(frozen=True)
class Load:
    """Result of one stretch of load.

    `records` were acknowledged within `seconds`; `acknowledged` counts the last answers, too, which
    came later. `answers` by status. Latencies in milliseconds until the whole answer is there;
    `late_p99_ms` is the part of the generator, which sends a little later than it should.
    `next_request` is where the next stretch goes on.
    """

    seconds: float
    records: int
    acknowledged: int
    answers: dict[str, int]
    p50_ms: float
    p95_ms: float
    p99_ms: float
    late_p99_ms: float
    cpu_seconds: float
    next_request: int


class Connection:
    """A connection that stays open, with one request at a time."""

    __slots__ = ("answer", "due", "idle_since", "request", "rest", "sock")

    def __init__(self, port: int) -> None:
        self.sock = _connect(port)
        self.due = self.idle_since = 0.0  # the due time is when the request was to be sent
        self.request = b""
        self.rest = memoryview(b"")  # of the request, where it did not fit at once
        self.answer = b""  # what has come of it


class Generator:
    """Posts the rounds of a fleet over some connections.

    Flat out, a connection posts the next request once it has its answer, and the event time is a
    minute later each time the fleet is through. On schedule, a device posts at its own moment of
    every minute, whether or not answers come, and latency counts from that moment: no stall is
    hidden by requests that were not sent meanwhile.
    """

    def __init__(
        self, port: int, requests: list[bytes], records_each: int, connections: int
    ) -> None:
        self._port, self._requests, self._records_each = port, requests, records_each
        self._connections = {
            one.sock.fileno(): one for one in (Connection(port) for _ in range(connections))
        }
        self._idle = deque(self._connections.values())
        self._resting: deque[tuple[float, Connection]] = deque()  # until Retry-After is over
        self._poll = select.epoll()
        for number in self._connections:
            self._poll.register(number, select.EPOLLIN)
        self._moments: list[float] | None = None
        self._stamp, self._stamped_second = b"", 0
        self._answers: Counter[str] = Counter()
        self._latencies: list[float] = []
        self._lateness: list[float] = []
        self._taken_in_time = 0

    def flat_out(self, seconds: float, first_event: float, first_request: int) -> Load:
        """`first_event` is the event time of the first round, in seconds since 1970."""
        return self._run(seconds, first_event, first_request)

    def on_schedule(self, seconds: float) -> Load:
        """The event time is now."""
        chance = random.Random("schedule")
        chance.shuffle(self._requests)
        self._moments = sorted(chance.uniform(0, fleet.ROUND_SECONDS) for _ in self._requests)
        return self._run(seconds, time.time(), 0)

    def _run(self, seconds: float, first_event: float, first_request: int) -> Load:
        self._first_event, self._next = first_event, first_request
        cpu, self._began = time.process_time(), time.perf_counter()
        self._end = self._began + seconds
        while True:
            now = time.perf_counter()
            while self._resting and self._resting[0][0] <= now:
                self._send(self._resting.popleft()[1])
            due = self._next_due(now)
            while self._idle and due <= now:
                self._post(self._idle.popleft(), due)
                due = self._next_due(now)
            if due == math.inf and len(self._idle) == len(self._connections):
                break
            if now > self._end + _PATIENCE_SECONDS:
                raise LoadError(f"answers are missing {_PATIENCE_SECONDS} s after the end")
            wake = self._end + _PATIENCE_SECONDS
            if self._idle:
                wake = min(wake, due)
            if self._resting:
                wake = min(wake, self._resting[0][0])
            for number, _ in self._wait(max(0.0, wake - now)):
                connection = self._connections[number]
                if connection.rest:
                    self._send(connection, connection.rest)
                else:
                    self._receive(connection)
        return Load(
            seconds=seconds,
            records=self._taken_in_time,
            acknowledged=self._answers[_TAKEN.decode()] * self._records_each,
            answers=dict(self._answers),
            p50_ms=1000 * percentile(self._latencies, 0.50),
            p95_ms=1000 * percentile(self._latencies, 0.95),
            p99_ms=1000 * percentile(self._latencies, 0.99),
            late_p99_ms=1000 * percentile(self._lateness, 0.99),
            cpu_seconds=time.process_time() - cpu,
            next_request=self._next,
        )

    def _wait(self, seconds: float) -> list[tuple[int, int]]:
        if self._moments is None:
            return self._poll.poll(seconds)
        # A schedule is kept to the microsecond by select; epoll counts in milliseconds.
        select.select([self._poll], [], [], seconds)
        return self._poll.poll(0)

    def _next_due(self, now: float) -> float:
        """Time of the next request; infinity where none is left to send."""
        due = now
        if self._moments is not None:
            rounds, index = divmod(self._next, len(self._requests))
            due = self._began + rounds * fleet.ROUND_SECONDS + self._moments[index]
        return due if due < self._end else math.inf

    def _post(self, connection: Connection, due: float) -> None:
        rounds, index = divmod(self._next, len(self._requests))
        self._next += 1
        later = rounds * fleet.ROUND_SECONDS if self._moments is None else due - self._began
        second = int(self._first_event + later)
        if second != self._stamped_second:
            self._stamped_second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second)).encode()
        connection.request = self._requests[index].replace(fleet.STAMP, self._stamp)
        connection.due = due
        # where a request had to wait for a connection, the collector is late
        if self._moments and connection.idle_since <= due:
            self._lateness.append(time.perf_counter() - due)
        self._send(connection)

    def _send(self, connection: Connection, rest: memoryview | None = None) -> None:
        data = memoryview(connection.request) if rest is None else rest
        connection.rest = data[connection.sock.send(data) :]
        if connection.rest or rest is not None:
            wanted = select.EPOLLOUT if connection.rest else select.EPOLLIN
            self._poll.modify(connection.sock, wanted)

    def _receive(self, connection: Connection) -> None:
        data = connection.sock.recv(65536)
        if not data and connection in self._idle:
            # While another one waited for its answer this one was idle for too long.
            del self._connections[connection.sock.fileno()]
            connection.sock.close()
            connection.sock = _connect(self._port)
            self._connections[connection.sock.fileno()] = connection
            self._poll.register(connection.sock, select.EPOLLIN)
            return
        if not data:
            raise LoadError("the collector closed a connection without an answer")
        answer = connection.answer + data
        connection.answer = b"" if _is_whole(answer) else answer
        if connection.answer:
            return
        now, status = time.perf_counter(), answer[9:12]
        self._answers[status.decode()] += 1
        if status == _TRY_AGAIN:
            self._resting.append((now + float(_header(answer, b"retry-after")), connection))
            return
        self._latencies.append(now - connection.due)
        if status == _TAKEN and now <= self._end:
            self._taken_in_time += self._records_each
        if self._moments is None and now < self._end:
            self._post(connection, now)
        else:
            connection.idle_since = now
            self._idle.append(connection)


def questions(paths: Path) -> list[bytes]:
    """A GET for each line of a file."""
    lines = paths.read_text(encoding="ascii").split()
    return [f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode() for path in lines]


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of the values do not exceed; 0 where there is none."""
    return sorted(values)[math.ceil(share * len(values)) - 1] if values else 0.0


def _connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(False)
    return sock


def _is_whole(answer: bytes) -> bool:
    head_end = answer.find(b"\r\n\r\n")
    return head_end > 0 and len(answer) == head_end + 4 + int(_header(answer, b"content-length"))


def _header(answer: bytes, name: bytes) -> bytes:
    start = answer.lower().find(b"\r\n" + name + b": ")
    if start < 0:
        raise LoadError(f"an answer has no header {name.decode()}: {answer[:500]!r}")
    start += len(name) + 4
    return answer[start : answer.index(b"\r", start)]


def main() -> int:
    """Run one stretch; 1 with one line of what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--batch", type=int, help="heartbeats in a request")
    what.add_argument("--ask", type=Path, help="a file of paths that are asked for, flat out")
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--first-event", type=float, help="without it: on schedule")
    parser.add_argument("--first-request", type=int, default=0)
    given = parser.parse_args()
    try:
        requests = questions(given.ask) if given.ask else fleet.requests(given.batch)
        generator = Generator(given.port, requests, given.batch or 0, given.connections)
        if given.ask:
            load = generator.flat_out(given.seconds, 0, given.first_request)
        elif given.first_event is None:
            load = generator.on_schedule(given.seconds)
        else:
            load = generator.flat_out(given.seconds, given.first_event, given.first_request)
    except (LoadError, OSError) as error:
        sys.stderr.write(f"load: {error}\n")
        return 1
    sys.stdout.write(json.dumps(asdict(load)) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
