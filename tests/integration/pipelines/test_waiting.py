"""An hour waits until the marts hold what its heartbeats and links say, whatever ran in between."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from lake import HOUR, METER, VEHICLE, hour_of
from pipelines.assets.hourly import SPECS
from pipelines.assets.marts import HOUR_MARTS
from pipelines.automation.jobs import RANGE_END, RANGE_START, range_tags
from pipelines.automation.sensors import late_hours
from pipelines.definitions import definitions
from pipelines.partitions import hour_key
from tests.harness.collector import Collector, running_collector
from tests.harness.heartbeats import device
from tests.harness.pipelines import PipelineStack, minutes_of
from tests.harness.waiting import wait_for
from tests.samples import HOUR_10, meter_rows, vehicle_rows

HISTORIES = (dg.AssetKey(METER.history_table), dg.AssetKey(VEHICLE.history_table))
HOUR_TABLES = tuple(spec.key for spec in SPECS)
SERVING = tuple(mart.asset_key for mart in HOUR_MARTS)


def materialize(stack: PipelineStack, keys: tuple[dg.AssetKey, ...], hour: datetime) -> None:
    """Run only these assets of an hour, as somebody may do by hand."""
    job = definitions.resolve_implicit_global_asset_job_def()
    result = job.get_subset(asset_selection=set(keys)).execute_in_process(
        instance=stack.instance, tags=range_tags(hour_key(hour), hour_key(hour))
    )
    assert result.success


def waiting(stack: PipelineStack) -> list[datetime]:
    """The hours that wait, each once."""
    rows = stack.rows(b"SELECT DISTINCT hour FROM unpublished_hour ORDER BY hour")
    return [row["hour"] for row in rows]


def test_an_hour_waits_while_only_its_history_and_its_marts_were_materialized(
    charged: PipelineStack,
) -> None:
    charged.run_hours(HOUR_10 - HOUR, HOUR_10 + HOUR)
    late = {"timestamp": HOUR_10 + timedelta(minutes=30, seconds=30), "kwh_delivered_dc": 0.4}
    charged.deliver(VEHICLE, vehicle_rows(late))

    materialize(charged, HISTORIES, HOUR_10)
    assert HOUR_10 in waiting(charged)
    materialize(charged, SERVING, HOUR_10)
    assert HOUR_10 in waiting(charged)

    charged.run_hours(HOUR_10, HOUR_10)
    assert waiting(charged) == []
    assert mart(charged, HOUR_10, "VEH001")["energy_dc_kwh"] == pytest.approx(60 * 0.092 + 0.4)


def test_marts_of_an_hour_that_was_never_computed_leave_it_waiting(charged: PipelineStack) -> None:
    materialize(charged, HISTORIES, HOUR_10)
    materialize(charged, SERVING, HOUR_10)
    assert HOUR_10 in waiting(charged)


def test_a_link_made_between_the_efficiency_and_the_marts_leaves_the_hour_waiting(
    charged: PipelineStack, tmp_path: Path
) -> None:
    charged.run_hours(HOUR_10 - HOUR, HOUR_10 + HOUR)
    materialize(charged, HOUR_TABLES, HOUR_10)
    with running_collector(charged.database_url, tmp_path) as api:
        made = api.post("/v1/links", link("METER002", "VEH001", HOUR_10, HOUR_10 + HOUR))
        assert made.status_code == 201
        materialize(charged, SERVING, HOUR_10)
        assert waiting(charged) == [HOUR_10, HOUR_10 + HOUR]
        charged.run_hours(HOUR_10, HOUR_10 + HOUR)
        assert waiting(charged) == []

        again = api.post("/v1/links", link("METER002", "VEH001", HOUR_10, HOUR_10 + HOUR))
        collision = api.post("/v1/links", link("METER002", "VEH003", HOUR_10, None))
        assert (again.status_code, collision.status_code) == (200, 409)
        assert waiting(charged) == []
    for hour, source in ((HOUR_10 - HOUR, "rule"), (HOUR_10, "link"), (HOUR_10 + HOUR, None)):
        assert mart(charged, hour, "VEH001")["link_source"] == source


@pytest.fixture
def api(stack: PipelineStack, tmp_path: Path) -> Iterator[Collector]:
    """A collector that fills the lake of the stack."""
    with running_collector(stack.database_url, tmp_path, FLUSH_SECONDS="1") as collector:
        assert str(collector.lake_folder) == stack.lake.uri
        yield collector


def test_links_that_are_imported_afterwards_reach_the_published_hours_from_their_start_on(
    stack: PipelineStack, api: Collector
) -> None:
    box, car, first = device("M"), device("V"), hour_of(datetime.now(UTC)) - 6 * HOUR
    hours = [first, first + HOUR, first + 2 * HOUR]
    for hour in hours:
        charge(api, box, car, hour)
    in_the_lake(api)
    stack.run_hours(hours[0], hours[-1])
    assert {mart(stack, hour, car)["status"] for hour in hours} == {"unmapped"}

    starts, ends = hours[1] + timedelta(minutes=15), hours[2] + timedelta(minutes=30)
    text = (
        "meter_id,vehicle_id,valid_from,valid_to\n"
        f"{box},{car},{starts.isoformat()},{ends.isoformat()}\n"
        f"{box},{device('V')},{starts.isoformat()},\n"
    )
    assert import_csv(api, text) == {"accepted": 1, "existing": 0}
    (request,) = stack.evaluate_sensor(late_hours).run_requests or []
    assert request.tags[RANGE_START] == hour_key(hours[1])
    assert request.tags[RANGE_END] == hour_key(hours[2])
    stack.run("hourly", request.tags)

    for hour in hours:
        same_as_performance(stack, api, hour, car)
    found = [mart(stack, hour, car)["energy_ac_kwh"] for hour in hours]
    assert found == [None, pytest.approx(4.5), pytest.approx(3)]
    assert import_csv(api, text) == {"accepted": 1, "existing": 1}
    assert stack.evaluate_sensor(late_hours).run_requests == []


def test_a_vehicle_that_names_a_meter_today_keeps_its_rule_link_of_yesterday(
    stack: PipelineStack, api: Collector
) -> None:
    box, other, car = "METER007", device("M"), "VEH007"
    today = hour_of(datetime.now(UTC)) - 2 * HOUR
    yesterday = today - 24 * HOUR
    charge(api, box, car, yesterday)
    in_the_lake(api)
    stack.run_hours(yesterday, yesterday)
    before = mart(stack, yesterday, car)
    assert (before["link_source"], before["meter_ids"]) == ("rule", [box])

    charge(api, other, car, today, meterId=other)
    link_of_today = link(box, device("V"), today, None)
    assert api.post("/v1/links", link_of_today).status_code == 201
    in_the_lake(api)
    same_as_performance(stack, api, yesterday, car)
    for hour in (yesterday, today):
        stack.run_hours(hour, hour)

    assert mart(stack, yesterday, car) == before
    for hour in (yesterday, today):
        same_as_performance(stack, api, hour, car)
    assert mart(stack, today, car)["meter_ids"] == [other]


def test_a_name_that_arrives_late_reopens_the_hours_after_it(
    stack: PipelineStack, api: Collector
) -> None:
    box, car, first = "METER008", "VEH008", hour_of(datetime.now(UTC)) - 8 * HOUR
    hours = [first + n * HOUR for n in range(4)]
    for hour in hours:
        charge(api, box, car, hour)
    in_the_lake(api)
    stack.run_hours(hours[0], hours[-1])

    def name_at(hour: datetime) -> None:
        late = {"vehicleId": car, "timestamp": (hour + timedelta(minutes=50)).isoformat()}
        sent = api.post("/v1/ingest/vehicle", {**late, "soc": 50, "meterId": "elsewhere"})
        assert sent.status_code == 201
        in_the_lake(api)

    name_at(hours[2])
    assert waiting(stack) == hours[2:]
    stack.run_hours(hours[2], hours[3])
    name_at(hours[2] + timedelta(minutes=1))
    assert waiting(stack) == [hours[2]]
    stack.run_hours(hours[2], hours[2])
    name_at(hours[0])
    assert waiting(stack) == hours[:2]
    stack.run_hours(hours[0], hours[1])

    for hour in hours:
        same_as_performance(stack, api, hour, car)


def charge(api: Collector, box: str, car: str, hour: datetime, **fields: str) -> None:
    """Post a heartbeat of both sides for every minute of an hour: 0.1 kWh AC, 0.09 kWh DC."""
    times = [row["timestamp"] for row in minutes_of(hour)]
    moments = [at.isoformat() for at in times if isinstance(at, datetime)]
    meters = [{"meterId": box, "timestamp": at, "kwhConsumedAc": 0.1} for at in moments]
    vehicles = [
        {"vehicleId": car, "timestamp": at, "kwhDeliveredDc": 0.09, **fields} for at in moments
    ]
    assert api.post("/v1/ingest/meter/batch", meters).status_code == 201
    assert api.post("/v1/ingest/vehicle/batch", vehicles).status_code == 201


def in_the_lake(api: Collector) -> None:
    """Wait until the lake writer has taken everything."""
    empty = (
        "SELECT NOT EXISTS (SELECT FROM meter_heartbeat_outbox)"
        " AND NOT EXISTS (SELECT FROM vehicle_heartbeat_outbox)"
    )
    wait_for(lambda: api.sql(empty) == [(True,)])


def link(box: str, car: str, start: datetime, end: datetime | None) -> dict[str, str | None]:
    """A link as it is posted."""
    return {
        "meterId": box,
        "vehicleId": car,
        "validFrom": start.isoformat(),
        "validTo": end.isoformat() if end else None,
    }


def import_csv(api: Collector, text: str) -> dict[str, int]:
    """Import links of which one is refused."""
    answer = api.http.post(
        "/v1/links/import", content=text.encode(), headers={"content-type": "text/csv"}
    )
    assert answer.status_code == 207, answer.text
    return {name: answer.json()[name] for name in ("accepted", "existing")}


def mart(stack: PipelineStack, hour: datetime, car: str) -> dict[str, Any]:
    """The published row of a vehicle and hour."""
    (row,) = stack.rows(
        b"SELECT * FROM vehicle_efficiency_hourly"
        b" WHERE hour_start = %(hour)s AND vehicle_id = %(car)s",
        hour=hour,
        car=car,
    )
    return dict(row)


def same_as_performance(stack: PipelineStack, api: Collector, hour: datetime, car: str) -> None:
    """The published row says what the performance of this very hour does."""
    window = {"start": hour.isoformat(), "end": (hour + HOUR).isoformat()}
    answer = api.http.get(f"/v1/analytics/performance/{car}", params=window)
    assert answer.status_code == 200, answer.text
    told, row = answer.json(), mart(stack, hour, car)
    assert (row["status"], row["energy_ac_kwh"], row["efficiency_percent"]) == (
        told["status"],
        told["energyConsumedAc"],
        pytest.approx(told["efficiencyPercent"]),
    )
    assert row["meter_ids"] == sorted({one["meterId"] for one in told["links"]})


def test_the_status_takes_back_no_computed_hour_and_tells_how_long_the_others_will_take(
    charged: PipelineStack, tmp_path: Path
) -> None:
    late = {"timestamp": HOUR_10 + timedelta(minutes=30, seconds=30), "kwh_delivered_dc": 0.4}
    with running_collector(charged.database_url, tmp_path) as api:
        never = api.http.get("/v1/status").json()
        charged.run_hours(HOUR_10 - HOUR, HOUR_10 + HOUR)
        before = api.http.get("/v1/status").json()
        charged.deliver(VEHICLE, vehicle_rows(late))
        after = api.http.get("/v1/status").json()

        def gauges() -> set[str]:
            lines = api.http.get("/metrics").text.splitlines()
            return {line for line in lines if line.startswith("wattlake_waiting_hours")}

        wait_for(lambda: "wattlake_waiting_hours 1.0" in gauges())
        assert "wattlake_waiting_hours_left_seconds NaN" not in gauges()
        old = ({"timestamp": HOUR_10 - n * HOUR} for n in range(10, 40))
        charged.deliver(METER, meter_rows(*old))
        many = api.http.get("/v1/status").json()

    names = ("hoursCompacted", "hoursWaiting", "waitingSeconds")
    assert [never[name] for name in names] == [0, 3, None]
    assert [before[name] for name in names] == [3, 0, 0]
    assert [after[name] for name in names[:2]] == [3, 1]
    assert 0 < after["waitingSeconds"] < 15 * 60
    # Three hours that were computed tell no pace for thirty.
    assert (many["hoursWaiting"], many["waitingSeconds"]) == (31, None)
