"""Queues as they are simulated: commits of a collector, lake writers of one lake, waiting hours.

Each is a few rules of the product, whose times of service are measured and stand here in one place.
"""

import heapq
import random
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np


@dataclass(frozen=True)
class Collector:
    """A collector process and its commits, in seconds for requests of one heartbeat.

    `make bench SUITE=ingest CASES=single`, 2 processors: the collector's processor time a request.
    A commit: `make bench SUITE=queueing CASES=service`, the least of each size.
    """

    request: float = 0.00014
    """Of the one thread, from the first byte to the answer."""
    commit: float = 0.0005
    """Of a commit, whatever is in it: a round trip and the disk."""
    row: float = 0.000006
    """More for each heartbeat of a commit."""
    refusal: float = 0.00007
    """Of the thread for a 503; assumed to be half of a request."""
    connections: int = 8_000
    """MAX_CONNECTIONS; a further one is answered 503."""
    second_from: int = 500
    """Heartbeats that wait, from which on a second committer helps."""
    retry_after: float = 1.0
    """Seconds until a client comes again that was refused, and up to twice as many."""


@dataclass(frozen=True)
class Answers:
    """Seconds from the first attempt to the acknowledgement, and the attempts that were refused."""

    latencies: list[float]
    refused: int
    end: float


_ARRIVES, _IS_READ = 2, 3  # beside 0 and 1, the end of a commit of either committer
_Event = tuple[float, int, int, tuple[float, ...]]


def group_commit(
    arrivals: Iterable[float], service: Collector, *, again_until: float = 0, seed: int = 1
) -> Answers:
    """Answer each request, after a commit of all that wait when a committer is free.

    Before `again_until` a client that was answered posts its next one at once.
    """
    chance, order, answers = random.Random(seed), count(), list[float]()
    events: list[_Event] = [(at, next(order), _ARRIVES, (at,)) for at in arrivals]
    heapq.heapify(events)
    waiting, idle = deque[float](), [True, True]
    open_requests = refused = 0
    thread_free = now = 0.0

    def start() -> None:
        for which, least in enumerate((1, service.second_from)):
            if idle[which] and len(waiting) >= least:
                group, idle[which] = tuple(waiting), False
                waiting.clear()
                takes = service.commit + service.row * len(group)
                heapq.heappush(events, (now + takes, next(order), which, group))

    while events:
        now, _, kind, firsts = heapq.heappop(events)
        if kind == _ARRIVES and open_requests >= service.connections:
            refused += 1  # a client closes its connection with its answer
            thread_free = max(thread_free, now) + service.refusal
            pause = service.retry_after * chance.uniform(1, 2)
            heapq.heappush(events, (thread_free + pause, next(order), _ARRIVES, firsts))
        elif kind == _ARRIVES:
            open_requests += 1
            thread_free = max(thread_free, now) + service.request
            heapq.heappush(events, (thread_free, next(order), _IS_READ, firsts))
        elif kind == _IS_READ:
            waiting.append(firsts[0])
            start()
        else:
            idle[kind] = True
            open_requests -= len(firsts)
            answers += [now - first for first in firsts]
            if now < again_until:
                for _ in firsts:
                    heapq.heappush(events, (now, next(order), _ARRIVES, (now,)))
            start()
    return Answers(answers, refused, now)


@dataclass(frozen=True)
class Store:
    """A lake writer's flush of a stream, in requests to the store one after the other.

    As `make bench SUITE=queueing CASES=service` counts them of one writer, and of each commit of
    another. A writer keeps the table open, and reads what others have committed since.
    """

    seconds: float = 0.05
    """Of a request."""
    before: float = 4
    """The file, and whether the table is the one that is open."""
    look: float = 1
    """For the newest version."""
    winner: float = 4
    """Before the commit, for each of others since: is it in the way?"""
    put: float = 1
    after: float = 5
    """For the horizon and the ledger."""
    other: float = 2.25
    """After the commit, for each of others since: the horizon, and rows for the ledger."""
    attempts: int = 51
    """Of one commit; then the whole flush is done again at once (StaleRead)."""


@dataclass
class Flushes:
    """Flushes of a stream, each with the seconds until its commit, and its attempts.

    `again`: so many were done again. `cycle`: seconds from one to the next of the same cell.
    """

    seconds: list[float] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)
    cycle: list[float] = field(default_factory=list)
    again: int = 0


