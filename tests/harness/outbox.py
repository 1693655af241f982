"""Rows for the outbox, flushes that move them on, and flushes that are killed."""

import os
import signal
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pyarrow as pa

from ingestion_api.commit.transaction import statements
from ingestion_api.heartbeats.batch import HeartbeatBatch
from ingestion_api.outbox.flush import OutboxFlush
from ingestion_api.outbox.pack import insert_pack, unpack
from lake import METER, Lake, Stream
from tests.harness.forked import assert_kills_itself
from tests.samples import ANY_TIME, HOUR_10, meter_rows
from warehouse_sql import statement_pipeline
from warehouse_sql.statement_pipeline import Statement


def put(conn: psycopg.Connection, stream: Stream, rows: pa.Table) -> None:
    """Insert heartbeats into the outbox, as rows of their own."""
    heartbeats = HeartbeatBatch.from_arrow(stream, rows)
    execute(conn, (f"insert_{stream.name}_outbox", heartbeats.parameters()))


def put_packed(conn: psycopg.Connection, stream: Stream, rows: pa.Table) -> None:
    """Insert heartbeats into the outbox, packed."""
    execute(conn, insert_pack(HeartbeatBatch.from_arrow(stream, rows)))


def store(conn: psycopg.Connection[Any], stream: Stream, rows: pa.Table) -> None:
    """Store heartbeats in live state and outbox, as a commit of the collector does."""
    heartbeats = {stream.name: HeartbeatBatch.from_arrow(stream, rows)}
    for statement in statements(heartbeats, {}, 5_000, ANY_TIME):
        execute(conn, statement)


def execute(conn: psycopg.Connection[Any], statement: Statement) -> None:
    """Run a statement of the collector in the connection's transaction."""
    conn.execute(b"SELECT")  # which begins one where there is none
    statement_pipeline.execute(conn, statement)


def waiting_meters(dsn: str) -> list[tuple[str, datetime]]:
    """Id and time of each meter heartbeat in the outbox, packed or not."""
    with psycopg.connect(dsn) as conn:
        rows = conn.execute('SELECT meter_id, "timestamp" FROM meter_heartbeat_outbox').fetchall()
        packs = conn.execute(
            "SELECT heartbeats FROM heartbeat_pack WHERE stream = 'meter'", binary=True
        ).fetchall()
    for (pack,) in packs:
        table = unpack(pack, METER)
        rows += zip(table["meter_id"].to_pylist(), table["timestamp"].to_pylist(), strict=True)
    return rows


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
    assert_kills_itself(flush_and_die, dsn, lake, at_step)


def flush_and_die(dsn: str, lake: Lake, fatal: str) -> None:
    def die(step: str) -> None:
        if step == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    flush_all(dsn, lake, die)
