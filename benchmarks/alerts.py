"""Cost of the alert rules, and the time from a heartbeat to its alert.

A stack with 10,000 meters and 10,000 vehicles, each vehicle linked to its meter, and the rules that
are shipped. The fleet posts its 333 heartbeats a second all the time; the looks are those of the
collector itself. Now and then a hot battery is reported, and what counts is the time from the
answer to it until GET /v1/alerts has its alert.
"""

import itertools
import sys
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg

from benchmarks import fleet
from benchmarks.live_fleet import make_all_live
from benchmarks.load import percentile
from benchmarks.processes import cpu_seconds
from benchmarks.stack import BenchmarkError, StackUnderTest, stack_under_test
from benchmarks.table import Goal, Report, Row

CASE_NAMES: Final = ("look", "soon")
_LOOK, _SOON = CASE_NAMES

_HEAD_START_SECONDS: Final = 2.0  # of the load
_PATIENCE_SECONDS: Final = 30.0  # for an alert
_POLL_SECONDS: Final = 0.01
_LOOKS: Final = 'wattlake_alert_look_seconds_{}{{rules="live"}}'
_WATCHER: Final = Path(__file__).with_name("alerts.sql")
_CPU: Final = "a look at 20,000 devices: CPU of Postgres"
_WALL: Final = "  by the clock"
_PERCENTILES: Final = {"p50": 0.5, "p95": 0.95, "worst": 1.0}
_GOALS: Final = {"worst": Goal(2, at_least=False)}


def measure(names: Collection[str], seconds: float, runs: int, below: Path) -> Report:
    """Measure the named cases, all runs on one stack; what fails is in the report."""
    values: dict[str, list[float]] = defaultdict(list)
    answers = 0
    errors: list[str] = []
    try:
        with stack_under_test(below) as stack:
            sys.stderr.write("filling\n")
            acknowledged = make_all_live(stack)
            _link_all(stack)
            cars = (f"HOT{n}" for n in itertools.count())
            for run in range(1, runs + 1):
                sys.stderr.write(f"run {run} of {runs}\n")
                with ThreadPoolExecutor(1) as beside:
                    load = beside.submit(_post_fleet, stack, seconds + _HEAD_START_SECONDS)
                    time.sleep(_HEAD_START_SECONDS)
                    before = _EvaluationCost(stack)
                    took = list(_until_alerts(stack, load, cars)) if _SOON in names else []
                    load.exception()  # waits for the end
                    looks = _EvaluationCost(stack)
                    acknowledged += load.result()["acknowledged"] + len(took)
                if _LOOK in names:
                    for name, value in looks.each_since(before).items():
                        values[name].append(value)
                answers += len(took)
                for name, share in _PERCENTILES.items() if took else ():
                    values[name].append(percentile(took, share))
            stack.check_counts(acknowledged)
    except BenchmarkError as error:
        errors.append(str(error))
    return Report(_rows(values), [f"{seconds:g} s a run, {answers} alerts in all"], errors)


class _EvaluationCost:
    """Evaluations of live state up to now: their count and their cost."""

    def __init__(self, stack: StackUnderTest) -> None:
        self._count, self._wall = (stack.metric(_LOOKS.format(of)) for of in ("count", "sum"))
        with psycopg.connect(stack.database_url) as conn:
            row = conn.execute(_WATCHER.read_bytes()).fetchone()
        if row is None:
            raise BenchmarkError("no collector looks at live state")
        self._cpu = cpu_seconds(row[0])

    def each_since(self, before: "_EvaluationCost") -> Mapping[str, float]:
        """Milliseconds of an evaluation, on average."""
        looks = self._count - before._count
        if not looks:
            raise BenchmarkError("no look at live state ended in the time; measure for longer")
        spent = {_CPU: self._cpu - before._cpu, _WALL: self._wall - before._wall}
        return {name: 1000 * seconds / looks for name, seconds in spent.items()}


def _rows(values: Mapping[str, list[float]]) -> list[Row]:
    rows = [Row(name, "ms", values[name]) for name in (_CPU, _WALL) if name in values]
    rows += [
        Row(f"heartbeat acknowledged to alert readable: {name}", "s", found, _GOALS.get(name))
        for name in _PERCENTILES
        if (found := values.get(name))
    ]
    return rows


def _link_all(stack: StackUnderTest) -> None:
    began = _iso(datetime.now(UTC) - timedelta(days=1))
    links = [
        {"meterId": f"METER{n:05d}", "vehicleId": f"VEH{n:05d}", "validFrom": began}
        for n in range(1, fleet.DEVICES + 1)
    ]
    stack.post("/v1/links/import", links)


def _post_fleet(stack: StackUnderTest, seconds: float) -> dict[str, Any]:
    load: dict[str, Any] = stack.client(
        "benchmarks.load",
        *("--port", stack.port, "--batch", 1, "--connections", 32, "--seconds", seconds),
    )
    if load["answers"].keys() != {"201"}:
        raise BenchmarkError(f"answers other than 201: {load['answers']}")
    return load


def _until_alerts(stack: StackUnderTest, load: Future[Any], cars: Iterator[str]) -> Iterator[float]:
    """Seconds from the answer to a hot battery's heartbeat until its alert, while the load goes."""
    while not load.done():
        car, now = next(cars), _iso(datetime.now(UTC))
        heartbeat = {"vehicleId": car, "timestamp": now, "kwhDeliveredDc": 0.1, "batteryTemp": 60}
        stack.post("/v1/ingest/vehicle", heartbeat)
        acknowledged = time.perf_counter()
        while not stack.get(f"/v1/alerts?deviceId={car}")["alerts"]:
            if time.perf_counter() > acknowledged + _PATIENCE_SECONDS:
                raise BenchmarkError(f"no alert at {car} within {_PATIENCE_SECONDS:g} s")
            time.sleep(_POLL_SECONDS)
        yield time.perf_counter() - acknowledged


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
