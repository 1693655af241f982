"""JSON, NDJSON and Arrow over HTTP: the same records, the same rows, the same answers."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import psycopg
import pyarrow as pa
import pytest

from ingestion_api.outbox.pack import unpack
from lake import STREAMS
from tests.harness.collector import Collector, collector_of_module
from tests.harness.heartbeats import device
from tests.harness.waiting import wait_for

JSON = "application/json"
NDJSON = "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"
NOW = datetime.now(UTC).replace(microsecond=123_456)
METER_TYPES: dict[str, pa.DataType] = {
    "meterId": pa.string(),
    "timestamp": pa.timestamp("us", "UTC"),
    "kwhConsumedAc": pa.float64(),
    "voltage": pa.float64(),
    "readingType": pa.string(),
    "firmware": pa.string(),
}
VEHICLE_TYPES: dict[str, pa.DataType] = {
    "vehicleId": pa.string(),
    "timestamp": pa.timestamp("ns", "Europe/Berlin"),
    "soc": pa.int32(),
    "kwhDeliveredDc": pa.float64(),
    "batteryTemp": pa.float64(),
    "meterId": pa.large_string(),
    "readingType": pa.null(),
}
SCHEMAS = {
    "meter": pa.schema(METER_TYPES),
    "vehicle": pa.schema(VEHICLE_TYPES),
    "telemetry": pa.schema(VEHICLE_TYPES | METER_TYPES),
}

Body = Callable[[str, list[dict[str, Any]]], bytes]


def as_json(_: str, records: list[dict[str, Any]]) -> bytes:
    return json.dumps([texts(one) for one in records]).encode()


def as_lines(_: str, records: list[dict[str, Any]]) -> bytes:
    return "\r\n\n".join(json.dumps(texts(one)) for one in records).encode() + b"\n"


def as_arrow(kind: str, records: list[dict[str, Any]]) -> bytes:
    return stream(pa.Table.from_pylist(records, SCHEMAS[kind]))


FORMATS: dict[str, Body] = {JSON: as_json, NDJSON: as_lines, ARROW: as_arrow}


def texts(record: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in record.items()
    }


def stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue().to_pybytes()


def meter(seconds: int, **changed: Any) -> dict[str, Any]:
    at = NOW - timedelta(seconds=seconds)
    return {"meterId": "M", "timestamp": at, "kwhConsumedAc": 0.25, "voltage": 230.5, **changed}


def vehicle(seconds: int, **changed: Any) -> dict[str, Any]:
    return {"vehicleId": "V", "timestamp": NOW - timedelta(seconds=seconds), "soc": 50, **changed}


GOOD = {
    "meter": [
        meter(1),
        meter(2, voltage=None, readingType="register", kwhConsumedAc=12345.5),
        meter(3, meterId="another one", firmware="1.2"),
    ],
    "vehicle": [vehicle(1), vehicle(2, meterId="M", batteryTemp=-3.5), vehicle(3, soc=None)],
    "telemetry": [meter(1), vehicle(1, meterId="M"), meter(2), vehicle(2)],
}
GOOD["vehicle"][2]["kwhDeliveredDc"] = 0.125
BAD = {
    "meter": [
        meter(4, meterId=""),
        meter(5, voltage=-1.0, readingType="sometimes"),
        meter(-7200),
        meter(6, voltage=None, kwhConsumedAc=None),
        meter(7, kwhConsumedAc=5000.0),
    ],
    "vehicle": [vehicle(4, vehicleId=None), vehicle(5, soc=101)],
    "telemetry": [{"timestamp": NOW}, meter(3, vehicleId="V"), vehicle(3, soc=-1)],
}


api = collector_of_module(FLUSH_SECONDS="600")


def send(api: Collector, kind: str, media: str, body: bytes, **headers: str) -> httpx.Response:
    path = "/v1/ingest/telemetry" if kind == "telemetry" else f"/v1/ingest/{kind}/batch"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.http.post(path, content=body, headers={"Content-Type": media, **named})


def taken_rows(api: Collector, post: Callable[[], httpx.Response]) -> tuple[httpx.Response, Any]:
    """An answer, and the rows that it added to the outbox."""
    with psycopg.connect(api.database_url, autocommit=True) as conn:
        conn.execute("TRUNCATE meter_heartbeat_outbox, vehicle_heartbeat_outbox, heartbeat_pack")
        answer = post()
        rows = {}
        for name, one in STREAMS.items():
            columns = [c.name for c in one.posted_columns if c.name != "received_at"]
            listed = ", ".join(f'"{column}"' for column in columns)
            found = conn.execute(f"SELECT {listed} FROM {name}_heartbeat_outbox".encode())  # noqa: S608
            rows[name] = {repr(row) for row in found}
            packs = conn.execute(
                "SELECT heartbeats FROM heartbeat_pack WHERE stream = %s", [name], binary=True
            )
            for (pack,) in packs:
                table = unpack(pack, one).select(columns)
                rows[name] |= {repr(tuple(row.values())) for row in table.to_pylist()}
    return answer, rows


def rejections_of(api: Collector, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.http.get(f"/v1/rejections?device={name}").json()["rejections"]
    return found


# -- the same records, the same answers ------------------------------------------------------------


@pytest.mark.parametrize("kind", ["meter", "vehicle", "telemetry"])
@pytest.mark.parametrize("records", ["good", "mixed", "bad"])
def test_every_format_gives_the_same_rows_and_the_same_answer(
    api: Collector, kind: str, records: str
) -> None:
    sent = {"good": GOOD[kind], "mixed": GOOD[kind] + BAD[kind], "bad": BAD[kind]}[records]
    expected = taken_rows(api, lambda: send(api, kind, JSON, as_json(kind, sent)))
    status = {"good": 201, "mixed": 207, "bad": 422}[records]
    assert expected[0].status_code == status, expected[0].text
    told = expected[0].json()
    good = len(GOOD[kind]) if records != "bad" else 0
    assert (told["accepted"], told["rejected"]) == (good, len(sent) - good)
    assert {error["index"] for error in told["errors"]} == set(range(good, len(sent)))
    assert all({"index", "field", "reason", "code"} == set(error) for error in told["errors"])
    assert sum(map(len, expected[1].values())) == good
    for media, body in FORMATS.items():
        content = body(kind, sent)
        for packing, packed in (
            ("identity", content),
            ("gzip", gzip.compress(content)),
            ("zstd", pa.compress(content, codec="zstd", asbytes=True)),
        ):
            post = partial(send, api, kind, media, packed, Content_Encoding=packing)
            answer, rows = taken_rows(api, post)
            assert (answer.status_code, answer.json()) == (status, told), (media, packing)
            assert rows == expected[1], (media, packing)


@pytest.mark.parametrize("media", list(FORMATS))
def test_many_records_are_taken_in_every_format_and_too_many_are_413(
    api: Collector, media: str
) -> None:
    records = [meter(second) for second in range(10_001)]
    refused = send(api, "meter", media, FORMATS[media]("meter", records))
    assert refused.status_code == 413
    assert "10,001 heartbeats" in refused.json()["detail"]
    answer, rows = taken_rows(
        api, lambda: send(api, "meter", media, FORMATS[media]("meter", records[1:]))
    )
    assert answer.json() == {"accepted": 10_000, "rejected": 0, "errors": []}
    assert len(rows["meter"]) == 10_000


@pytest.mark.parametrize("media", list(FORMATS))
def test_no_record_is_422_in_every_format(api: Collector, media: str) -> None:
    answer = send(api, "meter", media, FORMATS[media]("meter", []))
    assert answer.status_code == 422
    assert "no heartbeat" in answer.json()["detail"]


def test_a_line_that_is_not_json_is_refused_by_its_number_and_the_others_are_taken(
    api: Collector,
) -> None:
    lines = [as_lines("meter", [meter(1)]), b"{broken\n", b"\xff\n", as_lines("meter", [meter(2)])]
    answer = send(api, "meter", NDJSON, b"".join(lines))
    assert answer.status_code == 207
    told = answer.json()
    assert (told["accepted"], told["rejected"]) == (2, 2)
    assert [(one["index"], one["code"]) for one in told["errors"]] == [
        (1, "not_json"),
        (2, "not_json"),
    ]


# -- Arrow -----------------------------------------------------------------------------------------


def test_an_id_of_300_characters_in_arrow_is_refused_and_the_collector_goes_on(
    api: Collector,
) -> None:
    for length in (65, 256, 300, 70_000):
        answer = send(api, "meter", ARROW, as_arrow("meter", [meter(1, meterId="x" * length)]))
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["code"] == "bad_id"
    assert send(api, "meter", ARROW, as_arrow("meter", GOOD["meter"])).status_code == 201


@pytest.mark.parametrize(
    ("change", "status", "text"),
    [
        (lambda body: b"", 422, "no heartbeat"),
        (lambda body: body[:-200], 400, "not an Arrow IPC stream"),
        (lambda body: body[: len(body) // 3], 400, "not an Arrow IPC stream"),
        (lambda body: b"garbage" * 100, 400, "not an Arrow IPC stream"),
        (lambda body: body.replace(b"meterId", b"\xff" * 7), 400, "not an Arrow IPC stream"),
        (lambda body: body + body, 422, "send one stream"),
        (lambda body: body.replace(b"timestamp", b"timestemp"), 422, "no column timestamp"),
        (lambda body: body.replace(b"firmware", b"soc\0\0\0\0\0"), 201, ""),
    ],
    ids=["empty", "cut", "cut early", "garbage", "no text", "two", "another name", "other column"],
)
def test_a_broken_stream_is_told_so(
    api: Collector, change: Callable[[bytes], bytes], status: int, text: str
) -> None:
    answer = send(api, "meter", ARROW, change(as_arrow("meter", GOOD["meter"])))
    assert answer.status_code == status, answer.text
    assert text in answer.json().get("detail", "")


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array(["230"] * 3), "the column voltage must be a number, not string"),
        (pa.array([230] * 3).dictionary_encode(), "dictionaries are not taken"),
    ],
)
def test_a_wrong_type_is_told_with_its_column(api: Collector, column: Any, text: str) -> None:
    table = pa.Table.from_pylist(GOOD["meter"], SCHEMAS["meter"])
    table = table.set_column(table.column_names.index("voltage"), "voltage", column)
    answer = send(api, "meter", ARROW, stream(table))
    assert answer.status_code == 422
    assert text in answer.json()["detail"]


def test_one_heartbeat_paths_take_json_only(api: Collector) -> None:
    for media in (NDJSON, ARROW):
        answer = api.http.post("/v1/ingest/meter", content=b"{}", headers={"Content-Type": media})
        assert answer.status_code == 415
        assert answer.json()["detail"] == "Content-Type must be application/json"


# -- manners ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("media", list(FORMATS))
@pytest.mark.parametrize("wish", ["return=minimal", "respond-async, Return = Minimal"])
def test_who_prefers_it_gets_a_small_answer(api: Collector, media: str, wish: str) -> None:
    body = FORMATS[media]
    taken = send(api, "meter", media, body("meter", GOOD["meter"]), Prefer=wish)
    assert (taken.status_code, taken.json()) == (201, {"accepted": 3, "rejected": 0})
    assert taken.headers["preference-applied"] == "return=minimal"
    mixed = send(api, "meter", media, body("meter", GOOD["meter"] + BAD["meter"]), Prefer=wish)
    assert (mixed.status_code, mixed.json()) == (207, {"accepted": 3, "rejected": 5})
    assert mixed.headers["preference-applied"] == "return=minimal"
    refused = send(api, "meter", media, body("meter", BAD["meter"]), Prefer=wish)
    assert refused.status_code == 422
    assert refused.json()["rejected"] == 5
    assert "errors" not in refused.json()
    assert "errors says why" not in refused.json()["detail"]


def test_a_single_heartbeat_gets_a_small_answer_too(api: Collector) -> None:
    body = json.dumps(texts(meter(1))).encode()
    answer = api.http.post("/v1/ingest/meter", content=body, headers={"Prefer": "return=minimal"})
    assert (answer.status_code, answer.json()) == (201, {"accepted": 1, "rejected": 0})
    assert answer.headers["preference-applied"] == "return=minimal"
    usual = api.http.post("/v1/ingest/meter", content=body, headers={"Prefer": "handling=lenient"})
    assert usual.json() == {"accepted": 1, "rejected": 0, "errors": []}
    assert "preference-applied" not in usual.headers


@pytest.mark.parametrize(
    "media",
    [
        None,
        "",
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;charset=UTF-8",
    ],
)
def test_a_body_without_a_type_or_with_parameters_is_json(
    api: Collector, media: str | None
) -> None:
    headers = {} if media is None else {"Content-Type": media}
    body = as_json("meter", GOOD["meter"])
    answer = api.http.post("/v1/ingest/meter/batch", content=body, headers=headers)
    assert answer.status_code == 201


def test_parameters_of_other_types_are_left_out_too(api: Collector) -> None:
    for media, body in FORMATS.items():
        typed = media.upper() + " ; charset=utf-8"
        assert send(api, "meter", typed, body("meter", GOOD["meter"])).status_code == 201


@pytest.mark.parametrize("media", ["text/plain", "application/xml", "application/jsonx", "json"])
def test_an_unknown_type_is_415_and_names_those_that_are_known(api: Collector, media: str) -> None:
    answer = send(api, "meter", media, b"[]")
    assert answer.status_code == 415
    for known in FORMATS:
        assert known in answer.json()["detail"]


@pytest.mark.parametrize("packing", ["br", "deflate", "gzip, gzip", "gzip,zstd"])
def test_an_unknown_packing_or_two_are_415(api: Collector, packing: str) -> None:
    body = gzip.compress(gzip.compress(as_json("meter", GOOD["meter"])))
    answer = send(api, "meter", JSON, body, Content_Encoding=packing)
    assert answer.status_code == 415
    assert "gzip or zstd" in answer.json()["detail"]


def test_what_is_packed_twice_is_unpacked_once(api: Collector) -> None:
    body = gzip.compress(gzip.compress(as_json("meter", GOOD["meter"])))
    answer = send(api, "meter", JSON, body, Content_Encoding="gzip")
    assert answer.status_code == 400
    assert "not JSON" in answer.json()["detail"]
    lines = [("Content-Type", JSON), ("Content-Encoding", "gzip"), ("Content-Encoding", "gzip")]
    assert api.http.post("/v1/ingest/meter/batch", content=body, headers=lines).status_code == 415


@pytest.mark.parametrize("path", ["/v1/ingest/meter", "/v1/ingest/telemetry", "/healthz", "/none"])
def test_an_answer_returns_the_id_that_the_request_sent(api: Collector, path: str) -> None:
    sent = device("request")
    answer = api.http.post(path, content=b"{}", headers={"X-Request-ID": sent})
    assert answer.headers["x-request-id"] == sent


@pytest.mark.parametrize("hostile", ["", "x" * 101, "two words", "tab\tbed", "ümlaut", b"\x80\xff"])
def test_a_hostile_request_id_is_replaced(api: Collector, hostile: str | bytes) -> None:
    headers = [(b"X-Request-ID", hostile.encode() if isinstance(hostile, str) else hostile)]
    answers = [
        api.http.post("/v1/ingest/meter", json=texts(meter(1)), headers=headers) for _ in range(2)
    ]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert {answer.status_code for answer in answers} == {201}
    assert len(ids) == 2
    assert all(one and one.isascii() and " " not in one and len(one) <= 100 for one in ids)


def test_a_refused_record_of_any_format_is_shown_to_the_operator_with_its_request(
    api: Collector,
) -> None:
    for media, body in FORMATS.items():
        name, sent = device("M"), device("request")
        bad = meter(1, meterId=name, kwhConsumedAc=-1.0)
        answer = send(api, "meter", media, body("meter", [bad]), X_Request_ID=sent)
        assert answer.status_code == 422
        wait_for(partial(rejections_of, api, name))
        (kept,) = rejections_of(api, name)
        assert kept["requestId"] == sent
        assert (kept["field"], kept["code"]) == ("kwhConsumedAc", "out_of_range")


# -- what is left out ------------------------------------------------------------------------------


def test_a_placeholder_in_an_optional_field_costs_no_energy_in_any_format(api: Collector) -> None:
    sent = [
        vehicle(1, kwhDeliveredDc=0.1),
        vehicle(2, kwhDeliveredDc=0.2, soc=-1, meterId="M" * 65),
        vehicle(3, kwhDeliveredDc=0.3, soc=120, batteryTemp=300.0),
        vehicle(4, soc=-1),
    ]
    before = left_out(api, "soc")
    for media, body in FORMATS.items():
        post = partial(send, api, "vehicle", media, body("vehicle", sent))
        answer, rows = taken_rows(api, post)
        assert answer.status_code == 207
        told = answer.json()
        assert [(one["index"], one["field"]) for one in told["errors"]] == [(3, "soc")]
        assert [(one["index"], one["field"], one["value"]) for one in told["warnings"]] == [
            (1, "soc", "-1.0" if media == ARROW else "-1"),
            (1, "meterId", "M" * 64),
            (2, "soc", "120.0" if media == ARROW else "120"),
            (2, "batteryTemp", "300.0"),
        ]
        assert {one["code"] for one in told["warnings"]} == {"out_of_range", "bad_id"}
        assert len(rows["vehicle"]) == 3
    assert left_out(api, "soc") == before + 6


def test_an_unknown_field_is_told_and_refused_where_the_request_is_strict(api: Collector) -> None:
    wrong = texts(meter(1, kwhConsumedAC=1.0))
    for path in ("/v1/ingest/meter", "/v1/ingest/telemetry"):
        answer = api.http.post(path, json=wrong)
        assert answer.status_code == 201
        (warning,) = answer.json()["warnings"]
        assert warning["reason"] == "is not known; did you mean kwhConsumedAc?"
        strict = api.http.post(path, params={"strict": "true"}, json=wrong)
        assert strict.status_code == 422
        (error,) = strict.json()["errors"]
        assert (error["field"], error["code"]) == ("kwhConsumedAC", "unknown_field")
        usual = api.http.post(path, params={"strict": "true"}, json=texts(meter(1)))
        assert usual.json() == {"accepted": 1, "rejected": 0, "errors": []}
        for body in (wrong, texts(meter(1))):
            assert api.http.post(path, params={"strict": "1"}, json=body).status_code == 422
    minimal = api.http.post("/v1/ingest/meter", json=wrong, headers={"Prefer": "return=minimal"})
    assert minimal.json() == {"accepted": 1, "rejected": 0}


def test_ids_that_differ_in_case_are_two_devices_and_are_told(api: Collector) -> None:
    name = device("Case")
    for one in (name, name.lower()):
        api.http.post("/v1/ingest/meter", json=texts(meter(1, meterId=one))).raise_for_status()
    alike = api.http.get("/v1/status").json()["idsAlike"]
    assert {"stream": "meter", "ids": sorted([name, name.lower()])} in alike


def left_out(api: Collector, field: str) -> float:
    """How many values of a vehicle's field were left out so far."""
    wanted = f'wattlake_fields_left_out_total{{field="{field}",stream="vehicle"}} '
    lines = api.http.get("/metrics").text.splitlines()
    return sum(float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted))
