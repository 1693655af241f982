"""Databases that go back in time and lakes that are not the right one lose nothing."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from ingestion_api.outbox import flush
from ingestion_api.outbox.flush import OutboxFlush
from lake import METER, Lake, LakeError, StaleRead, WrongLake
from lake.upkeep import merge_raw_hours
from local_stack.stack.embedded_postgres import EmbeddedPostgres
from tests.harness.outbox import (
    flush_all,
    kill_a_flush,
    ledger_rows,
    numbered,
    put,
    raw_ids,
)
from tests.harness.postgres import running_postgres, server_folder
from tests.harness.raw_table import append_from
from warehouse_sql.migrate import migrate


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    """A server of this test alone, whose files it may copy and whose process it may kill."""
    # A slow WAL writer: what nobody waited for is lost in a crash.
    slow = {"wal_writer_delay": "10s"}
    with server_folder() as folder, running_postgres(folder / "data", settings=slow) as postgres:
        yield postgres


def commit(dsn: str, first: int, count: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        for n in range(first, first + count):
            put(conn, METER, numbered(n, 1))


def copy_of(server: EmbeddedPostgres, lake: Lake) -> Path:
    """Copy the files of the server, which is stopped, after it has delivered M0 to M4."""
    dsn = server.start()
    migrate(dsn)
    commit(dsn, 0, 5)
    flush_all(dsn, lake)
    server.stop()
    copy = server.folder.with_name("copy")
    subprocess.run(["cp", "-a", server.folder, copy], check=True)
    return copy


def test_a_database_put_back_from_a_copy_of_its_files_delivers_all_it_acknowledges(
    server: EmbeddedPostgres, lake: Lake
) -> None:
    copy = copy_of(server, lake)
    dsn = server.start()
    commit(dsn, 5, 50)
    flush_all(dsn, lake)
    server.stop()
    shutil.rmtree(server.folder)
    copy.rename(server.folder)
    dsn = server.start()
    commit(dsn, 100, 10)
    flush_all(dsn, lake)
    assert set(raw_ids(lake)) >= {f"M{n}" for n in (*range(55), *range(100, 110))}
    assert ledger_rows(dsn) == len(raw_ids(lake))


@pytest.mark.parametrize("copy_starts", ["before the original goes on", "beside it"])
def test_a_copy_of_a_database_that_runs_beside_it_loses_nothing_of_either(
    server: EmbeddedPostgres, lake: Lake, copy_starts: str
) -> None:
    copy = copy_of(server, lake)
    original = server.start()
    with running_postgres(copy) as beside, ExitStack() as open_writers:

        def writer(dsn: str) -> OutboxFlush:
            conn = open_writers.enter_context(psycopg.connect(dsn, autocommit=True))
            return open_writers.enter_context(OutboxFlush(dsn, conn, lake, 40))

        urls = [original, beside.url()]
        order = reversed(urls) if copy_starts == "beside it" else urls
        writers = {dsn: writer(dsn) for dsn in order}
        for first in (100, 120, 140):
            for n, dsn in enumerate(urls):  # with the same transaction ids
                commit(dsn, first + 1_000 * n, 10)
            for dsn in urls:
                writers[dsn].flush(METER)
        for dsn in (*urls, *urls):
            flush_all(dsn, lake)
        own = [*range(100, 110), *range(120, 130), *range(140, 150)]
        sent = {*range(5), *own, *(1_000 + n for n in own)}
        assert raw_ids(lake) == [f"M{n}" for n in sorted(sent)]
        assert ledger_rows(urls[0]) == ledger_rows(urls[1]) == len(sent)


def test_a_crash_that_forgets_rolled_back_transactions_loses_no_row(
    server: EmbeddedPostgres, lake: Lake
) -> None:
    dsn = server.start()
    migrate(dsn)
    with psycopg.connect(dsn) as conn:
        for n in range(20):
            put(conn, METER, numbered(900 + n, 1))
            conn.rollback()
    commit(dsn, 0, 1)
    with psycopg.connect(dsn) as conn:
        for n in range(20):
            put(conn, METER, numbered(900 + n, 1))
            conn.rollback()
    kill_a_flush(dsn, lake, "before_settle")
    server.kill()
    dsn = server.start()
    commit(dsn, 100, 3)
    flush_all(dsn, lake)
    assert raw_ids(lake) == ["M0", "M100", "M101", "M102"]


def test_a_restart_syncs_the_newest_commit_before_the_outbox_forgets(
    database_url: str, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(database_url, 0, 3)
    kill_a_flush(database_url, lake, "before_settle")
    synced: set[str] = set()
    monkeypatch.setattr(os, "fsync", lambda fd: synced.add(os.readlink(f"/proc/self/fd/{fd}")))
    flush_all(database_url, lake)
    table = Path(lake.table_uri(METER.raw_table))
    (data,) = lake.open(METER.raw_table).file_uris()
    assert {data, str(Path(data).parent), str(table / "_delta_log")} <= synced
    assert str(table / "_delta_log" / f"{1:020}.json") in synced


def test_another_lake_is_refused_and_the_outbox_kept(
    database_url: str, lake: Lake, tmp_path: Path
) -> None:
    commit(database_url, 0, 3)
    flush_all(database_url, lake)
    commit(database_url, 3, 3)
    other = Lake(str(tmp_path / "other"))
    other.create_tables()
    with pytest.raises(WrongLake, match="LAKE_URI"):
        flush_all(database_url, other)
    flush_all(database_url, lake)
    assert raw_ids(lake) == [f"M{n}" for n in range(6)]


def test_an_older_copy_of_the_lake_is_refused(
    database_url: str, lake: Lake, tmp_path: Path
) -> None:
    shutil.copytree(lake.uri, tmp_path / "older")
    commit(database_url, 0, 3)
    flush_all(database_url, lake)
    with pytest.raises(WrongLake, match="older copy"):
        flush_all(database_url, Lake(str(tmp_path / "older")))


def test_an_older_copy_that_goes_on_by_itself_is_still_refused(
    database_url: str, lake: Lake, tmp_path: Path
) -> None:
    for first in range(0, 12, 2):
        commit(database_url, first, 2)
        flush_all(database_url, lake)
    older = Lake(str(tmp_path / "older"))
    shutil.copytree(lake.uri, older.uri)
    commit(database_url, 12, 3)
    flush_all(database_url, lake)
    commit(database_url, 15, 3)
    merge_raw_hours(older, METER, datetime.now(UTC))  # as each night
    for n in range(9):
        append_from(older, METER, numbered(900 + n, 1), "another cell", n + 1, n)
    assert older.open(METER.raw_table).version() > lake.open(METER.raw_table).version()
    with pytest.raises(WrongLake, match="older copy"):
        flush_all(database_url, older)
    flush_all(database_url, lake)
    assert raw_ids(lake) == [f"M{n}" for n in range(18)]


def test_an_older_copy_put_in_the_place_of_the_lake_of_a_running_writer_is_refused(
    database_url: str, lake: Lake, tmp_path: Path
) -> None:
    shutil.copytree(lake.uri, tmp_path / "older")
    commit(database_url, 0, 3)
    with (
        psycopg.connect(database_url, autocommit=True) as conn,
        flush.OutboxFlush(database_url, conn, lake, 40) as running,
    ):
        assert running.flush(METER) == (3, False)
        shutil.rmtree(lake.uri)
        shutil.copytree(tmp_path / "older", lake.uri)
        commit(database_url, 3, 3)
        with pytest.raises(WrongLake, match="older copy"):
            running.flush(METER)
    assert raw_ids(lake) == []


def test_a_new_database_learns_from_the_lake_which_hours_wait(
    database_url: str, postgres: str, lake: Lake
) -> None:
    commit(database_url, 0, 3)
    flush_all(database_url, lake)
    with psycopg.connect(database_url, autocommit=True) as conn:  # as a restored one would be
        conn.execute("DELETE FROM partition_ledger")
        conn.execute("UPDATE outbox_delivery SET identity = 'of another system'")
    assert flush_all(database_url, lake) == 0
    assert ledger_rows(database_url) == 3


def test_a_lake_that_refuses_every_append_is_an_error_and_no_endless_loop(
    database_url: str, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StaleRead("unsupported table feature")

    commit(database_url, 0, 3)
    monkeypatch.setattr(flush, "append_once", refuse)
    with pytest.raises(LakeError, match="unsupported table feature"):
        flush_all(database_url, lake)
