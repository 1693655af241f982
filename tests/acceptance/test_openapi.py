"""OpenAPI says what the collector does: schemathesis asks everything, and knows every answer.

`OPENAPI_EXAMPLES=1000 pytest tests/acceptance/test_openapi.py` asks more of each call, and other
things each time; its output names the seed.
"""

import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lake import Lake
from lake.reports import FORMS
from lake.schema.vehicle_efficiency import VEHICLE_EFFICIENCY_HOURLY
from tests.harness.collector import Collector, running_collector
from tests.harness.heartbeats import meter, vehicle
from tests.harness.postgres import copied_database
from tests.harness.reports import put_report
from tests.harness.waiting import wait_for
from tests.maintenance_samples import store_visits
from tests.table_samples import put
from warehouse_sql.api_keys import create_key

EXAMPLES = os.environ.get("OPENAPI_EXAMPLES")
# Rules beyond JSON Schema refuse what a schema allows: a window of more than 31 days, a heartbeat
# from the future. The other way round everything that breaks its schema is refused.
CHECKS = """
[checks.positive_data_acceptance]
enabled = false
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "413", "415", "422"]
"""
PROBLEM = "application/problem+json"
OPEN = {"/healthz", "/readyz"}


@pytest.fixture(scope="module")
def api(
    postgres: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Collector]:
    """A collector with something of everything."""
    with (
        copied_database(postgres, migrated_template) as url,
        running_collector(
            url, tmp_path_factory.mktemp("openapi"), FLUSH_SECONDS="1", KEY_REFRESH_SECONDS="0.1"
        ) as collector,
    ):
        fill(collector)
        yield collector


def fill(api: Collector) -> None:
    """Devices, a link, a refused record, an hour, a session, an alert, reports, a subscription."""
    for number in range(3):
        meters = [meter(f"METER00{number}", -60 * ago) for ago in range(10)]
        vehicles = [vehicle(f"VEH00{number}", -60 * ago) for ago in range(10)]
        assert api.post("/v1/ingest/meter/batch", meters).status_code == 201
        assert api.post("/v1/ingest/vehicle/batch", vehicles).status_code == 201
    assert api.http.put("/v1/depots/north", json={"name": "Depot North"}).status_code == 200
    link = {"meterId": "METER001", "vehicleId": "VEH002", "validFrom": "2026-03-01T00:00:00Z"}
    other = {**link, "meterId": "METER002"}  # the one that the example of DELETE removes
    assert [api.post("/v1/links", one).status_code for one in (link, other)] == [201, 201]
    assert api.post("/v1/ingest/meter", {"meterId": "METER001"}).status_code == 422
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    row = {"vehicle_id": "VEH001", "meter_ids": ["METER001"]}
    put(Lake(str(api.lake_folder)), VEHICLE_EFFICIENCY_HOURLY, hour, row)
    api.sql(
        "INSERT INTO charging_session (session_id, vehicle_id, meter_ids, begins, last_energy_at,"
        " duration_seconds, charging_seconds, matched_energy_ac_kwh, matched_energy_dc_kwh, status,"
        " reason, energy_ac_by_hour_kwh, evidence, data_points_meter, data_points_vehicle,"
        " coverage_ac, coverage_dc, longest_gap_seconds, supersedes)"
        # the one that the example of GET finds
        " VALUES ('7d444840-9dc0-51d1-b245-5ffdce74fad2', 'VEH001', '{METER001}', %s, %s, 600, 600,"
        " 1, 0.9, 'good', 'rated', '{1}', 'ac+dc', 10, 10, 1, 1, 60, '{}')",
        hour,
        hour + timedelta(minutes=10),
    )
    store_visits(
        api.database_url,
        {"device_id": "METER001"},
        {"device_id": "VEH001", "device_kind": "vehicle"},
    )
    assert api.post("/v1/ingest/vehicle", vehicle("VEH009", batteryTemp=60)).status_code == 201
    wait_for(lambda: api.sql("SELECT 1 FROM alert_event"))
    api.sql(
        "INSERT INTO alert_dead_letter (webhook, event_id, attempts, last_error)"
        " SELECT 'example.com 0f0f0f0f', id, 10, 'HTTP 500' FROM alert_event"
    )
    forms = dict.fromkeys(FORMS, "a report")
    put_report(api.lake_folder, "2026-03-01", forms)
    put_report(api.lake_folder, "2026-W09", forms)
    wanted = {"period": "day", "recipient": "https://example.com/hook"}
    assert api.post("/v1/report-subscriptions", wanted).status_code == 200


@pytest.fixture
def keys(api: Collector) -> Iterator[dict[str, str]]:
    """Keys of the collector; `slow` may send a request in 100 seconds, and has sent it."""
    url = api.database_url
    made = {
        "admin": create_key(url, "admin", ["admin"]),
        "reader": create_key(url, "reader", ["read"]),
        "writer": create_key(url, "writer", ["ingest"]),
        "slow": create_key(url, "slow", ["admin"], records_per_second=0.01),
    }
    wait_for(lambda: api.http.get("/v1/nothing").status_code == 401)
    wait_for(lambda: all(status(api, key) != 401 for key in made.values()))
    yield made
    api.sql("DELETE FROM api_key")
    wait_for(lambda: api.http.get("/v1/status").status_code == 200)


