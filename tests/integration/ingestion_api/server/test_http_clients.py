"""What any HTTP client may expect: HEAD, OPTIONS, packed answers, and pages of other sites."""

import gzip
import socket
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest

from tests.harness.collector import Collector, collector_of_module
from tests.harness.heartbeats import device, meter
from tests.harness.reports import put_report
from tests.harness.waiting import wait_for

SITE = "https://fleet.example"
LIVE = "/v1/analytics/fleet/live"
EVENTS = "/v1/alerts/events"

api = collector_of_module(FLUSH_SECONDS="0.2", CORS_ORIGINS=SITE, INDEX_HOURS="0")


def known(api: Collector) -> str:
    """The path of the live state of a new meter."""
    name = device("M")
    assert api.post("/v1/ingest/meter", meter(name)).status_code == 201
    return f"/v1/analytics/meter/{name}/live"


# -- HEAD and OPTIONS ------------------------------------------------------------------------------


def test_head_is_get_without_a_body_wherever_there_is_get(api: Collector) -> None:
    paths = [path for path, item in openapi(api).items() if "get" in item and "{" not in path]
    assert len(paths) > 10
    page = api.http.get("/").text
    paths += ["/", "/docs", "/openapi.json", known(api), "/v1/ingest/meter", "/nowhere"]
    paths += [page.split('href="')[1].split('"')[0], "/vehicles/V1", "/v1/alerts/stream"]
    for path in paths:
        head, got = api.http.head(path), api.http.get(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert names(head) == names(got), path
        if path != "/metrics":
            for name in ("content-type", "etag", "content-encoding", "vary", "allow"):
                assert head.headers.get(name) == got.headers.get(name), path
    # The connection goes on behind each of them, also where a length is told and nothing comes.
    with socket.create_connection(("127.0.0.1", api.port), timeout=30) as wire:
        request = b"HEAD /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        wire.sendall(request * 3)
        came = b""
        while came.count(b"\r\n\r\n") < 3:
            came += wire.recv(65_536)
    assert came.count(b"HTTP/1.1 200 OK") == 3
    assert came.endswith(b"\r\n\r\n")


def names(answer: httpx.Response) -> set[str]:
    return set(answer.headers) - {"date"}


def openapi(api: Collector) -> dict[str, Any]:
    paths: dict[str, Any] = api.http.get("/openapi.json").json()["paths"]
    return paths


def test_head_of_a_stream_of_events_ends(api: Collector) -> None:
    answer = api.http.head(EVENTS)
    assert (answer.status_code, answer.headers["content-type"]) == (
        200,
        "text/event-stream; charset=utf-8",
    )
    assert 'method="HEAD",route="/v1/alerts/events",status="200"' in api.http.get("/metrics").text


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/v1/ingest/meter/batch", "OPTIONS, POST"),
        (LIVE, "GET, HEAD, OPTIONS"),
        ("/v1/links", "GET, HEAD, OPTIONS, POST"),
        ("/healthz", "GET, HEAD, OPTIONS"),
        ("/", "GET, HEAD, OPTIONS"),
    ],
)
def test_options_says_what_a_path_takes_and_so_does_405(
    api: Collector, path: str, allow: str
) -> None:
    answer = api.http.options(path)
    assert (answer.status_code, answer.content, answer.headers["allow"]) == (204, b"", allow)
    refused = api.http.patch(path)
    assert (refused.status_code, refused.headers["allow"]) == (405, allow)


def test_options_of_the_server_and_of_nothing(api: Collector) -> None:
    client = HTTPConnection("127.0.0.1", api.port, timeout=30)
    client.request("OPTIONS", "*")
    answer = client.getresponse()
    assert (answer.status, answer.read()) == (204, b"")
    assert "HEAD" in str(answer.headers["allow"])
    client.close()
    assert api.http.options("/nowhere").status_code == 404


