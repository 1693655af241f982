"""The committer against a database that is slow, locked, hung or gone."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from ingestion_api.commit.group_commit import GroupCommit
from ingestion_api.database.pool import read_pool
from ingestion_api.errors import NotCommitted
from ingestion_api.heartbeats.batch import HeartbeatBatch, Limits
from ingestion_api.heartbeats.strict_decoder import decode_batch_strict
from ingestion_api.outbox.backlog import OutboxMonitor
from ingestion_api.settings import CollectorSettings
from lake import HOUR
from lake.schema.partitions import hour_of
from tests.harness.outbox import waiting_meters

NOW = datetime.now(UTC)


def heartbeats(*devices: str, seconds: int = 0) -> dict[str, HeartbeatBatch]:
    """One meter heartbeat of each device, as a request brings them."""
    at = (NOW + timedelta(seconds=seconds)).isoformat()
    body = [{"meterId": device, "timestamp": at, "voltage": 230} for device in devices]
    return decode_batch_strict(
        json.dumps(body).encode(), "meter", Limits.from_clock(NOW, 300, 100_000)
    ).rows


def run(database_url: str, use: Callable[[GroupCommit], Awaitable[None]], **changed: Any) -> None:
    """Use a committer from its start to its stop."""

    async def main() -> None:
        settings = CollectorSettings(_env_file=None, **changed)
        committer = GroupCommit(
            database_url, settings, OutboxMonitor(read_pool(database_url, 1), settings)
        )
        await committer.start()
        try:
            await use(committer)
        finally:
            await asyncio.wait_for(committer.stop(), 20)

    asyncio.run(main())


def in_outbox(database_url: str) -> list[str]:
    """Ids in the outbox, sorted."""
    return sorted(device for device, _ in waiting_meters(database_url))


def lock_live_state(database_url: str) -> psycopg.Connection:
    """A connection that makes every commit wait until it is closed."""
    conn = psycopg.connect(database_url)
    conn.execute("LOCK TABLE meter_live_state IN EXCLUSIVE MODE")
    return conn


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition, with a deadline."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited too long")


def test_requests_that_wait_are_committed_together(database_url: str) -> None:
    rows_of_commits: list[int] = []

    async def main() -> None:
        settings = CollectorSettings(_env_file=None)
        committer = GroupCommit(
            database_url,
            settings,
            OutboxMonitor(read_pool(database_url, 1), settings),
            on_commit=rows_of_commits.append,
        )
        await committer.start()
        await asyncio.gather(*(committer.submit(heartbeats(f"M{n}")) for n in range(200)))
        await committer.stop()

    asyncio.run(main())
    assert sum(rows_of_commits) == 200
    assert len(rows_of_commits) <= 2
    assert len(set(in_outbox(database_url))) == 200


def test_a_request_larger_than_a_statement_or_a_commit_is_committed_whole(
    database_url: str,
) -> None:
    async def use(committer: GroupCommit) -> None:
        await committer.submit(heartbeats(*(f"M{n}" for n in range(1000))))

    run(database_url, use, statement_rows=64, commit_rows=100)
    assert len(in_outbox(database_url)) == 1000


def test_a_request_over_thousands_of_hours_is_several_transactions_the_newest_hours_first(
    database_url: str,
) -> None:
    old = [
        {"meterId": "M1", "timestamp": (NOW - n * HOUR).isoformat(), "voltage": 1}
        for n in range(1, 1201)
    ]
    new = [{"meterId": "M2", "timestamp": NOW.isoformat(), "voltage": 1}] * 300
    rows = decode_batch_strict(
        json.dumps(old + new).encode(), "meter", Limits.from_clock(NOW, 300, 100_000)
    ).rows

    async def use(committer: GroupCommit) -> None:
        await committer.submit(rows)

    run(database_url, use)
    with psycopg.connect(database_url) as conn:
        packs = conn.execute(
            "SELECT cardinality(hours), hours[cardinality(hours)], rows FROM heartbeat_pack "
            "ORDER BY xid"
        ).fetchall()
    newest = hour_of(NOW)
    # The last 201 hours are rows of their own.
    assert packs == [(500, newest, 799), (500, newest - 500 * HOUR, 500)]
    assert len(waiting_meters(database_url)) == 1500


def test_a_commit_that_hangs_is_answered_and_the_next_ones_work(database_url: str) -> None:
    async def use(committer: GroupCommit) -> None:
        with lock_live_state(database_url), pytest.raises(NotCommitted) as caught:
            await committer.submit(heartbeats("HUNG"))
        assert caught.value.cause == "timeout"
        await until(lambda: committer.is_connected)
        await committer.submit(heartbeats("AFTER"))

    run(database_url, use, commit_timeout_seconds=2)
    assert "AFTER" in in_outbox(database_url)


def test_over_its_bound_the_queue_refuses_at_once_and_takes_again_when_drained(
    database_url: str,
) -> None:
    async def use(committer: GroupCommit) -> None:
        lock = lock_live_state(database_url)
        waiting = [asyncio.create_task(committer.submit(heartbeats("A", "B", "C")))]
        await asyncio.sleep(0)
        with pytest.raises(NotCommitted) as caught:
            await committer.submit(heartbeats("D", "E", "F"))
        assert caught.value.cause == "queue"
        lock.close()
        await asyncio.gather(*waiting)
        await committer.submit(heartbeats("G", "H", "I"))

    run(database_url, use, queue_rows=5)
    assert in_outbox(database_url) == ["A", "B", "C", "G", "H", "I"]


def test_a_client_that_leaves_does_not_take_the_others_with_it(database_url: str) -> None:
    async def use(committer: GroupCommit) -> None:
        lock = lock_live_state(database_url)
        leaving = asyncio.create_task(committer.submit(heartbeats("LEAVING")))
        staying = asyncio.create_task(committer.submit(heartbeats("STAYING")))
        await until(lambda: _somebody_waits(database_url))
        leaving.cancel()
        lock.close()
        await staying

    run(database_url, use)
    assert "STAYING" in in_outbox(database_url)


def test_a_stop_commits_what_is_pending_and_takes_nothing_more(database_url: str) -> None:
    async def main() -> None:
        settings = CollectorSettings(_env_file=None)
        committer = GroupCommit(
            database_url, settings, OutboxMonitor(read_pool(database_url, 1), settings)
        )
        await committer.start()
        lock = lock_live_state(database_url)
        pending = [asyncio.create_task(committer.submit(heartbeats(f"M{n}"))) for n in range(5)]
        await until(lambda: _somebody_waits(database_url))
        stop = asyncio.create_task(committer.stop())
        await asyncio.sleep(0)
        with pytest.raises(NotCommitted):
            await committer.submit(heartbeats("LATE"))
        lock.close()
        await asyncio.gather(*pending, stop)

    asyncio.run(main())
    assert in_outbox(database_url) == [f"M{n}" for n in range(5)]


def test_a_connection_that_was_cut_costs_no_request(database_url: str) -> None:
    async def use(committer: GroupCommit) -> None:
        await committer.submit(heartbeats("BEFORE"))
        with psycopg.connect(database_url, autocommit=True) as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'wattlake collector'"
            )
        await committer.submit(heartbeats("AFTER"))

    run(database_url, use)
    assert in_outbox(database_url) == ["AFTER", "BEFORE"]


def test_a_transaction_that_lost_a_deadlock_is_repeated(database_url: str) -> None:
    async def use(committer: GroupCommit) -> None:
        await committer.submit(heartbeats("A", "B"))
        with psycopg.connect(database_url) as other:
            # Locks B, then wants A, while the commit holds A and wants B.
            other.execute("SET deadlock_timeout = '1min'")
            other.execute("SELECT FROM meter_live_state WHERE meter_id = 'B' FOR UPDATE")
            commit = asyncio.create_task(committer.submit(heartbeats("A", "B", seconds=1)))
            await until(lambda: _somebody_waits(database_url))
            wants_a = "SELECT FROM meter_live_state WHERE meter_id = 'A' FOR UPDATE"
            await asyncio.to_thread(other.execute, wants_a.encode())
            other.rollback()
            await commit

    run(database_url, use)
    assert in_outbox(database_url) == ["A", "A", "B", "B"]


def _somebody_waits(database_url: str) -> bool:
    with psycopg.connect(database_url) as conn:
        row = conn.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
    return row is not None and row[0] > 0


def test_only_pairs_that_are_new_to_the_process_are_sent_again(database_url: str) -> None:
    body = json.dumps(
        [{"vehicleId": "V", "timestamp": NOW.isoformat(), "soc": 1, "meterId": "M"}] * 3
    ).encode()

    async def use(committer: GroupCommit) -> None:
        for _ in range(2):
            await committer.submit(
                decode_batch_strict(body, "telemetry", Limits.from_clock(NOW, 300, 10)).rows
            )

    run(database_url, use)
    with psycopg.connect(database_url) as conn:
        assert conn.execute("SELECT vehicle_id, meter_id FROM named_link").fetchall() == [
            ("V", "M")
        ]
