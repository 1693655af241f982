"""The last month of a simulated year of charging: its list and its report beside the truth.

A fleet charges for a year, and some of its devices fail, as in the suite `condition`. What was
before these days is there as sessions; in them every meter and vehicle sends, each at its cadence.
Their heartbeats are imported and computed by the product's own jobs, on a real lake and Postgres:
hours and sessions, days, the condition of each day, reports. Told are the time and the memory of
each step; how many of the injected faults are on the maintenance list at the end; and how near the
figures of the month's report come to what was sent, and to what is true.

Columns: `listed` are devices with the fault and an open visit, `named` those of them that are
called by its name, `first 20` those among the first 20 by what is at stake. `sent` is the sum of
what devices send, wrong units included; what the contract refuses is in it.
"""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl
import psycopg
import pyarrow.parquet as pq
import pytest

from benchmarks.lake_import import run_import
from benchmarks.month_truth import (
    FIRST_ROWS,
    false_visits,
    figures_beside,
    listed_faults,
    worst_found,
)
from benchmarks.processes import PeakShare
from benchmarks.stack import BenchmarkError
from benchmarks.table import Report, table
from lake import DAY, HOUR, STREAMS, EnergySettings, Lake
from lake.condition import OPEN
from lake.reports import ReportFolder, Scope, parse_period
from lake.schema import CHARGING_SESSION
from pipelines.automation.jobs import range_tags
from pipelines.compute.condition import judged_days, visits_of_day
from pipelines.compute.places import read_places
from pipelines.compute.pricing import read_pricing
from pipelines.definitions import definitions
from pipelines.partitions import hour_key
from pipelines.report.figures import FigureReader, Figures
from pipelines.report.window import PinnedTables
from tests.harness.charging_year.fleet import DAYS, YEAR_BEGINS, ChargingYear, charging_year
from tests.harness.charging_year.heartbeats import SentDays, sent_days
from tests.harness.charging_year.registry import register
from tests.harness.charging_year.table import write_sessions
from tests.harness.pipelines import PipelineStack, pipeline_stack
from tests.harness.postgres import running_postgres, server_folder
from warehouse_sql.migrate import migrate

_MIB: Final = 1024 * 1024
_TARIFF: Final = """
currency: EUR
time_zone: Europe/Berlin
periods:
  - valid_from: 2020-01-01
    price_per_kwh: 0.30
    bands: [{from_hour: 22, to_hour: 6, price_per_kwh: 0.20}]
"""
_SETTINGS: Final = {
    # A socket at home and its car lose more than others, without any fault.
    "CHARGER_CLASSES": '{"household": {"good_from_percent": 76, "warning_from_percent": 70},'
    ' "wallbox-11": {}, "wallbox-22": {}, "dc-50": {}}',
    "LINK_BY_TRAILING_NUMBER": "false",  # vehicles name their meters
    "REPORT_TIME_ZONE": "UTC",
}
_QUIET: Final = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


@dataclass(frozen=True)
class Size:
    """The simulated fleet and time; `days` are at most those of the month before this one."""

    vehicles: int = 150
    days: int = 10
    cadence_seconds: int = 900


@dataclass(frozen=True)
class _Step:
    name: str
    seconds: float
    peak_bytes: int
    what: str

    def texts(self) -> dict[str, str]:
        """The text of each column."""
        return {
            "step": self.name,
            "seconds": f"{self.seconds:,.0f}",
            "memory": f"{self.peak_bytes / _MIB:,.0f} MiB",
            "what": self.what,
        }


