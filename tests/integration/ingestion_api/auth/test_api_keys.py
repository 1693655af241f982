"""API keys: who may call the collector, with the keys in a real database."""

import asyncio
import hashlib
import hmac
from typing import Any

import httpx
import psycopg
import pytest
from starlette.types import Message, Receive, Scope, Send

from ingestion_api.auth.api_keys import LOOPBACK, SCOPES, ApiKeyCache, Caller
from ingestion_api.auth.middleware import ApiKeyMiddleware
from ingestion_api.database.pool import read_pool
from ingestion_api.token_bucket import TokenBucket
from tests.harness.collector import Collector, collector_of_module
from tests.harness.heartbeats import device, meter
from tests.harness.waiting import wait_for
from warehouse_sql.api_keys import create_key, list_keys, revoke_key

SECONDS = 5  # "within seconds"
PROBLEM = "application/problem+json"


shared = collector_of_module(KEY_REFRESH_SECONDS="0.1")


@pytest.fixture
def collector(shared: Collector) -> Collector:
    """The collector without any key."""
    shared.sql("DELETE FROM api_key")
    wait_for(lambda: shared.http.get("/v1/status").status_code == 200)
    return shared


def make(collector: Collector, name: str, *scopes: str, **bounds: Any) -> str:
    """A key that the collector knows."""
    key = create_key(collector.database_url, name, scopes, **bounds)
    wait_for(lambda: get(collector, "/nothing").status_code == 401, SECONDS)
    wait_for(lambda: get(collector, "/nothing", key).status_code != 401, SECONDS)
    return key


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def get(collector: Collector, path: str, key: str | None = None) -> httpx.Response:
    return collector.http.get(path, headers=bearer(key) if key else {})


# -- without any key -------------------------------------------------------------------------------


def test_without_any_key_this_machine_is_served_and_the_log_says_so(collector: Collector) -> None:
    assert collector.post("/v1/ingest/meter", meter(device("M"))).status_code == 201
    assert get(collector, "/v1/status").status_code == 200
    assert "there is no API key, so only loopback addresses are served" in collector.log.read_text()


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_who_comes_through_a_local_proxy_does_not_count_as_local(
    collector: Collector, header: str
) -> None:
    answer = collector.http.get("/v1/status", headers={header: "127.0.0.1"})
    assert answer.status_code == 403
    assert collector.http.get("/readyz", headers={header: "127.0.0.1"}).status_code == 200


LOCAL = ("127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1")
REMOTE = ("192.168.1.5", "10.0.0.1", "0.0.0.0", "2001:db8::1", "::ffff:10.0.0.1", "fe80::1%eth0")


@pytest.mark.parametrize("host", LOCAL)
def test_every_loopback_address_is_local(host: str) -> None:
    sent, callers = asgi_call({"client": (host, 5000)})
    assert status_of(sent) == 200
    assert callers == [LOOPBACK]


@pytest.mark.parametrize("client", [*((host, 5000) for host in REMOTE), ("/run/x.sock", 0), None])
@pytest.mark.parametrize("path", ["/v1/status", "/v1/ingest/meter", "/metrics", "/docs", "/"])
def test_without_any_key_nobody_else_is_served_and_the_answer_says_what_to_do(
    client: tuple[str, int] | None, path: str
) -> None:
    sent, callers = asgi_call({"client": client, "path": path})
    assert status_of(sent) == 403
    assert b"wattlake keys create" in sent[1]["body"]
    assert callers == []


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_open_to_everybody(collector: Collector, path: str) -> None:
    sent, _ = asgi_call({"client": ("192.168.1.5", 5000), "path": path})
    assert status_of(sent) == 200
    make(collector, "someone", "ingest")
    assert get(collector, path).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"host": "evil.example:3000"},
        {"host": "127.0.0.1.evil.example"},
    ],
)
def test_a_page_of_another_site_in_a_browser_here_does_not_count_as_local(
    collector: Collector, headers: dict[str, str]
) -> None:
    for method, path in (("GET", "/v1/status"), ("POST", "/v1/links")):
        assert collector.http.request(method, path, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [{"sec-fetch-site": "same-origin"}, {"host": "localhost:3000"}, {"host": "[::1]:3000"}],
)
def test_a_page_of_this_machine_counts_as_local(
    collector: Collector, headers: dict[str, str]
) -> None:
    assert collector.http.get("/v1/status", headers=headers).status_code == 200


# -- with keys -------------------------------------------------------------------------------------


def test_with_the_first_key_everybody_needs_one_also_here(collector: Collector) -> None:
    make(collector, "dashboard", "read")
    answer = get(collector, "/v1/status")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == PROBLEM
    assert "Authorization: Bearer wl_" in answer.json()["detail"]
    assert collector.post("/v1/ingest/meter", meter(device("M"))).status_code == 401


