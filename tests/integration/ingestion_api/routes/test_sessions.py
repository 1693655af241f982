"""Charging sessions over HTTP: lists, pages, formats, costs, and ids that were superseded."""

import csv
import io
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from lake.schema.charging_session import CHARGING_SESSION
from lake.sessions import identified_sessions
from tests.harness.collector import Collector, collector_of_module
from tests.harness.sessions import store_sessions
from tests.unit.lake.sessions.samples import at, by_rule, heartbeats, sessions_of

WINDOW = {"start": "2026-11-20T00:00:00Z", "end": "2026-11-21T00:00:00Z"}
NONE = pl.DataFrame(CHARGING_SESSION.schema.empty_table()).select(CHARGING_SESSION.names)
GONE = "00000000-0000-4000-8000-000000000000"

api = collector_of_module()


@pytest.fixture(scope="module", autouse=True)
def stored(api: Collector) -> list[dict[str, Any]]:
    """Two sessions of V/1, of which the first spans midnight, and one of V2 that goes on."""
    one = heartbeats([(-1, 2), (8, 9)], -2, 12, vehicle="V/1")
    two = heartbeats([(10.5, 12)], 8, 12, vehicle="V2", meter="M2")
    links = [by_rule(-24, 24, "V/1"), by_rule(-24, 24, "V2", "M2")]
    found = sessions_of([*one[0], *two[0]], [*one[1], *two[1]], links, -2, 12)
    rows = identified_sessions(found, NONE).with_columns(
        supersedes=pl.when(pl.col("begins") == at(8)).then([GONE]).otherwise([]),
        cost_of_energy=pl.lit(Decimal("4.32")).cast(pl.Decimal(38, 17)),
        cost_of_losses=pl.lit(Decimal("0.36")).cast(pl.Decimal(38, 17)),
        currency=pl.lit("EUR"),
    )
    store_sessions(api.database_url, rows)
    api.sql(
        "INSERT INTO partition_ledger (stream, hour, raw_version, last_arrival, published_version)"
        " VALUES ('vehicle', '2026-11-20T11:00Z', 1, now(), 1)"
    )
    return rows.sort("begins", descending=True).to_dicts()


def rows(api: Collector, **parameters: str | int | list[str]) -> list[dict[str, Any]]:
    answer = api.http.get("/v1/sessions", params={**WINDOW, **parameters})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["rows"]
    return found


def test_a_list_has_the_sessions_with_a_part_in_the_window(
    api: Collector, stored: list[dict[str, Any]]
) -> None:
    found = rows(api)
    assert [row["sessionId"] for row in found] == [row["session_id"] for row in stored]
    assert [row["begins"] for row in found] == [
        "2026-11-20T10:30:00Z",
        "2026-11-20T08:00:00Z",
        "2026-11-19T23:00:00Z",
    ]
    assert found[0]["ends"] is None
    assert found[2]["energyAcKwh"] == pytest.approx(21.6)
    assert found[2]["energyAcByHourKwh"] == pytest.approx([7.2] * 3)
    assert rows(api, start="2026-11-20T09:00:00Z") == found[:1]
    assert rows(api, vehicleId="V/1") == found[1:]
    assert rows(api, meterId="M2") == rows(api, ongoing="true") == found[:1]
    assert rows(api, ongoing="false", limit=1) == found[1:2]
    assert rows(api, status=["critical", "idle"]) == []
    assert api.http.get("/v1/sessions", params={"begin": "x"}).status_code == 422
    assert {one["currency"] for one in found} == {"EUR"}


def test_a_list_says_until_when_hours_are_computed(api: Collector) -> None:
    answer = api.http.get("/v1/sessions", params=WINDOW).json()
    assert answer["computedUntil"] == "2026-11-20T12:00:00Z"


def test_pages_follow_each_other(api: Collector) -> None:
    first = api.http.get("/v1/sessions", params={**WINDOW, "limit": 2})
    second = api.http.get(first.links["next"]["url"])
    assert [*first.json()["rows"], *second.json()["rows"]] == rows(api)
    assert second.json()["nextCursor"] is None
    other = {"cursor": first.json()["nextCursor"], "vehicleId": "V2"}
    assert api.http.get("/v1/sessions", params=other).status_code == 422


def test_a_list_comes_as_csv_and_as_arrow(api: Collector) -> None:
    text = api.http.get("/v1/sessions", params=WINDOW, headers={"accept": "text/csv"}).text
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [line["vehicle_id"] for line in lines] == ["V2", "V/1", "V/1"]
    kind = "application/vnd.apache.arrow.stream"
    content = api.http.get("/v1/sessions", params=WINDOW, headers={"accept": kind}).content
    table = pl.read_ipc_stream(io.BytesIO(content))
    assert table.columns == [*CHARGING_SESSION.names]
    assert table["energy_ac_by_hour_kwh"].to_list()[2] == pytest.approx([7.2] * 3)


def test_one_session_says_where_to_look_and_what_it_costs(
    api: Collector, stored: list[dict[str, Any]]
) -> None:
    name = stored[2]["session_id"]
    one = api.http.get(f"/v1/sessions/{name}").json()
    assert (one["sessionId"], one["reasonText"]) == (name, "Rated.")
    listed = rows(api)[2]
    costs = {name: one[name] for name in ("costOfEnergy", "costOfLosses", "currency")}
    assert costs == {name: listed[name] for name in costs}
    assert Decimal(costs["costOfEnergy"]) == Decimal("4.32")
    assert (Decimal(costs["costOfLosses"]), costs["currency"]) == (Decimal("0.36"), "EUR")
    assert one["links"]["curve"] == (
        "/v1/analytics/vehicle/V%2F1/curve?start=2026-11-19T23%3A00%3A00Z&end=2026-11-20T02%3A00%3A00Z"
    )
    two = api.http.get(f"/v1/sessions/{stored[0]['session_id']}").json()
    for link in two["links"].values():
        assert api.http.get(link).status_code in {200, 404}, link  # the vehicle itself is unknown


def test_a_superseded_id_leads_to_the_session_that_took_it_in_and_another_to_a_hint(
    api: Collector, stored: list[dict[str, Any]]
) -> None:
    found = api.http.get(f"/v1/sessions/{GONE}").json()
    assert (found["sessionId"], found["supersedes"]) == (stored[1]["session_id"], [GONE])
    unknown = api.http.get("/v1/sessions/00000000-0000-4000-8000-000000000001")
    assert unknown.status_code == 404
    assert "GET /v1/sessions lists" in unknown.json()["detail"]
    assert api.http.get("/v1/sessions/7").status_code == 422
