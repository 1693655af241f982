"""Maintenance over HTTP: the list, pages, formats, one device, closing and opening again."""

import csv
import io
from typing import Any, get_args

import polars as pl
import pytest

from ingestion_api.routes.maintenance import Fault
from lake import Lake
from lake.condition.anomalies import LOSSES
from lake.condition.sensor_faults import CLOCK, PHASE, SCALE, SLIPPING, STUCK, SWAPPED
from lake.schema.device_condition import DEVICE_ANOMALY, EFFICIENCY_TREND, MAINTENANCE_VISIT
from tests.harness.collector import Collector, collector_of_module
from tests.harness.heartbeats import meter
from tests.maintenance_samples import DAY, USUAL, store_visits
from tests.table_samples import put

LIST = "/v1/maintenance"

api = collector_of_module()


@pytest.fixture(autouse=True)
def stored(api: Collector) -> None:
    """Three open visits, of which one has no price, one that waits and one that closed itself."""
    api.sql("DELETE FROM maintenance_decision")
    money = {"currency": "EUR"}
    store_visits(
        api.database_url,
        {"device_id": "M/1", "at_stake_a_year": 90.0, **money},
        {"device_id": "A", "at_stake_a_year": 120.0, "at_stake_kwh_a_year": 200.0, **money},
        {"device_id": "A", "device_kind": "vehicle", "kind": "sudden_drop"},
        {"device_id": "B", "state": "waiting", "opened_at": None},
        {"device_id": "C", "state": "closed", "closed_at": DAY, "closed_reason": "no longer seen"},
    )
    assert api.http.put("/v1/depots/north", json={"name": "North"}).status_code == 200
    for device in ("A", "B"):
        told = api.http.put(f"/v1/devices/meter/{device}", json={"depot": "north"})
        assert told.status_code == 200


def test_each_kind_that_there_is_can_be_asked_for() -> None:
    assert set(get_args(Fault)) == {*LOSSES, STUCK, SLIPPING, SCALE, CLOCK, PHASE, SWAPPED}


def devices(api: Collector, **parameters: str | int | list[str]) -> list[tuple[str, str]]:
    answer = api.http.get(LIST, params=parameters)
    assert answer.status_code == 200, answer.text
    return [(row["deviceKind"], row["deviceId"]) for row in answer.json()["rows"]]


def close(api: Collector, device: str, reason: str = "mended") -> Any:
    return api.post(f"{LIST}/{device}/close", {"reason": reason})


def test_the_list_has_the_most_money_first_and_what_has_no_price_behind(api: Collector) -> None:
    assert devices(api) == [("meter", "A"), ("meter", "M/1"), ("vehicle", "A")]
    assert devices(api, deviceKind="vehicle") == [("vehicle", "A")]
    assert devices(api, deviceId="M/1") == [("meter", "M/1")]
    assert devices(api, kind=["sudden_drop", "clock_error"]) == [("vehicle", "A")]
    assert devices(api, state=["waiting", "closed"]) == [("meter", "B"), ("meter", "C")]
    assert devices(api, depot="north", state=["open", "waiting"]) == [
        ("meter", "A"),
        ("meter", "B"),
    ]
    answer = api.http.get(LIST).json()
    assert (answer["date"], answer["sessions"]) == (f"{DAY:%Y-%m-%d}", 12_000)
    totals = [tuple(total.values()) for total in api.http.get(f"{LIST}?limit=1").json()["totals"]]
    assert totals == [
        ("meter", "EUR", 2, 500.0, 600.0, 210.0, None),
        ("vehicle", None, 1, 300.0, 300.0, None, None),
    ]
    row = answer["rows"][0]
    assert (row["reason"], row["depot"], row["currency"]) == ("It drifts.", "north", "EUR")
    assert api.http.get(LIST, params={"state": "broken"}).status_code == 422
    assert api.http.get(LIST, params={"depot": "south"}).status_code == 422


