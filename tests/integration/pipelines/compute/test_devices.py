"""Hourly runs register devices, and the pairing rule knows each from its first heartbeat on."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from lake import HOUR, METER, VEHICLE, hour_of
from tests.harness.collector import Collector, running_collector
from tests.harness.pipelines import PipelineStack, minutes_of
from tests.integration.pipelines.test_waiting import (
    charge,
    in_the_lake,
    mart,
    same_as_performance,
    waiting,
)
from tests.samples import HOUR_10, meter_rows, vehicle_rows
from warehouse_sql.device_attributes import DeviceAttributes
from warehouse_sql.devices import DeviceUpdate, update_devices
from warehouse_sql.named_queries import query


@pytest.fixture
def api(stack: PipelineStack, tmp_path: Path) -> Iterator[Collector]:
    """A collector that fills the lake of the stack."""
    with running_collector(stack.database_url, tmp_path, FLUSH_SECONDS="1") as collector:
        yield collector


def registered(stack: PipelineStack) -> dict[str, datetime | None]:
    """Time at which each device was first heard."""
    rows = stack.rows(b"SELECT device_id, first_heard_at FROM device")
    return {row["device_id"]: row["first_heard_at"] for row in rows}


def test_a_run_registers_the_devices_of_its_hours(stack: PipelineStack) -> None:
    second = HOUR_10 + timedelta(minutes=70, microseconds=7)
    odd = "Zähler | \"7\" 'x'"
    stack.deliver(METER, meter_rows({"meter_id": odd}, {"meter_id": odd, "timestamp": second}))
    stack.deliver(VEHICLE, vehicle_rows({"vehicle_id": "VEH2", "timestamp": second}))
    stack.run_hours(HOUR_10 + HOUR, HOUR_10 + HOUR)
    assert registered(stack) == {odd: second, "VEH2": second}

    stack.run_hours(HOUR_10, HOUR_10)
    assert registered(stack) == {odd: HOUR_10, "VEH2": second}
    assert waiting(stack) == []


@pytest.mark.parametrize("together", [True, False])
def test_a_device_that_is_removed_and_heard_again_on_the_same_day_is_expected_from_then_on(
    stack: PipelineStack, together: bool
) -> None:
    """Also where both hours are compacted by one run."""
    hours = [HOUR_10 + n * HOUR for n in range(-1, 6)]
    stack.deliver(METER, meter_rows({"meter_id": "BOX1", "timestamp": hours[0]}))
    stack.run_hours(hours[0], hours[0])
    with psycopg.connect(stack.database_url) as connection:
        connection.execute(query("remove_from_registry"), {"stream": "meter", "devices": ["BOX1"]})
        connection.execute(
            "UPDATE device SET removed_at = %s,"
            " expected = expected - tstzmultirange(tstzrange(%s, NULL))",
            [hours[3] + timedelta(minutes=30), hours[4]],
        )
    stack.deliver(METER, meter_rows(*({"meter_id": "BOX1", "timestamp": hours[n]} for n in (1, 5))))
    for first, last in [(1, 5)] if together else [(1, 1), (5, 5)]:
        stack.run_hours(hours[first], hours[last])
    (found,) = stack.rows(b"SELECT expected FROM device")
    is_expected = [any(hour in within for within in found["expected"]) for hour in hours]
    assert is_expected == [True] * 4 + [False] + [True] * 2


def test_a_late_first_heartbeat_opens_the_hours_between_it_and_the_one_known_before(
    stack: PipelineStack,
) -> None:
    """A third device of a number is expected in other hours, and changes no pair in any."""
    hours = [HOUR_10 + n * HOUR for n in range(5)]
    for hour in hours:
        stack.deliver(METER, meter_rows(*minutes_of(hour, kwh_consumed_ac=0.1)))
        stack.deliver(VEHICLE, vehicle_rows(*minutes_of(hour, kwh_delivered_dc=0.09)))
    stack.run_hours(hours[0], hours[3])
    second = minutes_of(hours[4], meter_id="BOX1", kwh_consumed_ac=0.1)
    stack.deliver(METER, meter_rows(*second))
    stack.run_hours(hours[4], hours[4])
    assert sources(stack, hours) == ["rule"] * 5

    stack.deliver(METER, meter_rows({"meter_id": "BOX1", "timestamp": hours[1]}))
    stack.run_hours(hours[1], hours[1])
    assert waiting(stack) == hours[2:4]
    stack.run_hours(hours[0], hours[4])
    assert sources(stack, hours) == ["rule"] * 5
    assert waiting(stack) == []


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0)])
def test_a_pair_holds_in_every_hour_in_whatever_order_they_are_computed(
    stack: PipelineStack, order: tuple[int, ...]
) -> None:
    """The third device of its number has come after the two."""
    hours = [HOUR_10 + n * HOUR for n in range(3)]
    for hour in hours:
        stack.deliver(METER, meter_rows(*minutes_of(hour, kwh_consumed_ac=0.1)))
        stack.deliver(VEHICLE, vehicle_rows(*minutes_of(hour, kwh_delivered_dc=0.09)))
    other = minutes_of(hours[1], meter_id="BOX1", kwh_consumed_ac=0.1)
    stack.deliver(METER, meter_rows(*other))
    for n in order:
        stack.run_hours(hours[n], hours[n])
    while left := waiting(stack):
        stack.run_hours(left[0], left[0])
    assert sources(stack, hours) == ["rule"] * 3


def test_a_meter_of_the_same_number_that_is_first_heard_today_breaks_no_pair(
    stack: PipelineStack, api: Collector
) -> None:
    box, car, new = "METER007", "VEH007", "BOX7"
    today = hour_of(datetime.now(UTC)) - 2 * HOUR
    yesterday = today - 24 * HOUR
    charge(api, box, car, yesterday)
    in_the_lake(api)
    stack.run_hours(yesterday, yesterday)
    before = mart(stack, yesterday, car)
    assert (before["link_source"], before["meter_ids"]) == ("rule", [box])

    charge(api, new, car, today)  # not in the registry yet
    same_as_performance(stack, api, yesterday, car)
    window = {"start": today.isoformat(), "end": (today + HOUR).isoformat()}
    told = api.http.get(f"/v1/analytics/performance/{car}", params=window).json()
    assert [(link["meterId"], link["source"]) for link in told["links"]] == [(box, "rule")]
    in_the_lake(api)
    same_as_performance(stack, api, yesterday, car)
    for hour in (yesterday, today):
        stack.run_hours(hour, hour)

    assert mart(stack, yesterday, car) == before
    assert mart(stack, today, car)["meter_ids"] == [box]
    for hour in (yesterday, today):
        same_as_performance(stack, api, hour, car)


def test_a_meter_that_is_first_heard_today_makes_no_pair_of_yesterday(
    stack: PipelineStack, api: Collector
) -> None:
    box, car = "METER009", "VEH009"
    today = hour_of(datetime.now(UTC)) - 2 * HOUR
    yesterday = today - 24 * HOUR
    charge(api, "another", car, yesterday)
    in_the_lake(api)
    stack.run_hours(yesterday, yesterday)
    charge(api, box, car, today)
    same_as_performance(stack, api, yesterday, car)
    in_the_lake(api)
    for hour in (yesterday, today):
        stack.run_hours(hour, hour)

    assert mart(stack, yesterday, car)["link_source"] is None
    assert mart(stack, today, car)["meter_ids"] == [box]
    for hour in (yesterday, today):
        same_as_performance(stack, api, hour, car)


def test_a_charger_class_rates_the_published_hours_and_the_performance_anew(
    stack: PipelineStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = '{"fast": {"excellent_above_percent": 95}}'
    monkeypatch.setenv("CHARGER_CLASSES", classes)
    for stream_rows in (
        (METER, meter_rows(*minutes_of(HOUR_10, kwh_consumed_ac=0.1))),
        (VEHICLE, vehicle_rows(*minutes_of(HOUR_10, kwh_delivered_dc=0.092))),
    ):
        stack.deliver(*stream_rows)
    stack.run_hours(HOUR_10, HOUR_10)
    assert mart(stack, HOUR_10, "VEH001")["status"] == "excellent"

    told = update_devices(
        stack.database_url,
        [DeviceUpdate("meter", "METER001", DeviceAttributes(charger_class="fast"))],
    )
    assert (told.hours, waiting(stack)) == (1, [HOUR_10])
    stack.run_hours(HOUR_10, HOUR_10)
    assert waiting(stack) == []
    assert mart(stack, HOUR_10, "VEH001")["status"] == "good"
    with running_collector(stack.database_url, tmp_path, CHARGER_CLASSES=classes) as api:
        same_as_performance(stack, api, HOUR_10, "VEH001")


def sources(stack: PipelineStack, hours: list[datetime]) -> list[str | None]:
    """Sources of the vehicle's link in each of these hours."""
    return [mart(stack, hour, "VEH001")["link_source"] for hour in hours]
