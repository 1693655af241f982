"""Lists and tables of a depot or a group are those of its devices and of no others."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from lake import HOUR, Lake, hour_of
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_DAILY, CHARGER_EFFICIENCY_HOURLY
from lake.schema.grid_health import GRID_HEALTH_HOURLY
from lake.schema.vehicle_efficiency import (
    FLEET_EFFICIENCY_HOURLY,
    VEHICLE_EFFICIENCY_DAILY,
    VEHICLE_EFFICIENCY_HOURLY,
)
from tests.harness.collector import Collector, collector_of_module
from tests.harness.heartbeats import meter, vehicle
from tests.harness.waiting import wait_for
from tests.table_samples import put

api = collector_of_module(TARIFF_FILE=str(Path(__file__).parents[4] / "docs/tariffs.example.yaml"))

DAY = datetime(2026, 3, 2, tzinfo=UTC)
WINDOW = {"start": "2026-03-02T00:00:00Z", "end": "2026-03-03T00:00:00Z"}
DEVICES = """stream,device_id,depot,group
meter,M1,north,
meter,M2,south,
meter,M3,,
vehicle,V1,north,vans
vehicle,V2,south,trucks
vehicle,V3,,vans
"""
LOST = {"V1": 1.0, "V2": 2.0, "V3": 3.0}  # kWh of 10 in each hour; the numbers of M and V agree


@pytest.fixture(scope="module", autouse=True)
def filled(api: Collector) -> None:
    """Three cars at their chargers, two of them in depots; a charger gave a kWh to nobody."""
    for name, tariff in (("north", None), ("south", "zurich"), ("empty", None)):
        assert api.http.put(f"/v1/depots/{name}", json={"tariff": tariff}).status_code == 200
    told = api.http.post("/v1/devices", content=DEVICES, headers={"content-type": "text/csv"})
    assert told.status_code == 200, told.text
    lake = Lake(str(api.lake_folder))
    for spec, time in (
        (VEHICLE_EFFICIENCY_HOURLY, DAY + 5 * HOUR),
        (VEHICLE_EFFICIENCY_HOURLY, DAY + 6 * HOUR),
        (VEHICLE_EFFICIENCY_DAILY, DAY),
    ):
        put(
            lake,
            spec,
            time,
            *(
                {"vehicle_id": v, "meter_ids": [f"M{v[1]}"], **energies(lost)}
                for v, lost in LOST.items()
            ),
        )
    for spec, time in (
        (CHARGER_EFFICIENCY_HOURLY, DAY + 5 * HOUR),
        (CHARGER_EFFICIENCY_HOURLY, DAY + 6 * HOUR),
        (CHARGER_EFFICIENCY_DAILY, DAY),
    ):
        rows = [{"meter_id": f"M{v[1]}", **energies(lost)} for v, lost in LOST.items()]
        rows[1] |= {"energy_ac_kwh": 11.0, "unlinked_energy_ac_kwh": 1.0}
        put(lake, spec, time, *rows)
    put(lake, GRID_HEALTH_HOURLY, DAY, {"meter_id": "M1"}, {"meter_id": "M2"})
    put(lake, FLEET_EFFICIENCY_HOURLY, DAY + 5 * HOUR, {"energy_ac_kwh": 30.0})
    for number in (1, 2, 3):
        hot = vehicle(f"V{number}", batteryTemp=70)
        assert api.post("/v1/ingest/vehicle", hot).status_code == 201
        assert api.post("/v1/ingest/meter", meter(f"M{number}")).status_code == 201
    wait_for(lambda: len(api.sql("SELECT DISTINCT device_id FROM alert")) == 3)


def energies(lost: float) -> dict[str, float]:
    return {
        "energy_ac_kwh": 10.0,
        "energy_dc_kwh": 10.0 - lost,
        "matched_energy_ac_kwh": 10.0,
        "matched_energy_dc_kwh": 10.0 - lost,
        "loss_kwh": lost,
    }


def get(api: Collector, path: str, **query: Any) -> Any:
    answer = api.http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def rows(api: Collector, path: str, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = get(api, f"/v1/analytics/{path}", **WINDOW, **query)["rows"]
    return found


@pytest.mark.parametrize(
    ("query", "vehicles", "meters"),
    [
        ({"depot": "north"}, {"V1"}, {"M1"}),
        ({"depot": ["north", "south"]}, {"V1", "V2"}, {"M1", "M2"}),
        ({"group": "vans"}, {"V1", "V3"}, set()),
        ({"depot": "north", "group": "trucks"}, set(), set()),
        ({"depot": "empty"}, set(), set()),
    ],
)
def test_every_list_has_the_devices_of_the_depot_and_the_group(
    api: Collector, query: dict[str, Any], vehicles: set[str], meters: set[str]
) -> None:
    both = vehicles | meters
    live = get(api, "/v1/analytics/fleet/live", **query)["devices"]
    assert {one.get("vehicleId") if "soc" in one else one["meterId"] for one in live} == both
    search = [
        one["id"]
        for text in ("v", "m")
        for one in get(api, "/v1/analytics/devices", idContains=text, **query)["devices"]
    ]
    assert set(search) == both
    alerts = get(api, "/v1/alerts", **query)["alerts"]
    assert {one["deviceId"] for one in alerts} == vehicles
    overview = get(api, "/v1/analytics/overview", **query)
    assert sum(overview["vehicles"].values()) == len(vehicles)
    assert sum(overview["meters"].values()) == len(meters)
    newest = overview["ingest"]["newest"]
    assert newest["id"] in both if both else newest is None
    dashboard = get(api, "/v1/analytics/dashboard", **query)["vehicles"]
    assert {one["live"]["vehicleId"] for one in dashboard} == vehicles
    for path, name, ids in (
        ("efficiency/vehicles", "vehicleId", vehicles),
        ("efficiency/chargers", "meterId", meters),
        ("tables/grid_health_hourly", "meterId", meters - {"M3"}),
    ):
        assert {row[name] for row in rows(api, path, **query)} == ids
    worst = rows(api, "efficiency/worst", **query)
    assert {row["vehicleId"] for row in worst} == vehicles
    lost = rows(api, "losses", by="charger", **query)
    assert {row["meterId"] for row in lost} == meters


def test_a_page_of_a_depot_goes_on_and_its_cursor_is_of_no_other_depot(api: Collector) -> None:
    path, query = "/v1/analytics/efficiency/vehicles", {**WINDOW, "depot": ["north", "south"]}
    first = get(api, path, **query, limit=3)
    second = get(api, path, **query, limit=3, cursor=first["nextCursor"])
    seen = [(row["hourStart"][11:13], row["vehicleId"]) for row in first["rows"] + second["rows"]]
    assert seen == [("06", "V1"), ("06", "V2"), ("05", "V1"), ("05", "V2")]
    assert second["nextCursor"] is None
    other = api.http.get(path, params={**WINDOW, "depot": "north", "cursor": first["nextCursor"]})
    assert other.status_code == 422
    one = rows(api, "efficiency/vehicles", depot="north", vehicleId="V1")
    assert [row["vehicleId"] for row in one] == ["V1", "V1"]
    assert rows(api, "efficiency/vehicles", depot="north", vehicleId="V2") == []


def test_an_answer_is_another_once_a_device_belongs_elsewhere(api: Collector) -> None:
    path = "/v1/analytics/efficiency/chargers"
    query = {**WINDOW, "depot": "empty"}
    before = api.http.get(path, params=query)
    tag = {"if-none-match": before.headers["etag"]}
    assert api.http.get(path, params=query, headers=tag).status_code == 304
    assert api.http.patch("/v1/devices/meter/M3", json={"depot": "empty"}).status_code == 200
    after = api.http.get(path, params=query, headers=tag)
    assert {row["meterId"] for row in after.json()["rows"]} == {"M3"}
    assert api.http.patch("/v1/devices/meter/M3", json={"depot": None}).status_code == 200


def test_the_fleet_of_a_depot_is_the_sum_of_its_vehicles_and_of_what_its_meters_gave_nobody(
    api: Collector,
) -> None:
    by_hour = rows(api, "efficiency/fleet", depot="south")
    assert [row["hourStart"][11:13] for row in by_hour] == ["06", "05"]
    expected = {
        "energyAcKwh": 10.0,
        "energyDcKwh": 8.0,
        "ratedEnergyAcKwh": 10.0,
        "lossKwh": 2.0,
        "efficiencyPercent": 80.0,
        "unlinkedEnergyAcKwh": 1.0,
        "vehicles": 1,
        "vehiclesGood": 1,
    }
    assert by_hour[0] == {**by_hour[0], **expected}
    (day,) = rows(api, "efficiency/fleet", depot=["north", "south"], by="day")
    counted = {"date": "2026-03-02", "hours": 2, "vehicles": 2, "efficiencyPercent": 85.0}
    assert day == {**day, **counted}
    assert rows(api, "efficiency/fleet", depot="empty") == []


def test_losses_by_depot_and_group_add_up_to_those_of_all_devices(api: Collector) -> None:
    by_depot = get(api, "/v1/analytics/losses", **WINDOW, by="depot")
    found = {row["depot"]: row for row in by_depot["rows"]}
    assert {name: row["lossKwh"] for name, row in found.items()} == {
        "north": 2.0,
        "south": 4.0,
        None: 6.0,
    }
    assert [row["depot"] for row in by_depot["rows"]] == [None, "south", "north"]
    assert (found["south"]["efficiencyPercent"], found["south"]["unlinkedEnergyAcKwh"]) == (80, 2)
    groups = rows(api, "losses", by="group", of="vehicles")
    assert {row["group"]: row["lossKwh"] for row in groups} == {"vans": 8.0, "trucks": 4.0}

    north = get(api, "/v1/analytics/losses", **WINDOW, by="day", depot="north")
    assert [row["lossKwh"] for row in north["rows"]] == [2.0]
    assert north["total"]["efficiencyPercent"] == 90.0
    assert north["onePercentagePointPerYear"]["energyKwh"] > 0
    vans = get(api, "/v1/analytics/losses", **WINDOW, by="hour", group="vans", of="vehicles")
    assert [row["lossKwh"] for row in vans["rows"]] == [4.0, 4.0]
    wrong = api.http.get("/v1/analytics/losses", params={"by": "vehicle", "of": "chargers"})
    assert "by=vehicle is of vehicles" in wrong.json()["detail"]


def test_the_energy_of_a_depot_is_billed_by_its_tariff_and_currencies_are_never_added_up(
    api: Collector,
) -> None:
    """6:00 in Berlin costs 0.15 EUR a kWh, 7:00 costs 0.25; in Zurich any costs 0.30 CHF."""

    def money(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["currency"], row["costOfEnergy"], row["costOfLosses"]

    by_depot = get(api, "/v1/analytics/losses", **WINDOW, by="depot")
    assert {row["depot"]: money(row) for row in by_depot["rows"]} == {
        "north": ("EUR", 4.0, 0.4),
        "south": ("CHF", 6.6, 1.2),
        None: ("EUR", 4.0, 1.2),
    }
    by_day = get(api, "/v1/analytics/losses", **WINDOW, by="day")
    expected = [("CHF", 6.6, 1.2), ("EUR", 8.0, 1.6)]
    assert [money(row) for row in by_day["rows"]] == expected
    for answer in (by_depot, by_day):
        assert [money(row) for row in answer["totals"]] == expected
        assert (answer["currency"], *money(answer["total"])) == (None, None, None, None)
        assert answer["total"]["lossKwh"] == 12.0
    by_vehicle = rows(api, "losses", by="vehicle")
    assert {row["vehicleId"]: money(row) for row in by_vehicle} == {
        "V1": ("EUR", 4.0, 0.4),
        "V2": ("CHF", 6.0, 1.2),
        "V3": ("EUR", 4.0, 1.2),
    }
    north = get(api, "/v1/analytics/losses", **WINDOW, depot="north")
    assert (north["currency"], money(north["total"])) == ("EUR", ("EUR", 4.0, 0.4))
    assert north["onePercentagePointPerYear"]["cost"] > 0
    worst = get(api, "/v1/analytics/efficiency/worst", **WINDOW, of="chargers")
    assert [(row["meterId"], *money(row)) for row in worst["rows"]] == [
        ("M3", "EUR", 4.0, 1.2),
        ("M2", "CHF", 6.6, 1.2),
        ("M1", "EUR", 4.0, 0.4),
    ]
    wrong = api.http.put("/v1/depots/south", json={"tariff": "zürich"})
    assert wrong.status_code == 422
    assert "did you mean zurich? There are berlin, zurich" in wrong.json()["detail"]


def test_a_depot_or_a_group_that_there_is_not_is_told(api: Collector) -> None:
    for path in ("analytics/fleet/live", "analytics/losses", "alerts", "devices"):
        for query, said in (
            ({"depot": "nroth"}, "there is no depot 'nroth'; GET /v1/depots lists"),
            ({"group": "van"}, "there is no group 'van'; GET /v1/devices lists"),
            ({"group": "a\0"}, "must be printable characters"),
        ):
            answer = api.http.get(f"/v1/{path}", params=query)
            assert answer.status_code == 422
            assert said in answer.json()["detail"]
    table = "/v1/analytics/tables/heartbeat_completeness_hourly"
    refused = api.http.get(table, params={"depot": "north"})
    assert refused.status_code == 422
    assert "are of no single vehicle or meter" in refused.json()["detail"]
    bare = api.http.get("/v1/analytics/dashboard")
    assert bare.status_code == 422
    assert "vehicleIds: is required" in bare.json()["detail"]


def test_streams_of_alerts_have_those_of_the_depot_and_the_group_alone(api: Collector) -> None:
    opened = "SELECT count(*) FROM alert_event WHERE type = 'opened'"
    assert api.sql(opened) == [(3,)]
    with api.http.stream("GET", "/v1/alerts/events?after=0&depot=south") as answer:
        lines = (line for line in answer.iter_lines() if line.startswith("data: "))
        start, first = next(lines), json.loads(next(lines).removeprefix("data: "))
    assert (start, first["alert"]["deviceId"]) == ("data: {}", "V2")
    assert api.http.get("/v1/alerts/events?depot=west").status_code == 422
    with web_socket(api, "?after=0&group=vans") as live:
        found = [json.loads(live.recv(60)) for _ in range(3)]
    assert {event["alert"]["deviceId"] for event in found[1:]} == {"V1", "V3"}
    with web_socket(api, "?depot=west") as refused, pytest.raises(ConnectionClosed) as closed:
        refused.recv(60)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    assert "no depot 'west'" in closed.value.rcvd.reason


def test_the_overview_of_a_depot_has_the_hours_of_its_devices_alone(api: Collector) -> None:
    nothing = get(api, "/v1/analytics/overview", depot="north")
    assert (nothing["last24Hours"]["hours"], nothing["newestHour"]) == (0, None)
    assert nothing["last24Hours"]["energyAcKwh"] is None

    lake, newest = Lake(str(api.lake_folder)), hour_of(datetime.now(UTC)) - HOUR
    for hour in (newest - 2 * HOUR, newest, newest - 30 * HOUR):
        both = [{"vehicle_id": v, **energies(LOST[v])} for v in ("V1", "V2")]
        put(lake, VEHICLE_EFFICIENCY_HOURLY, hour, *both)
        gave = {"energy_ac_kwh": 11.0, "unlinked_energy_ac_kwh": 1.0}
        put(lake, CHARGER_EFFICIENCY_HOURLY, hour, {"meter_id": "M2", **gave})
    south = get(api, "/v1/analytics/overview", depot="south")
    last = south["last24Hours"]
    assert (last["hours"], last["energyAcKwh"], last["lossKwh"]) == (2, 20.0, 4.0)
    assert (last["efficiencyPercent"], last["unlinkedEnergyAcKwh"]) == (80.0, 2.0)
    assert datetime.fromisoformat(south["newestHour"]["hourStart"]) == newest
    assert sum(south["newestHour"]["vehiclesByStatus"].values()) == 1
    north = get(api, "/v1/analytics/overview", depot="north")["last24Hours"]
    assert (north["energyAcKwh"], north["unlinkedEnergyAcKwh"]) == (20.0, 0.0)
    assert api.http.get("/v1/analytics/overview", params={"depot": "west"}).status_code == 422


def web_socket(api: Collector, query: str) -> Any:
    """A WebSocket to the stream of alerts, closed at the end of the block."""
    return connect(f"ws://127.0.0.1:{api.port}/v1/alerts/stream{query}", proxy=None)
