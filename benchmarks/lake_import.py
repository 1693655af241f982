"""`wattlake import` as its users run it, timed from its start to its end."""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow.parquet as pq

from benchmarks.full_fleet import FullFleet
from benchmarks.lake_day import Figures
from benchmarks.processes import PeakShare
from benchmarks.stack import BenchmarkError
from ingestion_api.bulk_import.__main__ import DONE, SOME_REFUSED
from lake import STREAMS, Lake, rows_by_hour
from local_stack.stack.parent_death import die_with_parent
from tests.harness.collector import clean_environment
from tests.harness.postgres import running_postgres, server_folder
from warehouse_sql.migrate import migrate

_MIB: Final = 1024 * 1024


def write_files(folder: Path, fleet: FullFleet, hours: Sequence[datetime]) -> int:
    """Write a Parquet file of each stream, each heartbeat once and by time; returns the rows."""
    folder.mkdir(parents=True)
    rows = 0
    for stream in STREAMS.values():
        schema = stream.arrow_schema.remove(stream.arrow_schema.get_field_index("received_at"))
        with pq.ParquetWriter(folder / f"{stream.name}.parquet", schema) as writer:
            for hour in hours:
                once = fleet.hour(stream, hour).unique(stream.key, keep="last")
                sent = once.sort("timestamp", stream.device).select(schema.names)
                writer.write_table(sent.to_arrow().cast(schema))
                rows += sent.height
    return rows


def import_files(folder: Path, rows: int) -> Figures:
    """Import the files of `write_files` into an empty database and lake.

    Raises BenchmarkError unless the lake then has exactly `rows`.
    """
    files = [folder / f"{name}.parquet" for name in STREAMS]
    with ExitStack() as ending:
        home = ending.enter_context(server_folder(folder))
        postgres = ending.enter_context(running_postgres(home / "postgres"))
        migrate(postgres.url())
        lake = Lake(str(home / "lake"))
        figures = run_import(files, home, postgres.url(), lake)
        found = sum(sum(rows_by_hour(lake, stream).values()) for stream in STREAMS.values())
    if found != rows:
        raise BenchmarkError(f"{rows:,} heartbeats were imported, the lake has {found:,}")
    return {"rate": rows / figures["seconds"], "peak_mib": figures["peak_mib"]}


def run_import(
    files: Sequence[Path], home: Path, database_url: str, lake: Lake, *options: str
) -> Figures:
    """Import files as the command does it, from a folder; `seconds`, `peak_mib` and `refused` rows.

    Raises BenchmarkError where it fails.
    """
    command = [sys.executable, "-m", "local_stack", "import", *options, *map(str, files)]
    began = time.perf_counter()
    importing = subprocess.Popen(
        die_with_parent(command, signal.SIGKILL),
        cwd=home,
        env=clean_environment(DATABASE_URL=database_url, LAKE_URI=lake.uri),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the one who started it
    )
    with PeakShare(importing.pid) as memory:
        _, said = importing.communicate()
    if importing.returncode not in {DONE, SOME_REFUSED}:
        raise BenchmarkError(f"the import failed: {(said.strip().splitlines() or ['?'])[-1]}")
    rejects = (file.with_name(f"{file.name}.rejects.csv") for file in files)
    refused = sum(
        pl.scan_csv(one).select(pl.len()).collect().item() for one in rejects if one.exists()
    )
    return {
        "seconds": time.perf_counter() - began,
        "peak_mib": memory.bytes / _MIB,
        "refused": refused,
    }
