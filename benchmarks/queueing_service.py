"""Times of service of the queues that are simulated, measured; and the simulation beside it.

As a module of its own it is one lake writer, which appends a heartbeat at a time for some seconds.
"""

import asyncio
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

import numpy as np
import psycopg
from deltalake.transaction import AddAction

from benchmarks.commit_only import Committer, PreparedFleet
from benchmarks.fleet import DEVICES
from benchmarks.full_fleet import FullFleet
from benchmarks.lake_day import DAY
from benchmarks.lake_fill import FILES_AN_HOUR, one_heartbeat
from benchmarks.lake_work import THE_HOUR
from benchmarks.queueing_models import Collector, Store, group_commit, lake_writers
from benchmarks.stack import run_process, stack_under_test
from ingestion_api.settings import CollectorSettings
from lake import HOUR, METER, STREAMS, VEHICLE, Lake, append_once, read_delivered_horizon
from lake.delta import appends_of_others
from lake.delta.commit import commit
from lake.upkeep.raw_merge import merge_raw_hours
from tests.harness.flaky_proxy import Fault
from tests.harness.object_store import ObjectStore, object_store, s3_server
from tests.harness.postgres import running_postgres, server_folder
from tests.harness.raw_table import append_from
from warehouse_sql.migrate import migrate

_GROUPS: Final = (1, 20, 200, 2_000, 20_000)
_GROUP_SECONDS: Final = 3
_WRITERS: Final = (1, 2, 4, 8)
_WRITER_SECONDS: Final = 15
_START_SECONDS: Final = 5  # until all writers of a turn have started
_REQUEST_SECONDS: Final = 0.05
_OPEN_FILES: Final = (1_000, 10_000, 100_000)
_LOAD_SECONDS: Final = 10
_CLIENTS: Final = 64

_TIME: Final = "%Y-%m-%dT%H:%M:%S.000Z"
_WAL: Final = b"SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"


def measured(below: Path) -> Iterator[dict[str, str]]:
    """Measure in turn; a line of a table each."""
    with server_folder(below) as folder, running_postgres(folder / "postgres") as server:
        migrate(server.url())
        yield from asyncio.run(_commits(server.url()))
    yield _single_posts(below)
    yield from _writers(below)
    with server_folder(below) as folder:
        lake = Lake(str(folder))
        lake.create_tables()
        yield _raw_bytes(lake)
        yield from _openings(lake)


async def _commits(url: str) -> list[dict[str, str]]:
    lines = []
    fleets = {name: PreparedFleet(stream) for name, stream in STREAMS.items()}
    position, first_event = 0, int(time.time() - 20 * 86_400)
    async with Committer.connected(url, CollectorSettings(_env_file=None)) as committer:
        await committer.commit({name: one.group(0, DEVICES, 0) for name, one in fleets.items()})
        for rows in _GROUPS:
            names = [VEHICLE.name] if rows == 1 else [*fleets]
            took, before, ends = list[float](), wal_bytes(url), time.perf_counter() + _GROUP_SECONDS
            while time.perf_counter() < ends:
                each = rows // len(names)
                group = {name: fleets[name].group(position, each, first_event) for name in names}
                began = time.perf_counter()
                await committer.commit(group)
                took.append(time.perf_counter() - began)
                position += each
            log = (wal_bytes(url) - before) / len(took) / rows
            fitted = Collector().commit + Collector().row * rows
            lines.append(
                {
                    "part": f"a commit of {rows:,} heartbeats",
                    "measured": f"{1000 * statistics.median(took):.2f} ms, "
                    f"least {1000 * min(took):.2f}",
                    "in the simulation": f"{1000 * fitted:.2f} ms",
                    "of it": f"{log:.0f} bytes of WAL a heartbeat",
                }
            )
    return lines


def wal_bytes(url: str) -> int:
    """Return how many bytes of WAL the server has written."""
    with psycopg.connect(url) as connection:
        row = connection.execute(_WAL).fetchone()
    assert row is not None, "the query always has one row"
    return int(row[0])


def _single_posts(below: Path) -> dict[str, str]:
    """Clients that post one after the other; simulated with the processor time of this run."""
    with stack_under_test(below) as stack:
        before = stack.cpu()
        load = stack.client(
            "benchmarks.load",
            *("--port", stack.port, "--batch", 1, "--connections", _CLIENTS),
            *("--seconds", _LOAD_SECONDS, "--first-event", int(time.time()) - 86_400),
            *("--first-request", 0),
        )
        used = stack.cpu() - before
    service = replace(Collector(), request=used.collector / load["records"])
    simulated = group_commit([0.0] * _CLIENTS, service, again_until=_LOAD_SECONDS)
    rate = len(simulated.latencies) / simulated.end
    p50, p99 = 1000 * np.percentile(simulated.latencies, [50, 99])
    return {
        "part": f"{_CLIENTS} clients that post one after the other",
        "measured": f"{load['records'] / load['seconds']:,.0f}/s, "
        f"p50 {load['p50_ms']:.1f} p99 {load['p99_ms']:.1f} ms",
        "in the simulation": f"{rate:,.0f}/s, p50 {p50:.1f} p99 {p99:.1f} ms",
        "of it": f"{1000 * service.request:.2f} ms of the collector's processor time a request, "
        f"{1000 * used.postgres / load['records']:.2f} of Postgres'",
    }