# -- packed answers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip", True),
        ("gzip;q=0.5, *;q=0", True),
        ("br, *", True),
        ("x-gzip", True),
        ("GZIP;q=1.0", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0, *", False),
        ("gzip;q=0.2, identity;q=0.8", False),
        ("identity", False),
        ("br", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("path", ["/openapi.json", "asset"])
def test_an_answer_is_packed_for_who_asks_for_it(
    api: Collector, accepted: str, packed: bool, path: str
) -> None:
    if path == "asset":
        path = api.http.get("/").text.split('href="')[1].split('"')[0]
    with api.http.stream("GET", path, headers={"Accept-Encoding": accepted}) as answer:
        body = b"".join(answer.iter_raw())
    assert answer.headers.get("content-encoding") == ("gzip" if packed else None)
    assert answer.headers["content-length"] == str(len(body))
    assert "accept-encoding" in answer.headers["vary"].lower()
    plain = api.http.get(path, headers={"Accept-Encoding": "identity"}).content
    assert (gzip.decompress(body) if packed else body) == plain
    head = api.http.head(path, headers={"Accept-Encoding": accepted})
    assert head.headers["content-length"] == str(len(body))


def test_what_is_small_or_a_stream_is_not_packed(api: Collector) -> None:
    for path in (known(api), "/healthz", "/v1/links"):
        answer = api.http.get(path, headers={"Accept-Encoding": "gzip"})
        assert "content-encoding" not in answer.headers, path
    with api.http.stream("GET", EVENTS, headers={"Accept-Encoding": "gzip"}) as stream:
        assert "content-encoding" not in stream.headers
        assert next(stream.iter_raw()).startswith(b"id: ")


def test_the_etag_of_a_packed_answer_is_weak_and_is_known_again(api: Collector) -> None:
    path = "/v1/analytics/efficiency/vehicles"
    rows = {"by": "hour"}
    for accept in ("application/json", "text/csv"):
        headers = {"Accept-Encoding": "gzip", "Accept": accept}
        answer = api.http.get(path, params=rows, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["etag"].startswith('W/"')
        for packing in ("gzip", "identity"):
            again = {**headers, "Accept-Encoding": packing, "If-None-Match": answer.headers["etag"]}
            assert api.http.get(path, params=rows, headers=again).status_code == 304


# -- pages of other sites --------------------------------------------------------------------------


def asked_before(api: Collector, path: str, origin: str, **headers: str) -> httpx.Response:
    asked = {"Access-Control-Request-Method": "GET", "Origin": origin, **headers}
    return api.http.options(path, headers=asked)


def test_a_site_that_is_named_may_ask_and_see_what_matters(api: Collector) -> None:
    with_key = {"Access-Control-Request-Headers": "authorization, x-api-key, content-type"}
    ingest = {"Access-Control-Request-Method": "POST"}
    elsewhere = {"Sec-Fetch-Site": "cross-site"}  # without a key, hence answered before 403
    for path, more in ((LIVE, {}), ("/v1/ingest/meter", ingest), ("/nowhere", {})):
        answer = asked_before(api, path, SITE, **with_key, **more, **elsewhere)
        assert answer.status_code == 204, answer.text
        assert answer.headers["access-control-allow-origin"] == SITE
        assert "access-control-allow-credentials" not in answer.headers
        assert "authorization" in answer.headers["access-control-allow-headers"].lower()
    for answer in (
        api.http.get(LIVE, headers={"Origin": SITE}),
        api.http.get(known(api), headers={"Origin": SITE}),
        api.http.post("/v1/ingest/meter", content=b"[", headers={"Origin": SITE}),
        api.http.get("/nowhere", headers={"Origin": SITE}),
        api.http.get(LIVE, headers={"Origin": SITE, **elsewhere}),
    ):
        assert answer.headers["access-control-allow-origin"] == SITE
        assert "origin" in answer.headers["vary"].lower()
        exposed = answer.headers["access-control-expose-headers"]
        assert {"ETag", "Link", "Retry-After", "X-Request-ID"} <= set(exposed.split(", "))
    assert answer.status_code == 403  # a key is needed all the same


def test_another_site_may_not(api: Collector) -> None:
    for origin in ("https://evil.example", "null", f"{SITE}.evil.example", "http://fleet.example"):
        refused = asked_before(api, LIVE, origin)
        assert refused.status_code == 403
        assert refused.headers["content-type"] == "application/problem+json"
        answer = api.http.get(LIVE, headers={"Origin": origin})
        for one in (refused, answer):
            assert "access-control-allow-origin" not in one.headers


# -- the report ------------------------------------------------------------------------------------


def test_a_report_has_the_same_guards_as_the_page(api: Collector) -> None:
    put_report(api.lake_folder, "2026-03-01", {"html": "a report", "csv": "a report"})
    wait_for(lambda: api.http.get("/v1/reports/2026-03-01.html").status_code == 200)
    page = api.http.get("/")
    for form in ("html", "csv"):
        report = api.http.get(f"/v1/reports/2026-03-01.{form}")
        for name in ("referrer-policy", "x-content-type-options", "cache-control"):
            assert report.headers[name] == page.headers[name]
        policy = report.headers["content-security-policy"]
        for part in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"):
            assert part in policy
            assert part in page.headers["content-security-policy"]
        assert "script" not in policy