CALLS = [
    ("GET", "/v1/status", "read"),
    ("GET", "/metrics", "read"),
    ("GET", "/v1/links", "read"),
    ("GET", "/v1/no/such/call", "read"),
    ("GET", "/v1/ingest/meter", "read"),
    ("POST", "/v1/ingest/meter", "ingest"),
    ("POST", "/v1/ingestion/telemetry", "ingest"),
    ("POST", "/v1/links", "admin"),
    ("POST", "/v1/links/import", "admin"),
    ("PUT", "/v1/links/1/end", "admin"),
    ("POST", "//v1/ingest/meter", "admin"),
    ("DELETE", "/v1/links/1", "admin"),
    ("PUT", "/v1/ingest/meter", "admin"),
]


def test_each_call_needs_its_scope_and_admin_has_all(collector: Collector) -> None:
    keys = {scope: make(collector, scope, scope) for scope in sorted(SCOPES)}
    for method, path, needed in CALLS:
        for scope, key in keys.items():
            answer = collector.http.request(method, path, headers=bearer(key), content=b"no")
            refused = answer.status_code == 403
            assert refused == (scope not in {needed, "admin"}), (method, path, scope, answer.text)
            if refused:
                assert answer.headers["content-type"] == PROBLEM
                assert f"lacks the scope '{needed}'" in answer.json()["detail"]
                assert f"--scope {needed}" in answer.json()["detail"]


def test_a_key_may_have_several_scopes(collector: Collector) -> None:
    key = make(collector, "both", "ingest", "read")
    sent = collector.http.post("/v1/ingest/meter", json=meter(device("M")), headers=bearer(key))
    assert sent.status_code == 201
    assert get(collector, "/v1/status", key).status_code == 200
    assert collector.http.post("/v1/links", json={}, headers=bearer(key)).status_code == 403


def test_either_header_carries_the_key(collector: Collector) -> None:
    key = make(collector, "dashboard", "read")
    for headers in (
        {"Authorization": f"Bearer {key}"},
        {"Authorization": f"bearer  {key}"},
        {"X-API-Key": key},
        {"X-API-Key": key, "Authorization": "Basic b2Y6cHJveHk="},
    ):
        assert collector.http.get("/v1/status", headers=headers).status_code == 200, headers


def test_what_is_not_quite_a_key_is_refused(collector: Collector) -> None:
    key = make(collector, "dashboard", "read")
    other = create_key(collector.database_url, "other", ["read"])
    flipped = key[:-1] + ("0" if key[-1] != "0" else "1")
    swapped = key[: key.rindex("_")] + other[other.rindex("_") :]
    for wrong in (flipped, swapped, key[:-1], key + "0", key.upper(), "wl__", "nonsense", "\xff"):
        sent = {b"Authorization": b"Bearer " + wrong.encode("latin-1")}
        answer = collector.http.get("/v1/status", headers=sent)
        assert answer.status_code == 401, wrong
        assert "unknown or revoked" in answer.json()["detail"]
    for nothing in ({"Authorization": "Bearer"}, {"Authorization": key}, {"Cookie": key}):
        answer = collector.http.get("/v1/status", headers=nothing)
        assert answer.status_code == 401
        assert "needs an API key" in answer.json()["detail"]


def test_a_key_is_revoked_within_seconds_without_a_restart(collector: Collector) -> None:
    first, second = make(collector, "first", "read"), make(collector, "second", "read")
    assert revoke_key(collector.database_url, "first")
    wait_for(lambda: get(collector, "/v1/status", first).status_code == 401, SECONDS)
    assert get(collector, "/v1/status", second).status_code == 200
    assert revoke_key(collector.database_url, "second")
    wait_for(lambda: get(collector, "/v1/status").status_code == 200, SECONDS)


def test_while_the_database_is_away_the_known_keys_stand(collector: Collector) -> None:
    key = make(collector, "dashboard", "read")
    server, _, name = collector.database_url.rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as conn:
        conn.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false".encode())
        try:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
            )
            wait_for(lambda: "API keys can't be read" in collector.log.read_text())
            assert get(collector, "/v1/reports", key).status_code == 200  # lies in the lake
            assert get(collector, "/v1/reports").status_code == 401
        finally:
            conn.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true".encode())
    wait_for(lambda: get(collector, "/readyz").status_code == 200)
    later = create_key(collector.database_url, "later", ["read"])
    wait_for(lambda: get(collector, "/v1/status", later).status_code == 200)


