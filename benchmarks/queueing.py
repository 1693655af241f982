"""The queues of the parts, simulated: commits of a collector, lake writers, hours after an outage.

Time is simulated, so the same table comes out on every machine. The case `service` runs the parts
themselves for three minutes: their times on this machine, and how far off the simulation is. `home`
has a home merge cells.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.home_merge import merged
from benchmarks.queueing_models import (
    Answers,
    Collector,
    HourlyRuns,
    Store,
    group_commit,
    hours_after_outage,
    lake_writers,
)
from benchmarks.queueing_service import measured
from benchmarks.table import Report, number


@dataclass(frozen=True)
class _Line:
    cells: dict[str, str]

    def texts(self) -> dict[str, str]:
        return self.cells


def _commits(_: Path) -> Iterator[_Line]:
    chance, service = np.random.default_rng(_SEED), Collector()
    for rate in (333, 1_000, 3_000, 5_000, 6_000, 7_000, 8_000):
        arrivals = chance.uniform(0, _SECONDS, chance.poisson(rate * _SECONDS))
        yield _answered(f"{rate:,} requests/s", group_commit(arrivals, service))
    closed = group_commit([0.0] * 64, service, again_until=_SECONDS)
    served = len(closed.latencies) / closed.end
    yield _answered(f"64 clients one after the other: {served:,.0f} requests/s", closed)


def _bursts(_: Path) -> Iterator[_Line]:
    for devices in (20_000, 100_000):
        arrivals = np.random.default_rng(_SEED).uniform(0, 1, devices)
        for collectors in (1, 4):
            one = group_commit(arrivals[::collectors], Collector())
            title = f"{devices:,} devices within a second, {collectors} collectors"
            yield _answered(title, one, {"all by": f"{number(one.end)} s"})


def _answered(title: str, answers: Answers, more: Mapping[str, str] | None = None) -> _Line:
    p50, p99 = (number(1000 * p) for p in np.percentile(answers.latencies, [50, 99]))
    asked = len(answers.latencies) + answers.refused
    of_503 = f"{100 * answers.refused / asked:.0f} %"
    return _Line({"case": title, "p50 ms": p50, "p99 ms": p99, "503": of_503, **(more or {})})


def _writers(_: Path) -> Iterator[_Line]:
    for pause in (60, 300, 600):
        for cells in (1, 10, 50, 100, 200, 500):
            done = lake_writers(cells, pause, _FLUSHES * pause, Store())
            p50, p99 = np.percentile(done.seconds, [50, 99])
            yield _Line(
                {
                    "case": f"{cells} cells, FLUSH_SECONDS={pause}",
                    "p50 s": number(p50),
                    "p99 s": number(p99),
                    "attempts": number(float(np.mean(done.attempts))),
                    "done again": f"{100 * done.again / (done.again + len(done.seconds)):.0f} %",
                    "next one after s": number(float(np.median(done.cycle))),
                }
            )


def _hours(_: Path) -> Iterator[_Line]:
    for devices in (20_000, 100_000, 1_000_000, 4_000_000):
        for outage, workers in ((24, 1), (24, 4), (24 * 30, 1), (24 * 30, 4)):
            done = hours_after_outage(outage, devices / 20_000, workers, HourlyRuns(), late=1)
            yield _Line(
                {
                    "case": f"{devices:,} devices, {outage // 24} days away, {workers} workers",
                    "caught up": "never" if done.hours is None else f"{number(done.hours)} h",
                    "newest hour p50": _minutes(done.delays, 50),
                    "p99": _minutes(done.delays, 99),
                    "waiting": f"{done.waiting:,}",
                }
            )


def _minutes(delays: Sequence[float], percent: float) -> str:
    return f"{number(np.percentile(delays, percent) / 60)} min" if delays else ""


_SEED: Final = 1
_SECONDS: Final = 20
_FLUSHES: Final = 20
_CASES: Final[dict[str, Callable[[Path], Iterator[_Line]]]] = {
    "commits": _commits,
    "bursts": _bursts,
    "writers": _writers,
    "hours": _hours,
    "service": lambda below: map(_Line, measured(below)),
    "home": lambda below: map(_Line, merged(below)),
}
CASE_NAMES: Final = tuple(_CASES)


def measure(cases: Collection[str], below: Path) -> Report:
    """Simulate the cases; `service` and `home` measure below a folder."""
    rows = [line for case in cases for line in _CASES[case](below)]
    return Report(rows, [f"simulated, {Collector()}", f"{Store()}", f"{HourlyRuns()}"], errors=[])
