"""The device registry and its depots over HTTP: told, listed, uploaded and downloaded."""

import csv
import io
from typing import Any
from urllib.parse import quote

import pytest

from tests.harness.collector import Collector, collector_of_module
from tests.harness.heartbeats import device, meter, moment, vehicle

CLASSES = '{"household": {"good_from_percent": 76, "warning_from_percent": 70}}'
SPOKEN = {
    "chargerClass": "household",
    "retiredAt": "2030-01-01T00:00:00Z",
    "group": "vans",
    "driver": "Ada, L.",
    "label": "-1 \"best\" 'car'",
    "latitude": -33.9,
    "longitude": 151.2,
    "timeZone": "Australia/Sydney",
    "cadenceSeconds": 900.0,
}

api = collector_of_module(CHARGER_CLASSES=CLASSES)


def depot(api: Collector, **said: Any) -> str:
    name = device("depot")
    answer = api.http.put(f"/v1/depots/{name}", json=said)
    assert answer.status_code == 200, answer.text
    return name


def upload(api: Collector, text: str, **query: str) -> Any:
    return api.http.post(
        "/v1/devices", params=query, content=text.encode(), headers={"content-type": "text/csv"}
    )


def download(api: Collector, **query: str) -> str:
    answer = api.http.get("/v1/devices", params=query, headers={"accept": "text/csv"})
    assert answer.status_code == 200, answer.text
    return answer.text


def ids(api: Collector, **query: Any) -> list[str]:
    return [one["id"] for one in api.http.get("/v1/devices", params=query).json()["devices"]]


def test_a_depot_is_made_changed_and_removed_once_no_device_belongs_to_it(api: Collector) -> None:
    said = {"name": "Nörd", "timeZone": "Europe/Berlin", "latitude": 52.5, "longitude": 13.4}
    name = depot(api, **said)
    path = f"/v1/depots/{name}"
    made = api.http.get(path).json()
    assert made == {**made, "id": name, **said, "meters": 0, "vehicles": 0}
    assert made in api.http.get("/v1/depots").json()["depots"]

    box = device("M")
    assert api.http.patch(f"/v1/devices/meter/{box}", json={"depot": name}).status_code == 200
    changed = api.http.put(path, json={"name": "North"}).json()
    assert (changed["name"], changed["timeZone"], changed["meters"]) == ("North", None, 1)
    taken = api.http.delete(path)
    assert taken.status_code == 409
    assert f"GET /v1/devices?depot={name}" in taken.json()["detail"]
    assert api.http.patch(f"/v1/devices/meter/{box}", json={"depot": None}).status_code == 200
    assert api.http.delete(path).status_code == 200
    assert {api.http.get(path).status_code, api.http.delete(path).status_code} == {404}
    assert "GET /v1/depots" in api.http.get(path).json()["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"timeZone": "Berlin"}, "timeZone"),
        ({"latitude": 91, "longitude": 0}, "latitude"),
        ({"latitude": 1}, "body"),
        ({"latitude": 1, "longitude": None}, "body"),
        ({"name": " x"}, "name"),
        ({"city": "x"}, "city"),
    ],
)
def test_a_wrong_depot_is_422(api: Collector, body: dict[str, Any], field: str) -> None:
    answer = api.http.put("/v1/depots/north", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_a_device_is_told_of_before_its_first_heartbeat_and_is_still_so_after(
    api: Collector,
) -> None:
    box, name = device("M/1 b"), depot(api)
    path = f"/v1/devices/meter/{quote(box)}"
    unknown = api.http.get(path)
    assert unknown.status_code == 404
    assert "GET /v1/devices" in unknown.json()["detail"]

    told = api.http.put(path, json={**SPOKEN, "depot": name})
    assert told.status_code == 200, told.text
    expected = {**SPOKEN, "depot": name, "kind": "meter", "id": box, "newestAt": None}
    assert told.json() == {**told.json(), **expected}
    heartbeat = meter(box)
    assert api.post("/v1/ingest/meter", heartbeat).status_code == 201
    heard = api.http.get(path).json()
    assert heard["newestAt"] is not None
    assert heard == {**told.json(), "newestAt": heard["newestAt"]}

    patched = api.http.patch(path, json={"label": None, "group": "trucks"}).json()
    assert patched == {
        **patched,
        **expected,
        "label": None,
        "group": "trucks",
        "newestAt": heard["newestAt"],
    }
    cleared = api.http.put(path, json={"label": "x"}).json()
    assert {name: cleared[name] for name in (*SPOKEN, "depot")} == {
        **dict.fromkeys((*SPOKEN, "depot")),
        "label": "x",
    }


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        ({"depot": "nowhere"}, "depot", "PUT /v1/depots/nowhere makes it"),
        ({"chargerClass": "houshold"}, "chargerClass", "not described in CHARGER_CLASSES"),
        ({"retiredAt": "2026-01-01"}, "retiredAt", "no time with its zone"),
        ({"retiredAt": 5}, "retiredAt", "no time with its zone"),
        ({"cadenceSeconds": 0}, "cadenceSeconds", "greater than 0"),
        ({"label": "none"}, "label", "clears a value in a CSV"),
        ({"label": ""}, "label", "at least 1"),
        ({"lable": "x"}, "lable", "did you mean label?"),
    ],
)
def test_a_wrong_attribute_is_422_with_what_to_do(
    api: Collector, body: dict[str, Any], field: str, reason: str
) -> None:
    for call in (api.http.put, api.http.patch):
        answer = call("/v1/devices/meter/METER001", json=body)
        assert answer.status_code == 422, answer.text
        ((error),) = answer.json()["errors"]
        assert error["field"] == field
        assert reason in error["reason"]
    assert api.http.get("/v1/devices/meter/METER001").status_code == 404


