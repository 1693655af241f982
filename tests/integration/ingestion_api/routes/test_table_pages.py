"""The computed tables over HTTP: filters, pages, formats, and answers that the caller has."""

import csv
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ingestion_api.rest.cursors import write_cursor
from lake import HOUR, Lake
from lake.delta.damage import data_files
from lake.schema.catalog import DERIVED_TABLES
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_DAILY, CHARGER_EFFICIENCY_HOURLY
from lake.schema.vehicle_efficiency import (
    FLEET_EFFICIENCY_DAILY,
    FLEET_EFFICIENCY_HOURLY,
    VEHICLE_EFFICIENCY_HOURLY,
)
from tests.harness.collector import Collector, collector_of_module
from tests.table_samples import put

EXAMPLE_TARIFF = Path(__file__).parents[4] / "docs/tariff.example.yaml"

api = collector_of_module(TARIFF_FILE=str(EXAMPLE_TARIFF))

EFFICIENCY = "/v1/analytics/efficiency"
ARROW = "application/vnd.apache.arrow.stream"
DAY = datetime(2026, 3, 1, tzinfo=UTC)
MONDAY = {"start": "2026-03-02T00:00:00Z", "end": "2026-03-03T00:00:00Z"}
WINDOW = {"start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z"}


@pytest.fixture(scope="module", autouse=True)
def filled(api: Collector) -> Lake:
    """Three hours and a day of two cars, their chargers and the fleet."""
    lake = Lake(str(api.lake_folder))
    for n in range(3):
        hour = DAY + n * HOUR
        put(
            lake,
            VEHICLE_EFFICIENCY_HOURLY,
            hour,
            {
                "vehicle_id": 'A "1", blue',
                "status": "critical",
                "energy_ac_kwh": 8.0,
                "meter_ids": ["M,1", "M2"],
            },
            {"vehicle_id": "B", "status": "idle", "link_source": ""},
        )
        fed = {"meter_id": "M1", "vehicle_ids": ["B", "C"][: n + 1]}
        put(lake, CHARGER_EFFICIENCY_HOURLY, hour, fed, {"meter_id": "M2"})
        put(lake, FLEET_EFFICIENCY_HOURLY, hour, {"energy_ac_kwh": 8.0})
    put(lake, CHARGER_EFFICIENCY_DAILY, DAY, {"meter_id": "M1"})
    put(lake, FLEET_EFFICIENCY_DAILY, DAY, {"energy_ac_kwh": 24.0})
    return lake


@pytest.fixture(scope="module")
def charged(filled: Lake) -> None:
    """Two hours of a Monday: car C stores 70 % and car D 90 % of 5 kWh; a kWh went to nobody."""
    for n in (5, 6):
        hour = datetime(2026, 3, 2, n, tzinfo=UTC)
        cars = [
            {
                "vehicle_id": car,
                # What was not matched with the other side is in no ratio and in no loss.
                "energy_ac_kwh": 5.5,
                "energy_dc_kwh": 5.0 - lost,
                "matched_energy_ac_kwh": 5.0,
                "matched_energy_dc_kwh": 5.0 - lost,
                "loss_kwh": lost,
            }
            for car, lost in (("C", 1.5), ("D", 0.5))
        ]
        put(filled, VEHICLE_EFFICIENCY_HOURLY, hour, *cars)
        fleet = {
            "energy_ac_kwh": 10.0,
            "unlinked_energy_ac_kwh": 1.0 if n == 5 else 0.0,
            "rated_energy_ac_kwh": 10.0,
            "rated_energy_dc_kwh": 8.0,
            "loss_kwh": 2.0,
        }
        put(filled, FLEET_EFFICIENCY_HOURLY, hour, fleet)


def rows(api: Collector, path: str, **query: str | int | list[str]) -> list[dict[str, Any]]:
    answer = api.http.get(path, params={**WINDOW, **query})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["rows"]
    return found


