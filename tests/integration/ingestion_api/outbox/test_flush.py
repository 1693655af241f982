"""The way from the outbox to the lake.

Invariants, whatever dies and whenever:
- every heartbeat whose transaction committed is in the raw table exactly once;
- none of a transaction that was rolled back is;
- the ledger counts exactly the rows of the raw table;
- an outbox row is gone only after the lake has it.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import pyarrow as pa
import pytest

from ingestion_api.outbox.flush import STEPS, OutboxFlush
from ingestion_api.outbox.lake_binding import outbox_identity
from ingestion_api.outbox.lake_writer import LakeWriter
from lake import (
    HOUR,
    METER,
    VEHICLE,
    Lake,
    LakeDamaged,
    Stream,
    read_delivered_horizon,
    rows_by_hour,
)
from tests.harness.outbox import (
    flush_all,
    kill_a_flush,
    ledger_rows,
    numbered,
    put,
    put_packed,
    raw_ids,
    waiting_meters,
)
from tests.harness.waiting import wait_for
from tests.samples import HOUR_10, meter_rows, vehicle_rows


@dataclass
class Often:
    """Settings of a writer in a hurry."""

    flush_seconds: float = 0.02
    flush_rows: int = 40


def test_both_streams_reach_their_raw_tables(database_url: str, lake: Lake) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        put(conn, METER, meter_rows({"kwh_consumed_ac": None, "voltage": 231.5}))
        put(conn, VEHICLE, vehicle_rows({"soc": 50.0, "meter_id": "METER001"}, {"soc": None}))
        with OutboxFlush(database_url, conn, lake, 1000) as flush:
            assert flush.flush(METER) == (1, False)
            assert flush.flush(VEHICLE) == (2, False)
    meter = lake.scan(lake.open(METER.raw_table)).collect().row(0, named=True)
    assert (meter["kwh_consumed_ac"], meter["voltage"], meter["hour"]) == (None, 231.5, 10)
    assert lake.scan(lake.open(VEHICLE.raw_table)).collect()["soc"].to_list() == [50.0, None]


def test_a_backlog_is_flushed_in_bounded_pieces(database_url: str, lake: Lake) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        for first in range(0, 200, 20):
            put(conn, METER, numbered(first, 20))
    sizes: list[int] = []
    with (
        psycopg.connect(database_url, autocommit=True) as conn,
        OutboxFlush(database_url, conn, lake, most_rows=40) as flush,
    ):
        more = True
        while more:
            rows, more = flush.flush(METER)
            sizes.append(rows)
    assert sizes == [40] * 5
    assert ledger_rows(database_url) == len(raw_ids(lake)) == 200


def test_heartbeats_of_hundreds_of_hours_are_one_commit_with_a_file_an_hour(
    database_url: str, lake: Lake
) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        moments = [HOUR_10 - n * HOUR for n in range(500)]
        put(conn, METER, meter_rows(*({"timestamp": moment} for moment in moments)))
    assert flush_all(database_url, lake) == 500
    table = lake.open(METER.raw_table)
    assert (len(table.file_uris()), table.count()) == (500, 500)
    table.load_as_version(table.version() - 1)
    assert table.file_uris() == []
    assert sorted(rows_by_hour(lake, METER)) == sorted(moments)


@pytest.mark.parametrize("put_them", [put, put_packed])
def test_transactions_of_many_hours_are_flushed_a_few_at_a_time(
    database_url: str, lake: Lake, put_them: Callable[[psycopg.Connection, Stream, pa.Table], None]
) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        for first in (0, 300, 600):
            moments = [HOUR_10 - n * HOUR for n in range(first, first + 300)]
            put_them(conn, METER, meter_rows(*({"timestamp": moment} for moment in moments)))
        with OutboxFlush(database_url, conn, lake, 250_000) as flush:
            assert [flush.flush(METER) for _ in range(3)] == [(600, True), (300, False), (0, False)]
    assert sorted(rows_by_hour(lake, METER).values()) == [1] * 900


def test_thousands_of_hours_are_brought_to_the_disk_at_once(
    database_url: str, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_by_one: list[object] = []
    at_once: list[object] = []
    monkeypatch.setattr("lake.delta.parquet_files.sync_path", one_by_one.append)
    monkeypatch.setattr("lake.delta.append.sync_file_system", at_once.append)
    with psycopg.connect(database_url, autocommit=True) as conn:
        moments = [HOUR_10 - n * HOUR for n in range(60)]
        put(conn, METER, meter_rows(*({"timestamp": moment} for moment in moments)))
    assert flush_all(database_url, lake) == 60
    assert (one_by_one, at_once) == ([], [lake.local_folder])


def test_packed_heartbeats_and_those_in_rows_of_their_own_are_flushed_together(
    database_url: str, lake: Lake
) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        put(conn, METER, numbered(0, 3))
        put_packed(conn, METER, numbered(3, 300))
        put(conn, METER, numbered(303, 2))
    assert flush_all(database_url, lake) == 305
    assert raw_ids(lake) == [f"M{n}" for n in range(305)]
    assert ledger_rows(database_url) == 305
    assert waiting_meters(database_url) == []


def test_a_pack_of_many_hours_is_counted_in_each_of_them(database_url: str, lake: Lake) -> None:
    moments = [HOUR_10 + n * HOUR / 2 for n in range(10)]
    with psycopg.connect(database_url, autocommit=True) as conn:
        put_packed(conn, METER, meter_rows(*({"timestamp": moment} for moment in moments)))
    flush_all(database_url, lake)
    with psycopg.connect(database_url) as conn:
        ledger = conn.execute(
            "SELECT hour, raw_rows FROM partition_ledger ORDER BY hour"
        ).fetchall()
    assert ledger == [(HOUR_10 + n * HOUR, 2) for n in range(5)]


def test_an_open_transaction_holds_back_only_what_came_after_it(
    database_url: str, lake: Lake
) -> None:
    with (
        psycopg.connect(database_url) as slow,
        psycopg.connect(database_url, autocommit=True) as fast,
    ):
        put(fast, METER, numbered(0, 1))
        put(slow, METER, numbered(1, 1))
        put(fast, METER, numbered(2, 1))
        assert flush_all(database_url, lake) == 1
        slow.commit()
    assert flush_all(database_url, lake) == 2
    assert raw_ids(lake) == ["M0", "M1", "M2"]


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_loses_and_doubles_nothing(
    step: str, database_url: str, lake: Lake
) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        put(conn, METER, numbered(0, 4))
        put_packed(conn, METER, numbered(4, 6))
    kill_a_flush(database_url, lake, step)
    with psycopg.connect(database_url, autocommit=True) as conn:
        put_packed(conn, METER, numbered(10, 6))
        put(conn, METER, numbered(16, 4))
    flush_all(database_url, lake)
    assert raw_ids(lake) == [f"M{n}" for n in range(20)]
    assert ledger_rows(database_url) == 20


def test_a_writer_that_lost_its_lock_in_mid_flush_doubles_nothing(
    database_url: str, lake: Lake
) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        put(conn, METER, numbered(0, 10))
    overtaken = False

    def overtake(step: str) -> None:
        nonlocal overtaken
        if step == "before_append" and not overtaken:
            overtaken = True
            with psycopg.connect(database_url, autocommit=True) as conn:
                put_packed(conn, METER, numbered(10, 10))
            flush_all(database_url, lake)

    flush_all(database_url, lake, overtake)
    assert raw_ids(lake) == [f"M{n}" for n in range(20)]
    assert ledger_rows(database_url) == 20


def test_two_writers_under_load_deliver_every_committed_row_once(
    database_url: str, lake: Lake
) -> None:
    writers = [LakeWriter(database_url, lake, Often()) for _ in range(2)]
    for writer in writers:
        writer.start()
    committed: set[int] = set()

    def post(worker: int) -> None:
        with psycopg.connect(database_url) as conn:
            for n in range(30):
                first = worker * 1000 + n * 10
                (put_packed if n % 2 else put)(conn, METER, numbered(first, 10))
                if n % 5 == 4:
                    conn.rollback()
                else:
                    conn.commit()
                    committed.update(range(first, first + 10))

    clients = [threading.Thread(target=post, args=(worker,)) for worker in range(3)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert writers[0].stop(60)
    assert writers[1].stop(60)
    flush_all(database_url, lake)
    assert raw_ids(lake) == [f"M{n}" for n in sorted(committed)]
    assert ledger_rows(database_url) == len(committed)


def test_the_outbox_keeps_everything_while_the_lake_is_away(database_url: str, lake: Lake) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        put(conn, METER, numbered(0, 10))
    away = Lake("/proc/no-such-lake")
    writer = LakeWriter(database_url, away, Often())
    writer.start()
    wait_for(lambda: writer.state.error)
    assert writer.stop(60)
    assert flush_all(database_url, lake) == 10


def test_a_writer_of_a_backlog_tells_no_error_that_is_over(database_url: str, lake: Lake) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        for first in range(0, 50, 10):
            put(conn, METER, numbered(first, 10))
    errors: list[str | None] = []

    def at_step(step: str) -> None:
        if step == "before_append":
            errors.append(writer.state.error)
            if len(errors) == 1:
                raise OSError("no space left on device")

    writer = LakeWriter(database_url, lake, Often(flush_rows=10), at_step)
    writer.start()
    wait_for(lambda: not waiting_meters(database_url), 60)
    assert writer.stop(60)
    assert errors == [None, "OSError: no space left on device", *[None] * 4]


def test_data_cut_short_by_a_power_failure_stops_the_writer(database_url: str, lake: Lake) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        put(conn, METER, numbered(0, 10))
    kill_a_flush(database_url, lake, "before_settle")
    (file,) = lake.open(METER.raw_table).file_uris()
    os.truncate(file, 10)
    with pytest.raises(LakeDamaged, match="still holds its rows"):
        flush_all(database_url, lake)
    with psycopg.connect(database_url) as conn:
        row = conn.execute("SELECT count(*) FROM meter_heartbeat_outbox").fetchone()
    assert row == (10,)


def test_rows_from_another_cluster_are_delivered(database_url: str, lake: Lake) -> None:
    """A dump keeps the transaction ids of its source, which this server has yet to reach."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        put(conn, METER, numbered(0, 3))
        put_packed(conn, METER, numbered(3, 2))
        conn.execute("UPDATE meter_heartbeat_outbox SET xid = '999999999999'")
        conn.execute("UPDATE heartbeat_pack SET xid = '999999999999'")
    assert flush_all(database_url, lake) == 5


def test_two_databases_never_share_an_outbox_identity(database_url: str, postgres: str) -> None:
    with psycopg.connect(database_url) as here, psycopg.connect(postgres) as there:
        assert outbox_identity(here) != outbox_identity(there)
        assert outbox_identity(here).count("-") == 2


def test_a_restored_database_starts_from_nothing(database_url: str, lake: Lake) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        put(conn, METER, numbered(0, 3))
    flush_all(database_url, lake)
    assert read_delivered_horizon(lake, METER, "outbox-of-a-restored-database").horizon == 0
