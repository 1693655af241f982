"""The outbox of a test: rows go in, flushes move them on, and some flushes die."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from datetime import timedelta

import psycopg
import pyarrow as pa

from ingestion_api.flush import OutboxFlush
from lake import METER, Lake, Stream
from tests.samples import HOUR_10, meter_rows
from warehouse_sql.arrays import array_parameters, register_arrays
from warehouse_sql.queries import query

spawn = multiprocessing.get_context("spawn")  # the Delta runtime does not survive a fork


def put(conn: psycopg.Connection, stream: Stream, rows: pa.Table) -> None:
    register_arrays(conn)
    columns = stream.arrow_schema.names
    conn.execute(query(f"insert_{stream.name}_outbox"), array_parameters(rows, columns))


def numbered(first: int, count: int) -> pa.Table:
    return meter_rows(
        *(
            {"meter_id": f"M{n}", "timestamp": HOUR_10 + timedelta(seconds=n)}
            for n in range(first, first + count)
        )
    )


def flush_all(dsn: str, lake: Lake, at_step: Callable[[str], None] = lambda step: None) -> int:
    with psycopg.connect(dsn, autocommit=True) as conn:
        with OutboxFlush(dsn, conn, lake, 40, at_step) as flush:
            total, more = 0, True
            while more:
                rows, more = flush.flush(METER)
                total += rows
        return total


def raw_ids(lake: Lake) -> list[str]:
    rows = lake.scan(lake.open(METER.raw_table)).collect()
    return sorted(rows["meter_id"].to_list(), key=lambda name: int(name[1:]))


def ledger_rows(dsn: str) -> int:
    with psycopg.connect(dsn) as conn:
        row = conn.execute("SELECT coalesce(sum(raw_rows), 0) FROM partition_ledger").fetchone()
        assert row is not None
        return int(row[0])


def kill_a_flush(dsn: str, lake: Lake, at_step: str) -> None:
    """Let a process die by SIGKILL at a step of its flush."""
    victim = spawn.Process(target=flush_and_die, args=(dsn, lake, at_step))
    victim.start()
    victim.join(60)
    assert victim.exitcode == -signal.SIGKILL


def flush_and_die(dsn: str, lake: Lake, fatal: str) -> None:
    def die(step: str) -> None:
        if step == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    flush_all(dsn, lake, die)