@pytest.mark.parametrize("length", [None, 0.5, 0])
def test_a_damaged_file_is_503_where_it_is_needed_and_other_hours_are_answered(
    api: Collector, filled: Lake, length: float | None
) -> None:
    """Missing, cut off, empty."""
    spec, first = CHARGER_EFFICIENCY_HOURLY, datetime(2026, 3, 5, 1, tzinfo=UTC)
    for hour in (first, first + HOUR):
        put(filled, spec, hour, {"meter_id": "M1"})
    (file,) = data_files(filled.open(spec.name), spec.name, spec.time_column, first, first + HOUR)
    path = api.lake_folder / spec.name / file.path
    content = path.read_bytes()
    path.unlink()
    if length is not None:
        path.write_bytes(content[: int(len(content) * length)])
    whole = {"start": first + HOUR, "end": first + 2 * HOUR}
    answered = api.http.get(f"{EFFICIENCY}/chargers", params=as_texts(whole))
    assert [row["meterId"] for row in answered.json()["rows"]] == ["M1"]
    refused = api.http.get(
        f"{EFFICIENCY}/chargers", params=as_texts({"start": first, "end": first + HOUR})
    )
    assert refused.status_code == 503
    assert refused.headers["content-type"] == "application/problem+json"


def as_texts(window: dict[str, datetime]) -> dict[str, str]:
    """Times as a query has them."""
    return {name: f"{at:%Y-%m-%dT%H:%M:%SZ}" for name, at in window.items()}


def test_every_table_has_the_same_filters(api: Collector) -> None:
    cars = rows(api, f"{EFFICIENCY}/vehicles", status="critical", vehicleId='A "1", blue')
    assert [car["hourStart"] for car in cars] == [f"2026-03-01T0{n}:00:00Z" for n in (2, 1, 0)]
    assert cars[0]["meterIds"] == ["M,1", "M2"]
    assert cars[0]["energyDcKwh"] is None
    assert rows(api, f"{EFFICIENCY}/vehicles", status="critical", vehicleId="B") == []
    assert len(rows(api, f"{EFFICIENCY}/vehicles", status=["critical", "idle"])) == 6
    assert [row["meterId"] for row in rows(api, f"{EFFICIENCY}/chargers", meterId="M2")] == [
        "M2"
    ] * 3
    at_meter = rows(api, f"{EFFICIENCY}/vehicles", meterId="M,1", limit=2)
    assert [car["vehicleId"] for car in at_meter] == ['A "1", blue'] * 2
    fed = rows(api, f"{EFFICIENCY}/chargers", vehicleId="C")
    assert [(row["hourStart"], row["meterId"]) for row in fed] == [
        ("2026-03-01T02:00:00Z", "M1"),
        ("2026-03-01T01:00:00Z", "M1"),
    ]
    assert rows(api, f"{EFFICIENCY}/chargers", vehicleId="A") == []
    days = rows(api, f"{EFFICIENCY}/chargers", by="day")
    assert [(row["date"], row["meterId"]) for row in days] == [("2026-03-01", "M1")]
    assert len(rows(api, f"{EFFICIENCY}/fleet", start="2026-03-01T01:00:00Z")) == 2
    assert rows(api, f"{EFFICIENCY}/fleet", by="day")[0]["energyAcKwh"] == 24.0
    assert rows(api, f"{EFFICIENCY}/vehicles", start="2026-02-27T00:00:00Z", by="day") == []


def test_every_computed_table_is_served_by_its_name(api: Collector) -> None:
    for spec in DERIVED_TABLES:
        assert isinstance(rows(api, f"/v1/analytics/tables/{spec.name}"), list)
    for of, query, said in (
        ("fleet", {"by": "day", "vehicleId": "B"}, "GET /v1/analytics/tables/vehicle_efficiency_d"),
        ("fleet", {"status": "good"}, "it takes no filter but the window"),
    ):
        refused = api.http.get(f"{EFFICIENCY}/{of}", params=query)
        assert refused.status_code == 422
        assert said in refused.json()["detail"]
    unknown = api.http.get("/v1/analytics/tables/raw_meter_heartbeats")
    assert unknown.status_code == 404
    assert "grid_health_hourly" in unknown.json()["detail"]


def test_pages_follow_each_other_by_cursor_and_by_link(api: Collector) -> None:
    path, seen = f"{EFFICIENCY}/vehicles", []
    answer = api.http.get(path, params={**WINDOW, "limit": 4})
    seen += answer.json()["rows"]
    following = api.http.get(path, params={**WINDOW, "cursor": answer.json()["nextCursor"]})
    by_link = api.http.get(answer.links["next"]["url"])
    assert by_link.json()["rows"] == following.json()["rows"]
    assert following.json()["nextCursor"] is None
    assert "link" not in following.headers
    seen += following.json()["rows"]
    assert seen == rows(api, path)


