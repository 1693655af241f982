"""Links between meters and vehicles: made, ended, listed, imported."""

from typing import Any
from uuid import uuid4

import pytest

from tests.harness.collector import Collector, collector_of_module
from tests.harness.heartbeats import device, meter, vehicle

api = collector_of_module()


def test_a_link_is_made_once_and_an_overlapping_one_is_409_with_the_other(api: Collector) -> None:
    box, car = device("M"), device("V")
    link = {
        "meterId": box,
        "vehicleId": car,
        "validFrom": "2026-01-01T00:00:00Z",
        "validTo": "2026-02-01T00:00:00Z",
    }
    made = api.post("/v1/links", link)
    assert made.status_code == 201
    again = api.post("/v1/links", {**link, "validFrom": "2026-01-01T01:00:00+01:00"})
    assert (again.status_code, again.json()) == (200, made.json())
    for change in ({"vehicleId": device("V")}, {"validTo": None}):
        collision = api.post("/v1/links", {**link, **change})
        assert collision.status_code == 409
        assert collision.json()["collidesWith"] == [made.json()]
    after = {**link, "vehicleId": device("V"), "validFrom": link["validTo"], "validTo": None}
    assert api.post("/v1/links", after).status_code == 201


def test_a_link_ends_and_goes_on_but_not_into_the_next_one(api: Collector) -> None:
    box = device("M")
    link = {"meterId": box, "vehicleId": device("V"), "validFrom": "2026-01-01T00:00:00Z"}
    made = api.post("/v1/links", link).json()
    path = f"/v1/links/{made['id']}/end"
    until = {"validTo": "2026-02-01T00:00:00Z"}
    ended = api.http.put(path, json=until)
    assert (ended.status_code, ended.json()) == (200, {**made, **until})
    other = {"meterId": box, "vehicleId": device("V"), "validFrom": "2026-03-01T00:00:00Z"}
    after = api.post("/v1/links", other).json()
    assert api.http.put(path, json={"validTo": other["validFrom"]}).status_code == 200
    collision = api.http.put(path, json={"validTo": None})
    assert collision.status_code == 409
    assert collision.json()["collidesWith"] == [after]
    assert f"link {after['id']}" in collision.json()["detail"]
    listed = api.http.get("/v1/links", params={"meterId": box}).json()["links"]
    assert listed == [{**made, "validTo": other["validFrom"]}, after]
    for wrong in ({"validTo": link["validFrom"]}, {"validTo": "soon"}, {}, {**until, "x": 1}):
        assert api.http.put(path, json=wrong).status_code == 422
    unknown = api.http.put("/v1/links/999999999/end", json=until)
    assert unknown.status_code == 404
    assert "GET /v1/links" in unknown.json()["detail"]


