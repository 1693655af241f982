"""Alerts through a real collector: they open, update, resolve, are told, and people act on them."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.integration.api_collector import (
    Collector,
    copied_database,
    device,
    meter,
    running_collector,
    vehicle,
    wait_for,
)
from tests.integration.webhook_receiver import Receiver, receiver

SECRET = "between us"
RULES = """
rules:
  - {name: hot, kind: battery_temperature, threshold: 45, clear: 42, severity: warning}
  - {name: hot-for-long, kind: battery_temperature, threshold: 60, for: 2m, severity: critical}
  - {name: grid, kind: voltage, threshold: 10, clear: 9, severity: critical}
  - {name: silent, kind: silent, threshold: 10m, severity: info}
  - {name: losing, kind: soc_falling, threshold: 2, clear: 1, severity: warning}
"""


@pytest.fixture(scope="module")
def hook() -> Iterator[Receiver]:
    with receiver() as server:
        yield server


@pytest.fixture(scope="module")
def api(
    postgres: str,
    migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
    hook: Receiver,
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
            ALERT_WEBHOOKS=json.dumps([hook.url]),
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
        wait_for(lambda waits=waits: bool(api.sql(pending, car)) is waits)
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
    for ago, soc, kwh in ((-240, 60.0, 0.1), (-180, 61.0, 0.2), (-120, 60.0, 0.3)):
        send(
            api,
            meter(charger, ago, **kind | {"kwhConsumedAc": kwh}),
            vehicle(car, ago, soc=soc, meterId=charger),
        )
        peaks = "SELECT soc FROM alert_soc_peak WHERE vehicle_id = %s"
        wait_for(
            lambda soc=soc: (
                [(max(soc, 61.0 if soc < 61 and ago == -120 else soc),)] == api.sql(peaks, car)
            )
        )
    send(
        api,
        meter(charger, -60, **kind | {"kwhConsumedAc": 0.4}),
        vehicle(car, -60, soc=58.5, meterId=charger),
    )
    alert = one(api, car, "losing")
    assert (alert["value"], "58.5 %" in alert["message"]) == (2.5, True)
    send(api, vehicle(car, soc=58.0))  # unplugged
    seen(api, alert, state="resolved")