def _writers(below: Path) -> Iterator[dict[str, str]]:
    with s3_server() as s3, object_store(s3) as store, server_folder(below) as folder:
        for writers in _WRITERS:
            lake = store.lake(f"of-{writers}")
            lake.create_tables()
            store.fail(Fault(".", times=1_000_000, seconds=_REQUEST_SECONDS))
            requests, commits = _append(store, lake, folder, writers)
            store.fail()
            simulated = lake_writers(writers, 0, _WRITER_SECONDS, Store(), tables=1)
            puts = requests["PUT"] / commits - 1  # the file is one
            yield {
                "part": f"{writers} writers of a table, {1000 * _REQUEST_SECONDS:.0f} ms a request",
                "measured": f"{commits / _WRITER_SECONDS:.2f} commits/s, {puts:.1f} attempts",
                "in the simulation": f"{len(simulated.seconds) / _WRITER_SECONDS:.2f} commits/s, "
                f"{np.mean(simulated.attempts):.1f} attempts",
                "of it": f"{requests.total() / commits:.0f} requests a commit",
            }


def _append(store: ObjectStore, lake: Lake, folder: Path, writers: int) -> tuple[Counter[str], int]:
    """Requests by method, and commits that were begun in time."""
    before, start = Counter(store.requests()), time.time() + _START_SECONDS
    place = (lake.uri, json.dumps(lake.storage_options), start)
    with ThreadPoolExecutor(writers) as threads:
        done = list(
            threads.map(
                lambda name: run_process(
                    "benchmarks.queueing_service", *place, name, folder=folder
                ),
                map(str, range(writers)),
            )
        )
    return Counter(store.requests()) - before, sum(done)


def _raw_bytes(lake: Lake) -> dict[str, str]:
    """An hour of the full fleet, by a flush a minute, and when its files are merged."""
    rows = size = merged = 0
    for stream in STREAMS.values():
        received = FullFleet().hour(stream, THE_HOUR)
        rows += received.height
        for n, part in enumerate(received.iter_slices(-(-received.height // FILES_AN_HOUR))):
            append_from(lake, stream, part.to_arrow(), "benchmark", n + 1, n)
        for hour in merge_raw_hours(lake, stream, THE_HOUR + 24 * HOUR):
            size += hour.bytes_before
            merged += hour.bytes_after
    return {
        "part": f"raw files of a flush a minute, {rows:,} heartbeats an hour",
        "measured": f"{size / rows:.1f} bytes a heartbeat",
        "of it": f"{merged / rows:.1f} once they are merged",
    }


def _openings(lake: Lake) -> Iterator[dict[str, str]]:
    table = METER.raw_table
    for files in _OPEN_FILES:
        handle = lake.open(table)
        present = len(handle.file_uris())
        commit(lake, handle, [_file(n) for n in range(present, files)], {"benchmark": files})
        lake.open(table).create_checkpoint()
        log = Path(lake.table_uri(table)) / "_delta_log"
        newest = max(log.glob("*.checkpoint.parquet"))
        took = []
        for _ in range(5):
            began = time.perf_counter()
            lake.open(table)
            took.append(time.perf_counter() - began)
        yield {
            "part": f"opening a table of {files:,} files",
            "measured": f"{1000 * statistics.median(took):.0f} ms",
            "of it": f"{newest.stat().st_size / files:.0f} bytes of a checkpoint a file",
        }


def _file(n: int) -> AddAction:
    """A file that a log may name, and nobody reads."""
    hour = DAY + n // FILES_AN_HOUR * HOUR
    partition = {"date": f"{hour:%Y-%m-%d}", "hour": str(hour.hour)}
    bounds = {METER.device: f"METER{n:05}", "timestamp": f"{hour:%Y-%m-%dT%H:%M:%S.000Z}"}
    nulls = dict.fromkeys(bounds, 0)
    statistics_of_it = {
        "numRecords": 170,
        "minValues": bounds,
        "maxValues": {
            **bounds,
            "timestamp": f"{hour + timedelta(minutes=1):%Y-%m-%dT%H:%M:%S.000Z}",
        },
        "nullCount": nulls,
    }
    path = f"date={partition['date']}/hour={hour.hour}/part-{uuid4()}.parquet"
    modified = int(hour.timestamp() * 1000)
    return AddAction(path, 5_000, partition, modified, True, json.dumps(statistics_of_it))


def main() -> int:
    """Append until the time is over; prints how many commits that were."""
    uri, options, start, name = sys.argv[1:]
    lake, rows, commits = Lake(uri, json.loads(options)), one_heartbeat(VEHICLE).to_arrow(), 0
    delivered = read_delivered_horizon(lake, VEHICLE, name)
    time.sleep(max(0, float(start) - time.time()))
    while time.time() < float(start) + _WRITER_SECONDS:
        commits, known = commits + 1, delivered.version
        delivered = append_once(lake, VEHICLE, rows, name, commits, delivered)
        new = range(known + 1, delivered.version + 1)
        appends_of_others(lake, VEHICLE, new, name, "", delivered.entries)
    sys.stdout.write(json.dumps(commits))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