def operations(api: Collector) -> dict[tuple[str, str], dict[str, Any]]:
    """Operation of each path and method in OpenAPI."""
    paths = api.http.get("/openapi.json").json()["paths"]
    return {(path, method): paths[path][method] for path in paths for method in paths[path]}


def ask(api: Collector, folder: Path, examples: int, *options: str) -> None:
    """Run schemathesis over the whole schema with all of its checks; AssertionError with its text.

    Of each path and method, too, some request must have got through to an answer of 2xx.
    """
    config = folder / "schemathesis.toml"
    config.write_text(CHECKS)
    seed = () if EXAMPLES else ("--seed=1",)
    found = subprocess.run(
        [
            *(Path(sys.executable).with_name("st"), "--config-file", config, "run"),
            *(f"http://127.0.0.1:{api.port}/openapi.json", "--no-color"),
            *("--generation-database=none", "--continue-on-failure", "--warnings=off"),
            *(f"--max-examples={EXAMPLES or examples}", *seed, *options),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    log = api.log.read_text()
    assert found.returncode == 0, found.stdout + found.stderr + log
    assert "Traceback" not in log, log
    assert api.http.get("/readyz").status_code == 200


def answered(api: Collector, headers: dict[str, str] | None = None) -> set[tuple[str, str, str]]:
    """Path, method and first digit of the status of every answer so far."""
    text = api.http.get("/metrics", headers=headers).text
    found = re.findall(
        r'^wattlake_requests_total\{method="(\w+)",route="(.*?)",status="(.)', text, re.M
    )
    return {(route, method.lower(), digit) for method, route, digit in found}


@pytest.mark.timeout(0 if EXAMPLES else 300)
def test_no_request_has_an_answer_that_openapi_does_not_know(
    api: Collector, tmp_path: Path
) -> None:
    ask(api, tmp_path, 6)
    answers = answered(api)
    for path, method in operations(api):
        assert (path, method, "2") in answers
    assert not [answer for answer in answers if answer[2] == "5"]


@pytest.mark.timeout(0 if EXAMPLES else 300)
def test_with_keys_the_answers_are_those_of_openapi_too(
    api: Collector, keys: dict[str, str], tmp_path: Path
) -> None:
    ask(api, tmp_path, 2, f"--header=Authorization: Bearer {keys['admin']}", "--phases=fuzzing")


def test_a_database_that_cannot_serve_a_request_now_is_503_and_says_when_to_come_again(
    api: Collector,
) -> None:
    link = {"meterId": "METER009", "vehicleId": "VEH009", "validFrom": "2026-03-01T00:00:00Z"}
    name = api.database_url.rpartition("/")[2]
    api.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")  # like a standby
    end_reading_connections(api)
    try:
        refused = [api.post("/v1/links", link), api.post("/v1/links/import", [link])]
    finally:
        with psycopg.connect(api.database_url, autocommit=True) as conn:
            conn.execute("SET default_transaction_read_only = off")
            conn.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())
    end_reading_connections(api)
    api.sql("ALTER TABLE charging_link RENAME TO not_migrated")
    refused.append(api.http.get("/v1/links"))
    api.sql("ALTER TABLE not_migrated RENAME TO charging_link")
    for answer in refused:
        assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM)
        assert int(answer.headers["retry-after"]) > 0
    assert api.post("/v1/links", link).status_code == 201


def test_a_wrong_method_is_405_and_names_every_method_of_the_path(api: Collector) -> None:
    by_path = defaultdict(set)
    for path, method in operations(api):
        by_path[path].add(method.upper())
    for path, methods in by_path.items():
        wrong = "PATCH" if "PATCH" not in methods else "DELETE"
        answer = api.http.request(wrong, path.replace("{link_id}", "1"))
        assert (answer.status_code, answer.headers["content-type"]) == (405, PROBLEM)
        beside = {"OPTIONS", "HEAD"} if "GET" in methods else {"OPTIONS"}
        assert set(answer.headers["allow"].split(", ")) == methods | beside


def test_who_may_not_call_gets_an_answer_that_openapi_knows(
    api: Collector, keys: dict[str, str]
) -> None:
    for (path, method), operation in operations(api).items():
        said = operation["responses"]
        if path in OPEN:
            assert not {"401", "403", "429"} & said.keys()
            assert api.http.request(method, path, headers=sent("wl_no_key")).status_code == 200
            continue
        wrong_scope = keys["writer"] if method == "get" else keys["reader"]
        for key, status in (
            (None, 401),
            ("wl_no_key", 401),
            (wrong_scope, 403),
            (keys["slow"], 429),
        ):
            answer = api.http.request(method, path, headers=sent(key) if key else {}, content=b"{}")
            assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
            assert str(status) in said
            for header in said[str(status)]["headers"]:
                assert answer.headers[header]


def end_reading_connections(api: Collector) -> None:
    """Let the collector make new ones."""
    api.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'wattlake collector, reading'"
    )


def status(api: Collector, key: str) -> int:
    """Status of the answer to a request with the key."""
    return api.http.get("/v1/nothing", headers=sent(key)).status_code


def sent(key: str) -> dict[str, str]:
    """The headers of who has a key."""
    return {"Authorization": f"Bearer {key}"}
