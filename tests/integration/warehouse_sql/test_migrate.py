"""Migrations and binary parameters on a real server."""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from warehouse_sql.binary_parameters import float8_array, int8_array, text_array, timestamp_array
from warehouse_sql.errors import (
    DatabaseUnreachable,
    MigrationChanged,
    MigrationFailed,
    SchemaNewerThanCode,
)
from warehouse_sql.migrate import migrate, migrations
from warehouse_sql.named_queries import query

moments = st.integers(-(10**15), 4 * 10**15).map(
    lambda micros: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)

_1970 = datetime(1970, 1, 1, tzinfo=UTC)


def empty_database(postgres: str) -> str:
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}".encode())
    return postgres.rsplit("/", 1)[0] + "/" + name


def test_migrations_are_applied_once_even_by_many_at_once(postgres: str) -> None:
    dsn = empty_database(postgres)
    applied: list[str] = []
    threads = [threading.Thread(target=lambda: applied.extend(migrate(dsn))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert applied == list(migrations())
    assert migrate(dsn) == []


def test_a_changed_migration_is_refused(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("UPDATE schema_migration SET sha256 = 'x' WHERE name = '0001_live_state'")
    with pytest.raises(MigrationChanged, match="0001_live_state"):
        migrate(database_url)


def test_a_database_from_the_future_is_refused(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("INSERT INTO schema_migration (name, sha256) VALUES ('9999_later', 'x')")
    with pytest.raises(SchemaNewerThanCode, match="9999_later"):
        migrate(database_url)


def test_a_database_that_does_not_answer_is_told_in_one_line() -> None:
    with pytest.raises(DatabaseUnreachable) as error:
        migrate("postgresql://nobody@127.0.0.1:1/none")
    assert "\n" not in str(error.value)


def test_an_account_without_rights_is_told_in_one_line(postgres: str) -> None:
    dsn = empty_database(postgres)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("DROP ROLE IF EXISTS reader")
        conn.execute("CREATE ROLE reader LOGIN PASSWORD 'secret'")
    server = dsn.split("@")[1]
    with pytest.raises(MigrationFailed, match="permission denied") as error:
        migrate(f"postgresql://reader:secret@{server}")
    assert "\n" not in str(error.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.none() | texts,
            st.none() | st.floats(allow_nan=False),
            moments,
        ),
        max_size=20,
    ),
    st.integers(0, 3),
)
def test_arrays_reach_the_server_unchanged(
    database_url: str, rows: list[tuple[Any, ...]], skipped: int
) -> None:
    sent = rows[skipped:]
    times = [(row[2] - _1970) // timedelta(microseconds=1) for row in sent]
    parameters = [
        text_array([row[0] for row in sent]),
        float8_array(np.array([row[1] for row in sent], np.float64)),
        timestamp_array(np.array(times, np.int64)),
        int8_array(np.array(times, np.int64)),
    ]
    with psycopg.connect(database_url) as conn:
        result = conn.pgconn.exec_params(
            b"SELECT a, b, extract(epoch FROM c)::text, d"
            b" FROM unnest($1::text[], $2::float8[], $3::timestamptz[], $4::int8[])"
            b" AS sent (a, b, c, d)",
            parameters,
            None,
            [1] * len(parameters),
        )
    received = [[result.get_value(row, column) for column in range(4)] for row in range(len(sent))]
    for row, time, (text, number, moment, whole) in zip(sent, times, received, strict=True):
        assert row[0] == (None if text is None else text.decode())
        assert row[1] == (None if number is None else float(number))
        assert moment is not None
        assert Decimal(moment.decode()) * 1_000_000 == time
        assert whole is not None
        assert int(whole) == time


def test_a_meter_feeds_one_vehicle_at_a_time(database_url: str) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    link = {"meter_id": "M", "vehicle_id": "V", "valid_from": start, "valid_to": None}
    with psycopg.connect(database_url, autocommit=True) as conn:
        first = conn.execute(query("insert_link_if_free"), link).fetchone()
        second = conn.execute(query("insert_link_if_free"), {**link, "vehicle_id": "W"}).fetchone()
        before = {**link, "valid_from": start - timedelta(days=1), "valid_to": start}
        third = conn.execute(query("insert_link_if_free"), before).fetchone()
    assert (first is None, second is None, third is None) == (False, True, False)


def test_hours_that_were_published_before_revisions_came_stay_done(postgres: str) -> None:
    earlier = [text for name, text in migrations().items() if name < "0008"]
    with psycopg.connect(empty_database(postgres), autocommit=True) as conn:
        for text in earlier:
            conn.execute(text.encode())
        conn.execute(
            b"INSERT INTO partition_ledger (stream, hour, raw_version, last_arrival,"
            b" compacted_version, published_version)"
            b" VALUES ('meter', '2026-01-01 00:00Z', 5, now(), 5, 5),"
            b" ('meter', '2026-01-01 01:00Z', 5, now(), 5, 4),"
            b" ('meter', '2026-01-01 02:00Z', 5, now(), 5, NULL)"
        )
        conn.execute(migrations()["0008_hour_revision"].encode())
        found = conn.execute(
            b"SELECT extract(hour FROM hour AT TIME ZONE 'UTC')::int FROM unpublished_hour"
            b" ORDER BY hour"
        )
        assert found.fetchall() == [(1,), (2,)]


@pytest.mark.parametrize("after", [None, "M02500"])
def test_a_page_of_the_live_fleet_reads_a_page_however_many_devices_there_are(
    database_url: str, after: str | None
) -> None:
    now = datetime.now(UTC)
    unset = ("kind", "flags", "ids", "prefix", "linked", "soc_below", "temperature_above")
    asked = {
        **dict.fromkeys(unset),
        **{"depots": None, "groups": None, "is_placed": False},
        **{"after_missing": False, "after_place": 0.0, "after_kind": "meter", "after_id": after},
        **{"now": now, "believed_until": now, "nominal": 60.0, "online_intervals": 2.0},
        **{"silent_after": 600.0, "silent_intervals": 4.0},
        **{"sort": "id", "sign": 1, "falling": False, "is_walked": True, "limit": 11},
    }
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO meter_live_state (meter_id, timestamp, reading_type, received_at)"
            " SELECT 'M' || lpad(n::text, 5, '0'), now(), 'interval', now()"
            " FROM generate_series(1, 5000) AS n"
        )
        conn.execute("ANALYZE meter_live_state")
        page = conn.execute(query("live_fleet"), asked, prepare=False).fetchall()
        explain = b"EXPLAIN (ANALYZE, FORMAT JSON) " + query("live_fleet")
        ((plan,),) = conn.execute(explain, asked, prepare=False).fetchall()
    first = 2501 if after else 1
    assert [row[1] for row in page] == [f"M{n:05}" for n in range(first, first + 11)]
    assert sum(rows_read(plan[0]["Plan"])) <= 11


def rows_read(plan: dict[str, Any]) -> list[int]:
    """Number of rows that each scan of a table has read."""
    found = []
    if "Relation Name" in plan:
        rows = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        found.append(int(rows * plan["Actual Loops"]))
    return found + [count for below in plan.get("Plans", []) for count in rows_read(below)]