def test_the_docs_stay_open_and_tell_who_may_call_what(collector: Collector) -> None:
    make(collector, "someone", "ingest")
    for path in ("/", "/docs", "/static-offline-docs/swagger-ui.css"):
        assert get(collector, path).status_code == 200
    schema = get(collector, "/openapi.json").json()
    assert set(schema["components"]["securitySchemes"]) == {"bearer", "header"}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            if path in {"/healthz", "/readyz"}:
                assert "security" not in operation
                continue
            assert set(operation["responses"]) >= {"401", "403", "429"}, path
            reads = method == "get"
            needed = "read" if reads else "ingest" if path.startswith("/v1/ingest") else "admin"
            assert operation["security"] == [{"bearer": [needed]}, {"header": [needed]}, {}], path


def test_reading_is_charged_to_the_keys_rate_and_the_answer_says_when_to_come_back(
    collector: Collector,
) -> None:
    slow = make(collector, "slow", "read", records_per_second=0.2)
    quick = make(collector, "quick", "read")
    answers = [get(collector, "/v1/status", slow) for _ in range(3)]
    assert [answer.status_code for answer in answers][-1] == 429
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 6
    assert "0.2 records a second" in answers[-1].json()["detail"]
    # The limit survives that the keys are read anew.
    make(collector, "new", "read")
    assert get(collector, "/v1/status", slow).status_code == 429
    assert get(collector, "/v1/status", quick).status_code == 200


def test_a_key_with_a_prefix_writes_for_its_devices_only(collector: Collector) -> None:
    key = make(collector, "gateway", "ingest", device_prefix="METER-A")
    mine, other = device("METER-A"), device("METER-B")

    def post(path: str, body: Any) -> httpx.Response:
        return collector.http.post(path, json=body, headers=bearer(key))

    assert post("/v1/ingest/meter", meter(mine)).status_code == 201
    assert post("/v1/ingest/meter", meter(other)).status_code == 403
    partly = post("/v1/ingest/meter/batch", [meter(mine, -60), meter(other)])
    assert partly.status_code == 207
    assert [error["index"] for error in partly.json()["errors"]] == [1]
    known = collector.sql(
        "SELECT meter_id FROM meter_live_state WHERE meter_id IN (%s, %s)", mine, other
    )
    assert known == [(mine,)]


def test_heartbeats_are_charged_by_number_and_none_of_a_refused_request_is_taken(
    collector: Collector,
) -> None:
    key = make(collector, "gateway", "ingest", records_per_second=0.5)  # five at once
    taken, refused = [device("M") for _ in range(6)], [device("M") for _ in range(2)]

    def post(devices: list[str]) -> httpx.Response:
        body = [meter(one) for one in devices]
        return collector.http.post("/v1/ingest/meter/batch", json=body, headers=bearer(key))

    assert post(taken).status_code == 201
    answer = post(refused)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 4
    assert answer.headers["content-type"] == PROBLEM
    assert not collector.sql("SELECT FROM meter_live_state WHERE meter_id = ANY(%s)", refused)


def test_a_rate_holds_for_all_collectors_together(database_url: str) -> None:
    key = create_key(database_url, "gateway", ["ingest"], records_per_second=7)

    async def spend() -> None:
        async with (
            read_pool(database_url, 2) as pool,
            ApiKeyCache(pool, 0.02) as one,
            ApiKeyCache(pool, 0.02) as other,
        ):
            here, there = limit_of(one, key), limit_of(other, key)
            assert here.try_acquire(70) == 0
            await asyncio.to_thread(wait_for, lambda: there.seconds_until(1))
            assert there.try_acquire(7) > 0
            assert here.seconds_until(1) <= 1 / 7  # and it owes nothing twice

    asyncio.run(spend())


def limit_of(keys: ApiKeyCache, key: str) -> TokenBucket:
    caller = keys.find(key)
    assert caller is not None
    assert caller.limit is not None
    return caller.limit


# -- what is kept, and how it is compared ----------------------------------------------------------


def test_the_database_holds_a_hash_and_not_the_key(database_url: str) -> None:
    key = create_key(database_url, "gateway", ["ingest"])
    secret = key.rpartition("_")[2]
    assert len(bytes.fromhex(secret)) == 32
    with psycopg.connect(database_url) as conn:
        row = conn.execute("SELECT api_key::text, secret_sha256 FROM api_key").fetchone()
    assert row is not None
    assert secret not in row[0]
    assert secret.encode().hex() not in row[0]
    assert row[1] == hashlib.sha256(secret.encode()).digest()