def test_a_cursor_that_is_old_is_410_and_one_of_another_question_422(api: Collector) -> None:
    path = f"{EFFICIENCY}/fleet"
    place = [DAY, DAY + HOUR, DAY, ""]
    question: list[object] = ["fleet_efficiency_hourly", None, None, [], None, None]
    old = write_cursor(question, place, datetime.now(UTC) - timedelta(hours=2))
    expired = api.http.get(path, params={"cursor": old})
    assert expired.status_code == 410
    assert "start again" in expired.json()["detail"]
    new = write_cursor(question, place, datetime.now(UTC))
    assert api.http.get(path, params={"cursor": new}).json()["rows"] == []
    for change in ({"by": "day"}, WINDOW, {"cursor": new[:-2]}):
        assert api.http.get(path, params={"cursor": new, **change}).status_code == 422
    endless = write_cursor(question, [DAY - 9000 * HOUR, DAY, DAY, ""], datetime.now(UTC))
    assert api.http.get(path, params={"cursor": endless}).status_code == 422


def test_a_table_as_csv_is_rfc_4180_with_utc_times(api: Collector) -> None:
    query = {**WINDOW, "limit": "2"}
    answer = api.http.get(
        f"{EFFICIENCY}/vehicles", params=query, headers={"accept": "text/csv;q=0.9, text/html"}
    )
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "next" in answer.links
    assert answer.text.count("\r\n") == 3
    first, second = csv.DictReader(io.StringIO(answer.text, newline=""))
    assert list(first) == list(VEHICLE_EFFICIENCY_HOURLY.names)
    assert first["hour_start"] == "2026-03-01T02:00:00Z"
    assert (first["vehicle_id"], first["energy_ac_kwh"]) == ('A "1", blue', "8.0")
    assert first["meter_ids"] == '["M,1","M2"]'
    assert first["energy_dc_kwh"] == ""
    assert second["vehicle_id"] == "B"
    days = api.http.get(
        f"{EFFICIENCY}/fleet", params={**WINDOW, "by": "day"}, headers={"accept": "text/csv"}
    )
    assert days.text.splitlines()[1].startswith("2026-03-01,24.0,")


def test_a_table_as_arrow_has_the_columns_and_types_of_the_lake(
    api: Collector, filled: Lake
) -> None:
    answer = api.http.get(f"{EFFICIENCY}/vehicles", params=WINDOW, headers={"accept": ARROW})
    assert answer.headers["content-type"] == ARROW
    spec = VEHICLE_EFFICIENCY_HOURLY
    found = pl.read_ipc_stream(io.BytesIO(answer.content))
    stored = filled.scan(filled.open(spec.name)).select(spec.names).collect()
    assert found.schema == stored.schema
    assert found.sort("vehicle_id", "hour_start").equals(stored.sort("vehicle_id", "hour_start"))


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("*/*", 200),
        ("text/html, application/*;q=0.1", 200),
        ("text/html", 406),
        ("application/json;q=0", 406),
        ("*/*;q=0", 406),
        ("image/*;q=oops", 406),
    ],
)
def test_what_accept_does_not_name_is_not_sent(api: Collector, accept: str, status: int) -> None:
    answer = api.http.get(f"{EFFICIENCY}/fleet", headers={"accept": accept})
    assert answer.status_code == status
    if status == 406:
        assert "text/csv" in answer.json()["detail"]
    for path in ("/v1/analytics/fleet/live", "/v1/links", "/v1/alerts", "/v1/rejections"):
        assert api.http.get(path, headers={"accept": accept}).status_code == status
        only_json = api.http.get(path, headers={"accept": "text/csv"})
        assert only_json.status_code == 406
        assert "application/json" in only_json.json()["detail"]


def test_an_answer_that_the_caller_has_is_304_until_an_hour_is_computed_anew(
    api: Collector, filled: Lake
) -> None:
    path = f"{EFFICIENCY}/vehicles"
    for query in (WINDOW, {**WINDOW, "limit": "1"}):
        first = api.http.get(path, params=query)
        known = {"if-none-match": f'"other", {first.headers["etag"]}'}
        again = api.http.get(path, params=query, headers=known)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        as_csv = api.http.get(path, params=query, headers={**known, "accept": "text/csv"})
        assert as_csv.status_code == 200
        assert api.http.get(path, params={**query, "limit": 3}, headers=known).status_code == 200
        put(filled, VEHICLE_EFFICIENCY_HOURLY, DAY + 9 * HOUR, {"vehicle_id": "B"})
        changed = api.http.get(path, params=query, headers=known)
        assert changed.status_code == 200
        assert changed.json()["rows"][0]["hourStart"] == "2026-03-01T09:00:00Z"
        put(filled, VEHICLE_EFFICIENCY_HOURLY, DAY + 9 * HOUR)


