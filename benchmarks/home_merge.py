"""Live states of cells, merged into those of the home while all of them change each minute."""

import asyncio
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row

from benchmarks.commit_only import Committer, PreparedFleet
from benchmarks.fleet import DEVICES
from benchmarks.processes import cpu_seconds
from benchmarks.queueing_service import wal_bytes
from ingestion_api.cells.live_merge import LiveMerge
from ingestion_api.settings import CollectorSettings
from lake import STREAMS
from local_stack.stack.embedded_postgres import EmbeddedPostgres
from tests.harness.postgres import copied_database, running_postgres, server_folder
from warehouse_sql.migrate import migrate
from warehouse_sql.named_queries import query

_CELLS: Final = (1, 2, 5, 10)
_ROUNDS: Final = 5
_NAME: Final = "UPDATE {0}_live_state SET {0}_id = '{1}' || {0}_id"
_CHANGE: Final = """
    UPDATE {0}_live_state SET "timestamp" = "timestamp" + interval '1 minute', received_at = now()
"""


def merged(below: Path) -> Iterator[dict[str, str]]:
    """Merge ever more cells, each a fleet; a line of a table for each number of them.

    One connection merges one after the other, while a home has a thread for each.
    """
    with ExitStack() as ending:
        folder = ending.enter_context(server_folder(below))
        server = ending.enter_context(running_postgres(folder / "postgres"))
        migrate(server.url())
        home = ending.enter_context(copied_database(server.url("postgres"), "wattlake"))
        asyncio.run(_fill(server.url()))
        merges = dict[str, LiveMerge]()
        conn = ending.enter_context(psycopg.connect(home, autocommit=True, row_factory=dict_row))
        for cells in _CELLS:
            for number in range(len(merges), cells):
                url = ending.enter_context(copied_database(server.url("postgres"), "wattlake"))
                _change(url, _NAME, f"{number}-")
                merges[url] = LiveMerge(f"cell {number}", url, 1e9)
                ending.callback(merges[url].close)
            conn.execute(query("keep_cells"), {"cells": [one.cell for one in merges.values()]})
            yield _measured(server, conn, merges)


async def _fill(url: str) -> None:
    fleets = {name: PreparedFleet(stream) for name, stream in STREAMS.items()}
    async with Committer.connected(url, CollectorSettings(_env_file=None)) as committer:
        first_event = int(time.time() - 86_400)
        await committer.commit(
            {name: one.group(0, DEVICES, first_event) for name, one in fleets.items()}
        )


def _measured(
    server: EmbeddedPostgres,
    conn: psycopg.Connection[dict[str, Any]],
    merges: Mapping[str, LiveMerge],
) -> dict[str, str]:
    seconds, own, postgres, wal, idle = ([0.0] * 0 for _ in range(5))
    for merge in merges.values():
        merge.begin(conn)
    _merge(conn, merges)
    for _ in range(_ROUNDS):
        for url in merges:
            _change(url, _CHANGE)
        before = wal_bytes(server.url()), cpu_seconds(server.pid), time.process_time()
        seconds.append(_merge(conn, merges))
        after = time.process_time(), cpu_seconds(server.pid), wal_bytes(server.url())
        for values, first, last in zip((wal, postgres, own), before, reversed(after), strict=True):
            values.append(last - first)
        idle.append(_merge(conn, merges))
    states = 2 * DEVICES * len(merges)
    took, of_postgres, of_collector, log, look = map(
        statistics.median, (seconds, postgres, own, wal, idle)
    )
    return {
        "part": f"{len(merges)} cells of {2 * DEVICES:,} devices, all of which have changed",
        "measured": f"{took:.2f} s, {states / took:,.0f} states/s",
        "of it": f"{1e6 * of_postgres / states:.1f} us of Postgres' processor time a state, "
        f"{1e6 * of_collector / states:.1f} of the collector's, {log / states:.0f} bytes of WAL; "
        f"{1000 * look / len(merges):.0f} ms a cell without a change",
    }


def _merge(conn: psycopg.Connection[dict[str, Any]], merges: Mapping[str, LiveMerge]) -> float:
    """Merge each cell; the seconds that it took."""
    began = time.perf_counter()
    for merge in merges.values():
        merge.merge(conn)
    return time.perf_counter() - began


def _change(url: str, statement: str, *values: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        for stream in STREAMS:
            conn.execute(statement.format(stream, *values).encode())
            conn.execute(f"VACUUM {stream}_live_state".encode())
