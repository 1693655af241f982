"""Speed of the collector with heartbeats over HTTP, while the lake writer works.

Every case runs on a fresh stack, and afterwards each record that was acknowledged must be in the
lake or in the outbox. Beside batches of 1,000, on the same stack and in turn with them, the
committer's statements write to a second database without HTTP, in groups of the same size.
"""

import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks import fleet
from benchmarks.stack import BenchmarkError, Cpu, SecondDatabase, StackUnderTest, stack_under_test
from benchmarks.table import Goal, Report, Row, number


@dataclass(frozen=True)
class Case:
    """A kind of load, flat out or as the fleet sends by itself."""

    name: str
    title: str
    batch: int
    connections: int
    unit: str = ""
    goal: Goal | None = None
    is_scheduled: bool = False


_BATCH_1000: Final = Case(
    "batch-1000", "batches of 1,000, 16 connections", 1_000, 16, "records/s", Goal(150_000)
)
_CASES: Final = (
    _BATCH_1000,
    Case("batch-100", "batches of 100, 16 connections", 100, 16, "records/s", Goal(80_000)),
    Case("single", "single records, 64 connections", 1, 64, "requests/s", Goal(5_000)),
    Case("steady", "the fleet's 333/s as single posts", 1, 32, is_scheduled=True),
)
_COMMIT_ONLY: Final = "commit-only"  # never without _BATCH_1000
CASE_NAMES: Final = (*(case.name for case in _CASES), _COMMIT_ONLY)

_TURNS: Final = 3  # of HTTP and without it; the noise of the machine meets both
_HISTORY_SECONDS: Final = 2 * 86_400
_LARGEST_RATE: Final = 500_000  # records/s for which event times stay in the past
_ANSWERS_EXPECTED: Final = {"201", "503"}  # a 503 is sent again
_PEAKS: Final = "MiB collector Postgres"
_CORES: Final = "CPU collector Postgres load"
_MIB: Final = 1024 * 1024


@dataclass
class Run:
    """Outcome of one run of a case, its turns summed up. CPU and durations in seconds."""

    seconds: float = 0
    records: int = 0  # acknowledged within these seconds
    acknowledged: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    p50_ms: list[float] = field(default_factory=list)  # of each turn
    p99_ms: list[float] = field(default_factory=list)
    late_p99_ms: list[float] = field(default_factory=list)
    cpu: Cpu = field(default_factory=Cpu)
    load_cpu: float = 0
    in_lake: int = 0  # when the load ended
    collector_bytes: int = 0
    postgres_bytes: int = 0
    group_rows: float = 0  # on average
    commit_only_seconds: float = 0
    commit_only_records: int = 0
    commit_only_cpu: Cpu = field(default_factory=Cpu)

    @property
    def rate(self) -> float:
        """Records a second over HTTP."""
        return self.records / self.seconds

    @property
    def commit_only_rate(self) -> float:
        """Records a second without HTTP."""
        return self.commit_only_records / self.commit_only_seconds


def measure(
    names: Collection[str], seconds: float, runs: int, below: Path, collectors: int = 1
) -> Report:
    """Run the named cases in turn, `runs` times; what fails is in the report."""
    chosen = [
        case
        for case in _CASES
        if case.name in names or (case is _BATCH_1000 and _COMMIT_ONLY in names)
    ]
    done: dict[str, list[Run]] = {case.name: [] for case in chosen}
    errors = []
    for number_of_run in range(1, runs + 1):
        for case in chosen:
            sys.stderr.write(f"run {number_of_run} of {runs}: {case.title}\n")
            commit_only_too = case is _BATCH_1000 and _COMMIT_ONLY in names
            try:
                done[case.name].append(
                    _run(case, seconds, below, collectors, commit_only_too=commit_only_too)
                )
            except BenchmarkError as error:
                errors.append(f"{case.title}: {error}")
    rows = [row for case in chosen if done[case.name] for row in _rows(case, done[case.name])]
    notes = [
        f"{seconds:g} s a case, collectors: {collectors}; in lake: share of the records when the "
        "load ended; MiB: peak; CPU: cores in use"
    ]
    notes += [note for case in chosen if done[case.name] for note in _notes(case, done[case.name])]
    return Report(rows, notes, errors)


def _run(case: Case, seconds: float, below: Path, collectors: int, *, commit_only_too: bool) -> Run:
    run = Run()
    rounds = seconds * _LARGEST_RATE / (len(fleet.STREAMS) * fleet.DEVICES)
    first_event = int(time.time() - max(_HISTORY_SECONDS, rounds * fleet.ROUND_SECONDS))
    turns = _TURNS if commit_only_too else 1
    with stack_under_test(below, collectors=collectors) as stack:
        second = stack.second_database("commit_only") if commit_only_too else None
        next_request = next_position = 0
        for _ in range(turns):
            next_request = _post(run, stack, case, seconds / turns, first_event, next_request)
            if second is not None:
                next_position = _write(run, second, seconds / turns, first_event, next_position)
        run.collector_bytes = stack.collector_peak_bytes
        run.postgres_bytes = stack.postgres_peak_bytes
        stack.check_counts(run.acknowledged)
        if second is not None:
            second.check_counts(run.commit_only_records)
    if wrong := {status: n for status, n in run.answers.items() if status not in _ANSWERS_EXPECTED}:
        raise BenchmarkError(f"answers other than 201 and 503: {wrong}")
    return run


