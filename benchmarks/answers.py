"""Speed of answers to operators, with 30 days of a full fleet in the lake, or less.

The lake has the shape of the real one but not all of its rows; benchmarks/answers_fill.py says
which are left out, and why no question here would notice. The collector is the one process of
`wattlake up`, with the settings of production; the load generator shares the processors with it.

Warm: each vehicle was asked for before; what the first question about one takes is a row of its
own. Cold: before each question the files of the lake and the index of its newest hours are dropped
from the file cache, and the vehicle was never asked for; the collector itself goes on running.
Busy: meanwhile the fleet posts its 333 heartbeats a second, and a process compacts an hour of the
fleet over and over, in a second lake on the same disk. Half as fast as the goal is enough then; how
much slower than in quiet says little, as quiet answers find nearly all in memory.

The row store is the plain way to answer: the heartbeats of some of the vehicles in two tables of
the same Postgres with an index, and SQL sums. Its rows lie in the order in which they arrived, and
once more by device. See benchmarks/row_store.py.
"""

import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.answers_fill import FEWEST_DAYS, FleetLake, fill_database, mark_all_heard
from benchmarks.answers_row_store import RowStore, row_store
from benchmarks.fleet import DEVICES
from benchmarks.full_fleet import FullFleet
from benchmarks.lake_fill import fill_raw_hour
from benchmarks.lake_work import THE_HOUR
from benchmarks.load import percentile
from benchmarks.stack import BenchmarkError, StackUnderTest, stack_under_test
from benchmarks.table import Goal, Report, Row, number
from lake import HOUR, METER, STREAMS, VEHICLE, Lake, Stream, hour_of

_FEWEST_VEHICLES: Final = 1_000  # three runs ask for so many that were not asked for before
_WARM_VEHICLES: Final = 100
_FIRST_VEHICLES: Final = 60
_COLD_VEHICLES: Final = 30
_DASHBOARD_VEHICLES: Final = 100
_LIVE_DEVICES: Final = 1_000
_HEAD_START_SECONDS: Final = 2.0  # of what is to go on meanwhile
_BATCH: Final = 1_000
_READY_SECONDS: Final = 120

_INDEXED: Final = "wattlake_indexed_hours"
_PERFORMANCE: Final = "/v1/analytics/performance/"


@dataclass(frozen=True)
class Question:
    """Case: its measurement, the goal, and what is measured beside it without a goal."""

    name: str
    title: str
    unit: str
    goal: Goal
    ask: "Callable[[_Bench], float]"
    beside: "tuple[str, Callable[[_Bench], float]] | None" = None