def test_pages_follow_each_other(api: Collector) -> None:
    found, url = [], f"{LIST}?limit=1&state=open&state=waiting&state=closed"
    while url:
        answer = api.http.get(url)
        found += [(row["deviceKind"], row["deviceId"]) for row in answer.json()["rows"]]
        url = answer.links.get("next", {}).get("url", "")
    assert found == devices(api, state=["open", "waiting", "closed"])
    assert len(found) == 5


def test_a_list_comes_as_csv_and_as_arrow(api: Collector) -> None:
    text = api.http.get(LIST, headers={"accept": "text/csv"}).text
    assert [line["device_id"] for line in csv.DictReader(io.StringIO(text))] == ["A", "M/1", "A"]
    kind = "application/vnd.apache.arrow.stream"
    table = pl.read_ipc_stream(io.BytesIO(api.http.get(LIST, headers={"accept": kind}).content))
    assert table.columns == [*MAINTENANCE_VISIT.names, "depot", "group"]
    assert table["at_stake_a_year"].to_list() == [120.0, 90.0, None]


def test_what_is_closed_leaves_the_list_says_why_and_can_be_opened_again(api: Collector) -> None:
    closed = close(api, "meter/M%2F1", " fuse replaced ")
    assert closed.status_code == 200, closed.text
    row = closed.json()
    assert (row["state"], row["closedReason"]) == ("closed", "fuse replaced")
    assert row["closedBy"]
    assert devices(api) == [("meter", "A"), ("vehicle", "A")]
    again = close(api, "meter/M%2F1")
    assert again.status_code == 409
    assert "is not open: it is closed" in again.json()["detail"]
    opened = api.post(f"{LIST}/meter/M%2F1/reopen", {})
    assert opened.status_code == 200
    assert (opened.json()["state"], opened.json()["closedReason"]) == ("open", None)
    assert len(devices(api)) == 3


def test_only_what_is_open_can_be_closed_and_what_a_person_closed_opened(api: Collector) -> None:
    for device, status, said in (
        ("meter/B", 409, "it is waiting"),
        ("meter/C", 409, "closed by itself"),
        ("meter/D", 404, "is not in the list"),
    ):
        for refused in (close(api, device), api.post(f"{LIST}/{device}/reopen", {})):
            assert refused.status_code == status
            assert said in refused.json()["detail"]
    assert close(api, "meter/A", "").status_code == 422
    assert api.post(f"{LIST}/meter/A/close", {}).status_code == 422


def test_the_condition_of_a_device_has_its_trend_and_what_is_wrong(api: Collector) -> None:
    lake = Lake(str(api.lake_folder))
    levels = [None] * 40 + [0.0] * 6 + [-1.0] * 6
    trend = {"device_kind": "meter", "device_id": "M/1", "weekly_level_percent": levels}
    put(lake, EFFICIENCY_TREND, DAY, {**trend, "days_to_limit": 40.0})
    names = {name: USUAL[name] for name in DEVICE_ANOMALY.names if name in USUAL}
    put(lake, DEVICE_ANOMALY, DAY, {**names, "device_id": "M/1"})
    one = api.http.get(f"{LIST}/meter/M%2F1").json()
    assert one["trend"]["weeklyLevelPercent"] == levels
    assert one["trend"]["daysToLimit"] == 40
    assert one["anomaly"]["reason"] == one["visit"]["reason"] == "It drifts."
    rows = "/v1/analytics/tables/efficiency_trend"
    for asked, count in (({"meterId": "M/1"}, 1), ({"vehicleId": "M/1"}, 0)):
        assert len(api.http.get(rows, params=asked).json()["rows"]) == count
    both = api.http.get(rows, params={"meterId": "M/1", "vehicleId": "M/1"})
    assert both.json()["rows"] == []
    other = api.http.get(f"{LIST}/vehicle/A").json()
    assert other["visit"]["kind"] == "sudden_drop"
    assert (other["trend"], other["anomaly"]) == (None, None)
    assert api.http.get(f"{LIST}/meter/D").status_code == 404
    assert api.post("/v1/ingest/meter", meter("D")).status_code == 201
    assert api.http.get(f"{LIST}/meter/D").json()["visit"] is None
