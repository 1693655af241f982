"""Hours of a small fleet on a Ray cluster of one node, beside the same hours in one process.

Each engine computes two days and then all, in turn, and commits them. What a run on the cluster
costs beside its hours, and what an hour costs, follow from the two; from so many hours on it pays.
Start and memory are those of an idle node, and of one whose workers compute. The cluster has no
network but loopback. It needs the extra `ray`.
"""

import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from benchmarks.full_fleet import FullFleet
from benchmarks.lake_day import DAY
from benchmarks.lake_fill import fill_history
from benchmarks.processes import PeakShare
from benchmarks.stack import BenchmarkError
from benchmarks.table import Report, Row
from lake import HOUR, EnergySettings, Lake, replace_hours
from lake.delta import commit_replacement
from lake.schema import HOURLY_TABLES
from local_stack.stack.parent_death import die_with_parent
from pipelines.compute.stretch import Stretch, compute_stretch, day_stretches
from pipelines.engine import run_tasks
from pipelines.settings import PipelineSettings
from tests.harness.postgres import running_postgres, server_folder
from tests.harness.ray_cluster import bring_loopback_up, command_on_loopback, ray_nodes
from warehouse_sql.migrate import migrate

CASE_NAMES: Final = ("stretches",)
_FEW_DAYS: Final = 2
_IDLE_SECONDS: Final = 5  # in which the memory of a node at rest is looked at
_PROCESSORS: Final = 2
_MIB: Final = 2**20


def measure(vehicles: int, days: int, runs: int, below: Path) -> Report:
    """Compute so many days with either engine, in a network of its own."""
    with server_folder(below) as folder:
        module = command_on_loopback("benchmarks.ray", folder, vehicles, days, runs)
        done = subprocess.run(
            die_with_parent(module, signal.SIGTERM), stdout=subprocess.PIPE, check=False
        )
    if done.returncode:
        raise BenchmarkError("the extra `ray` is not installed, or the cluster has failed")
    found: dict[str, list[float]] = json.loads(done.stdout)
    few, many = _FEW_DAYS * 24, days * 24
    speed = [here / there for here, there in zip(found["here"], found["there"], strict=True)]
    rows = [
        Row("start of a node", "s", found["start"]),
        Row("connecting, and a first task on each processor", "s", found["first"]),
        Row("memory of an idle node", "MiB", found["idle"]),
        Row(f"memory of a node with {_PROCESSORS} workers", "MiB", found["busy"]),
        Row(f"{many} hours in one process", "s", found["here"]),
        Row(f"{many} hours on {_PROCESSORS} workers", "s", found["there"]),
        Row(f"speed-up by {_PROCESSORS} workers", "x", speed),
    ]
    here, there = (
        [statistics.median(found[f"{engine}{size}"]) for size in (" few", "")]
        for engine in ("here", "there")
    )
    saved_an_hour = ((here[1] - here[0]) - (there[1] - there[0])) / (many - few)
    lost = there[0] - here[0] + saved_an_hour * few
    if saved_an_hour > 0 and lost > 0:
        rows.append(Row("hours from which on a run is faster there", "", [lost / saved_an_hour]))
    return Report(rows, [f"{vehicles:,} vehicles and as many meters"], [])


def main() -> int:
    """Measure, and print one JSON object."""
    folder, vehicles, days, runs = Path(sys.argv[1]), *map(int, sys.argv[2:])
    bring_loopback_up()
    found: dict[str, list[float]] = {}
    with running_postgres(folder / "postgres") as server:
        migrate(server.url())
        lake = Lake(str(folder / "lake"))
        lake.create_tables()
        hours = [DAY + n * HOUR for n in range(24 * days)]
        fill_history(lake, FullFleet(vehicles=vehicles), hours)
        began = time.perf_counter()
        with ray_nodes(folder / "ray", nodes=1, processors=_PROCESSORS) as (address, (node,)):
            found["start"] = [time.perf_counter() - began]
            with PeakShare(node.pid) as idle:
                time.sleep(_IDLE_SECONDS)
            there = PipelineSettings(_env_file=None, engine="ray", ray_address=address)
            engines = {"here": PipelineSettings(_env_file=None), "there": there}
            found["first"] = [_first_tasks(there) for _ in range(runs)]
            with PeakShare(node.pid) as busy:
                for _ in range(runs):
                    for size, part in ((" few", hours[: _FEW_DAYS * 24]), ("", hours)):
                        for name, engine in engines.items():
                            took = _compute(engine, lake, server.url(), part)
                            found.setdefault(f"{name}{size}", []).append(took)
            found |= {"idle": [idle.bytes / _MIB], "busy": [busy.bytes / _MIB]}
    sys.stdout.write(json.dumps(found))
    return 0


def _first_tasks(engine: PipelineSettings) -> float:
    began = time.perf_counter()
    with closing(run_tasks(engine, day_stretches, [[]] * _PROCESSORS)) as results:
        list(results)
    return time.perf_counter() - began


def _compute(engine: PipelineSettings, lake: Lake, url: str, hours: Sequence[datetime]) -> float:
    """Compute and commit hours of which the tables hold none; the seconds."""
    for spec in HOURLY_TABLES:
        nothing = pl.DataFrame(spec.schema.empty_table())
        replace_hours(lake, spec, nothing, hours[0], hours[-1] + timedelta(days=1))
    settings = EnergySettings(_env_file=None)
    stretches = [
        Stretch(lake, url, part, settings, uncovered_percent=5, is_newest=False)
        for part in day_stretches(hours)
    ]
    began = time.perf_counter()
    with closing(run_tasks(engine, compute_stretch, stretches)) as results:
        for done in results:
            for written in done.written:
                commit_replacement(lake, written)
    return time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(main())