def test_a_class_of_a_vehicle_is_refused(api: Collector) -> None:
    answer = api.http.patch("/v1/devices/vehicle/V", json={"chargerClass": "household"})
    assert "name it with its meter" in answer.json()["detail"]


def test_a_csv_that_was_downloaded_brings_back_what_it_says_and_changes_nothing_else(
    api: Collector,
) -> None:
    name, group = depot(api), device("group")
    cars = sorted(device("=V") for _ in range(3))
    rows = {car: {**SPOKEN, "chargerClass": None, "depot": name, "group": group} for car in cars}
    for car, said in rows.items():
        assert api.http.put(f"/v1/devices/vehicle/{car}", json=said).status_code == 200
    whole = [api.http.get(f"/v1/devices/vehicle/{car}").json() for car in cars]
    text = download(api, depot=name)
    assert [row["device_id"] for row in csv.DictReader(io.StringIO(text))] == [
        f"'{c}" for c in cars
    ]

    counts = {"devices": 3, "unheard": 3, "hours": 0, "dryRun": False}
    assert upload(api, text).json() == {**counts, "changed": 0}
    for car in cars:
        assert api.http.put(f"/v1/devices/vehicle/{car}", json={}).status_code == 200
    dry = upload(api, text, dryRun="true")
    assert dry.json() == {**counts, "changed": 3, "dryRun": True}
    assert ids(api, depot=name) == []
    assert upload(api, text).json() == {**counts, "changed": 3}
    again = [api.http.get(f"/v1/devices/vehicle/{car}").json() for car in cars]
    assert [{**one, "updatedAt": None} for one in again] == [
        {**one, "updatedAt": None} for one in whole
    ]
    assert download(api, depot=name) == text


def test_a_csv_with_a_fault_changes_nothing_and_tells_all_faults_with_their_lines(
    api: Collector,
) -> None:
    good = device("M")
    text = (
        "stream,device_id,depot,label,cadence_seconds\r\n"
        f"meter,{good},,fine,60\r\n"
        "\r\n"
        'car,M1,,"two\r\nlines",-1\r\n'
        f"meter,{good},nowhere,,\r\n"
    )
    answer = upload(api, text)
    assert answer.status_code == 422
    assert "nothing was changed: 2 of 3 rows can't be taken" in answer.json()["detail"]
    assert [(one["line"], one["field"]) for one in answer.json()["errors"]] == [
        (4, "stream"),
        (4, "label"),
        (4, "cadence_seconds"),
        (6, "depot"),
    ]
    assert api.http.get(f"/v1/devices/meter/{good}").status_code == 404


@pytest.mark.parametrize(
    ("content", "kind", "status", "detail"),
    [
        (b"", "text/csv", 422, "there is no device"),
        (b"stream,device_id\n", "text/csv", 422, "there is no device"),
        (b"stream,device_id,colour\nmeter,M,red\n", "text/csv", 422, "has a column 'colour'"),
        (b"\xff\xfe", "text/csv", 400, "not UTF-8"),
        (b'stream,device_id\nmeter,"M', "text/csv", 400, "not CSV"),
        (b"[]", "application/json", 415, "text/csv"),
    ],
)
def test_what_is_no_csv_of_devices_is_a_problem(
    api: Collector, content: bytes, kind: str, status: int, detail: str
) -> None:
    answer = api.http.post("/v1/devices", content=content, headers={"content-type": kind})
    assert answer.status_code == status
    assert detail in answer.json()["detail"]


def test_devices_are_listed_by_depot_and_group_in_pages(api: Collector) -> None:
    north, south, group = depot(api), depot(api), device("group")
    named = [device("M") for _ in range(5)]
    rows = [f"meter,{box},{north if at < 3 else south},{group}" for at, box in enumerate(named)]
    assert upload(api, "\n".join(["stream,device_id,depot,group", *rows])).status_code == 200
    assert ids(api, group=group) == sorted(named)
    assert ids(api, depot=north) == sorted(named[:3])
    assert ids(api, depot=[north, south], group=group) == sorted(named)
    assert ids(api, depot=south, kind="vehicle") == []

    seen: list[str] = []
    query: dict[str, Any] = {"group": group, "limit": 2}
    while query:
        answer = api.http.get("/v1/devices", params=query)
        seen += [one["id"] for one in answer.json()["devices"]]
        following = answer.json()["nextCursor"]
        assert bool(following) == ("next" in answer.links)
        query = {**query, "cursor": following} if following else {}
    assert seen == sorted(named)


def test_how_often_a_vehicle_sends_tells_what_of_it_has_not_arrived(api: Collector) -> None:
    """Of two heartbeats one is lost: as regular a loss as a slow device, until somebody says so."""
    box, car = device("M"), device("V")
    minutes = range(-100, -10)
    meters = [meter(box, 60 * n) for n in minutes]
    vehicles = [vehicle(car, 60 * n, meterId=box) for n in minutes if n % 2 == 0]
    assert api.post("/v1/ingest/meter/batch", meters).status_code == 201
    assert api.post("/v1/ingest/vehicle/batch", vehicles).status_code == 201

    def rating() -> tuple[str, float]:
        window = {"start": moment(-90 * 60), "end": moment(-20 * 60)}
        found = api.http.get(f"/v1/analytics/performance/{car}", params=window).json()
        return found["status"], found["coverage"]["dc"]

    assert rating() == ("implausible", 1)
    told = api.http.patch(f"/v1/devices/vehicle/{car}", json={"cadenceSeconds": 60})
    assert told.status_code == 200, told.text
    status, coverage = rating()
    assert status == "insufficient_data"
    assert 0.4 < coverage < 0.6
