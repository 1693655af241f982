"""Schedules and sensors: every hour is computed once for each change, without anybody asking."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from lake import HOUR, METER, VEHICLE
from pipelines import sensors
from pipelines.definitions import definitions
from pipelines.jobs import RANGE_END, RANGE_START
from pipelines.partitions import hour_key
from pipelines.resources import WarehouseResource
from pipelines.runs import fail_abandoned_runs
from pipelines.schedules import every_day, every_hour
from pipelines.sensors import late_hours, report_renewal
from tests.integration.pipeline_house import RESOURCES, House
from tests.samples import HOUR_10, meter_rows, vehicle_rows


def asked(house: House) -> list[tuple[str, str]]:
    """First and last hour of each run that the sensor for late hours asks for."""
    return [
        (request.tags[RANGE_START], request.tags[RANGE_END])
        for request in house.tick(late_hours).run_requests or []
    ]


def begin_run(house: House, status: DagsterRunStatus) -> dg.DagsterRun:
    """A run of the hourly job that no process works on."""
    return house.instance.create_run_for_job(
        definitions.resolve_job_def("hourly"), status=status, tags=dict(hour_tags(HOUR_10))
    )


def hour_tags(hour: datetime) -> dict[str, str]:
    return {RANGE_START: hour_key(hour), RANGE_END: hour_key(hour)}


def test_contiguous_waiting_hours_are_one_run(house: House) -> None:
    for later in (0, 1, 2, 7):
        house.deliver(METER, meter_rows({"timestamp": HOUR_10 + later * HOUR}))

    assert asked(house) == [
        (hour_key(HOUR_10), hour_key(HOUR_10 + 2 * HOUR)),
        (hour_key(HOUR_10 + 7 * HOUR), hour_key(HOUR_10 + 7 * HOUR)),
    ]


def test_a_tick_that_is_repeated_asks_for_the_same_run(house: House) -> None:
    house.deliver(METER, meter_rows({}))

    first, again = house.tick(late_hours), house.tick(late_hours)

    assert first.run_requests
    assert [r.run_key for r in first.run_requests] == [r.run_key for r in again.run_requests or []]


def test_nothing_is_asked_for_once_an_hour_is_computed(charged: House) -> None:
    charged.run_hours(HOUR_10 - HOUR, HOUR_10 + HOUR)

    assert asked(charged) == []
    assert charged.tick(late_hours).skip_message == "no closed hour waits"


def test_a_late_heartbeat_opens_its_hour_again_and_everything_follows(charged: House) -> None:
    charged.run_hours(HOUR_10 - HOUR, HOUR_10 + HOUR)
    late = {"timestamp": HOUR_10 + timedelta(minutes=30, seconds=30), "kwh_delivered_dc": 0.4}
    charged.deliver(VEHICLE, vehicle_rows(late))

    (request,) = charged.tick(late_hours).run_requests or []
    assert request.tags[RANGE_START] == request.tags[RANGE_END] == hour_key(HOUR_10)
    charged.run("hourly", request.tags)

    (mart,) = charged.rows(
        b"SELECT energy_dc_kwh FROM vehicle_efficiency_hourly"
        b" WHERE vehicle_id = 'VEH001' AND hour_start = %(hour)s",
        hour=HOUR_10,
    )
    assert mart["energy_dc_kwh"] == pytest.approx(60 * 0.092 + 0.4)
    assert asked(charged) == []


def test_the_running_hour_and_one_within_its_grace_wait(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    house.deliver(METER, meter_rows({"timestamp": now}))
    assert asked(house) == []

    this_hour = now.replace(minute=0, second=0, microsecond=0)
    house.deliver(METER, meter_rows({"timestamp": this_hour - timedelta(seconds=1)}))
    long_grace = sensors._SETTINGS.model_copy(update={"hour_grace_seconds": 3600})
    monkeypatch.setattr(sensors, "_SETTINGS", long_grace)
    assert asked(house) == []

    no_grace = sensors._SETTINGS.model_copy(update={"hour_grace_seconds": 0})
    monkeypatch.setattr(sensors, "_SETTINGS", no_grace)
    assert asked(house) == [(hour_key(this_hour - HOUR), hour_key(this_hour - HOUR))]


def test_the_sensor_waits_while_a_run_is_under_way(house: House) -> None:
    house.deliver(METER, meter_rows({}))
    run = begin_run(house, DagsterRunStatus.STARTED)

    assert house.tick(late_hours).skip_message == f"run {run.run_id} is under way"


def test_a_run_whose_process_was_killed_is_failed_and_its_hour_asked_for_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.deliver(METER, meter_rows({}))
    run = begin_run(house, DagsterRunStatus.STARTED)
    soon = datetime.now(UTC) + timedelta(minutes=1)
    session = f"wattlake-run-{run.run_id}"
    assert fail_abandoned_runs(house.instance, {session}, soon) == []

    monkeypatch.setattr("pipelines.runs._TIME_TO_OPEN_SESSION", timedelta(seconds=-1))
    monkeypatch.setattr("pipelines.runs._FIRST_PAUSE", timedelta(seconds=0))
    assert asked(house) == []  # this look fails the run, the next one asks again
    assert asked(house) == [(hour_key(HOUR_10), hour_key(HOUR_10))]
    found = house.instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status == DagsterRunStatus.FAILURE


def test_a_run_holds_a_session_while_it_lives(house: House) -> None:
    seen: list[object] = []

    @dg.op
    def look(warehouse: WarehouseResource) -> None:
        seen.extend(house.rows(b"SELECT application_name FROM pg_stat_activity"))

    @dg.job(resource_defs={"warehouse": RESOURCES["warehouse"]})
    def looking() -> None:
        look()

    result = looking.execute_in_process(instance=house.instance)

    assert {"application_name": f"wattlake-run-{result.run_id}"} in seen


def test_a_failed_hour_is_tried_again_after_a_pause_and_holds_up_no_other(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.deliver(METER, meter_rows({}))
    begin_run(house, DagsterRunStatus.FAILURE)

    assert "wait for their next attempt" in str(house.tick(late_hours).skip_message)

    house.deliver(METER, meter_rows({"timestamp": HOUR_10 + HOUR}))
    assert asked(house) == [(hour_key(HOUR_10 + HOUR), hour_key(HOUR_10 + HOUR))]

    monkeypatch.setattr("pipelines.runs._FIRST_PAUSE", timedelta(seconds=0))
    assert asked(house) == [
        (hour_key(HOUR_10 + HOUR), hour_key(HOUR_10 + HOUR)),
        (hour_key(HOUR_10), hour_key(HOUR_10)),
    ]


def test_hours_before_the_first_partition_are_named_and_not_asked_for(house: House) -> None:
    house.deliver(METER, meter_rows({"timestamp": datetime(2003, 5, 1, tzinfo=UTC)}))

    assert "1 lie before PARTITIONS_START" in str(house.tick(late_hours).skip_message)


def test_the_hourly_schedule_asks_for_the_ended_hour_and_skips_clean_and_empty_ones(
    charged: House, tmp_path: Path
) -> None:
    at = HOUR_10 + HOUR + timedelta(minutes=3)

    # A schedule is given a reference to its instance, which an ephemeral one does not have.
    with dg.DagsterInstance.local_temp(str(tmp_path)) as charged.instance:
        request = charged.scheduled(every_hour, at)
        assert isinstance(request, dg.RunRequest)
        assert request.tags == hour_tags(HOUR_10)
        charged.run("hourly", request.tags)

        assert "is computed already" in str(charged.scheduled(every_hour, at))
        assert "no heartbeats" in str(charged.scheduled(every_hour, at + 5 * HOUR))


def test_the_daily_schedule_asks_for_yesterday(house: House) -> None:
    request = house.scheduled(every_day, datetime(2026, 11, 21, 0, 30, tzinfo=UTC))

    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2026-11-20"


def test_a_report_is_renewed_once_for_the_hours_of_a_run(charged: House) -> None:
    assert charged.tick(report_renewal).run_requests == []
    charged.run_hours(HOUR_10 - HOUR, HOUR_10 + HOUR)

    tick = charged.tick(report_renewal)

    (request,) = tick.run_requests or []
    assert request.tags[RANGE_START] == request.tags[RANGE_END] == "2026-11-20"
    assert charged.tick(report_renewal, tick.cursor).run_requests == []


def test_a_report_waits_for_the_run_that_computes_its_hours(charged: House) -> None:
    charged.run_hours(HOUR_10, HOUR_10)
    begin_run(charged, DagsterRunStatus.STARTED)

    assert "is under way" in str(charged.tick(report_renewal).skip_message)


def test_everything_is_on_by_default() -> None:
    repository = definitions.get_repository_def()

    assert {sensor.name: sensor.default_status.value for sensor in repository.sensor_defs} == {
        "late_hours": "RUNNING",
        "report_renewal": "RUNNING",
    }
    assert {
        schedule.name: schedule.default_status.value for schedule in repository.schedule_defs
    } == {
        "every_hour": "RUNNING",
        "every_day": "RUNNING",
    }


def test_observing_reports_the_size_of_the_raw_tables_and_the_waiting_hours(
    charged: House,
) -> None:
    charged.run("observe_raw", {})

    keys = {None, *(hour_key(HOUR_10 + n * HOUR) for n in (-1, 0, 1))}
    for stream in (METER, VEHICLE):
        found = charged.instance.fetch_observations(dg.AssetKey(stream.raw_table), limit=10)
        observed = {
            record.asset_observation.partition: record.asset_observation.metadata
            for record in found.records
            if record.asset_observation
        }
        assert observed.keys() == keys
        assert observed[None]["dagster/row_count"].value == 3 * 180
        assert observed[hour_key(HOUR_10)]["dagster/partition_row_count"].value == 180