def test_a_key_brings_its_name_scopes_prefix_and_limit(database_url: str) -> None:
    key = create_key(
        database_url, "gateway", ["ingest"], device_prefix="VEH-A", records_per_second=7
    )
    admin = create_key(database_url, "boss", ["admin"])
    gateway, boss = (found_by_ring(database_url, text) for text in (key, admin))
    assert gateway is not None
    assert boss is not None
    assert (gateway.name, gateway.device_prefix) == ("gateway", "VEH-A")
    assert gateway.scopes == {"ingest"}
    assert gateway.limit is not None
    assert gateway.limit.per_second == 7
    assert (boss.scopes, boss.device_prefix, boss.limit) == (SCOPES, None, None)


def test_secrets_are_compared_in_constant_time(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = create_key(database_url, "gateway", ["ingest"])
    digest = hashlib.sha256(key.rpartition("_")[2].encode()).digest()
    compared: list[tuple[bytes, bytes]] = []
    compare_digest = hmac.compare_digest

    def spy(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare_digest(one, other)

    monkeypatch.setattr("ingestion_api.auth.api_keys.hmac.compare_digest", spy)
    assert found_by_ring(database_url, key) is not None
    assert found_by_ring(database_url, key[:-64] + 64 * "0") is None
    mine = [pair for pair in compared if digest in pair]  # the driver's own log-in compares, too
    assert len(mine) == 2
    assert mine[0] == (digest, digest)


@pytest.mark.parametrize(
    "bounds",
    [
        {"scopes": []},
        {"scopes": ["write"]},
        {"scopes": ["read"], "device_prefix": "V"},
        {"scopes": ["ingest", "admin"], "device_prefix": "V"},
        {"scopes": ["ingest"], "device_prefix": ""},
        {"scopes": ["ingest"], "records_per_second": 0.0},
        {"scopes": ["ingest"], "records_per_second": float("inf")},
        {"scopes": ["ingest"], "records_per_second": float("nan")},
        {"scopes": ["ingest"], "secret_sha256": b"plain"},
    ],
)
def test_the_database_refuses_a_key_that_makes_no_sense(
    database_url: str, bounds: dict[str, Any]
) -> None:
    row = {"id": 12 * "0", "name": "x", "secret_sha256": bytes(32), "device_prefix": None}
    row |= {"records_per_second": None} | bounds
    with (
        psycopg.connect(database_url) as conn,
        pytest.raises(psycopg.errors.CheckViolation),
    ):
        conn.execute(
            "INSERT INTO api_key (id, name, secret_sha256, scopes, device_prefix,"
            " records_per_second) VALUES (%(id)s, %(name)s, %(secret_sha256)s, %(scopes)s,"
            " %(device_prefix)s, %(records_per_second)s)",
            row,
        )


def test_a_name_is_free_again_once_its_key_is_revoked(database_url: str) -> None:
    create_key(database_url, "gateway", ["ingest"])
    assert revoke_key(database_url, "gateway")
    assert not revoke_key(database_url, "gateway")
    create_key(database_url, "gateway", ["read"])
    assert [key.scopes for key in list_keys(database_url)] == [["read"]]
    assert len(list_keys(database_url, revoked_too=True)) == 2


# -- WebSockets ------------------------------------------------------------------------------------


def test_a_websocket_is_refused_before_it_is_accepted() -> None:
    far = {"type": "websocket", "client": ("192.168.1.5", 5000), "path": "/v1/live"}
    (head, body), callers = asgi_call(far)
    assert (head["type"], head["status"]) == ("websocket.http.response.start", 403)
    assert b"wattlake keys create" in body["body"]
    assert callers == []
    _, callers = asgi_call({**far, "client": ("127.0.0.1", 5000)})
    assert callers == [LOOPBACK]


# -- helpers ---------------------------------------------------------------------------------------


def asgi_call(given: dict[str, Any]) -> tuple[list[Message], list[Caller | None]]:
    """What a keyless collector sends to a client, and the callers that it lets in."""
    sent: list[Message] = []
    callers: list[Caller | None] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        callers.append(scope["caller"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("nothing of a refused request is read")

    scope = {"type": "http", "path": "/v1/status", "headers": [], **given}
    if scope["type"] == "http":
        scope["method"] = "GET"
    keys = ApiKeyCache(read_pool("", 1), 1)  # never read: there are none
    asyncio.run(ApiKeyMiddleware(inner, keys)(scope, receive, send))
    return sent, callers


def status_of(sent: list[Message]) -> int:
    status: int = sent[0]["status"]
    return status


def found_by_ring(database_url: str, text: str) -> Caller | None:
    """Who a collector that starts now takes this key for."""

    async def find() -> Caller | None:
        async with read_pool(database_url, 1) as pool, ApiKeyCache(pool, 60) as ring:
            return ring.find(text)

    return asyncio.run(find())
