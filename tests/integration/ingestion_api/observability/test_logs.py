"""The collector's log: one JSON object a line, a request's own lines with its id, none a record."""

import asyncio
import json
import socket
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from ingestion_api.server.request_metrics import RequestMetricsMiddleware
from tests.harness.collector import Collector, collector_of_module
from tests.harness.heartbeats import device, meter
from tests.harness.waiting import wait_for

PROBLEM = "application/problem+json"


api = collector_of_module(LOG_FORMAT="json", FLUSH_SECONDS="1")


def lines(collector: Collector) -> list[dict[str, Any]]:
    """The log; each line must be a JSON object."""
    found = [json.loads(line) for line in collector.log.read_text().splitlines()]
    for line in found:
        assert {"event", "level", "timestamp"} <= line.keys()
    return found


def test_an_unexpected_exception_is_one_line_and_a_500_under_the_same_request_id(
    api: Collector,
) -> None:
    api.sql(
        "INSERT INTO charging_link (meter_id, vehicle_id, valid)"
        " VALUES ('M', 'V', '[-infinity,2026-01-01)')"
    )
    path = "/v1/links"
    answer = api.http.get(path, headers={"X-Request-ID": "who-asks-for-nonsense"})
    api.sql("DELETE FROM charging_link")
    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
    assert answer.headers["x-request-id"] == "who-asks-for-nonsense"
    assert answer.json()["status"] == 500
    wait_for(lambda: "who-asks-for-nonsense" in api.log.read_text())
    (line,) = [one for one in lines(api) if one.get("request_id") == "who-asks-for-nonsense"]
    assert line["level"] == "error"
    (error, *_) = line["exception"]
    assert error["exc_type"] == "DataError"
    assert error["exc_notes"] == [f"GET {path}"]
    # The variables of a traceback are passwords, keys and records.
    assert not any(frame.get("locals") for frame in error["frames"])
    assert api.http.get(path).status_code == 200


def test_a_line_about_a_request_has_the_id_that_its_answer_has(api: Collector) -> None:
    no_folder = api.lake_folder / "reports" / "month" / "fleet"
    no_folder.parent.mkdir(parents=True)
    no_folder.write_text("no folder")
    answer = api.http.get("/v1/reports?period=month")
    assert answer.status_code == 503
    (line,) = [one for one in lines(api) if one["event"] == "lake can't be read"]
    assert line["request_id"] == answer.headers["x-request-id"]


def test_ordinary_requests_and_records_leave_no_line(api: Collector) -> None:
    before = len(lines(api))
    for _ in range(20):
        batch = [meter(device("M")), meter(device("M")), {"meterId": "M"}]
        assert api.post("/v1/ingest/meter/batch", batch).status_code == 207
        assert api.post("/v1/ingest/meter", {"meterId": 3}).status_code == 422
        assert api.http.get("/v1/status").status_code == 200
        assert api.http.get("/v1/nothing").status_code == 404
    wait_for(lambda: api.http.get("/v1/status").json()["outboxRows"] == 0)
    assert lines(api)[before:] == []


def test_the_servers_own_warnings_are_json_and_of_no_request(api: Collector) -> None:
    with socket.create_connection(("127.0.0.1", api.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nnonsense\r\n\r\n")
        assert b"400" in client.recv(100)
    (line,) = [one for one in lines(api) if one["event"].startswith("a request is refused")]
    assert (line["level"], line["address"]) == ("warning", "127.0.0.1")
    assert "request_id" not in line


def test_an_exception_before_any_route_is_answered_too_and_left_to_the_server() -> None:
    sent: list[Message] = []

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("a fault")

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/ingest/meter", "headers": []}
    with pytest.raises(LookupError) as error:
        asyncio.run(RequestMetricsMiddleware(broken)(scope, receive, send))
    assert error.value.__notes__ == ["POST /v1/ingest/meter"]
    start, body = sent
    headers = dict(start["headers"])
    assert (start["status"], headers[b"content-type"]) == (500, PROBLEM.encode())
    assert headers[b"x-request-id"]
    assert json.loads(body["body"])["status"] == 500
