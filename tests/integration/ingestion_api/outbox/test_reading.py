"""A reader sees every acknowledged heartbeat once, wherever it is on its way."""

import threading
from datetime import timedelta

import psycopg
import pyarrow as pa

from ingestion_api.outbox.flush import OutboxFlush
from lake import (
    HOUR,
    METER,
    Lake,
    compact_hour,
    scan_heartbeats,
    scan_history,
)
from tests.harness import outbox
from tests.harness.raw_table import append_from
from tests.samples import HOUR_10, meter_rows
from warehouse_sql.named_queries import query

END = HOUR_10 + HOUR


def put(conn: psycopg.Connection, rows: pa.Table) -> None:
    outbox.put(conn, METER, rows)


def read_all(dsn: str, lake: Lake) -> list[float]:
    """What an endpoint does: one Postgres snapshot first, the lake after it."""
    with psycopg.connect(dsn, cursor_factory=psycopg.RawCursor) as conn:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        window = [HOUR_10, END]
        outbox = conn.execute(query("meter_outbox_of_device"), [["METER001"], *window])
        names = [column.name for column in METER.posted_columns]
        waiting = pa.Table.from_pylist(
            [dict(zip(names, row, strict=True)) for row in outbox.fetchall()],
            schema=METER.arrow_schema,
        )
        dirty = conn.execute(query("dirty_hours_between"), window).fetchall()
    hours = [hour for stream, hour in dirty if stream == "meter"]
    rows = scan_heartbeats(lake, METER, HOUR_10, END, ["METER001"], hours, waiting).collect()
    return rows["kwh_consumed_ac"].to_list()


def test_no_reader_misses_or_repeats_a_heartbeat_on_its_way(database_url: str, lake: Lake) -> None:
    acknowledged: list[float] = []
    done = threading.Event()
    failures: list[str] = []

    def ingest() -> None:
        with psycopg.connect(database_url, autocommit=True) as conn:
            for n in range(150):
                moment = HOUR_10 + timedelta(seconds=n)
                put(conn, meter_rows({"timestamp": moment, "kwh_consumed_ac": float(n)}))
                acknowledged.append(float(n))
        done.set()

    def flush() -> None:
        with (
            psycopg.connect(database_url, autocommit=True) as conn,
            OutboxFlush(database_url, conn, lake, 1000) as outbox,
        ):
            while not done.is_set():
                outbox.flush(METER)

    def compact() -> None:
        with psycopg.connect(database_url, autocommit=True) as conn:
            while not done.is_set():
                result = compact_hour(lake, METER, HOUR_10)
                conn.execute(
                    query("mark_compacted"),
                    {
                        "stream": "meter",
                        "hour": HOUR_10,
                        "version": result.raw_version,
                        "rows": result.rows,
                        "duplicates": result.duplicates_removed,
                    },
                )

    def read() -> None:
        while not done.is_set():
            before = len(acknowledged)
            seen = read_all(database_url, lake)
            if len(seen) != len(set(seen)):
                failures.append(f"a heartbeat was seen twice: {sorted(seen)}")
            if missing := set(acknowledged[:before]) - set(seen):
                failures.append(f"acknowledged, but not seen: {sorted(missing)}")

    threads = [threading.Thread(target=work) for work in (ingest, flush, compact, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(read_all(database_url, lake)) == 150


def test_a_window_is_half_open_and_knows_its_devices(lake: Lake) -> None:
    rows = meter_rows(
        {"timestamp": HOUR_10 - timedelta(microseconds=1)},
        {"timestamp": HOUR_10},
        {"timestamp": END - timedelta(microseconds=1), "meter_id": "METER002"},
        {"timestamp": END},
    )
    append_from(lake, METER, rows, "test", 1, 0)
    for hour in (HOUR_10 - HOUR, HOUR_10, END):
        compact_hour(lake, METER, hour)
    inside = scan_history(lake, METER, HOUR_10, END).collect()
    assert inside["meter_id"].to_list() == ["METER001", "METER002"]
    assert scan_history(lake, METER, HOUR_10, END, ["METER002"]).collect().height == 1
    assert scan_history(lake, METER, HOUR_10, END, []).collect().height == 0
