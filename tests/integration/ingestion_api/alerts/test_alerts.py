"""Alerts through a real collector: they open, update, resolve, are told, and people act on them."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.harness.collector import Collector, running_collector
from tests.harness.heartbeats import device, meter, vehicle
from tests.harness.postgres import copied_database
from tests.harness.waiting import wait_for
from tests.harness.webhook_receiver import Receiver, receiver
from warehouse_sql.api_keys import create_key, revoke_key

SECRET = "between us"
RULES = """
rules:
  - {name: hot, kind: battery_temperature, threshold: 45, clear: 42, severity: warning}
  - {name: hot-for-long, kind: battery_temperature, threshold: 60, for: 2m, severity: critical}
  - {name: grid, kind: voltage, threshold: 10, clear: 9, severity: critical}
  - {name: silent, kind: silent, threshold: 10m, severity: info}
  - {name: warm-in-north, kind: battery_temperature, threshold: 40, severity: info, depots: [north],
     groups: [vans, trucks]}
  - {name: losing, kind: soc_falling, threshold: 2, clear: 1, severity: warning}
"""


@pytest.fixture(scope="module")
def hook() -> Iterator[Receiver]:
    with receiver() as server:
        yield server


@pytest.fixture(scope="module")
def east() -> Iterator[Receiver]:
    """The webhook of a depot."""
    with receiver() as server:
        yield server


@pytest.fixture(scope="module")
def api(
    postgres: str,
    migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
    hook: Receiver,
    east: Receiver,
) -> Iterator[Collector]:
    folder = tmp_path_factory.mktemp("alerts")
    rules = folder / "rules.yaml"
    rules.write_text(RULES)
    with (
        copied_database(postgres, migrated_template) as url,
        running_collector(
            url,
            folder,
            ALERT_RULES_FILE=str(rules),
            ALERT_SECONDS="0.1",
            ALERT_WEBHOOKS=json.dumps([hook.url, {"url": east.url, "depots": ["east"]}]),
            ALERT_WEBHOOK_SECRET=SECRET,
            ALERT_WEBHOOK_ATTEMPTS="2",
            KEY_REFRESH_SECONDS="0.1",
        ) as running,
    ):
        yield running


def send(api: Collector, *heartbeats: dict[str, Any]) -> None:
    assert api.post("/v1/ingest/telemetry", list(heartbeats)).status_code == 201


def alerts(api: Collector, device_id: str, **filters: Any) -> list[dict[str, Any]]:
    """Alerts of a device, newest first."""
    answer = api.http.get("/v1/alerts", params={"deviceId": device_id, **filters})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["alerts"]
    return found


def one(api: Collector, device_id: str, rule: str) -> dict[str, Any]:
    """The one alert that the rule opens at the device."""
    wait_for(lambda: alerts(api, device_id, rule=rule))
    (alert,) = alerts(api, device_id, rule=rule)
    return alert


def seen(api: Collector, alert: dict[str, Any], **now: Any) -> dict[str, Any]:
    """The alert with its history, once it has these values."""
    path = f"/v1/alerts/{alert['id']}"
    wait_for(lambda: now.items() <= api.http.get(path).json().items())
    found: dict[str, Any] = api.http.get(path).json()
    return found


def history(alert: dict[str, Any]) -> list[str]:
    return [event["type"] for event in alert["history"]]


def told(hook: Receiver, alert: dict[str, Any]) -> list[str]:
    """What the webhook heard of an alert."""
    return [event["type"] for event in hook.taken if event["alert"]["id"] == alert["id"]]


def hot(api: Collector, temperature: float = 50) -> dict[str, Any]:
    """An alert of a vehicle that is new."""
    vehicle_id = device("V")
    send(api, vehicle(vehicle_id, batteryTemp=temperature))
    return one(api, vehicle_id, "hot")


# -- what opens an alert, and what ends it ---------------------------------------------------------


def test_an_alert_opens_once_updates_keeps_within_its_hysteresis_and_resolves_by_itself(
    api: Collector,
) -> None:
    car = device("V")
    send(api, vehicle(car, -300, batteryTemp=50.5))
    alert = one(api, car, "hot")
    assert alert["state"] == "open"
    assert (alert["severity"], alert["deviceKind"], alert["value"]) == ("warning", "vehicle", 50.5)
    assert "50.5 °C" in alert["message"]
    for ago, temperature in ((-240, 52.0), (-180, 43.0), (-120, 46.0)):
        send(api, vehicle(car, ago, batteryTemp=temperature))
        seen(api, alert, value=temperature)
    send(api, vehicle(car, -60, batteryTemp=42.0))
    resolved = seen(api, alert, state="resolved")
    assert (resolved["value"], resolved["worstValue"]) == (42.0, 52.0)
    assert history(resolved) == ["opened", "worsened", "resolved"]
    assert [event["alert"]["value"] for event in resolved["history"]] == [50.5, 52.0, 42.0]
    send(api, vehicle(car, 0, batteryTemp=47))
    wait_for(lambda: len(alerts(api, car)) == 2)


def test_a_hold_time_is_one_of_the_devices_clock_and_is_lost_in_between(api: Collector) -> None:
    car = device("V")
    pending = "SELECT since FROM alert_pending WHERE device_id = %s"
    for ago, temperature, waits in ((-400, 61, True), (-350, 59, False), (-300, 61, True)):
        send(api, vehicle(car, ago, batteryTemp=temperature))
        until(lambda: len(api.sql(pending, car)), int(waits))
    ((since,),) = api.sql(pending, car)
    send(api, vehicle(car, -179, batteryTemp=63))
    alert = one(api, car, "hot-for-long")
    assert datetime.fromisoformat(alert["since"]) == since
    assert not api.sql(pending, car)


def test_a_voltage_on_the_limit_is_within_its_band(api: Collector) -> None:
    high, low, good = device("M"), device("M"), device("M")
    send(api, meter(high, voltage=254), meter(low, voltage=206), meter(good, voltage=253))
    assert "206.0 V" in one(api, low, "grid")["message"]
    assert one(api, high, "grid")["value"] == pytest.approx(10.434782609)
    assert alerts(api, good) == []


def test_a_device_is_silent_until_it_is_heard_or_retired(api: Collector) -> None:
    car, old = device("V"), device("M")
    api.sql("UPDATE alert_progress SET watching_since = now() - interval '1 hour'")
    send(api, vehicle(car, -700), meter(old, -700), meter(device("M"), -500))
    alert, of_old = one(api, car, "silent"), one(api, old, "silent")
    assert alerts(api, car)[0]["message"].startswith("no heartbeat since 20")
    send(api, vehicle(car))
    assert seen(api, alert, state="resolved")["worstValue"] == pytest.approx(700, abs=5)
    api.sql("INSERT INTO device (stream, device_id, retired_at) VALUES ('meter', %s, now())", old)
    assert history(seen(api, of_old, state="resolved")) == ["opened", "resolved"]


def test_what_a_device_said_before_it_was_retired_is_no_alert_any_more(api: Collector) -> None:
    car = device("V")
    send(api, vehicle(car, -30, batteryTemp=50))
    before = one(api, car, "hot")
    api.sql("INSERT INTO device (stream, device_id, retired_at) VALUES ('vehicle', %s, now())", car)
    assert history(seen(api, before, state="resolved")) == ["opened", "resolved"]
    send(api, vehicle(car, 1, batteryTemp=51))
    wait_for(lambda: alerts(api, car, rule="hot", state="open"))  # it is in use after all
    assert len(alerts(api, car, rule="hot")) == 2


def test_a_rule_of_a_depot_is_about_its_devices_as_long_as_they_are_there(api: Collector) -> None:
    rule, inside, other, nobody = "warm-in-north", device("V"), device("V"), device("V")
    for name in ("north", "south"):
        assert api.http.put(f"/v1/depots/{name}", json={}).status_code == 200

    def belongs(car: str, depot: str, group: str) -> None:
        said = {"depot": depot, "group": group}
        assert api.http.patch(f"/v1/devices/vehicle/{car}", json=said).status_code == 200

    belongs(inside, "north", "vans")
    belongs(other, "south", "vans")
    send(api, *(vehicle(car, -30, batteryTemp=44) for car in (other, nobody, inside)))
    alert = one(api, inside, rule)
    listed = api.http.get("/v1/alerts", params={"depot": "north", "rule": rule}).json()["alerts"]
    assert [found["deviceId"] for found in listed] == [inside]
    assert alerts(api, other, rule=rule) == alerts(api, nobody, rule=rule) == []
    belongs(inside, "north", "cars")
    assert history(seen(api, alert, state="resolved")) == ["opened", "resolved"]
    belongs(other, "north", "trucks")
    one(api, other, rule)


def test_what_was_not_watched_is_no_silence_and_ends_none(api: Collector) -> None:
    car, later = device("V"), device("V")
    api.sql("UPDATE alert_progress SET watching_since = now() - interval '1 hour'")
    send(api, vehicle(car, -700))
    alert = one(api, car, "silent")
    api.sql("UPDATE alert_progress SET watching_since = now()")
    send(api, vehicle(later, -700, batteryTemp=50))
    one(api, later, "hot")  # so a look has seen it
    assert alerts(api, later, rule="silent") == []
    assert seen(api, alert)["state"] == "open"


@pytest.mark.parametrize("reading_type", ["interval", "register"])
def test_a_charge_that_falls_while_the_meter_delivers_is_an_alert(
    api: Collector, reading_type: str
) -> None:
    car, charger = device("V"), device("M")
    kind = {"readingType": reading_type}
    peaks = "SELECT soc FROM alert_soc_peak WHERE vehicle_id = %s"
    for ago, soc, kwh in ((-240, 60.0, 0.1), (-180, 61.0, 0.2)):
        send(
            api,
            meter(charger, ago, **kind | {"kwhConsumedAc": kwh}),
            vehicle(car, ago, soc=soc, meterId=charger),
        )
        until(lambda: api.sql(peaks, car), [(soc,)])
    send(
        api,
        meter(charger, -60, **kind | {"kwhConsumedAc": 0.4}),
        vehicle(car, -60, soc=58.5, meterId=charger),
    )
    alert = one(api, car, "losing")
    assert (alert["value"], "58.5 %" in alert["message"]) == (2.5, True)
    send(api, vehicle(car, soc=58.0))  # unplugged
    seen(api, alert, state="resolved")


def test_a_charge_that_falls_beside_an_idle_meter_is_none(api: Collector) -> None:
    car, charger = device("V"), device("M")
    link = {"meterId": charger, "vehicleId": car, "validFrom": "2026-03-01T00:00:00Z"}
    assert api.post("/v1/links", link).status_code == 201
    for ago, soc in ((-120, 60.0), (-60, 55.0)):
        # At last it is hot, too, so that a look is known to have seen it.
        send(
            api,
            meter(charger, ago, kwhConsumedAc=0.0001),
            vehicle(car, ago, soc=soc, batteryTemp=50 if ago == -60 else 20),
        )
    one(api, car, "hot")
    assert [alert["rule"] for alert in alerts(api, car)] == ["hot"]


@pytest.mark.parametrize(("kwh", "rules"), [(3.0, {"hot", "losing"}), (0.005, {"hot"})])
def test_a_slow_meter_delivers_until_its_next_reading_and_more_than_an_idle_one_in_that_time(
    api: Collector, kwh: float, rules: set[str]
) -> None:
    car, charger = device("V"), device("M")
    send(api, meter(charger, -700, kwhConsumedAc=kwh, intervalSeconds=900))
    peaks = "SELECT soc FROM alert_soc_peak WHERE vehicle_id = %s"
    send(api, vehicle(car, -650, soc=60, meterId=charger))
    until(lambda: api.sql(peaks, car), [(60,)])
    send(api, vehicle(car, -60, soc=55, meterId=charger, batteryTemp=50))
    one(api, car, "hot")
    assert {alert["rule"] for alert in alerts(api, car)} == rules


# -- what people do --------------------------------------------------------------------------------


def test_an_alert_is_acknowledged_once_and_told_who_did_it(api: Collector, hook: Receiver) -> None:
    alert = hot(api)
    path = f"/v1/alerts/{alert['id']}"
    first = api.post(f"{path}/acknowledge", None).json()
    assert first["acknowledgedBy"] == "loopback"
    assert api.post(f"{path}/acknowledge", None).json() == first
    assert history(api.http.get(path).json()) == ["opened", "acknowledged"]
    assert alerts(api, alert["deviceId"], acknowledged=True)
    assert alerts(api, alert["deviceId"], severity=["critical", "warning"], rule=["grid", "hot"])
    assert not alerts(api, alert["deviceId"], severity=["critical", "info"])
    assert not alerts(api, alert["deviceId"], acknowledged=False)
    wait_for(lambda: told(hook, alert) == ["opened", "acknowledged"])


def test_a_silence_keeps_an_alert_from_webhooks_and_from_nothing_else(
    api: Collector, hook: Receiver
) -> None:
    alert, later = hot(api), {"until": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    path, car = f"/v1/alerts/{alert['id']}", alert["deviceId"]
    assert api.post(f"{path}/silence", later).json()["silencedUntil"] is not None
    send(api, vehicle(car, 1, batteryTemp=20))
    assert history(seen(api, alert, state="resolved")) == ["opened", "silenced", "resolved"]
    assert api.post(f"{path}/silence", later).status_code == 409
    # A rule is silenced for a device whatever comes.
    silence = {"rule": "hot", "deviceKind": "vehicle", "deviceId": car}
    assert api.post("/v1/alerts/silences", silence | later).json()["by"] == "loopback"
    listed = api.http.get("/v1/alerts/silences").json()["silences"]
    assert [one["deviceId"] for one in listed] == [car]
    send(api, vehicle(car, 2, batteryTemp=50))
    wait_for(lambda: len(alerts(api, car)) == 2)
    second = alerts(api, car)[0]
    assert second["silencedUntil"] is not None
    assert api.post("/v1/alerts/silences/end", silence).json() == {"ended": True}
    assert api.post("/v1/alerts/silences/end", silence).json() == {"ended": False}
    send(api, vehicle(car, 3, batteryTemp=20))
    seen(api, second, state="resolved", silencedUntil=None)
    wait_for(lambda: told(hook, second) == ["unsilenced", "resolved"])
    assert told(hook, alert) == ["opened"]


def test_what_can_not_be_done_is_told(api: Collector) -> None:
    past, silences = {"until": "2020-01-01T00:00:00Z"}, "/v1/alerts/silences"
    later = {"until": "2199-01-01T00:00:00Z", "deviceKind": "vehicle", "deviceId": "V"}
    for method, path, body, status, said in (
        ("GET", "/v1/alerts/999999", None, 404, "GET /v1/alerts lists"),
        ("POST", "/v1/alerts/999999/acknowledge", None, 404, "GET /v1/alerts lists"),
        ("POST", "/v1/alerts/1/silence", past, 422, "in the future"),
        ("POST", silences, later | {"rule": "hott"}, 422, "did you mean hot? There are hot, hot-"),
        ("POST", silences, later | {"rule": "grid"}, 422, "grid is not about a vehicle; of these"),
        ("POST", "/v1/alerts/dead-letters/999999/resend", None, 404, "dead-letters lists"),
        ("GET", "/v1/alerts?cursor=2", None, 422, "start again"),
        ("GET", "/v1/alerts?state=closed", None, 422, "state"),
        ("GET", "/v1/alerts/events?after=999999", None, 410, "begin without"),
        ("GET", "/v1/alerts/stream?after=1", None, 426, "this is a WebSocket; GET /v1/alerts/eve"),
    ):
        answer = api.http.request(method, path, json=body)
        assert (answer.status_code, answer.headers["content-type"]) == (
            status,
            "application/problem+json",
        )
        assert said in answer.json()["detail"]


def test_alerts_are_listed_page_by_page_newest_first(api: Collector) -> None:
    car = device("V")
    for after, temperature in enumerate((50, 20, 50, 20, 50)):
        send(api, vehicle(car, after, batteryTemp=temperature))
        until(lambda: len(alerts(api, car)), after // 2 + 1)
        until(lambda: len(alerts(api, car, state="open")), int(temperature == 50))
    pages: list[list[int]] = []
    cursor = None
    while True:
        parameters: dict[str, Any] = {"deviceId": car, "limit": 2}
        if cursor:
            parameters["cursor"] = cursor
        answer = api.http.get("/v1/alerts", params=parameters).json()
        pages.append([alert["id"] for alert in answer["alerts"]])
        cursor = answer["nextCursor"]
        if cursor is None:
            break
    assert [len(page) for page in pages] == [2, 1]
    ids = list(chain(*pages))
    assert ids == sorted(ids, reverse=True)
    assert len(alerts(api, car, state="open", severity="warning", deviceKind="vehicle")) == 1


# -- webhooks --------------------------------------------------------------------------------------


def test_a_webhook_hears_every_event_in_order_signed_and_again_after_a_failure(
    api: Collector, hook: Receiver
) -> None:
    wait_for(lambda: len(hook.taken) == len(pending_for_webhook(api)))
    hook.answers.append(500)
    first, second = hot(api), hot(api)
    wait_for(lambda: told(hook, first) == told(hook, second) == ["opened"])
    ids = [event["id"] for event in hook.taken]
    assert ids == sorted(ids)
    assert hook.keys == [str(number) for number in ids]
    header, body = hook.signed[-1]
    assert header is not None
    moment, mac = header.removeprefix("t=").split(",v1=")
    expected = hmac.new(SECRET.encode(), moment.encode() + b"." + body, hashlib.sha256)
    assert mac == expected.hexdigest()


def test_a_webhook_of_a_depot_hears_of_its_devices_alone(api: Collector, east: Receiver) -> None:
    assert api.http.put("/v1/depots/east", json={}).status_code == 200
    here, there = device("V"), device("V")
    moved = api.http.put(f"/v1/devices/vehicle/{here}", json={"depot": "east"})
    assert moved.status_code == 200, moved.text
    send(api, vehicle(there, -60, batteryTemp=50), vehicle(here, -60, batteryTemp=50))
    first = one(api, here, "hot")
    send(api, vehicle(there, batteryTemp=30), vehicle(here, batteryTemp=30))
    seen(api, first, state="resolved")
    newest = "SELECT max(id) FROM alert_event WHERE NOT is_quiet AND type <> 'worsened'"
    wait_for(lambda: api.sql("SELECT min(told) FROM alert_webhook") >= api.sql(newest))
    assert {event["alert"]["deviceId"] for event in east.taken} == {here}
    assert {"opened", "resolved"} <= {event["type"] for event in east.taken}


def test_what_a_webhook_does_not_take_is_a_dead_letter_and_can_be_sent_again(
    api: Collector, hook: Receiver
) -> None:
    wait_for(lambda: len(hook.taken) == len(pending_for_webhook(api)))
    hook.answers.extend([500, 503])
    lost, after = hot(api), hot(api)
    wait_for(lambda: told(hook, after) == ["opened"])
    (letter,) = dead_letters(api)
    wait_for(lambda: "\nwattlake_alert_dead_letters 1.0" in api.http.get("/metrics").text)
    assert (letter["attempts"], letter["lastError"]) == (2, "HTTP 503")
    assert letter["event"]["alert"]["id"] == lost["id"]
    assert "secret" not in letter["webhook"]  # the URL may be one
    assert told(hook, lost) == []
    assert api.post(f"/v1/alerts/dead-letters/{letter['id']}/resend", None).status_code == 202
    wait_for(lambda: told(hook, lost) == ["opened"])
    wait_for(lambda: not dead_letters(api))


# -- streams ---------------------------------------------------------------------------------------


def test_a_stream_goes_on_from_any_event_and_misses_none(api: Collector) -> None:
    with web_socket(api) as live:
        start = json.loads(live.recv(60))
        assert start["type"] == "start"
        alert = hot(api)
        api.post(f"/v1/alerts/{alert['id']}/acknowledge", None)
        texts = [str(live.recv(60)) for _ in range(2)]
    events = [json.loads(text) for text in texts]
    shown = api.http.get(f"/v1/alerts/{alert['id']}").text
    assert all(text in shown for text in texts)  # written alike
    assert [event["type"] for event in events] == ["opened", "acknowledged"]
    assert [event["alert"]["id"] for event in events] == [alert["id"]] * 2
    with web_socket(api, f"?after={events[0]['id']}") as resumed:
        assert json.loads(resumed.recv(60)) == {"id": events[0]["id"], "type": "start"}
        assert json.loads(resumed.recv(60)) == events[1]
    # From the very first one on: what is no longer in memory comes from the database.
    with web_socket(api, "?after=0") as whole:
        count = api.sql("SELECT count(*) FROM alert_event")[0][0]
        ids = [json.loads(whole.recv(60))["id"] for _ in range(1 + count)]
    assert ids == [0, *(number for (number,) in api.sql("SELECT id FROM alert_event ORDER BY id"))]
    with web_socket(api, "?after=999999") as lost, pytest.raises(ConnectionClosed) as closed:
        lost.recv(60)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4410


@pytest.mark.parametrize(("query", "said"), [("?after=x", b"after: "), ("?aftr=1", b"mean after?")])
def test_a_stream_that_can_not_be_told_from_where_says_why(
    api: Collector, query: str, said: bytes
) -> None:
    with pytest.raises(InvalidStatus) as error, web_socket(api, query):
        pass
    assert error.value.response.status_code == 422
    assert error.value.response.headers["x-request-id"]
    assert said in error.value.response.body
    assert b"handshake" not in api.log.read_bytes()


def test_server_sent_events_resume_by_their_header(api: Collector) -> None:
    alert = hot(api)
    (number,) = api.sql("SELECT id FROM alert_event WHERE alert_id = %s", alert["id"])[0]
    headers = {"Last-Event-ID": str(number - 1)}
    with api.http.stream("GET", "/v1/alerts/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(4)] == [
            f"id: {number - 1}",
            "event: start",
            "data: {}",
            "",
        ]
        assert [next(lines) for _ in range(2)] == [f"id: {number}", "event: opened"]
        assert json.loads(next(lines).removeprefix("data: "))["alert"]["id"] == alert["id"]


def test_a_page_of_another_site_gets_no_events(api: Collector) -> None:
    with (
        web_socket(api, origin="http://elsewhere.example") as stranger,
        pytest.raises(ConnectionClosed),
    ):
        stranger.recv(60)


def test_who_reads_can_not_write_and_a_revoked_key_ends_its_stream(api: Collector) -> None:
    alert = hot(api)
    url = api.database_url
    keys = {name: create_key(url, name, [name]) for name in ("ingest", "read", "admin")}
    try:
        headers = {name: {"Authorization": f"Bearer {key}"} for name, key in keys.items()}
        wait_for(lambda: api.http.get("/v1/alerts").status_code == 401)  # none was needed before
        wait_for(lambda: all(knows(api, sent) for sent in headers.values()))
        acknowledge = f"/v1/alerts/{alert['id']}/acknowledge"
        for name, expected in (("read", 403), ("ingest", 403), ("admin", 200)):
            assert api.http.post(acknowledge, headers=headers[name]).status_code == expected
        for refused in ({}, headers["ingest"]):
            with pytest.raises(InvalidStatus) as error, web_socket(api, headers=refused):
                pass
            answer = api.http.get("/v1/alerts/events", headers=refused)
            assert answer.status_code == (403 if refused else 401)
            assert error.value.response.status_code == answer.status_code
            assert error.value.response.body == answer.content
        with web_socket(api, headers=headers["read"]) as live:
            assert json.loads(live.recv(60))["type"] == "start"
            revoke_key(url, "read")
            with pytest.raises(ConnectionClosed):
                list(live)  # what happened before may still come
    finally:
        api.sql("DELETE FROM api_key")
        wait_for(lambda: api.http.get("/v1/alerts").status_code == 200)


def test_metrics_count_the_open_alerts(api: Collector) -> None:
    hot(api)
    counted = "SELECT severity, count(*) FROM alert WHERE resolved_at IS NULL GROUP BY severity"

    def shown() -> bool:
        text = api.http.get("/metrics").text
        lines = [
            f'wattlake_alerts_open{{severity="{name}"}} {n:.1f}' for name, n in api.sql(counted)
        ]
        return all(line in text for line in lines) and "wattlake_alert_look_seconds_sum" in text

    wait_for(shown)


# -- more than one collector -----------------------------------------------------------------------


def test_two_collectors_open_one_alert_and_one_that_is_killed_neither_loses_nor_repeats_it(
    postgres: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, car = tmp_path_factory.mktemp("two"), device("V")
    with (
        copied_database(postgres, migrated_template) as url,
        running_collector(url, folder / "a", ALERT_SECONDS="0.1") as first,
        running_collector(url, folder / "b", True) as other,
    ):
        send(first, vehicle(car, -700, batteryTemp=56))  # `battery-warm` holds for five minutes
        one(other, car, "battery-hot")
        assert first.sql("SELECT count(*) FROM alert_pending") == [(1,)]
        first.kill()
        send(other, vehicle(car, -200, batteryTemp=57))
        one(other, car, "battery-warm")
        with web_socket(other) as live, other.http.stream("GET", "/v1/alerts/events") as events:
            assert json.loads(live.recv(60))["type"] == "start"
            assert next(events.iter_lines()).startswith("id:")
            send(other, vehicle(car, batteryTemp=41))
            wait_for(lambda: not alerts(other, car, state="open"))
            types = other.sql("SELECT type FROM alert_event WHERE type <> 'worsened' ORDER BY id")
            assert [kind for (kind,) in types] == ["opened", "opened", "resolved", "resolved"]
            # Whoever listens does not hold up its end.
            started = time.monotonic()
            assert other.stop() == 0
            assert time.monotonic() - started < 15


def web_socket(
    api: Collector,
    query_string: str = "",
    origin: str | None = None,
    headers: dict[str, str] | None = None,
) -> Any:
    """A WebSocket to the stream, closed at the end of the block."""
    return connect(
        f"ws://127.0.0.1:{api.port}/v1/alerts/stream{query_string}",
        origin=origin,  # type: ignore[arg-type]  # a NewType of str
        additional_headers=headers,
        proxy=None,
    )


def until(read: Callable[[], object], expected: object) -> None:
    """Wait until it reads as expected."""
    wait_for(lambda: read() == expected)


def knows(api: Collector, headers: dict[str, str]) -> bool:
    """Whether the collector has heard of a key."""
    return api.http.get("/v1/nothing", headers=headers).status_code in {403, 404}


def pending_for_webhook(api: Collector) -> list[tuple[Any, ...]]:
    """Events that the webhook is to hear, or has heard, less the dead ones."""
    return api.sql(
        "SELECT id FROM alert_event WHERE NOT is_quiet AND type <> 'worsened'"
        " AND id NOT IN (SELECT event_id FROM alert_dead_letter)"
    )


def dead_letters(api: Collector) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.http.get("/v1/alerts/dead-letters").json()["deadLetters"]
    return found
