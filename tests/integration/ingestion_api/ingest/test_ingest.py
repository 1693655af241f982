"""Heartbeats over HTTP: what is taken, what is refused, and that what is acknowledged is there."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.harness.collector import Collector, collector_of_module
from tests.harness.heartbeats import device, meter, moment, vehicle
from tests.harness.outbox import waiting_meters

api = collector_of_module(FLUSH_SECONDS="600")


PATHS = ["/v1/ingest", "/v1/ingestion"]


@pytest.mark.parametrize("prefix", PATHS)
def test_both_path_styles_take_every_form(api: Collector, prefix: str) -> None:
    one, many = device("M"), device("V")
    for path, body, accepted in (
        ("/meter", meter(one), 1),
        ("/vehicle", vehicle(many), 1),
        ("/meter/batch", [meter(one, -60), meter(one, -120)], 2),
        ("/vehicle/batch", [vehicle(many, -60)], 1),
        ("/telemetry", meter(one, -180), 1),
        ("/telemetry", [meter(one, -240), vehicle(many, -240)], 2),
        ("/telemetry", {"type": "meter", **meter(one, -300)}, 1),
    ):
        answer = api.post(prefix + path, body)
        assert answer.status_code == 201, (path, answer.text)
        assert answer.json() == {"accepted": accepted, "rejected": 0, "errors": []}
    assert api.sql("SELECT count(*) FROM meter_heartbeat_outbox WHERE meter_id = %s", one) == [(6,)]


def test_a_partly_bad_batch_keeps_the_good_part_and_tells_why(api: Collector) -> None:
    good = device("M")
    answer = api.post(
        "/v1/ingest/meter/batch",
        [meter(good), meter(good, 3600), meter("\x00"), meter(good, -60), 5],
    )
    assert answer.status_code == 207
    told = answer.json()
    assert (told["accepted"], told["rejected"]) == (2, 3)
    assert [(e["index"], e["field"]) for e in told["errors"]] == [
        (1, "timestamp"),
        (2, "meterId"),
        (4, None),
    ]
    assert api.sql("SELECT count(*) FROM meter_heartbeat_outbox WHERE meter_id = %s", good) == [
        (2,)
    ]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/ingest/meter", {}),
        ("/v1/ingest/meter", {"meterId": "x"}),
        ("/v1/ingest/vehicle", vehicle("x", kwhDeliveredDc=-1)),
        ("/v1/ingest/meter/batch", [{}, 1]),
        ("/v1/ingest/telemetry", {}),
        ("/v1/ingest/telemetry", [{"type": 7}]),
    ],
)
def test_where_nothing_is_taken_the_answer_is_a_problem_with_the_reasons(
    api: Collector, path: str, body: Any
) -> None:
    answer = api.post(path, body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 422
    assert problem["accepted"] == 0
    assert problem["rejected"] == len(body) if isinstance(body, list) else 1
    assert {"index", "field", "reason", "code"} == set(problem["errors"][0])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"not json", 400),
        (b"[{]", 400),
        (b"\xff\xfe\x00", 400),
        (b"[" * 200_000, 400),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, 400),
        (b"[]", 422),
        (b"null", 422),
        (b"3", 422),
        (b'"text"', 422),
        (b"[NaN, Infinity, null]", 422),
        (b'[{"meterId":"\\ud800","timestamp":"2026-03-01T12:00:00Z","voltage":1}]', 422),
        (b'[{"meterId":"\\u0000","timestamp":"2026-03-01T12:00:00Z","voltage":1}]', 422),
        (
            b'[{"meterId":"M","timestamp":"2026-03-01T12:00:00Z","voltage":1' + b"0" * 9000 + b"}]",
            422,
        ),
        (b"[" + b",".join([b"1"] * 10_001) + b"]", 413),
    ],
    ids=lambda value: str(value)[:40],
)
def test_no_body_breaks_the_collector(api: Collector, body: bytes, status: int) -> None:
    for path in ("/v1/ingest/meter/batch", "/v1/ingest/vehicle/batch", "/v1/ingest/telemetry"):
        answer = api.http.post(path, content=body)
        assert answer.status_code == status, (path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]


def test_a_body_over_16_mib_is_refused_announced_or_chunked(api: Collector) -> None:
    body = b" " * (16 * 1024 * 1024) + b"[]"

    def parts() -> Iterator[bytes]:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    for content in (body, parts()):
        with httpx.Client(base_url=api.http.base_url, timeout=60) as client:
            answer = client.post("/v1/ingest/meter/batch", content=content)
        assert answer.status_code == 413, answer.text
        assert "16,777,216" in answer.json()["detail"]
    assert api.http.post("/v1/ingest/meter/batch", content=body[2:-2] + b"[]").status_code == 422


def test_an_endless_body_is_not_read_to_its_end(api: Collector) -> None:
    head = (
        b"POST /v1/ingest/meter HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    sent = 0
    with socket.create_connection(("127.0.0.1", api.port), timeout=30) as wire:
        wire.sendall(head)
        try:
            while sent < 1024 * len(chunk):
                wire.sendall(chunk)
                sent += len(chunk)
        except OSError:
            pass
    assert sent < 512 * len(chunk)


def test_a_client_that_leaves_in_the_middle_harms_nobody(api: Collector) -> None:
    with socket.create_connection(("127.0.0.1", api.port)) as wire:
        wire.sendall(
            b"POST /v1/ingest/meter HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n{"
        )
    assert api.post("/v1/ingest/meter", meter(device("M"))).status_code == 201


def test_live_state_is_the_newest_by_event_time_whatever_the_order_of_arrival(
    api: Collector,
) -> None:
    car = device("V")
    now = [moment(seconds) for seconds in (-30, -10, -20, -40)]
    for soc, at in enumerate(now):
        body = {"vehicleId": car, "timestamp": at, "soc": soc}
        assert api.post("/v1/ingest/vehicle", body).status_code == 201
    live = api.http.get(f"/v1/analytics/vehicle/{car}/live").json()
    assert live["soc"] == 1
    batch = [{"vehicleId": car, "timestamp": moment(at), "soc": 50 + at} for at in (-9, 2, -8)]
    assert api.post("/v1/ingest/vehicle/batch", batch).status_code == 201
    assert api.http.get(f"/v1/analytics/vehicle/{car}/live").json()["soc"] == 52


def test_of_two_heartbeats_with_one_identity_the_later_is_received_later(api: Collector) -> None:
    box, at = device("M"), moment()
    batch = [{"meterId": box, "timestamp": at, "kwhConsumedAc": kwh} for kwh in (0.1, 0.3, 0.2)]
    assert api.post("/v1/ingest/meter/batch", batch).status_code == 201
    received = api.sql(
        "SELECT kwh_consumed_ac FROM meter_heartbeat_outbox WHERE meter_id = %s"
        " ORDER BY received_at",
        box,
    )
    assert received == [(0.1,), (0.3,), (0.2,)]
    assert api.http.get(f"/v1/analytics/meter/{box}/live").json()["kwhConsumedAc"] == 0.2


def test_nulls_stay_nulls(api: Collector) -> None:
    car = device("V")
    assert api.post("/v1/ingest/vehicle", vehicle(car, soc=None)).status_code == 201
    live = api.http.get(f"/v1/analytics/vehicle/{car}/live").json()
    assert live["soc"] is None
    assert live["batteryTemp"] is None
    assert live["kwhDeliveredDc"] == 0.18


def test_everything_acknowledged_to_many_clients_at_once_is_in_the_outbox(api: Collector) -> None:
    name = device("M")

    def post(client: int) -> int:
        with httpx.Client(base_url=api.http.base_url, timeout=60) as http:
            acknowledged = 0
            for turn in range(10):
                at = moment(-client * 100 - turn)
                batch = [
                    meter(f"{name}{n}") | {"timestamp": at} for n in range(1 + 20 * (turn % 3))
                ]
                answer = http.post("/v1/ingest/meter/batch", json=batch)
                assert answer.status_code == 201
                acknowledged += answer.json()["accepted"]
            return acknowledged

    with ThreadPoolExecutor(16) as pool:
        acknowledged = sum(pool.map(post, range(16)))
    waiting = [one for one in waiting_meters(api.database_url) if one[0].startswith(name)]
    assert len(waiting) == len(set(waiting)) == acknowledged


def test_pairs_that_vehicles_name_are_kept_once(api: Collector) -> None:
    car, box = device("V"), device("M")
    for seconds in (-2, -1, 0):
        api.post("/v1/ingest/vehicle", vehicle(car, seconds, meterId=box))
    named = api.sql("SELECT meter_id FROM named_link WHERE vehicle_id = %s", car)
    assert named == [(box,)]


def test_ids_with_strange_but_printable_characters_work_everywhere(api: Collector) -> None:
    odd = device("M") + " a/b%c?'\";--\\{}"
    assert api.post("/v1/ingest/meter", meter(odd)).status_code == 201
    live = api.http.get(f"/v1/analytics/meter/{quote(odd, safe='')}/live")
    assert live.json()["meterId"] == odd


def test_openapi_describes_the_true_bodies_and_answers(api: Collector) -> None:
    schema = api.http.get("/openapi.json").json()
    for prefix in PATHS:
        for path in ("/meter", "/vehicle", "/meter/batch", "/vehicle/batch", "/telemetry"):
            call = schema["paths"][prefix + path]["post"]
            body = call["requestBody"]["content"]["application/json"]
            problem_responses = set(call["responses"])
            assert {"201", "400", "413", "422", "503"} <= problem_responses
            assert ("207" in problem_responses) == (path not in ("/meter", "/vehicle"))
            example = json.loads(json.dumps(body["example"]))
            assert api.post(prefix + path, example).status_code == 201
    assert api.http.get("/docs").status_code == 200