def _post(
    run: Run, stack: StackUnderTest, case: Case, seconds: float, first_event: int, next_request: int
) -> int:
    """One turn of load over HTTP; returns the request that the next one starts with."""
    before = stack.cpu()
    arguments: list[object] = ["--port", stack.port, "--batch", case.batch]
    arguments += ["--connections", case.connections, "--seconds", seconds]
    if not case.is_scheduled:
        arguments += ["--first-event", first_event, "--first-request", next_request]
    load = stack.client("benchmarks.load", *arguments)
    run.cpu += stack.cpu() - before
    run.seconds += load["seconds"]
    run.records += load["records"]
    run.acknowledged += load["acknowledged"]
    run.answers.update(load["answers"])
    run.p50_ms.append(load["p50_ms"])
    run.p99_ms.append(load["p99_ms"])
    run.late_p99_ms.append(load["late_p99_ms"])
    run.load_cpu += load["cpu_seconds"]
    run.in_lake = stack.status()["rowsInLake"]
    rows, commits = (stack.metric(f"wattlake_group_commit_rows_{of}") for of in ("sum", "count"))
    run.group_rows = rows / commits
    next_one: int = load["next_request"]
    return next_one


def _write(
    run: Run, second: SecondDatabase, seconds: float, first_event: int, next_position: int
) -> int:
    """One turn without HTTP; returns the position in the fleet that the next one starts with."""
    before = second.stack.cpu()
    written = second.client(
        "benchmarks.commit_only",
        *("--group-rows", round(run.group_rows), "--seconds", seconds),
        *("--first-event", first_event, "--first-position", next_position),
    )
    used = second.stack.cpu() - before
    run.commit_only_cpu += Cpu(written["cpu_seconds"], used.postgres)
    run.commit_only_seconds += written["seconds"]
    run.commit_only_records += written["records"]
    next_one: int = written["next_position"]
    return next_one


def _rows(case: Case, runs: Sequence[Run]) -> list[Row]:
    def median(of: Callable[[Run], float]) -> float:
        return statistics.median(of(run) for run in runs)

    def cores(*of: Callable[[Run], float]) -> str:
        return " ".join(f"{median(one):.2f}" for one in of)

    cells = {
        "p50 p99 ms": f"{number(_typical(run.p50_ms for run in runs))} "
        f"{number(_typical(run.p99_ms for run in runs))}",
        "records": f"{sum(run.acknowledged for run in runs):,}",
        "in lake": f"{median(lambda run: run.in_lake / run.acknowledged):.0%}",
        _PEAKS: f"{number(max(run.collector_bytes for run in runs) / _MIB)} "
        f"{number(max(run.postgres_bytes for run in runs) / _MIB)}",
        _CORES: cores(
            lambda run: run.cpu.collector / run.seconds,
            lambda run: run.cpu.postgres / run.seconds,
            lambda run: run.load_cpu / run.seconds,
        ),
    }
    if case.is_scheduled:
        used = [100 * (run.cpu.collector + run.cpu.postgres) / run.seconds for run in runs]
        p99 = [statistics.median(run.p99_ms) for run in runs]
        return [
            Row(f"{case.title}: p99", "ms", p99, Goal(10, at_least=False), cells),
            Row("  CPU without the load", "% of a core", used, Goal(15, at_least=False)),
        ]
    rows = [Row(case.title, case.unit, [run.rate for run in runs], case.goal, cells)]
    if all(run.commit_only_seconds for run in runs):
        rates = [run.commit_only_rate for run in runs]
        cells = {
            "records": f"{sum(run.commit_only_records for run in runs):,}",
            _CORES: cores(
                lambda run: run.commit_only_cpu.collector / run.commit_only_seconds,
                lambda run: run.commit_only_cpu.postgres / run.commit_only_seconds,
                lambda _: 0,
            ),
        }
        ratios = [run.rate / run.commit_only_rate for run in runs]
        rows += [
            Row("  the same statements without HTTP", case.unit, rates, cells=cells),
            Row("  share of it reached over HTTP", "", ratios, Goal(0.7)),
        ]
    return rows


def _typical(of_runs: Iterable[Sequence[float]]) -> float:
    """Median over all turns of the runs."""
    return statistics.median(value for of_run in of_runs for value in of_run)


def _notes(case: Case, runs: Sequence[Run]) -> list[str]:
    notes = []
    if again := sum(run.answers["503"] for run in runs):
        notes.append(f"{case.title}: {again:,} answers were 503 and were sent again")
    if all(run.commit_only_seconds for run in runs):
        rows = statistics.median(run.group_rows for run in runs)
        notes.append(
            f"{case.title}: {rows:,.0f} rows in a commit on average, with HTTP and without"
        )
    if case.is_scheduled:
        late = _typical(run.late_p99_ms for run in runs)
        notes.append(f"{case.title}: of the p99, the load generator was {late:.2f} ms late itself")
    return notes