def test_the_links_of_a_device_come_in_pages(api: Collector) -> None:
    car = device("V")
    links = [
        {"meterId": device("M"), "vehicleId": car, "validFrom": "2026-01-01T00:00:00Z"}
        for _ in range(5)
    ]
    assert api.post("/v1/links/import", links).status_code == 201
    query: dict[str, Any] = {"vehicleId": car, "limit": 2}
    seen, sizes = [], []
    while query:
        page = api.http.get("/v1/links", params=query).json()
        seen += [link["meterId"] for link in page["links"]]
        sizes.append(len(page["links"]))
        query = {**query, "cursor": page["nextCursor"]} if page["nextCursor"] else {}
    assert (seen, sizes) == ([link["meterId"] for link in links], [2, 2, 1])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"validFrom": "2026-01-01T00:00:00"}, "validFrom"),
        ({"validFrom": "1990-01-01T00:00:00Z"}, "validFrom"),
        ({"validFrom": 1767225600}, "validFrom"),
        ({"validTo": "2025-01-01T00:00:00Z"}, "body"),
        ({"meterId": "\x00"}, "meterId"),
        ({"vehicleId": None}, "vehicleId"),
        ({"validto": "2026-02-01T00:00:00Z"}, "validto"),
    ],
)
def test_a_wrong_link_is_422(api: Collector, change: dict[str, Any], field: str) -> None:
    link = {"meterId": "M", "vehicleId": "V", "validFrom": "2026-01-01T00:00:00Z", **change}
    answer = api.post("/v1/links", link)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_links_are_imported_from_csv_row_by_row_and_again_without_harm(api: Collector) -> None:
    box, other, car = device("M"), device("M"), device("V")
    text = (
        "\ufeffmeter_id,vehicle_id,valid_from,valid_to\r\n"
        f"{box},{car},2026-01-01T00:00:00Z,2026-02-01T00:00:00Z\r\n"
        f"{box},{device('V')},2026-01-15T00:00:00Z,\r\n"
        f"{other},{car},2026-01-01T00:00:00,\r\n"
        f"{other},{car},2026-02-01T00:00:00Z,\r\n"
    )
    for existing in (0, 2):
        answer = api.http.post(
            "/v1/links/import", content=text.encode(), headers={"content-type": "text/csv"}
        )
        assert answer.status_code == 207
        told = answer.json()
        assert (told["accepted"], told["rejected"], told["existing"]) == (2, 2, existing)
        assert [(e["index"], e["field"]) for e in told["errors"]] == [(1, None), (2, "valid_from")]
        assert box in told["errors"][0]["reason"]


def test_links_are_imported_from_a_json_list(api: Collector) -> None:
    links = [
        {"meterId": device("M"), "vehicleId": device("V"), "validFrom": "2026-01-01T00:00:00Z"}
        for _ in range(3)
    ]
    assert api.post("/v1/links/import", links).status_code == 201
    assert api.post("/v1/links/import", [{}]).status_code == 422


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "text/csv", 422),
        (b"meter_id,vehicle_id\na,b\n", "text/csv", 422),
        (b"\xff\xfe", "text/csv", 400),
        (b'meter_id,vehicle_id,valid_from\n"a', "text/csv", 400),
        (b"nope", "application/json", 400),
        (b"{}", "application/json", 422),
        (b"[]", "application/json", 422),
    ],
)
def test_a_wrong_import_is_a_problem(
    api: Collector, content: bytes, kind: str, status: int
) -> None:
    answer = api.http.post("/v1/links/import", content=content, headers={"content-type": kind})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_guessed_link_stands_when_a_stranger_of_its_number_comes_and_until_it_is_dissolved(
    api: Collector,
) -> None:
    number = str(uuid4().int)
    box, car, stranger = f"METER{number}", f"VEH{number}", f"GARAGE-{number}"
    assert api.post("/v1/ingest/meter", meter(box)).status_code == 201
    assert api.post("/v1/ingest/vehicle", vehicle(car)).status_code == 201
    assert api.post("/v1/ingest/meter", meter(stranger, -86_400)).status_code == 201

    def told() -> list[str]:
        answer = api.http.get(f"/v1/analytics/performance/{car}").json()
        assert {link["source"] for link in answer["links"]} <= {"rule"}
        return [link["meterId"] for link in answer["links"]]

    guessed = api.http.get("/v1/links/guessed").json()
    assert guessed["isOn"]
    (pair,) = (link for link in guessed["links"] if link["meterId"] == box)
    assert (pair["vehicleId"], told()) == (car, [box])
    assert [one["kind"] for one in guessed["unpaired"] if one["id"] == stranger] == ["meter"]
    counts = api.http.get("/v1/status").json()["guessedLinks"]
    assert (counts["links"], counts["unpaired"]) == (len(guessed["links"]), 1)
    assert "LINK_BY_TRAILING_NUMBER=false" in counts["hint"]

    assert api.http.delete(f"/v1/links/guessed/{box}").json() == pair
    again = api.http.delete(f"/v1/links/guessed/{box}")
    assert (again.status_code, told()) == (404, [])
    assert "GET /v1/links/guessed" in again.json()["detail"]
