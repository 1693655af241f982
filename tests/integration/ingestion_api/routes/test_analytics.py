"""Reading: performance of a vehicle, what is refused and why, reports, status."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.harness.collector import Collector, collector_of_module, running_collector
from tests.harness.heartbeats import device, meter, moment, vehicle
from tests.harness.reports import put_report
from tests.harness.waiting import wait_for

api = collector_of_module(FLUSH_SECONDS="1")


def charge(api: Collector, box: str, car: str, minutes: range, **fields: Any) -> None:
    """Post heartbeats of both sides, one a minute, so many minutes ago: 0.2 kWh AC, 0.18 DC."""
    meters = [meter(box, -60 * ago) for ago in minutes]
    vehicles = [vehicle(car, -60 * ago, batteryTemp=20 + ago, **fields) for ago in minutes]
    assert api.post("/v1/ingest/meter/batch", meters).status_code == 201
    assert api.post("/v1/ingest/vehicle/batch", vehicles).status_code == 201


def performance(api: Collector, car: str, **window: str) -> dict[str, Any]:
    """The performance of a vehicle."""
    answer = api.http.get(f"/v1/analytics/performance/{car}", params=window)
    assert answer.status_code == 200, answer.text
    value: dict[str, Any] = answer.json()
    return value


def test_performance_has_the_contracts_fields_and_shows_what_was_just_posted(
    api: Collector,
) -> None:
    number = str(uuid4().int)
    box, car = f"METER{number}", f"VEH{number}"
    charge(api, box, car, range(10))
    answer = performance(api, car)
    assert answer["vehicleId"] == car
    start, end = (datetime.fromisoformat(answer["period"][name]) for name in ("start", "end"))
    assert end - start == timedelta(hours=24)
    assert answer["energyConsumedAc"] == 2.0
    assert answer["energyDeliveredDc"] == 1.8
    assert answer["efficiencyRatio"] == pytest.approx(90)
    assert answer["averageBatteryTemp"] == 24.5
    assert answer["dataPoints"] == {"vehicle": 10, "meter": 10}
    assert answer["status"] == "good"
    assert [(link["meterId"], link["source"]) for link in answer["links"]] == [(box, "rule")]
    assert api.post("/v1/ingest/meter", meter(box, 1)).status_code == 201
    assert performance(api, car)["energyConsumedAc"] == 2.2


def test_the_last_day_is_told_alike_whether_its_end_is_named_or_not(api: Collector) -> None:
    box, car = device("box"), device("car")
    api.post("/v1/ingest/meter", meter(box))
    api.post("/v1/ingest/vehicle", vehicle(car, meterId=box))
    told = performance(api, car)
    assert told["links"]
    assert performance(api, car, end=told["period"]["end"]) == told


def test_performance_is_the_same_before_during_and_after_the_flush_to_the_lake(
    api: Collector,
) -> None:
    box, car = device("M"), device("V")
    charge(api, box, car, range(5), meterId=box)
    seen = {performance(api, car)["energyConsumedAc"]}

    def flushed() -> bool:
        seen.add(performance(api, car)["energyConsumedAc"])
        waiting = api.sql("SELECT count(*) FROM meter_heartbeat_outbox WHERE meter_id = %s", box)
        return waiting == [(0,)]

    wait_for(flushed)
    seen.add(performance(api, car)["energyConsumedAc"])
    assert seen == {1.0}
    assert performance(api, car)["duplicates"] == 0


def test_performance_counts_what_came_in_a_large_batch_before_and_after_its_flush(
    api: Collector,
) -> None:
    box, car = device("M"), device("V")
    others = [device("M") for _ in range(300)]
    meters = [meter(one, -60) for one in others] + [meter(box, -60 * n) for n in range(5)]
    cars = [vehicle(device("V"), -60) for _ in others] + [
        vehicle(car, -60 * n, meterId=box) for n in range(5)
    ]
    assert api.post("/v1/ingest/meter/batch", meters).status_code == 201
    assert api.post("/v1/ingest/vehicle/batch", cars).status_code == 201
    seen = [performance(api, car)]
    wait_for(lambda: api.sql("SELECT count(*) FROM heartbeat_pack") == [(0,)])
    seen.append(performance(api, car))
    for answer in seen:
        assert answer["energyConsumedAc"] == pytest.approx(1.0)
        assert answer["energyDeliveredDc"] == pytest.approx(0.9)
        assert answer["duplicates"] == 0


def test_a_repeated_heartbeat_counts_once_and_the_latest_received_wins(api: Collector) -> None:
    box, car, at = device("M"), device("V"), moment(-60)
    for kwh in (0.5, 0.7):
        sent = {"meterId": box, "timestamp": at, "kwhConsumedAc": kwh}
        assert api.post("/v1/ingest/meter", sent).status_code == 201
    api.post("/v1/ingest/vehicle", {**vehicle(car, meterId=box), "timestamp": at})
    answer = performance(api, car)
    assert answer["energyConsumedAc"] == 0.7
    assert answer["dataPoints"]["meter"] == 1
    assert answer["duplicates"] == 1


def test_a_heartbeat_from_a_clock_that_is_ahead_is_inside_the_default_window(
    api: Collector,
) -> None:
    car = device("V")
    assert api.post("/v1/ingest/vehicle", vehicle(car, 240)).status_code == 201
    answer = performance(api, car)
    assert answer["dataPoints"]["vehicle"] == 1
    end = datetime.fromisoformat(answer["period"]["end"])
    assert end <= datetime.now(UTC) + timedelta(seconds=242)


def test_devices_whose_first_heartbeat_is_ahead_are_paired_in_the_default_window(
    api: Collector,
) -> None:
    number = str(uuid4().int)
    box, car = f"METER{number}", f"VEH{number}"
    assert api.post("/v1/ingest/vehicle", vehicle(car, 100)).status_code == 201
    assert api.post("/v1/ingest/meter", meter(box, 200)).status_code == 201
    answer = performance(api, car)
    assert [(link["meterId"], link["source"]) for link in answer["links"]] == [(box, "rule")]
    assert answer["energyConsumedAc"] == 0.2


def test_a_window_is_half_open(api: Collector) -> None:
    box, car = device("M"), device("V")
    start = (datetime.now(UTC) - timedelta(hours=5)).replace(microsecond=0)
    times = [start + timedelta(minutes=minute) for minute in range(4)]
    for at in times:
        api.post("/v1/ingest/meter", {**meter(box), "timestamp": at.isoformat()})
        api.post("/v1/ingest/vehicle", {**vehicle(car, meterId=box), "timestamp": at.isoformat()})
    answer = performance(api, car, start=times[1].isoformat(), end=times[3].isoformat())
    assert answer["dataPoints"] == {"vehicle": 2, "meter": 2}
    assert answer["period"]["start"] == times[1].isoformat().replace("+00:00", "Z")


def test_a_register_is_measured_from_its_last_value_before_the_window(api: Collector) -> None:
    box, car = device("M"), device("V")
    hour = 3600
    for seconds, kwh in ((-30 * hour, 100.0), (-20 * hour, 103.0), (-60, 104.5)):
        sent = meter(box, seconds, kwhConsumedAc=kwh, readingType="register")
        assert api.post("/v1/ingest/meter", sent).status_code == 201
    api.post("/v1/ingest/vehicle", vehicle(car, meterId=box))
    link = {"meterId": box, "vehicleId": car, "validFrom": moment(-100 * hour)}
    assert api.post("/v1/links", link).status_code == 201
    assert performance(api, car)["energyConsumedAc"] == 4.5


@pytest.mark.parametrize(
    "window",
    [
        {"start": "2026-03-02T00:00:00Z", "end": "2026-03-01T00:00:00Z"},
        {"start": "2026-03-01T00:00:00Z", "end": "2026-03-01T00:00:00Z"},
        {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:01Z"},
        {"start": "2026-03-01T00:00:00", "end": "2026-03-02T00:00:00Z"},
        {"start": "yesterday"},
        {"start": "0001-01-01T00:00:00+14:00", "end": "0001-01-02T00:00:00Z"},
        {"end": "9999-12-31T23:59:59-14:00"},
        {"end": "\x00"},
    ],
)
def test_a_wrong_window_is_422_with_a_text(api: Collector, window: dict[str, str]) -> None:
    car = device("V")
    api.post("/v1/ingest/vehicle", vehicle(car))
    for path in (f"/v1/analytics/performance/{car}", "/v1/analytics/efficiency/fleet"):
        answer = api.http.get(path, params=window)
        assert answer.status_code == 422, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/analytics/performance/nobody",
        "/v1/analytics/vehicle/nobody/live",
        "/v1/analytics/meter/nobody/live",
        "/v1/reports/2026-03-01.html",
        "/v1/reports/2026-03-01.csv",
        "/v1/nothing",
        "/v2",
    ],
)
def test_what_is_not_there_is_404_with_a_hint_where_to_look(api: Collector, path: str) -> None:
    answer = api.http.get(path)
    assert answer.status_code == 404
    problem = answer.json()
    assert problem["title"] == "Not Found"
    assert "/v1/" in problem["detail"] or "/docs" in problem["detail"]
    assert ("nobody" in path) == ("devices?idContains=nobody finds" in problem["detail"])


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("efficiency/vehicles?vehicle=V", "vehicle: there is no such parameter, did you mean vehi"),
        ("performance/V?from=2026-01-01T00:00:00Z", "parameter; there are start, end"),
        ("vehicle/V/live?x=1&y=2", "y: there is no such parameter, and there are none here"),
        ("losses?by=day&by=hour", "by: takes one value, and 2 were sent"),
        ("losses?start=2026-03-01T12:00:00+02:00", "write %2B02:00, or a time in Z"),
        ("losses?start=2026-03-01+12:00:00", "start: must be ISO 8601 with a zone, such as"),
        ("losses?end=1700000000", "end: must be ISO 8601 with a zone, such as"),
        ("dashboard?vehicleId=V", "did you mean vehicleIds? There are vehicleIds"),
    ],
)
def test_a_parameter_that_a_call_does_not_take_is_refused_with_what_it_takes(
    api: Collector, path: str, said: str
) -> None:
    answer = api.http.get(f"/v1/analytics/{path}")
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert api.http.get("/metrics?x=1").status_code == 200


@pytest.mark.parametrize("path", ["performance/🚗", "efficiency/chargers?meterId=🔌"])
def test_a_wrong_id_is_told_what_ids_are(api: Collector, path: str) -> None:
    answer = api.http.get(f"/v1/analytics/{path}")
    assert answer.status_code == 422
    assert "must be 1-64 printable ASCII characters without a space" in answer.json()["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/analytics/vehicle/%00/live",
        "/v1/analytics/performance/%ED%A0%80",
        "/v1/analytics/performance/" + "x" * 65,
        "/v1/reports/2026-02-30.html",
        "/v1/reports/..%2F..%2Fsecret.html",
        "/v1/analytics/fleet/live?limit=0",
        "/v1/analytics/fleet/live?limit=1001",
        "/v1/analytics/fleet/live?kind=boat",
        "/v1/analytics/fleet/live?sort=luck",
        "/v1/analytics/fleet/live?ids=%00",
        "/v1/analytics/fleet/live?socBelow=nan",
        "/v1/analytics/dashboard",
        "/v1/analytics/dashboard?vehicleIds=%00",
        "/v1/analytics/fleet/live?cursor=%FF%00",
        "/v1/analytics/fleet/live?cursor=bWV0ZXIgAA==",
        "/v1/analytics/fleet/live?cursor=AG1ldGVyIE0=",
        "/v1/analytics/fleet/live?cursor=AA==",
        "/v1/analytics/fleet/live?cursor=%00",
        "/v1/analytics/efficiency/vehicles?status=bad",
        "/v1/analytics/efficiency/vehicles?vehicleId=%00",
        "/v1/links?vehicleId=%00",
        "/v1/links?at=0001-01-01T00:00:00Z",
        "/v1/links?cursor=%00",
        "/v1/analytics/efficiency/fleet?cursor=%00",
        "/v1/analytics/tables/%00",
    ],
)
def test_a_wrong_parameter_is_a_problem_and_never_a_500(api: Collector, path: str) -> None:
    answer = api.http.get(path)
    assert answer.status_code in (404, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_wrong_method_is_a_problem(api: Collector) -> None:
    answer = api.http.delete("/v1/ingest/meter")
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "connection"),
    [("vehicle/{}/live", "%live state"), ("performance/{}", "%performance")],
)
def test_answers_go_on_after_their_connection_was_lost(
    api: Collector, path: str, connection: str
) -> None:
    cars = [device("car") for _ in range(3)]
    for car in cars:
        api.post("/v1/ingest/vehicle", {"vehicleId": car, "timestamp": moment(-5), "soc": 50})
        assert api.http.get(f"/v1/analytics/{path.format(car)}").status_code == 200
        with psycopg.connect(api.database_url, autocommit=True) as conn:
            cut = conn.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name LIKE %s",
                [connection],
            )
            assert cut.rowcount == 1
    with ThreadPoolExecutor(len(cars)) as together:
        paths = [f"/v1/analytics/{path.format(car)}" for car in cars]
        answers = [*together.map(api.http.get, paths)]
    assert [answer.json()["vehicleId"] for answer in answers] == cars


def test_a_closed_window_has_a_tag_until_late_data_or_a_link_changes_it(api: Collector) -> None:
    box, car = device("M"), device("V")
    charge(api, box, car, range(61, 66), meterId=box)
    path, window = f"/v1/analytics/performance/{car}", {"end": moment(-3600)}
    first = api.http.get(path, params=window)
    tag = first.headers["etag"]

    def asked() -> httpx.Response:
        headers = {"if-none-match": f'"other", {tag}'}
        return api.http.get(path, params=window, headers=headers)

    # It tells of what was measured, and not of where that is: a flush changes nothing.
    wait_for(lambda: api.http.get("/v1/status").json()["outboxRows"] == 0)
    assert (asked().status_code, asked().content) == (304, b"")
    assert asked().headers["etag"] == tag
    api.post("/v1/ingest/meter", meter(box, -3700.5))
    late = asked()
    assert late.status_code == 200
    assert late.json()["dataPoints"]["meter"] == first.json()["dataPoints"]["meter"] + 1
    tag = late.headers["etag"]
    link = {"meterId": device("M"), "vehicleId": car, "validFrom": moment(-7200)}
    made = api.post("/v1/links", link)
    assert made.status_code == 201
    assert asked().status_code == 200
    revisions = api.sql("SELECT sum(revision) FROM partition_ledger")
    removed = api.http.delete(f"/v1/links/{made.json()['id']}")
    assert (removed.status_code, removed.json()) == (200, made.json())
    assert asked().status_code == 304  # as if it had not been made
    assert api.sql("SELECT sum(revision) FROM partition_ledger") > revisions
    assert api.http.delete(f"/v1/links/{made.json()['id']}").status_code == 404
    assert "etag" not in api.http.get(path).headers


def test_an_explicit_link_stands_above_the_rule_and_heartbeats_that_name_a_meter(
    api: Collector,
) -> None:
    box, car, other = device("M"), device("V"), device("M")
    charge(api, box, car, range(3), meterId=other)
    charge(api, other, device("V"), range(3))
    answer = performance(api, car)
    assert [(link["meterId"], link["source"]) for link in answer["links"]] == [(other, "heartbeat")]
    link = {"meterId": box, "vehicleId": car, "validFrom": moment(-7200), "validTo": None}
    made = api.post("/v1/links", link)
    assert made.status_code == 201
    answer = performance(api, car)
    assert (box, "link") in [(one["meterId"], one["source"]) for one in answer["links"]]
    assert answer["energyConsumedAc"] == 0.6
    listed = api.http.get("/v1/links", params={"vehicleId": car, "at": moment()}).json()["links"]
    assert listed == [made.json()]


def test_a_vehicle_without_a_meter_is_unmapped(api: Collector) -> None:
    car = device("V")
    api.post("/v1/ingest/vehicle", vehicle(car))
    answer = performance(api, car)
    assert (answer["status"], answer["energyConsumedAc"]) == ("unmapped", None)
    assert answer["efficiencyRatio"] is None
    assert answer["energyDeliveredDc"] == 0.18
    empty = performance(api, car, start=moment(-7200), end=moment(-3600))
    assert empty["dataPoints"] == {"vehicle": 0, "meter": 0}
    assert empty["links"] == []


def test_reports_are_served_from_beside_the_lake(api: Collector) -> None:
    assert api.http.get("/v1/reports").json() == {"reports": []}
    put_report(api.lake_folder, "2026-03-01", {"html": "<html>1</html>"})
    put_report(api.lake_folder, "2026-03-01", {"html": "<html>2</html>"}, version=2)
    put_report(api.lake_folder, "2026-03-02", {"html": "", "csv": "vehicle_id\n"}, version=0)
    put_report(api.lake_folder, "2026-W09", {"pdf": b"%PDF"}, depot="north")
    none = {"pdf": None, "xlsx": None, "parquet": None}
    assert api.http.get("/v1/reports").json()["reports"] == [
        {
            "key": "2026-03-02",
            "firstDay": "2026-03-02",
            "depot": None,
            "soFar": True,
            "version": 0,
            "versions": [0],
            "html": "/v1/reports/2026-03-02.html",
            "csv": "/v1/reports/2026-03-02.csv",
            **none,
        },
        {
            "key": "2026-03-01",
            "firstDay": "2026-03-01",
            "depot": None,
            "soFar": False,
            "version": 2,
            "versions": [1, 2],
            "html": "/v1/reports/2026-03-01.html",
            "csv": None,
            **none,
        },
    ]
    asked = {"period": "week", "depot": "north"}
    (week,) = api.http.get("/v1/reports", params=asked).json()["reports"]
    assert (week["firstDay"], week["pdf"]) == ("2026-02-23", "/v1/reports/2026-W09.pdf?depot=north")
    assert api.http.get(week["pdf"]).headers["content-type"] == "application/pdf"
    page = api.http.get("/v1/reports/2026-03-01.html")
    assert page.text == "<html>2</html>"
    assert page.headers["content-type"].startswith("text/html")
    assert api.http.get("/v1/reports/2026-03-01.html?version=1").text == "<html>1</html>"
    table = api.http.get("/v1/reports/2026-03-02.csv")
    assert table.headers["content-type"].startswith("text/csv")
    for missing in ("2026-03-01.csv", "2026-03-01.html?version=3", "2026-03-01.html?depot=north"):
        refused = api.http.get(f"/v1/reports/{missing}")
        assert refused.status_code == 404
        assert "GET /v1/reports lists those there are" in refused.json()["detail"]


def test_a_lake_that_cannot_be_read_is_503_and_said_so(database_url: str, tmp_path: Path) -> None:
    with running_collector(database_url, tmp_path, FLUSH_SECONDS="1") as api:
        box, car = device("M"), device("V")
        charge(api, box, car, range(100), meterId=box)
        wait_for(lambda: api.http.get("/v1/status").json()["outboxRows"] == 0)
        tables = [api.lake_folder / f"raw_{kind}_heartbeats" for kind in ("meter", "vehicle")]
        for file in [file for table in tables for file in table.rglob("*.parquet")]:
            whole = file.read_bytes()
            footer = int.from_bytes(whole[-8:-4], "little") + 8
            file.write_bytes(whole[:4] + whole[-footer:])  # its footer names what is not there
        for no_folder in ("month/fleet", "day/fleet/2026-03-01"):
            file = api.lake_folder / "reports" / no_folder
            file.parent.mkdir(parents=True)
            file.write_text("no folder")
        for path in (
            f"/v1/analytics/performance/{car}",
            "/v1/reports?period=month",
            "/v1/reports/2026-03-01.html",
        ):
            answer = api.http.get(path)
            assert answer.status_code == 503, path
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) > 0
            assert "lake" in answer.json()["detail"]


def test_the_status_of_the_whole_counts_every_acknowledged_heartbeat_once(api: Collector) -> None:
    before = api.http.get("/v1/status").json()
    assert api.post("/v1/ingest/meter", meter(device("box"))).status_code == 201
    after = api.http.get("/v1/status").json()
    assert after["recordsAcknowledged"] == before["recordsAcknowledged"] + 1
    assert after["rowsInLake"] + after["outboxRows"] == after["recordsAcknowledged"]
    assert after["hoursWaiting"] > 0


def test_the_api_docs_need_no_outside_network(api: Collector) -> None:
    page = api.http.get("/docs").text
    assert "https://" not in page
    assert api.http.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200


def test_health_readiness_and_metrics_answer(api: Collector) -> None:
    assert api.http.get("/healthz").json() == {"status": "ok"}
    ready = api.http.get("/readyz").json()
    assert (ready["ready"], ready["reasons"], ready["lakeWriter"]) == (True, [], True)
    api.post("/v1/ingest/meter", meter(device("M")))
    api.post("/v1/ingest/meter", {})
    text = api.http.get("/metrics").text
    for name in (
        'wattlake_records_total{outcome="accepted",stream="meter"}',
        'wattlake_records_total{outcome="rejected",stream="meter"}',
        'wattlake_requests_total{method="POST",route="/v1/ingest/meter",status="201"}',
        "wattlake_group_commit_seconds_count",
        'wattlake_outbox_rows{stream="meter"}',
    ):
        assert name in text