@pytest.mark.parametrize(
    "query",
    [
        {"start": "2026-03-02T00:00:00Z", "end": "2026-03-01T00:00:00Z"},
        {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:01Z"},
        {"by": "day", "start": "2020-01-01T00:00:00Z", "end": "2026-02-01T00:00:01Z"},
        {"by": "week"},
        {"status": "good"},
        {"vehicleId": "B"},
        {"limit": "0"},
        {"by": ["hour", "day"]},
        {"statuz": "good"},
    ],
)
def test_a_question_that_the_table_cannot_answer_is_422(
    api: Collector, query: dict[str, str | list[str]]
) -> None:
    answer = api.http.get(f"{EFFICIENCY}/fleet", params=query)
    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_losses_have_the_price_of_their_time_and_add_up_to_the_total(
    api: Collector, charged: None
) -> None:
    answer = api.http.get("/v1/analytics/losses", params={**MONDAY, "by": "hour"}).json()
    assert answer["currency"] == "EUR"
    # 6:00 in Berlin costs 0.231 a kWh, 7:00 costs 0.312; 10 kWh in each hour, 2 of them lost.
    assert [row["hourStart"] for row in answer["rows"]] == [
        "2026-03-02T05:00:00Z",
        "2026-03-02T06:00:00Z",
    ]
    assert [row["costOfLosses"] for row in answer["rows"]] == [0.462, 0.624]
    total = answer["total"]
    assert (total["lossKwh"], total["costOfLosses"], total["efficiencyPercent"]) == (4.0, 1.086, 80)
    assert total["costOfEnergy"] == pytest.approx(5 * 1.086 + 0.231)
    point = answer["onePercentagePointPerYear"]
    saved = 16 * 8766 / 2 * (1 / 0.80 - 1 / 0.81)
    assert point["energyKwh"] == pytest.approx(saved, abs=0.001)
    assert point["cost"] == pytest.approx(saved * 5.43 / 20, abs=0.01)
    by_day = api.http.get("/v1/analytics/losses", params=MONDAY).json()
    assert (len(by_day["rows"]), by_day["total"]) == (1, total)
    by_car = api.http.get("/v1/analytics/losses", params={**MONDAY, "by": "vehicle"}).json()
    assert [row["vehicleId"] for row in by_car["rows"]] == ["C", "D"]
    assert sum(row["costOfLosses"] for row in by_car["rows"]) == pytest.approx(1.086)
    by_charger = api.http.get("/v1/analytics/losses", params={**MONDAY, "by": "charger"}).json()
    assert by_charger["rows"] == []
    nothing = api.http.get("/v1/analytics/losses", params={"start": "2026-04-01T00:00:00Z"})
    assert nothing.status_code == 422
    empty = {"start": "2026-04-01T00:00:00Z", "end": "2026-04-02T00:00:00Z"}
    assert api.http.get("/v1/analytics/losses", params=empty).json()["rows"] == []


def test_the_worst_come_first_with_what_their_losses_cost(api: Collector, charged: None) -> None:
    path = f"{EFFICIENCY}/worst"
    found = api.http.get(path, params=MONDAY)
    assert [
        (row["vehicleId"], row["efficiencyPercent"], row["lossKwh"], row["costOfLosses"])
        for row in found.json()["rows"]
    ] == [("C", 70.0, 3.0, 0.8145), ("D", 90.0, 1.0, 0.2715)]
    only = api.http.get(path, params={**MONDAY, "count": 1}, headers={"accept": "text/csv"})
    assert only.text.splitlines()[1].startswith("C,11.0,0.0,10.0,7.0,3.0,70.0,")
    assert api.http.get(path, params={**MONDAY, "of": "chargers"}).json()["rows"] == []
    known = {"if-none-match": found.headers["etag"]}
    assert api.http.get(path, params=MONDAY, headers=known).status_code == 304