def lake_writers(
    cells: int, pause: float, until: float, store: Store, *, tables: int = 2, seed: int = 1
) -> Flushes:
    """Let each cell flush its streams in turn, and pause; two streams are two tables."""
    chance, done, order = random.Random(seed), Flushes(), count()
    versions = [0] * tables
    events: list[tuple[float, int, _Writer]] = [
        (chance.uniform(0, max(pause, store.seconds)), next(order), _Writer(tables))
        for _ in range(cells)
    ]
    heapq.heapify(events)
    while events:
        now, _, one = heapq.heappop(events)
        table, rests = one.table, 0.0
        if one.step == "begin":
            if now > until:
                continue
            one.attempts, one.step, requests = 1, "looked", store.before + store.look
            one.began = now if one.began is None else one.began
        elif one.step == "looked":
            newer = versions[table] - one.seen[table]
            one.seen[table] += newer
            one.others += newer
            one.step, requests = "put", store.winner * newer + store.put
        elif versions[table] == one.seen[table]:  # nobody was faster
            versions[table] += 1
            one.seen[table] += 1
            done.seconds.append(now - (one.began or 0))
            done.attempts.append(one.attempts)
            if table == 0 and one.flushed is not None:
                done.cycle.append(now - one.flushed)
            one.flushed = now if table == 0 else one.flushed
            requests = store.after + store.other * one.others
            one.step, one.began, one.others, one.table = "begin", None, 0, (table + 1) % tables
            rests = pause if one.table == 0 else 0.0
        elif one.attempts == store.attempts:
            done.again += 1
            one.step, requests = "begin", 0
        else:
            one.attempts += 1
            one.step, requests = "looked", store.look
        takes = rests + requests * store.seconds * chance.uniform(0.7, 1.3)
        heapq.heappush(events, (now + takes, next(order), one))
    return done


class _Writer:
    def __init__(self, tables: int) -> None:
        self.table, self.step, self.seen = 0, "begin", [0] * tables
        self.began: float | None = None
        self.flushed: float | None = None
        self.attempts = self.others = 0


@dataclass(frozen=True)
class HourlyRuns:
    """Seconds of the runs that compute hours of 20,000 devices; more devices take as much more.

    `make bench SUITE=lake CASES="compaction day"`, 2 processors. A worker is such a machine.
    """

    start: float = 8
    """Of a run, before it computes: decision 15."""
    alone: float = 3.3
    """Of an hour, by the run itself: 2.2 of compaction, and half as much assumed for its copies."""
    tables: float = 2.7
    """Of an hour, by one worker."""

    def seconds(self, hours: Sequence[int], size: float, workers: int) -> float:
        """Length of a run of these hours; the hours of a day are one worker's."""
        by_day = sorted(Counter(hour // 24 for hour in hours).values(), reverse=True)
        longest = sum(by_day[: -(-len(by_day) // workers)])
        return self.start + size * (self.alone * len(hours) + self.tables * longest)


@dataclass(frozen=True)
class Caught:
    """Hours until those of the outage are computed, None if never; and what became of all hours.

    `delays`: seconds from the end of each new hour to its figures.
    """

    hours: float | None
    delays: list[float]
    computed: int
    waiting: int
    came: int


def hours_after_outage(
    outage: int,
    size: float,
    workers: int,
    service: HourlyRuns,
    *,
    late: float = 0,
    days: int = 30,
    seed: int = 1,
) -> Caught:
    """Compute the hours of an outage, and for some days those that come, the newest first.

    In every hour `late` older ones wait again, on average. A run takes a day of old hours for each
    worker (ROWS_PER_RUN is set so), and no hour is computed beside it.
    """
    chance, delays = np.random.default_rng(seed), list[float]()
    old, new = deque(range(outage)), deque[int]()
    came, computed = outage, 0
    now, closed = 0.0, outage
    caught: float | None = None
    while now < days * 86_400:
        while 3600 * (closed + 1 - outage) <= now:
            again = chance.integers(0, closed, chance.poisson(late)).tolist()
            new.append(closed)
            old.extend(again)
            came += 1 + len(again)
            closed += 1
        if not old and not new:
            now = 3600.0 * (closed + 1 - outage)
            continue
        is_new = bool(new)
        run = [new.pop()] if new else [old.popleft() for _ in range(min(24 * workers, len(old)))]
        now += service.seconds(run, size, workers)
        computed += len(run)
        if is_new:
            delays.append(now - 3600 * (run[0] + 1 - outage))
        elif caught is None and computed - len(delays) >= outage:
            caught = now / 3600
    return Caught(caught, delays, computed, len(old) + len(new), came)
