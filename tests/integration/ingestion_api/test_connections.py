"""Ways to the database: a collector works the same over each of them."""

from pathlib import Path

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import create_engine, text

from local_stack.stack.embedded_postgres import EmbeddedPostgres
from tests.harness.collector import Collector, running_collector
from tests.harness.heartbeats import device, meter, vehicle
from tests.harness.outbox import waiting_meters
from tests.harness.waiting import wait_for
from warehouse_sql.api_keys import create_key
from warehouse_sql.database_url import dagster_url

MANY = 300  # enough for a pack


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
    refused = collector.post("/v1/ingest/meter", meter(box, kwhConsumedAc=-1))
    assert refused.status_code == 422

    wait_for(lambda: not waiting_meters(collector.database_url))
    status = collector.http.get("/v1/status").json()
    assert status["recordsAcknowledged"] == MANY + 20
    wait_for(lambda: collector.http.get("/v1/rejections").json()["rejections"])
    answer = collector.http.get(f"/v1/analytics/performance/{car}").json()
    assert answer["energyConsumedAc"] > 0.2 * MANY
    assert answer["energyDeliveredDc"] > 0
    assert create_key(collector.database_url, device("key"), ["read"])
