"""The committer's statements: one round trip, one transaction, and locks in one order."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import psycopg
import pytest

from ingestion_api.commit.transaction import PACKED_FROM, committer_settings, statements
from ingestion_api.heartbeats.batch import HeartbeatBatch
from ingestion_api.outbox.pack import unpack
from lake import METER, VEHICLE, Stream
from tests.harness.outbox import execute, numbered, store
from tests.samples import ANY_TIME, HOUR_10, heartbeats, meter_rows, vehicle_rows
from warehouse_sql.binary_parameters import text_array
from warehouse_sql.named_queries import query
from warehouse_sql.statement_pipeline import Statement, StatementPipeline


def run(database_url: str, use: Callable[[StatementPipeline], Awaitable[object]]) -> None:
    """Use a connection as the committer does."""

    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
            trip = StatementPipeline(conn)
            await trip.commit([committer_settings(is_local=False)])
            await use(trip)

    asyncio.run(main())


def meters(*rows: dict[str, object]) -> list[Statement]:
    """What stores these meter heartbeats."""
    return statements(
        {"meter": HeartbeatBatch.from_arrow(METER, meter_rows(*rows))}, {}, 5_000, ANY_TIME
    )


def counts(database_url: str) -> tuple[int, int]:
    """Rows of live state and of the outbox, of meters."""
    with psycopg.connect(database_url) as conn:
        found = conn.execute(
            "SELECT (SELECT count(*) FROM meter_live_state),"
            " (SELECT count(*) FROM meter_heartbeat_outbox)"
        ).fetchone()
    assert found is not None
    return found[0], found[1]


def test_everything_of_a_trip_is_committed_together(database_url: str) -> None:
    run(database_url, lambda trip: trip.commit(meters({"meter_id": "A"}, {"meter_id": "B"})))
    assert counts(database_url) == (2, 2)


def test_an_error_in_any_statement_undoes_all_and_the_connection_goes_on(
    database_url: str,
) -> None:
    async def use(trip: StatementPipeline) -> None:
        good = meters({"meter_id": "A"})
        wrong: Statement = ("insert_meter_outbox", [text_array([None]), *good[1][1][1:]])
        for order in ([*good, wrong], [wrong, *good]):
            with pytest.raises(psycopg.errors.NotNullViolation):
                await trip.commit(order)
            assert counts(database_url) == (0, 0)
        await trip.commit(good)

    run(database_url, use)
    assert counts(database_url) == (1, 1)


def test_a_commit_that_fails_after_its_statements_is_an_error(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            b"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            b" $$BEGIN RAISE EXCEPTION 'refused at commit'; END$$;"
            b"CREATE CONSTRAINT TRIGGER late AFTER INSERT ON meter_heartbeat_outbox"
            b" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
        )

    async def use(trip: StatementPipeline) -> None:
        with pytest.raises(psycopg.errors.RaiseException, match="refused at commit"):
            await trip.commit(meters({}))

    run(database_url, use)
    assert counts(database_url) == (0, 0)


def test_a_connection_that_is_cut_is_an_error_and_stores_nothing(database_url: str) -> None:
    async def use(trip: StatementPipeline) -> None:
        await trip.commit(meters({"meter_id": "A"}))
        with psycopg.connect(database_url, autocommit=True) as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        with pytest.raises(psycopg.OperationalError):
            await trip.commit(meters({"meter_id": "B"}))

    run(database_url, use)
    assert counts(database_url) == (1, 1)


@pytest.mark.parametrize("stream", [METER, VEHICLE], ids=lambda stream: stream.name)
@pytest.mark.parametrize("rows", [0, 20_000])
def test_live_rows_are_locked_in_the_order_of_their_ids(
    stream: Stream, rows: int, database_url: str
) -> None:
    """A plan that reads the table in an order of its own would let two collectors deadlock."""
    merge = query(f"merge_{stream.name}_live_state")
    types = [
        b"float8[]"
        if column.name in stream.number_columns
        else b"timestamptz[]"
        if column.name in {"timestamp", "received_at"}
        else b"text[]"
        for column in stream.posted_columns
    ]
    nulls = b", ".join(b"NULL::" + kind for kind in (*types, b"timestamptz"))
    with psycopg.connect(database_url, autocommit=True) as conn:
        execute(conn, committer_settings(is_local=False))
        if rows:
            store(conn, stream, heartbeats(stream, ({stream.device: f"D{n}"} for n in range(rows))))
        conn.execute(f"ANALYZE {stream.name}_live_state".encode())
        conn.pgconn.prepare(b"merge", merge)
        plan = conn.execute(b"EXPLAIN (FORMAT JSON) EXECUTE merge(%b)" % nulls).fetchone()
    assert plan is not None
    join = plan[0][0]["Plan"]["Plans"][0]
    assert join["Node Type"] == "Nested Loop"
    outer, inner = join["Plans"]
    assert outer["Node Type"] == "Function Scan"
    assert "Index" in json.dumps(inner)


@pytest.mark.parametrize("stream", [METER, VEHICLE], ids=lambda stream: stream.name)
def test_a_state_from_a_clock_that_was_ahead_gives_way_to_any_that_is_believed(
    stream: Stream, database_url: str
) -> None:
    """Else live state would stand still for as long as the clock was ahead."""
    days, believed = timedelta(days=3), HOUR_10 + timedelta(minutes=5)

    def live_after(at: datetime, received_at: datetime, until: datetime) -> datetime:
        row = {stream.device: "D", "timestamp": at, "received_at": received_at}
        rows = {stream.name: HeartbeatBatch.from_arrow(stream, heartbeats(stream, [row]))}
        run(database_url, lambda trip: trip.commit(statements(rows, {}, 5_000, until)))
        with psycopg.connect(database_url) as conn:
            found = conn.execute(
                'SELECT "timestamp" FROM meter_live_state'
                ' UNION ALL SELECT "timestamp" FROM vehicle_live_state'
            )
            ((newest,),) = found.fetchall()
        assert isinstance(newest, datetime)
        return newest

    ahead = HOUR_10 + days
    assert live_after(ahead, ahead, ahead) == ahead
    late = HOUR_10 - timedelta(hours=1)  # the first that comes is one that was held back
    assert live_after(late, HOUR_10, believed) == late
    assert live_after(HOUR_10, HOUR_10, believed) == HOUR_10
    assert live_after(late, HOUR_10 + days, believed) == HOUR_10


def test_many_heartbeats_wait_as_one_row_that_holds_them_all(database_url: str) -> None:
    rows = numbered(0, PACKED_FROM)
    run(
        database_url,
        lambda trip: trip.commit(
            statements({"meter": HeartbeatBatch.from_arrow(METER, rows)}, {}, 5_000, ANY_TIME)
        ),
    )
    with psycopg.connect(database_url) as conn:
        found = conn.execute(
            "SELECT heartbeats, rows, hours, hour_rows FROM heartbeat_pack", binary=True
        ).fetchall()
    ((pack, count, hours, of_hour),) = found
    assert unpack(pack, METER).equals(rows)
    assert (count, of_hour) == (PACKED_FROM, [PACKED_FROM])
    assert [hour.hour for hour in hours] == [10]
    assert counts(database_url) == (PACKED_FROM, 0)


def test_vehicles_keep_their_nulls_and_meters_in_a_pack(database_url: str) -> None:
    rows = vehicle_rows(
        *(
            {"vehicle_id": f"V{n}", "soc": None if n % 2 else 50.0, "meter_id": f"M{n % 3}"}
            if n % 5
            else {"vehicle_id": f"V{n}", "battery_temp": -1.5}
            for n in range(PACKED_FROM)
        )
    )
    run(
        database_url,
        lambda trip: trip.commit(
            statements({"vehicle": HeartbeatBatch.from_arrow(VEHICLE, rows)}, {}, 5_000, ANY_TIME)
        ),
    )
    with psycopg.connect(database_url) as conn:
        ((pack,),) = conn.execute("SELECT heartbeats FROM heartbeat_pack", binary=True).fetchall()
    assert unpack(pack, VEHICLE).equals(rows)
