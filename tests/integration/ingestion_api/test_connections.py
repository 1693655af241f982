"""Ways to the database: a collector works the same over each of them."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import create_engine, text

from ingestion_api.database import pool
from local_stack.stack.embedded_postgres import EmbeddedPostgres
from tests.harness.collector import Collector, running_collector
from tests.harness.heartbeats import device, meter, vehicle
from tests.harness.outbox import waiting_meters
from tests.harness.pooler import SESSIONS, pooled
from tests.harness.replica import replica_of
from tests.harness.waiting import wait_for
from warehouse_sql.database_url import dagster_url

CALLERS = 4
MANY = 300  # enough for a pack
POSTED = MANY + 20

# What was set for a session, but for what a pooler keeps for each of its clients.
LEFT_IN_THE_SESSION = """
    SELECT name FROM pg_settings
    WHERE source = 'session' AND lower(name) NOT IN
        ('timezone', 'application_name', 'client_encoding', 'datestyle',
         'standard_conforming_strings')
    UNION ALL SELECT name FROM pg_prepared_statements
    UNION ALL SELECT locktype FROM pg_locks
              WHERE pid = pg_backend_pid() AND locktype = 'advisory'
"""


def test_a_unix_socket_does_for_all(
    postgres_server: EmbeddedPostgres, database_url: str, tmp_path: Path
) -> None:
    given = conninfo_to_dict(database_url)
    place = f"?host={postgres_server.cluster}&port={given['port']}"
    url = f"postgresql://{given['user']}:{given['password']}@/{given['dbname']}{place}"
    with create_engine(dagster_url(url)).connect() as dagster:
        asked = dagster.execute(text("SELECT inet_client_addr(), current_schema()"))
        assert asked.one() == (None, "dagster")
    with running_collector(url, tmp_path, FLUSH_SECONDS="0.2") as collector:
        use(collector)


def test_a_pooler_of_transactions_does_for_all_but_what_needs_a_session(
    database_url: str, tmp_path: Path
) -> None:
    settings = {"DIRECT_DATABASE_URL": database_url, "FLUSH_SECONDS": "0.2"}
    with (
        pooled(database_url) as url,
        running_collector(url, tmp_path, **settings) as collector,
    ):
        with ThreadPoolExecutor(CALLERS) as callers:
            list(callers.map(lambda _: use(collector), range(CALLERS)))
        status = collector.http.get("/v1/status").json()
        assert status["recordsAcknowledged"] == status["rowsInLake"] == CALLERS * POSTED
        with psycopg.connect(url) as one, psycopg.connect(url) as another:
            for conn in (one, another):  # each in a transaction, so in two sessions of the pooler
                assert conn.execute(LEFT_IN_THE_SESSION).fetchall() == []


def test_a_replica_answers_for_devices_and_may_be_behind_while_all_else_is_as_it_is(
    postgres_server: EmbeddedPostgres, database_url: str, tmp_path: Path
) -> None:
    box, car = f"{device('BOX')}1", f"{device('CAR')}1"
    link = {"meterId": box, "vehicleId": car, "validFrom": "2026-01-01T00:00:00Z"}
    with replica_of(postgres_server) as replica:
        settings = {"READ_DATABASE_URL": replica.url(database_url), "FLUSH_SECONDS": "0.2"}
        with running_collector(database_url, tmp_path, **settings) as collector:
            get, live = collector.http.get, f"/v1/analytics/meter/{box}/live"
            with replica.standing_still():
                for past in (-120, -60):
                    assert collector.post("/v1/ingest/meter", meter(box, past)).status_code == 201
                    assert (
                        collector.post("/v1/ingest/vehicle", vehicle(car, past)).status_code == 201
                    )
                assert collector.post("/v1/links", link).status_code == 201
                wait_for(lambda: get("/v1/status").json()["rowsInLake"] == 4)
                assert [one["meterId"] for one in get("/v1/links").json()["links"]] == [box]
                assert get(live).status_code == 404
                assert get(f"/v1/analytics/performance/{car}").status_code == 404
            wait_for(lambda: get(live).status_code == 200)
            wait_for(lambda: get(f"/v1/analytics/performance/{car}").status_code == 200)
            found = wait_for(lambda: energies(get(f"/v1/analytics/performance/{car}").json()))
            assert found == pytest.approx((0.4, 0.36))


def energies(answer: dict[str, Any]) -> tuple[float, float] | None:
    """Both energies of an answer; None where the vehicle is not linked yet."""
    found = (answer["energyConsumedAc"], answer["energyDeliveredDc"])
    return None if None in found else found


def test_behind_a_pooler_a_reading_request_ends_though_its_statement_does_not(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seconds in ("_STATEMENT_SECONDS", "_CANCEL_SECONDS", "_CHECK_SECONDS"):
        monkeypatch.setattr(pool, seconds, 0.3)
    canceled, cancellation_over = asyncio.Event(), asyncio.Event()
    cancel_safe = psycopg.AsyncConnection.cancel_safe

    async def cancel_slowly(conn: psycopg.AsyncConnection, **options: float) -> None:
        await cancel_safe(conn, **options)
        if not cancellation_over.is_set():
            await canceled.wait()
            cancellation_over.set()

    monkeypatch.setattr(psycopg.AsyncConnection, "cancel_safe", cancel_slowly)

    async def read(url: str) -> None:
        async with pool.read_pool(url, 1, is_pooled=True) as reading:
            async with reading.connection() as conn:
                with pytest.raises(psycopg.errors.QueryCanceled):
                    await conn.execute("SELECT pg_sleep(600)")
                canceled.set()
            assert cancellation_over.is_set()  # or it would hit what comes next in this session
            async with reading.connection() as conn, AsyncExitStack() as held:
                for _ in range(SESSIONS):
                    other = await psycopg.AsyncConnection.connect(url)
                    await (await held.enter_async_context(other)).execute("SELECT")
                with pytest.raises(psycopg.OperationalError):  # there is no session for it
                    await conn.execute("SELECT")

    with pooled(database_url) as url:
        asyncio.run(read(url))


def use(collector: Collector) -> None:
    """Post heartbeats, as one, as rows and as a pack, see them in the lake, and read them."""
    box, car = f"{device('BOX')}1", f"{device('CAR')}1"
    link = {"meterId": box, "vehicleId": car, "validFrom": "2026-01-01T00:00:00Z"}
    assert collector.post("/v1/links", link).status_code == 201
    for round_trip in range(10):  # what a connection has prepared by then is used again
        past = -300 + round_trip
        assert collector.post("/v1/ingest/meter", meter(box, past)).status_code == 201
        assert collector.post("/v1/ingest/vehicle", vehicle(car, past)).status_code == 201
        assert collector.http.get(f"/v1/analytics/meter/{box}/live").json()["meterId"] == box
        assert collector.http.get("/v1/analytics/overview").status_code == 200
        assert collector.http.get("/v1/alerts").json()["alerts"] == []
    many = [meter(box, -200 + n / 10) for n in range(MANY)]
    assert collector.post("/v1/ingest/meter/batch", many).status_code == 201
    answers = [collector.http.get(f"/v1/analytics/performance/{car}").json()]  # from the pack
    refused = collector.post("/v1/ingest/meter", meter(box, kwhConsumedAc=-1))
    assert refused.status_code == 422

    wait_for(lambda: box not in {one for one, _ in waiting_meters(collector.database_url)})
    answers.append(collector.http.get(f"/v1/analytics/performance/{car}").json())
    energies = [(one["energyConsumedAc"], one["energyDeliveredDc"]) for one in answers]
    assert energies[0] == energies[1]
    assert min(energies[0]) > 0
    asked = {"device": box}
    wait_for(lambda: collector.http.get("/v1/rejections", params=asked).json()["rejections"])
