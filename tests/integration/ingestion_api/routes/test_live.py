"""Live state of one device, of the fleet, and of a dashboard's vehicles."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_api.routes.live import cadence_seconds, connection_flag, connection_limits
from ingestion_api.services import Services
from ingestion_api.settings import CollectorSettings
from lake import EnergySettings
from tests.harness.collector import Collector, collector_of_module
from tests.harness.heartbeats import device, meter, moment, vehicle
from tests.unit.energy_samples import patiently

api = collector_of_module(FLUSH_SECONDS="1")

AHEAD = {
    "meter": "UPDATE meter_live_state SET timestamp = %s, received_at = %s WHERE meter_id = %s",
    "vehicle": "UPDATE vehicle_live_state SET timestamp = %s, received_at = %s"
    " WHERE vehicle_id = %s",
}
MEASURED = {
    "meter": "UPDATE meter_live_state SET cadence_seconds = 900 WHERE starts_with(meter_id, %s)",
    "vehicle": "UPDATE vehicle_live_state SET cadence_seconds = 900"
    " WHERE starts_with(vehicle_id, %s)",
}


def test_live_state_has_its_age_and_says_who_is_silent(api: Collector) -> None:
    for seconds, connection in ((-5, "online"), (-300, "late"), (-3600, "silent"), (200, "online")):
        box = device("M")
        api.post("/v1/ingest/meter", meter(box, seconds))
        live = api.http.get(f"/v1/analytics/meter/{box}/live").json()
        assert live["connection"] == connection
        assert live["ageSeconds"] == pytest.approx(max(0, -seconds), abs=5)


@pytest.mark.parametrize("is_declared", [True, False])
def test_a_slow_device_is_online_late_and_silent_by_its_own_cadence(
    api: Collector, is_declared: bool
) -> None:
    name = device("S")
    minutes = {"online": 29, "late": 59, "silent": 61}
    declared = {"intervalSeconds": 900} if is_declared else {}
    heartbeats = [
        one
        for flag, ago in minutes.items()
        for one in (
            meter(f"{name}m{flag}", -60 * ago, kwhConsumedAc=3, **declared),
            vehicle(f"{name}v{flag}", -60 * ago, kwhDeliveredDc=2.75, **declared),
        )
    ]
    at_first = api.http.get("/v1/analytics/overview").json()
    assert api.post("/v1/ingest/telemetry", heartbeats).status_code == 201
    if not is_declared:  # as it is measured
        for kind in ("meter", "vehicle"):
            api.sql(MEASURED[kind], name)
    for flag in minutes:
        for kind in ("meter", "vehicle"):
            one = f"{name}{kind[0]}{flag}"
            live = api.http.get(f"/v1/analytics/{kind}/{one}/live").json()
            assert (live["connection"], live["cadenceSeconds"]) == (flag, 900)
            (same,) = fleet_pages(api, prefix=name, connection=flag, kind=kind)
            assert same == {**live, "ageSeconds": same["ageSeconds"]}
            found = api.http.get("/v1/analytics/devices", params={"idContains": one}).json()
            assert found["devices"][0]["connection"] == flag
    overview = api.http.get("/v1/analytics/overview").json()
    for kinds in ("meters", "vehicles"):
        added = {flag: overview[kinds][flag] - at_first[kinds][flag] for flag in minutes}
        assert added == dict.fromkeys(minutes, 1)
    # Of those online: 3 and 2.75 kWh, each in a quarter of an hour.
    now, before = overview["now"], at_first["now"]
    assert now["powerAcKw"] - (before["powerAcKw"] or 0) == pytest.approx(12)
    assert now["powerDcKw"] - (before["powerDcKw"] or 0) == pytest.approx(11)


def test_what_came_while_a_clock_was_ahead_is_silent_and_gives_way_to_the_next_heartbeat(
    api: Collector,
) -> None:
    name = device("F")
    box, car, ahead = f"{name}m", f"{name}v", datetime.now(UTC) + timedelta(days=3)
    heartbeats = [meter(box, -90), vehicle(car, -90, meterId=box)]
    assert api.post("/v1/ingest/telemetry", heartbeats).status_code == 201
    at_first = api.http.get("/v1/analytics/overview").json()
    for stream, one in (("meter", box), ("vehicle", car)):
        api.sql(AHEAD[stream], ahead, ahead, one)
        live = api.http.get(f"/v1/analytics/{stream}/{one}/live").json()
        assert live["connection"] == "silent"
    assert len(fleet_pages(api, prefix=name, connection="silent")) == 2
    assert fleet_pages(api, prefix=name, connection="online") == []
    overview = api.http.get("/v1/analytics/overview").json()
    assert overview["meters"]["online"] == at_first["meters"]["online"] - 1
    assert overview["meters"]["silent"] == at_first["meters"]["silent"] + 1
    found = api.http.get(f"/v1/analytics/performance/{car}").json()
    assert datetime.fromisoformat(found["period"]["end"]) < ahead - timedelta(days=2)
    assert found["dataPoints"] == {"vehicle": 1, "meter": 1}

    assert api.post("/v1/ingest/telemetry", [meter(box, -30), vehicle(car, -30)]).is_success
    for stream, one in (("meter", box), ("vehicle", car)):
        live = api.http.get(f"/v1/analytics/{stream}/{one}/live").json()
        assert live["connection"] == "online"
        assert live["ageSeconds"] == pytest.approx(30, abs=20)
    assert api.http.get("/v1/analytics/overview").json()["meters"] == at_first["meters"]


def test_hours_and_receipts_of_the_future_are_not_the_newest(api: Collector) -> None:
    box, ahead = device("F"), datetime.now(UTC) + timedelta(days=3)
    hour = ahead.replace(minute=0, second=0, microsecond=0)
    known = hour - timedelta(days=4)
    api.post("/v1/ingest/meter", meter(box))
    api.sql(AHEAD["meter"], ahead, ahead, box)
    api.post("/v1/ingest/meter", meter(other := device("F")))
    for one in (hour, known):
        api.sql(
            "INSERT INTO fleet_efficiency_hourly"
            " VALUES (%s, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)",
            one,
        )
    api.sql(
        "INSERT INTO vehicle_efficiency_hourly (hour_start, vehicle_id, status, data_points_meter,"
        " data_points_vehicle, coverage_ac, coverage_dc, longest_gap_seconds, resets, duplicates,"
        " meter_ids) VALUES (%s, 'V', 'idle', 1, 1, 1, 1, 1, 0, 0, '{}')",
        known,
    )
    try:
        overview = api.http.get("/v1/analytics/overview").json()
        assert datetime.fromisoformat(overview["newestHour"]["hourStart"]) == known
        assert api.http.get("/v1/status").json()["vehiclesByStatus"] == {"idle": 1}
        assert overview["ingest"]["newest"]["id"] == other
    finally:
        api.sql("DELETE FROM fleet_efficiency_hourly")
        api.sql("DELETE FROM vehicle_efficiency_hourly WHERE hour_start = %s", known)


def test_live_state_has_every_field_of_the_contract(api: Collector) -> None:
    box, car, at = device("M"), device("V"), moment(-30)
    before = datetime.now(UTC)
    sent = {"voltage": 231.4, "kwhConsumedAc": 0.125}
    api.post("/v1/ingest/meter", {"meterId": box, "timestamp": at, **sent})
    shown = {"soc": 71.5, "kwhDeliveredDc": 0.113, "batteryTemp": 24.5}
    api.post("/v1/ingest/vehicle", {"vehicleId": car, "timestamp": at, **shown})
    fleet = api.http.get("/v1/analytics/fleet/live", params={"ids": [box, car]}).json()["devices"]
    dashboard = api.http.get("/v1/analytics/dashboard", params={"vehicleIds": car}).json()
    states = [
        ("meterId", box, sent, api.http.get(f"/v1/analytics/meter/{box}/live").json()),
        ("meterId", box, sent, api.http.get(f"/v1/analytics/meter/{box}/live?").json()),
        ("vehicleId", car, shown, api.http.get(f"/v1/analytics/vehicle/{car}/live").json()),
        ("meterId", box, sent, fleet[0]),
        ("vehicleId", car, shown, fleet[1]),
        ("vehicleId", car, shown, dashboard["vehicles"][0]["live"]),
    ]
    for name, id_, values, state in states:
        expected = {name: id_, **values}
        assert {key: state[key] for key in expected} == expected
        assert datetime.fromisoformat(state["timestamp"]) == datetime.fromisoformat(at)
        changed = datetime.fromisoformat(state["lastUpdatedAt"])
        assert before <= changed <= datetime.now(UTC)
    api.post("/v1/ingest/meter", {"meterId": box, "timestamp": moment(-3600), "voltage": 1})
    after = api.http.get(f"/v1/analytics/meter/{box}/live").json()
    assert after["lastUpdatedAt"] == states[0][3]["lastUpdatedAt"]  # an older one changes nothing


def test_of_two_heartbeats_of_one_time_the_last_received_is_live_as_in_the_history(
    api: Collector,
) -> None:
    car, at = device("car"), moment(-5)
    for soc in (50, 60):
        posted = api.post("/v1/ingest/vehicle", {"vehicleId": car, "timestamp": at, "soc": soc})
        assert posted.status_code == 201
    assert api.http.get(f"/v1/analytics/vehicle/{car}/live").json()["soc"] == 60


def test_the_live_fleet_comes_in_pages_that_hold_each_device_once(api: Collector) -> None:
    boxes, cars = [device("M") for _ in range(5)], [device("V") for _ in range(4)]
    api.post("/v1/ingest/meter/batch", [meter(box) for box in boxes])
    api.post("/v1/ingest/vehicle/batch", [vehicle(car, -5000) for car in cars])
    seen: list[str] = []
    query: dict[str, str] | None = {"limit": "3"}
    while query is not None:
        page = api.http.get("/v1/analytics/fleet/live", params=query).json()
        assert len(page["devices"]) <= 3
        seen += [one.get("vehicleId") or one["meterId"] for one in page["devices"]]
        cursor = page["nextCursor"]
        query = {"limit": "3", "cursor": cursor} if cursor else None
    assert len(seen) == len(set(seen))
    assert {*boxes, *cars} <= set(seen)
    silent: dict[str, str | int] = {"kind": "vehicle", "connection": "silent", "limit": 1000}
    found = api.http.get("/v1/analytics/fleet/live", params=silent).json()["devices"]
    assert set(cars) <= {one["vehicleId"] for one in found}
    assert all(one["connection"] == "silent" for one in found)


def fleet_pages(api: Collector, **query: Any) -> list[dict[str, Any]]:
    """The devices of all pages of the live fleet."""
    seen: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = api.http.get("/v1/analytics/fleet/live", params={**query, **cursor})
        assert page.status_code == 200, page.text
        seen += page.json()["devices"]
        if not page.json()["nextCursor"]:
            return seen
        cursor = {"cursor": page.json()["nextCursor"]}


def test_the_live_fleet_is_filtered_and_sorted_page_by_page(api: Collector) -> None:
    name = device("S")
    socs = {f"{name}{n}": soc for n, soc in enumerate([50.0, 20.0, None, 20.0, 80.0])}
    cars = [vehicle(car, -n, soc=soc, batteryTemp=soc) for n, (car, soc) in enumerate(socs.items())]
    boxes = [meter(f"{name}{n}", -n, voltage=230.0 + n) for n in range(3)]
    assert api.post("/v1/ingest/telemetry", cars + boxes).status_code == 201

    def found(**query: Any) -> list[str]:
        pages = fleet_pages(api, prefix=name, limit=2, **query)
        return [one.get("vehicleId", one["meterId"])[len(name) :] for one in pages]

    assert found(sort="soc", kind="vehicle") == ["1", "3", "0", "4", "2"]
    assert found(sort="soc", order="desc", kind="vehicle") == ["4", "0", "1", "3", "2"]
    assert found(sort="temperature", socBelow=60) == ["1", "3", "0"]
    assert found(temperatureAbove=20) == ["0", "4"]
    assert found(sort="age", kind="vehicle") == ["0", "1", "2", "3", "4"]
    assert found(sort="age", order="desc", kind="meter") == ["2", "1", "0"]
    assert found(sort="voltage", order="desc", kind="meter") == ["2", "1", "0"]
    assert found(order="desc") == ["4", "3", "2", "1", "0", "2", "1", "0"]
    assert found(ids=[f"{name}1", f"{name}2"], kind="meter") == ["1", "2"]
    assert found(connection="silent") == []
    assert len(found(connection=["silent", "online"])) == 8


@patiently
@given(
    heard=st.integers(-7_200_000_000, 600_000_000).map(lambda us: timedelta(microseconds=us)),
    declared=st.none() | st.sampled_from([1.0, 59.5, 60.0, 300.0, 900.0, 3600.0]),
    own=st.none() | st.sampled_from([1.0, 90.0, 300.0, 900.0, 3600.0]),
    whole=st.booleans(),
)
def test_postgres_and_the_collector_agree_who_is_online(
    api: Collector,
    heard: timedelta,
    declared: float | None,
    own: float | None,
    whole: bool,
) -> None:
    now = datetime(2026, 11, 30, 12, tzinfo=UTC)
    at = now + (timedelta(minutes=round(heard / timedelta(minutes=1))) if whole else heard)
    services = cast(
        Services,
        SimpleNamespace(
            settings=CollectorSettings(_env_file=None),
            energy=EnergySettings(_env_file=None),
            believed_until=lambda now: now + timedelta(minutes=5),
        ),
    )
    limits = connection_limits(services, now)
    names = ("now", "believed_until", "nominal", "online_intervals", "silent_after")
    values = [limits[name] for name in (*names, "silent_intervals")]
    nominal = limits["nominal"]
    ((cadence,),) = api.sql("SELECT device_cadence(%s, %s, %s)", declared, own, nominal)
    row = {"interval_seconds": declared, "cadence_seconds": own}
    assert cadence == cadence_seconds(services, row)
    asked = "SELECT connection_flag(%s, %s, %s, %s, %s, %s, %s, %s)"
    ((flag,),) = api.sql(asked, at, cadence, *values)
    assert flag == connection_flag(services, at, cadence, now)


def test_a_page_goes_on_after_its_last_device_whatever_comes_and_goes(api: Collector) -> None:
    name = device("P")
    api.post("/v1/ingest/meter/batch", [meter(f"{name}{n}") for n in (1, 3, 5)])
    path, query = "/v1/analytics/fleet/live", {"prefix": name, "limit": "2"}
    page = api.http.get(path, params=query).json()
    api.post("/v1/ingest/meter/batch", [meter(f"{name}{n}") for n in (0, 2, 4)])
    rest = api.http.get(path, params={**query, "cursor": page["nextCursor"]}).json()
    assert [one["meterId"][-1] for one in page["devices"]] == ["1", "3"]
    assert [one["meterId"][-1] for one in rest["devices"]] == ["4", "5"]
    other = api.http.get(path, params={"prefix": name, "cursor": page["nextCursor"], "sort": "age"})
    assert other.status_code == 422


def test_the_live_fleet_knows_who_is_linked_now(api: Collector) -> None:
    name = device("L")
    box, car, named, naming, other = (f"{name}{what}" for what in ("m", "v", "n", "w", "x"))
    api.post("/v1/ingest/meter/batch", [meter(box), meter(named), meter(other)])
    api.post(
        "/v1/ingest/vehicle/batch",
        [vehicle(car), vehicle(naming, meterId=named), vehicle(f"{other}v")],
    )
    link = {"meterId": box, "vehicleId": car, "validFrom": moment(-60)}
    assert api.post("/v1/links", link).status_code == 201
    linked = fleet_pages(api, prefix=name, linked=True)
    assert {one.get("vehicleId", one["meterId"]) for one in linked} == {box, car, named, naming}
    assert len(fleet_pages(api, prefix=name, linked=False)) == 2


@pytest.mark.usefixtures("next_hour_is_far")
def test_a_dashboard_shows_live_state_today_and_open_alerts_of_vehicles(api: Collector) -> None:
    car, quiet = device("D"), device("D")
    api.post("/v1/ingest/vehicle/batch", [vehicle(car, soc=40.0), vehicle(quiet)])
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    for name, ago, ac, dc, status in (
        (car, 0, 0.2, 0.1, "warning"),
        (car, 24, 9.0, 9.0, "good"),
        (quiet, 0, 0.3, 4.4, "insufficient_data"),
    ):
        api.sql(
            "INSERT INTO vehicle_efficiency_hourly (hour_start, vehicle_id, energy_ac_kwh,"
            " energy_dc_kwh, matched_energy_ac_kwh, matched_energy_dc_kwh, status,"
            " data_points_meter, data_points_vehicle, coverage_ac, coverage_dc,"
            " longest_gap_seconds, resets, duplicates, meter_ids)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, 60, 60, 1, 1, 60, 0, 0, ARRAY['M'])",
            hour - timedelta(hours=ago),
            name,
            ac + 1,
            dc,
            ac,
            dc,
            status,
        )
    for rule, resolved in (("one", None), ("two", hour)):
        api.sql(
            "INSERT INTO alert (rule, kind, device_kind, device_id, severity, since, observed_at,"
            " resolved_at, message)"
            " VALUES (%s, 'silent', 'vehicle', %s, 'warning', %s, %s, %s, 'x')",
            rule,
            car,
            hour,
            hour,
            resolved,
        )
    ids = [quiet, car, "nobody"]
    told = api.http.get("/v1/analytics/dashboard", params={"vehicleIds": ids}).json()
    assert told["unknown"] == ["nobody"]
    shown = {one["live"]["vehicleId"]: one for one in told["vehicles"]}
    assert shown.keys() == {car, quiet}
    assert shown[car]["live"]["soc"] == 40
    assert shown[car]["today"] == {
        "hours": 1,
        "lastHour": hour.isoformat().replace("+00:00", "Z"),
        "lastStatus": "warning",
        "energyConsumedAc": 1.2,  # of it 0.2 flowed while the other side was known
        "energyDeliveredDc": 0.1,
        "ratedHours": 1,
        "ratedEnergyConsumedAc": 0.2,
        "ratedEnergyDeliveredDc": 0.1,
        "efficiencyRatio": 50,
    }
    assert [alert["rule"] for alert in shown[car]["alerts"]] == ["one"]
    today = shown[quiet]["today"]
    assert (today["energyDeliveredDc"], today["hours"], today["ratedHours"]) == (4.4, 1, 0)
    assert today["efficiencyRatio"] is None  # what is not matched has no ratio
    assert shown[quiet]["alerts"] == []
