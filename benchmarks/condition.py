"""Faults of a simulated year of charging, and how well and how fast they are found.

A fleet charges for a year; a part of its chargers and vehicles drift, drop, stick, slip, count in
another unit, have a wrong clock, a missing phase or the link of another. Each week the list of
whom to visit is brought up to date with what is known by then. Beside it two rules that anybody
would begin with: a week below 85 % (and below the highest line whose visits find a fault in 95
of 100 cases), and a week more than three standard deviations below a device's first weeks.
These can't tell charger and vehicle apart: a visit of theirs counts as true if either is at fault.

Columns: `visits` that each asks for in 39 weeks, how many of them find a fault (`precision`), how
many of the drifting devices that have lost 3 % or more are found (`drifts found`), how many of
those that cross 80 % were found 7 days before (`7 days before`), the median of the days
(`warning`), and false visits in 1,000 months of devices (`false`). `speed` is one look at a full
fleet.
"""

import resource
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import polars as pl

from benchmarks.table import Goal, Report, Row, TableRow, table
from lake.condition import find_anomalies
from tests.harness.charging_year.fleet import DAYS, YEAR_BEGINS, ChargingYear, charging_year
from tests.harness.charging_year.scoreboard import (
    FAULT_LINE,
    Score,
    found_by_kind,
    line_flags,
    listed_flags,
    precise_line,
    score,
    sigma_flags,
)

CASE_NAMES: Final = ("found", "speed")
FULL_FLEET: Final = 10_000
_GOALS: Final = {
    "precision, %": Goal(95),
    "drifts found, times those of the line of 95 %": Goal(2),
    "found 7 days before 80 %, %": Goal(50),
    "false visits in 1,000 device months": Goal(1, at_least=False),
}


@dataclass(frozen=True)
class _ScoreRow:
    score: Score

    def texts(self) -> dict[str, str]:
        """The text of each column."""
        one = self.score
        days = one.days_of_warning
        return {
            "case": one.name,
            "visits": f"{one.visits:,}",
            "precision": "" if one.precision is None else f"{one.precision:.1%}",
            "drifts found": f"{one.drifts_found} of {one.drifts}",
            "7 days before": f"{one.crossings_warned} of {one.crossings}",
            "warning": "" if days is None else f"{days:.0f} days",
            "false": f"{one.false_per_1000_device_months:.2f}",
        }


@dataclass(frozen=True)
class _KindRow:
    kind: str
    faults: int
    found: int
    named: int
    median_days: float | None

    def texts(self) -> dict[str, str]:
        """The text of each column."""
        days = self.median_days
        return {
            "fault": self.kind,
            "of": str(self.faults),
            "found": str(self.found),
            "first named so": str(self.named),
            "days after it began": "" if days is None else f"{days:.0f}",
        }


def measure(names: Collection[str], vehicles: int, seed: int) -> Report:
    """Score a year of so many vehicles, and time a look at a full fleet."""
    rows: list[TableRow] = []
    notes: list[str] = []
    if "found" in names:
        year = charging_year(vehicles, seed)
        sys.stderr.write(f"{year.devices:,} devices, {year.sessions.height:,} sessions\n")
        scored, kinds = _found(year)
        rows += [*scored, *_reached(scored)]
        notes += [f"seed {seed}; {year.devices:,} devices, {year.sessions.height:,} sessions", ""]
        notes += [table(kinds), ""]
    if "speed" in names:
        rows.append(_speed(seed))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        notes.append(f"peak memory {peak:.1f} GiB, the simulated sessions included")
    return Report(rows, notes, [])


def _found(year: ChargingYear) -> tuple[list[_ScoreRow], list[_KindRow]]:
    listed = listed_flags(year)
    line, of_line = precise_line(year)
    scores = [
        score("maintenance list", year, listed),
        score(f"below {FAULT_LINE:.0f} %", year, line_flags(year)),
        score(f"below {line:.0f} % (95 % precise)", year, of_line),
        score("three sigma", year, sigma_flags(year)),
    ]
    kinds = [_KindRow(**row) for row in found_by_kind(year, listed).iter_rows(named=True)]
    return [_ScoreRow(one) for one in scores], kinds


def _reached(scored: list[_ScoreRow]) -> list[Row]:
    ours, _, line, _ = (row.score for row in scored)
    values = (
        100 * (ours.precision or 0),
        ours.drifts_found / max(line.drifts_found, 1),
        100 * ours.crossings_warned / max(ours.crossings, 1),
        ours.false_per_1000_device_months,
    )
    return [
        Row(name, "", [value], goal, {"runs": "", "min-max": ""})
        for (name, goal), value in zip(_GOALS.items(), values, strict=True)
    ]


def _speed(seed: int) -> Row:
    year = charging_year(FULL_FLEET, seed)
    began = time.perf_counter()
    found = find_anomalies(year.sessions, YEAR_BEGINS + timedelta(days=DAYS))
    seconds = time.perf_counter() - began
    sessions = year.sessions.select(pl.len()).item()
    what = f"one look at {year.devices:,} devices, {sessions:,} sessions: {found.height} anomalies"
    return Row(what, "s", [seconds], Goal(300, at_least=False), {"runs": "", "min-max": ""})
