"""Cost of the lake: compaction, a day's tables, disk, bulk import, recomputation, object stores.

Ratios come from one run: what is compared takes turns, each turn a process of its own on files that
are in the file cache. The heartbeats are those of the simulated fleet at its full size.
"""

import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import polars as pl

from benchmarks.full_fleet import FullFleet
from benchmarks.lake_day import DAY, Figures
from benchmarks.lake_fill import fill_history, fill_raw_hour, fill_year
from benchmarks.lake_import import import_files, write_files
from benchmarks.lake_recomputation import computations_an_hour
from benchmarks.lake_store import requests_of_a_store
from benchmarks.lake_work import THE_HOUR
from benchmarks.stack import BenchmarkError, run_process
from benchmarks.table import Goal, Report, Row
from lake import HOUR, STREAMS, Lake
from lake.schema.history import history_table
from lake.upkeep.archive import archive_day
from tests.harness.postgres import server_folder

_HOURS_OF_DAY: Final = 24
_IMPORTED_HOURS: Final = 9  # 10.8 million heartbeats


@dataclass(frozen=True)
class _Bench:
    folder: Path
    runs: int
    hours: int
    fleet: FullFleet

    def lake(self, name: str) -> Lake:
        """A lake of this name; made if it is not there."""
        lake = Lake(str(self.folder / name))
        lake.create_tables()
        return lake

    def work(self, name: str, lake: Lake) -> Figures:
        """Do one piece of work in a process of its own."""
        try:
            figures: Figures = run_process(
                "benchmarks.lake_work", name, lake.uri, folder=self.folder
            )
        except BenchmarkError as error:
            raise BenchmarkError(f"{name}: {error}") from error
        return figures

    def run_in_turn(self, *works: tuple[str, Lake]) -> list[list[Figures]]:
        """Each work in each run, one after the other; the first turn of all only warms up."""
        turns = [[self.work(*work) for work in works] for _ in range(self.runs + 1)]
        return [list(of_work) for of_work in zip(*turns[1:], strict=True)]


def _compaction(bench: _Bench) -> list[Row]:
    lake = bench.lake("hour")
    fill_raw_hour(lake, bench.fleet, THE_HOUR)
    bare, ours = bench.run_in_turn(("bare", lake), ("compact", lake))
    return [
        _ratio("an hour compacted, to bare Polars", ours, bare, Goal(1.5, at_least=False)),
        Row("an hour compacted", "s", _all(ours, "seconds"), Goal(5, at_least=False)),
        Row("an hour compacted, memory", "MiB", _all(ours, "peak_mib"), Goal(1536, at_least=False)),
    ]


def _year(bench: _Bench) -> list[Row]:
    empty, year = bench.lake("empty"), bench.lake("year")
    for lake in (empty, year):
        fill_raw_hour(lake, bench.fleet, THE_HOUR)
    fill_year(year, before=THE_HOUR)
    before, after = bench.run_in_turn(("compact", empty), ("compact", year))
    goal = Goal(1.2, at_least=False)
    return [_ratio("an hour compacted after a year, to an empty lake", after, before, goal)]


def _day(bench: _Bench) -> list[Row]:
    lake = bench.lake("day")
    rows = fill_history(lake, bench.fleet, _first(bench.hours))
    loose = _bytes_of_history(lake)
    (found,) = bench.run_in_turn(("tables", lake))
    for stream in STREAMS.values():
        archive_day(lake, history_table(stream), DAY.date())
    is_whole = bench.hours == _HOURS_OF_DAY
    title = "a day" if is_whole else f"{bench.hours} hours"
    in_time = Goal(30, at_least=False) if is_whole else None
    return [
        Row(f"efficiency tables of {title}", "s", _all(found, "seconds"), in_time),
        Row(f"efficiency tables of {title}, memory", "MiB", _all(found, "peak_mib")),
        Row(f"other tables of {title}", "s", _all(found, "other_seconds")),
        Row("history on disk, hour files", "bytes/heartbeat", [loose / rows]),
        Row(
            "history on disk, archived",
            "bytes/heartbeat",
            [_bytes_of_history(lake) / rows],
            Goal(6, at_least=False),
        ),
    ]


def _import(bench: _Bench) -> list[Row]:
    files = bench.folder / "files"
    rows = write_files(files, bench.fleet, _first(min(bench.hours, _IMPORTED_HOURS)))
    runs = [import_files(files, rows) for _ in range(bench.runs)]
    return [
        Row("bulk import", "heartbeats/s", _all(runs, "rate"), Goal(1_000_000)),
        Row("bulk import, memory", "MiB", _all(runs, "peak_mib")),
    ]


_CASES: Final[dict[str, Callable[[_Bench], list[Row]]]] = {
    "compaction": _compaction,
    "year": _year,
    "day": _day,
    "import": _import,
    "store": lambda bench: requests_of_a_store(bench.fleet),
    "recomputation": lambda bench: computations_an_hour(bench.folder),
}
CASE_NAMES: Final = tuple(_CASES)


def measure(cases: Collection[str], runs: int, hours: int, below: Path) -> Report:
    """Measure the cases in lakes below `below`, which are removed afterwards.

    `hours` of the fleet's day are filled; what fails is in the report.
    """
    rows: list[Row] = []
    errors = []
    fleet = FullFleet()
    for case in cases:
        sys.stderr.write(f"{case}\n")
        with server_folder(below) as folder:
            try:
                rows += _CASES[case](_Bench(folder, runs, hours, fleet))
            except BenchmarkError as error:
                errors.append(f"{case}: {error}")
    return Report(rows, notes=[], errors=errors)


def _first(hours: int) -> list[datetime]:
    return [DAY + n * HOUR for n in range(hours)]


def _bytes_of_history(lake: Lake) -> int:
    logs = [lake.open(stream.history_table).get_add_actions() for stream in STREAMS.values()]
    return sum(int(pl.DataFrame(log)["size_bytes"].sum()) for log in logs)


def _ratio(case: str, ours: list[Figures], others: list[Figures], goal: Goal) -> Row:
    pairs = zip(ours, others, strict=True)
    return Row(case, "x", [one["seconds"] / other["seconds"] for one, other in pairs], goal)


def _all(figures: list[Figures], name: str) -> list[float]:
    return [of_run[name] for of_run in figures]