def measure(size: Size, seed: int, below: Path, keep: Path | None) -> Report:
    """Simulate and compute the last days of the month before this one; tell what came out.

    The report of the month and the list of visits are copied into the folder `keep`.
    """
    end = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    with (
        server_folder(below) as home,
        running_postgres(home / "postgres") as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        migrate(server.url())
        (home / "tariff.yaml").write_text(_TARIFF, encoding="utf-8")
        for name, text in {**_SETTINGS, "TARIFF_FILE": str(home / "tariff.yaml")}.items():
            patch.setenv(name, text)
        lake = Lake(str(home / "lake"))
        lake.create_tables()
        with pipeline_stack(lake, server.url(), patch) as stack:
            steps = _Steps()
            year = charging_year(size.vehicles, seed)
            days = min(size.days, (end - DAY).day)
            start = end - timedelta(days=days)
            sent = sent_days(year, start, days, size.cadence_seconds, seed)
            try:
                _fill(stack, home, year, sent, steps)
            except BenchmarkError as error:
                return Report(steps.done, [], [str(error)])
            _compute(stack, sent, steps)
            if keep is not None:
                _keep(lake, sent, keep)
            return Report(steps.done, [f"seed {seed}", "", *_found(stack, year, sent)], [])


class _Steps:
    """The steps so far; each is said as soon as it is done."""

    def __init__(self) -> None:
        self.done: list[_Step] = []

    def add(self, step: _Step) -> None:
        self.done.append(step)
        sys.stderr.write(f"{step.name}: {step.seconds:,.0f} s {step.what}\n")

    @contextmanager
    def measured(self, name: str, what: str = "") -> Iterator[None]:
        began = time.perf_counter()
        with PeakShare(os.getpid()) as memory:
            yield
        self.add(_Step(name, time.perf_counter() - began, memory.bytes, what))


def _fill(
    stack: PipelineStack, home: Path, year: ChargingYear, sent: SentDays, steps: _Steps
) -> None:
    later = sent.start - YEAR_BEGINS - timedelta(days=DAYS - sent.days)
    before = year.sessions.filter(pl.col("ends") < sent.start - later - HOUR)
    with steps.measured("sessions of the time before", f"{before.height:,} sessions"):
        write_sessions(stack.lake, before, later)
    register(stack.database_url, year.network, sent.cadence_seconds)
    files = [home / f"{name}.parquet" for name in STREAMS]
    rows = _write_heartbeats(home, sent)
    # Some count in another unit: that is for the product to find out, not for the import to ask.
    figures = run_import(files, home, stack.database_url, stack.lake, "--unit", "kWh")
    what = f"{rows:,} heartbeats of {year.devices:,} devices, {figures['refused']:,.0f} refused"
    peak = round(figures["peak_mib"] * _MIB)
    steps.add(_Step("import", figures["seconds"], peak, what))
    for file in files:
        file.unlink()


def _write_heartbeats(folder: Path, sent: SentDays) -> int:
    """Write a file of each stream; returns the number of rows."""
    rows = 0
    for stream in STREAMS.values():
        nothing = pl.DataFrame(stream.arrow_schema.empty_table())
        nothing = nothing.drop("received_at", "imported_at")
        schema = nothing.to_arrow().schema
        with pq.ParquetWriter(folder / f"{stream.name}.parquet", schema) as writer:
            for day in range(sent.days):
                of_day = pl.concat([nothing, sent.of_day(stream, day)], how="diagonal_relaxed")
                writer.write_table(of_day.to_arrow().cast(schema))
                rows += of_day.height
    return rows


def _compute(stack: PipelineStack, sent: SentDays, steps: _Steps) -> None:
    first, last = sent.start, sent.start + timedelta(days=sent.days) - HOUR
    day, newest, month = f"{first:%Y-%m-%d}", f"{last:%Y-%m-%d}", f"{last:%Y-%m}-01"
    with steps.measured("hours and sessions", f"{24 * sent.days} hours"):
        _run(stack, "hourly", hour_key(first), hour_key(last))
    with steps.measured("days", f"{sent.days} days"):
        _run(stack, "daily", day, newest, without="daily_efficiency_report")
    with steps.measured("condition", f"{sent.days} days"):
        _run(stack, "condition", day, newest)
    with steps.measured("reports of the last day"):
        _run(stack, "daily_report", newest, newest)
    with steps.measured("reports of the month"):
        _run(stack, "monthly_report", month, month)


def _run(stack: PipelineStack, job: str, first: str, last: str, without: str = "") -> None:
    found = definitions.resolve_job_def(job)
    keys = [key for key in found.asset_layer.executable_asset_keys if key.path[-1] != without]
    found.execute_in_process(
        instance=stack.instance,
        tags=range_tags(first, last),
        asset_selection=keys,
        run_config=_QUIET,
    )


def _keep(lake: Lake, sent: SentDays, keep: Path) -> None:
    """Copy the first version of the month's report, and the list as CSV."""
    newest = (sent.start + timedelta(days=sent.days - 1)).date()
    keep.mkdir(parents=True, exist_ok=True)
    folder = ReportFolder(parse_period(f"{newest:%Y-%m}"), Scope())
    for form in ("html", "pdf", "xlsx"):
        name = folder.file(1, form)
        shutil.copy(Path(lake.uri) / name, keep / Path(name).name)
    visits = visits_of_day(lake, newest)
    visits.sort("at_stake_kwh_a_year", descending=True).write_csv(keep / "visits.csv")


def _found(stack: PipelineStack, year: ChargingYear, sent: SentDays) -> Iterator[str]:
    newest = (sent.start + timedelta(days=sent.days - 1)).date()
    visits = visits_of_day(stack.lake, newest)
    opened, wrong = visits.filter(pl.col("state") == OPEN).height, false_visits(visits, year)
    yield table(listed_faults(visits, year))
    yield ""
    yield f"{opened} open visits, {wrong.height} of them to devices without a fault"
    yield from (f"  {row['device_id']}: {row['reason']}" for row in wrong.to_dicts())
    there, found = worst_found(visits, year, sent)
    yield (
        f"of the {there} devices that truly lose most {found} are among the first {FIRST_ROWS} "
        "by what mending saves"
    )
    yield ""
    sessions = stack.lake.scan(stack.lake.open(CHARGING_SESSION.name))
    here = sessions.filter(pl.col("begins") >= sent.start).select(pl.len()).collect().item()
    yield table(figures_beside(_figures(stack, f"{newest:%Y-%m}"), here, sent))


def _figures(stack: PipelineStack, month: str) -> Figures:
    settings = EnergySettings()
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        reader = FigureReader(
            PinnedTables(stack.lake),
            read_places(connection, "UTC"),
            settings,
            read_pricing(connection, settings),
            judged_days(connection),
            datetime.now(UTC),
        )
    return reader.figures(parse_period(month), Scope())