class _Bench:
    """Stack with its lake, and the requests that it gets."""

    def __init__(
        self, stack: StackUnderTest, fleet: FleetLake, seconds: float, folder: Path
    ) -> None:
        self.stack, self.seconds = stack, seconds
        self._fleet, self._folder = fleet, folder
        self._chance = random.Random("answers")
        vehicles = fleet.device_ids(VEHICLE)
        self._chance.shuffle(vehicles)
        self._warm, self._fresh = vehicles[:_WARM_VEHICLES], vehicles[_WARM_VEHICLES:]
        self.cpu_ms: tuple[float, ...] = ()  # of the collector and Postgres for a request, lately

    def warm_up(self) -> None:
        """Ask for each of the warm vehicles once; the first of all reads the raw hour."""
        for vehicle in self._warm:
            self._milliseconds(_PERFORMANCE + vehicle)

    def first(self) -> float:
        """p95 in milliseconds for vehicles that were not asked for before."""
        asked = [self._fresh.pop() for _ in range(_FIRST_VEHICLES)]
        return percentile([self._milliseconds(_PERFORMANCE + one) for one in asked], 0.95)

    def check(self) -> None:
        """Raise BenchmarkError unless answers are the plain sums of what was filled in."""
        end = self._fleet.hour - HOUR
        window = f"?start={_iso(end - 24 * HOUR)}&end={_iso(end)}"
        for vehicle in self._warm[:20]:
            answer = self.stack.get(_PERFORMANCE + vehicle + window)
            self._check_side(VEHICLE, vehicle, answer["energyDeliveredDc"])
            for link in answer["links"]:
                if link["source"] == "rule":  # which joins the two for all of the window
                    self._check_side(METER, link["meterId"], answer["energyConsumedAc"])

    def _check_side(self, stream: Stream, device: str, answer: float | None) -> None:
        hourly = self._fleet.energy_of(stream, device)
        if hourly is not None and (answer is None or abs(24 * hourly - answer) > 1e-6):
            raise BenchmarkError(f"{device}: {answer} kWh, the files have {24 * hourly}")

    def some_vehicles(self, count: int) -> list[str]:
        """So many vehicles, the warm ones first."""
        return [*self._warm, *self._fresh][:count]

    def get_in_turn(
        self, paths: Sequence[str], connections: int, port: int | None = None
    ) -> dict[str, Any]:
        """Report of the load generator about GETs of these paths in turn.

        `port` is the collector's unless it is told.
        """
        file = self._folder / "paths"
        file.write_text("\n".join(paths), encoding="ascii")
        before = self.stack.cpu()
        load: dict[str, Any] = self.stack.client(
            "benchmarks.load",
            *("--port", port or self.stack.port, "--ask", file),
            *("--connections", connections, "--seconds", self.seconds),
        )
        if load["answers"].keys() != {"200"}:
            raise BenchmarkError(f"answers other than 200: {load['answers']}")
        used, requests = self.stack.cpu() - before, sum(load["answers"].values())
        self.cpu_ms = tuple(1000 * spent / requests for spent in (used.collector, used.postgres))
        return load

    def performance(self, connections: int) -> dict[str, Any]:
        """Load report about the performance of the warm vehicles."""
        return self.get_in_turn([_PERFORMANCE + vehicle for vehicle in self._warm], connections)

    def live(self) -> dict[str, Any]:
        """Load report about the live state of devices of both kinds."""
        vehicles = self._fresh[:_LIVE_DEVICES]
        paths = [f"/v1/analytics/vehicle/{vehicle}/live" for vehicle in vehicles]
        return self.get_in_turn(
            paths + [path.replace("vehicle/VEH", "meter/METER") for path in paths], 8
        )

    def nothing(self) -> dict[str, Any]:
        """Load report about an answer that takes no work: the limit of the machine."""
        return self.get_in_turn(["/healthz"], 8)

    def dashboard(self) -> dict[str, Any]:
        """Load report about dashboards of other vehicles each time."""
        paths = [
            "/v1/analytics/dashboard?"
            + "&".join(
                f"vehicleIds={vehicle}"
                for vehicle in self._chance.sample(self._fresh, _DASHBOARD_VEHICLES)
            )
            for _ in range(20)
        ]
        return self.get_in_turn(paths, 1)

    def cold(self) -> float:
        """p95 in milliseconds for requests that find nothing in memory."""
        took = []
        for _ in range(_COLD_VEHICLES):
            _drop_from_file_cache([*self.stack.lake.rglob("*.parquet"), *self.stack.index_files])
            took.append(self._milliseconds(_PERFORMANCE + self._fresh.pop()))
        return percentile(took, 0.95)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Let heartbeats come in and an hour be compacted meanwhile."""
        done, failed = threading.Event(), list[BaseException]()
        lake = Lake(str(self._folder / "compacted"))
        if not (self._folder / "compacted").exists():
            lake.create_tables()
            fill_raw_hour(lake, FullFleet(), THE_HOUR)

        def repeat(module: str, *arguments: object) -> None:
            try:
                while not done.is_set():
                    self.stack.client(module, *arguments)
            except BenchmarkError as error:
                failed.append(error)

        post = ("--port", self.stack.port, "--batch", 1, "--connections", 32, "--seconds", 5)
        threads = [
            threading.Thread(target=repeat, args=("benchmarks.load", *post)),
            threading.Thread(target=repeat, args=("benchmarks.lake_work", "compact", lake.uri)),
        ]
        for thread in threads:
            thread.start()
        try:
            time.sleep(_HEAD_START_SECONDS)
            yield
        finally:
            done.set()
            for thread in threads:
                thread.join()
        if failed:
            raise failed[0]

    def _milliseconds(self, path: str) -> float:
        began = time.perf_counter()
        self.stack.get(path)
        return 1000 * (time.perf_counter() - began)


def _requests_a_second(load: Mapping[str, Any]) -> float:
    return float(sum(load["answers"].values()) / load["seconds"])


_DAY: Final = Question(
    "day",
    "performance of 24 h, warm, 1 connection: p95",
    "ms",
    Goal(25, at_least=False),
    lambda bench: float(bench.performance(1)["p95_ms"]),
    ("a vehicle that was not asked for before: p95", lambda bench: bench.first()),
)
_QUESTIONS: Final = (
    _DAY,
    Question(
        "many",
        "the same, 16 connections",
        "requests/s",
        Goal(300),
        lambda bench: _requests_a_second(bench.performance(16)),
    ),
    Question(
        "cold",
        "the same, cold file cache: p95",
        "ms",
        Goal(60, at_least=False),
        lambda bench: bench.cold(),
    ),
    Question(
        "live",
        "live state of a device, 8 connections: p99",
        "ms",
        Goal(5, at_least=False),
        lambda bench: float(bench.live()["p99_ms"]),
        ("/healthz instead, which does nothing: p99", lambda bench: bench.nothing()["p99_ms"]),
    ),
    Question(
        "live-rate",
        "live state of a device, 8 connections",
        "requests/s",
        Goal(3_000),
        lambda bench: _requests_a_second(bench.live()),
    ),
    Question(
        "dashboard",
        "dashboard of 100 vehicles, 1 connection: p95",
        "ms",
        Goal(50, at_least=False),
        lambda bench: float(bench.dashboard()["p95_ms"]),
    ),
)
_CPU: Final = "CPU ms: collector Postgres"  # for a request, of the last run
_HISTORY: Final = "history"
_BUSY: Final = "busy"
_ROW_STORE: Final = "row-store"
CASE_NAMES: Final = (*(question.name for question in _QUESTIONS), _HISTORY, _BUSY, _ROW_STORE)


@dataclass(frozen=True)
class Size:
    """Size of the fleet and of its history, and of the part that the row store has."""

    vehicles: int = DEVICES
    days: int = 30
    row_store_vehicles: int = 1_000
    row_store_days: int = 1

    def fault(self) -> str | None:
        """One line of what is wrong with it."""
        if not _FEWEST_VEHICLES <= self.vehicles <= DEVICES or self.days < FEWEST_DAYS:
            return (
                f"a fleet has {_FEWEST_VEHICLES:,} to {DEVICES:,} vehicles and "
                f"{FEWEST_DAYS} days or more"
            )
        if not _WARM_VEHICLES <= self.row_store_vehicles <= self.vehicles:
            return f"the row store has {_WARM_VEHICLES} vehicles or more, all of the fleet"
        return None


def measure(names: Collection[str], seconds: float, runs: int, below: Path, size: Size) -> Report:
    """Ask the named cases, all runs on one stack; what fails is in the report.

    `history` compares with one day of history, `busy` asks all others again under load, `row-store`
    compares with plain SQL.
    """
    if fault := size.fault():
        return Report([], [], [fault])
    chosen = [question for question in _QUESTIONS if question.name in names]
    values: dict[str, list[float]] = defaultdict(list)
    cpu_ms: dict[str, tuple[float, ...]] = {}
    errors: list[str] = []
    beside: RowStore | None = None
    notes = [f"{seconds:g} s a case", _note(size)]
    try:
        with ExitStack() as ending:
            bench, fleet_lake = ending.enter_context(_filled(below, seconds, size))
            one_day: list[float] = []
            if _HISTORY in names:
                one_day = [_DAY.ask(bench) for _ in range(runs)]
            fleet_lake.fill_older_days(bench.stack.lake)
            if _ROW_STORE in names:
                some = bench.some_vehicles(size.row_store_vehicles)
                beside = ending.enter_context(
                    row_store(bench.stack, fleet_lake, some, size.row_store_days, _WARM_VEHICLES)
                )
                notes.append(beside.note)
            bench.warm_up()
            bench.check()
            for number in range(1, runs + 1):
                sys.stderr.write(f"run {number} of {runs}\n")
                mark_all_heard(bench.stack.database_url)
                for question in chosen:
                    bench.cpu_ms = ()
                    values[question.name].append(question.ask(bench))
                    cpu_ms[question.name] = bench.cpu_ms
                    if question.beside:
                        title, ask = question.beside
                        values[title].append(ask(bench))
                if beside:
                    beside.measure(bench.get_in_turn)
                if _BUSY in names:
                    with bench.busy():
                        for question in chosen:
                            values[f"{question.name} {_BUSY}"].append(question.ask(bench))
            if one_day:
                if _DAY not in chosen:
                    values[_DAY.name] = [_DAY.ask(bench) for _ in range(runs)]
                base = statistics.median(one_day)
                values[_HISTORY] = [value / base for value in values[_DAY.name]]
    except BenchmarkError as error:
        errors.append(str(error))
    rows = [*_rows(values, cpu_ms), *(beside.rows() if beside else ())]
    return Report(rows, notes, errors)


def _note(size: Size) -> str:
    return (
        f"whole: 28 hours of {size.vehicles:,} meters and vehicles, and one as 60 flushes left it; "
        f"older, of {size.days} days: the real number of files, each with 50 devices"
    )


def _rows(
    values: Mapping[str, list[float]],
    cpu_ms: Mapping[str, tuple[float, ...]],
) -> list[Row]:
    rows = []
    for question in _QUESTIONS:
        if found := values.get(question.name):
            cells = {_CPU: " ".join(map(number, cpu_ms.get(question.name, ())))}
            rows.append(Row(question.title, question.unit, found, question.goal, cells))
        if question.beside and (found := values.get(question.beside[0])):
            rows.append(Row(f"  {question.beside[0]}", question.unit, found))
        if question is _DAY and (found := values.get(_HISTORY)):
            goal = Goal(1.2, at_least=False)
            rows.append(Row("  to the same with one day of history", "x", found, goal))
        if found := values.get(f"{question.name} {_BUSY}"):
            limit, at_least = question.goal.limit, question.goal.at_least
            goal = Goal(limit / 2 if at_least else 2 * limit, at_least)
            rows.append(Row("  while busy", question.unit, found, goal))
    return rows


@contextmanager
def _filled(below: Path, seconds: float, size: Size) -> Iterator[tuple[_Bench, FleetLake]]:
    """Stack with one day of history, everybody live and nothing left in the outbox."""
    sys.stderr.write("filling\n")
    now = datetime.now(UTC)
    fleet = FleetLake(hour_of(now) - HOUR, size.vehicles, size.days)
    with (
        tempfile.TemporaryDirectory(prefix="wattlake-benchmark-", dir=below) as folder,
        stack_under_test(below, fleet.fill_one_day) as stack,
    ):
        fill_database(stack.database_url, fleet, now)
        for stream in STREAMS.values():
            heartbeats = fleet.newest(stream, now)
            for first in range(0, len(heartbeats), _BATCH):
                stack.post(f"/v1/ingest/{stream.name}/batch", heartbeats[first : first + _BATCH])
        deadline = time.monotonic() + _READY_SECONDS
        indexed_hours = len(STREAMS) * 24
        while stack.status()["outboxRows"] or stack.metric(_INDEXED) < indexed_hours:
            if time.monotonic() > deadline:
                raise BenchmarkError("the outbox is not flushed, or hours are not indexed")
            time.sleep(0.5)
        bench = _Bench(stack, fleet, seconds, Path(folder))
        bench.warm_up()
        yield bench, fleet


def _drop_from_file_cache(files: Iterable[Path]) -> None:
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # what is not on the disk stays in memory
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
