"""Schedules and sensors: every hour is computed once for each change, without anybody asking."""

import subprocess
import sys
from collections.abc import Collection
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import dagster as dg
import polars as pl
import psycopg
import pytest
from dagster import DagsterRunStatus
from dagster._core.events import EngineEventData
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.utils import make_new_run_id

from lake import HOUR, METER, VEHICLE, hour_of
from lake.schema.catalog import HOURLY_TABLES
from pipelines.automation import sensors
from pipelines.automation.jobs import OLD_RANGE, RANGE_END, RANGE_START, range_tags
from pipelines.automation.runs import HOURLY_ASSETS, HourlyRuns, fail_abandoned_runs, free_slots
from pipelines.automation.schedules import every_day, every_hour
from pipelines.automation.sensors import OutdatedDays, changed_days, late_hours
from pipelines.compute.awaited import note_context
from pipelines.definitions import definitions
from pipelines.ledger import Sessions, sessions_of_runs
from pipelines.partitions import REFINES, hour_key, hour_of_key
from pipelines.resources import WarehouseResource
from pipelines.settings import PipelineSettings
from tests.harness.outbox import store
from tests.harness.pipelines import RESOURCES, PipelineStack
from tests.harness.waiting import wait_for
from tests.samples import HOUR_10, meter_rows, vehicle_rows
from warehouse_sql.named_queries import query


def asked(stack: PipelineStack) -> list[tuple[str, str]]:
    """First and last hour of each run that the sensor for late hours asks for."""
    return [
        (request.tags[RANGE_START], request.tags[RANGE_END])
        for request in stack.evaluate_sensor(late_hours).run_requests or []
    ]


def begin_run(stack: PipelineStack, status: DagsterRunStatus) -> dg.DagsterRun:
    """A run of the hourly job that no process works on."""
    return stack.instance.create_run_for_job(
        definitions.resolve_job_def("hourly"),
        status=status,
        tags=hour_tags(HOUR_10),
        remote_job_origin=origin("hourly"),
    )


def origin(job: str) -> RemoteJobOrigin:
    """Origin of a queued run."""
    location = RegisteredCodeLocationOrigin("pipelines")
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), job)


def begin_run_of_assets(
    stack: PipelineStack, status: DagsterRunStatus, *assets: str
) -> dg.DagsterRun:
    """A run as one starts it from the pages of these assets, that no process works on."""
    selection = frozenset(dg.AssetKey(asset) for asset in assets)
    job = definitions.resolve_implicit_global_asset_job_def()
    return stack.instance.create_run_for_job(
        job.get_subset(asset_selection=selection),
        asset_selection=selection,
        status=status,
        tags=hour_tags(HOUR_10),
        remote_job_origin=origin(job.name),
    )


def begin_day(stack: PipelineStack, day: str, status: DagsterRunStatus) -> dg.DagsterRun:
    """A run of the daily job that no process works on."""
    return stack.instance.create_run_for_job(
        definitions.resolve_job_def("daily"), status=status, tags=range_tags(day, day)
    )


def sessions(*runs: dg.DagsterRun, since: datetime = datetime(2000, 1, 1, tzinfo=UTC)) -> Sessions:
    """Sessions of the database while the processes of these runs live; it began at `since`."""
    return Sessions(frozenset(f"wattlake-run-{run.run_id}" for run in runs), since)


NO_SESSIONS = sessions()


def status_of(stack: PipelineStack, run: dg.DagsterRun) -> DagsterRunStatus:
    found = stack.instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def in_(**time: float) -> datetime:
    return datetime.now(UTC) + timedelta(**time)


def hour_tags(hour: datetime) -> dict[str, str]:
    return {RANGE_START: hour_key(hour), RANGE_END: hour_key(hour)}


def test_contiguous_waiting_hours_are_one_run_and_the_newest_come_first(
    stack: PipelineStack,
) -> None:
    for later in (0, 1, 2, 7):
        stack.deliver(METER, meter_rows({"timestamp": HOUR_10 + later * HOUR}))

    assert asked(stack) == [
        (hour_key(HOUR_10 + 7 * HOUR), hour_key(HOUR_10 + 7 * HOUR)),
        (hour_key(HOUR_10), hour_key(HOUR_10 + 2 * HOUR)),
    ]


@pytest.mark.usefixtures("next_hour_is_far")
def test_the_newest_hours_have_a_run_of_their_own_beside_few_old_ranges(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = hour_of(datetime.now(UTC)) - HOUR
    no_grace = {"hour_grace_seconds": 0, "hours_per_run": 3}
    monkeypatch.setattr(sensors, "_SETTINGS", sensors._SETTINGS.model_copy(update=no_grace))
    for ago in range(17):
        stack.deliver(METER, meter_rows({"timestamp": newest - ago * HOUR}))

    def tick() -> list[dg.RunRequest]:
        requests = list(stack.evaluate_sensor(late_hours).run_requests or [])
        for request in requests:
            stack.instance.create_run_for_job(
                definitions.resolve_job_def("hourly"),
                status=DagsterRunStatus.QUEUED,
                tags=request.tags,
                remote_job_origin=origin("hourly"),
            )
        return requests

    first, *old = tick()
    assert (first.tags[RANGE_START], first.tags[RANGE_END]) == (
        hour_key(newest - HOUR),
        hour_key(newest),
    )
    assert int(first.tags["dagster/priority"]) > 0
    assert [request.tags[RANGE_END] for request in old] == [
        hour_key(newest - ago * HOUR) for ago in (2, 5, 8, 11)
    ]
    assert all(request.tags.items() >= OLD_RANGE.items() for request in old)
    assert tick() == []  # four are enough
    assert "14 of 17 hours that wait are under way" in str(
        stack.evaluate_sensor(late_hours).skip_message
    )

    monkeypatch.setattr(sensors, "_OLD_RANGES", 5)
    assert [request.tags[RANGE_END] for request in tick()] == [hour_key(newest - 14 * HOUR)]


def test_a_run_of_old_hours_is_bounded_by_its_rows(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = sensors._SETTINGS.model_copy(update={"rows_per_run": 5})
    monkeypatch.setattr(sensors, "_SETTINGS", settings)
    for later, count in ((0, 2), (1, 2), (2, 2), (3, 9), (4, 1)):
        at = HOUR_10 + later * HOUR
        stack.deliver(
            METER, meter_rows(*({"timestamp": at, "meter_id": f"{n}"} for n in range(count)))
        )

    assert asked(stack) == [
        (hour_key(HOUR_10 + n * HOUR), hour_key(HOUR_10 + m * HOUR))
        for n, m in ((4, 4), (3, 3), (2, 2), (0, 1))
    ]


def test_a_range_is_observed_once_however_long(stack: PipelineStack) -> None:
    for later in (0, 1, 2, 7):
        stack.deliver(METER, meter_rows({"timestamp": HOUR_10 + later * HOUR}))
    stack.deliver(VEHICLE, vehicle_rows({"timestamp": HOUR_10 + HOUR}))

    told = {
        (event.asset_key.to_user_string(), event.partition): event.metadata
        for event in stack.evaluate_sensor(late_hours).asset_events
    }

    assert told.keys() == {
        (METER.raw_table, hour_key(HOUR_10 + 7 * HOUR)),
        (METER.raw_table, None),
        (VEHICLE.raw_table, hour_key(HOUR_10 + HOUR)),
    }
    assert told[METER.raw_table, None]["hours_waiting"].value == 3


def test_a_tick_that_is_repeated_asks_for_the_same_run(stack: PipelineStack) -> None:
    stack.deliver(METER, meter_rows({}))

    first, again = stack.evaluate_sensor(late_hours), stack.evaluate_sensor(late_hours)

    assert first.run_requests
    assert [r.run_key for r in first.run_requests] == [r.run_key for r in again.run_requests or []]


def test_nothing_is_asked_for_once_an_hour_is_computed(charged: PipelineStack) -> None:
    charged.run_hours(HOUR_10 - HOUR, HOUR_10 + HOUR)

    assert asked(charged) == []
    assert charged.evaluate_sensor(late_hours).skip_message == "no closed hour waits"


@pytest.mark.parametrize("step", ["hourly", "marts"])
def test_an_hour_waits_until_what_was_written_of_it_is_checked(
    charged: PipelineStack, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def die(*_: object, **__: object) -> None:
        raise dg.Failure("as a kill does", allow_retries=False)

    monkeypatch.setattr(f"pipelines.assets.{step}.latched_result", die)
    assert not charged.run_hours(HOUR_10, HOUR_10, raise_on_error=False).success

    noted = b"SELECT FROM partition_ledger WHERE computed_version IS NOT NULL"
    assert bool(charged.rows(noted)) == (step == "marts")
    assert charged.rows(b"SELECT FROM partition_ledger WHERE published_version IS NOT NULL") == []


def test_a_late_heartbeat_opens_its_hour_again_and_everything_follows(
    charged: PipelineStack,
) -> None:
    charged.run_hours(HOUR_10 - HOUR, HOUR_10 + HOUR)
    late = {"timestamp": HOUR_10 + timedelta(minutes=30, seconds=30), "kwh_delivered_dc": 0.4}
    charged.deliver(VEHICLE, vehicle_rows(late))

    (request,) = charged.evaluate_sensor(late_hours).run_requests or []
    assert request.tags[RANGE_START] == request.tags[RANGE_END] == hour_key(HOUR_10)
    charged.run("hourly", request.tags)

    (mart,) = charged.rows(
        b"SELECT energy_dc_kwh FROM vehicle_efficiency_hourly"
        b" WHERE vehicle_id = 'VEH001' AND hour_start = %(hour)s",
        hour=HOUR_10,
    )
    assert mart["energy_dc_kwh"] == pytest.approx(60 * 0.092 + 0.4)
    assert asked(charged) == []


@pytest.mark.parametrize(
    ("hours_ago", "computed", "heard", "kwh", "is_asked"),
    [
        (3, 2, 1, 0.1, True),
        (3, None, 1, 0.1, False),  # computed just now
        (8, 120, 1, 0.1, True),
        (8, 300, 1, 0.1, False),  # when it was that old, it waits as long again
        (3, 2, 1, None, False),  # heard without an energy
        (3, 2, -10, 0.1, False),  # no later than the hour ends
        (27, 2, 1, 0.1, False),  # nobody waits any more
    ],
)
def test_a_computed_hour_is_asked_for_again_once_a_reading_comes_that_it_lacked(
    stack: PipelineStack,
    hours_ago: int,
    computed: int | None,
    heard: int,
    kwh: float | None,
    is_asked: bool,
) -> None:
    """Computed and heard so many minutes after the end of the hour."""
    hour = hour_of(in_(hours=-hours_ago))
    end = hour + HOUR
    lacks = pl.DataFrame(
        {"device_id": ["METER001"], "heard_until": [end - timedelta(microseconds=1)]}
    )
    row = {"timestamp": end + timedelta(minutes=heard), "kwh_consumed_ac": kwh}
    noted = in_(minutes=-5) if computed is None else end + timedelta(minutes=computed)
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        note_context(connection, [hour], [{METER.name: lacks}], [{}])
        connection.execute("UPDATE awaited_reading SET noted_at = %s", [noted])
        store(connection, METER, meter_rows(row))

    requests = stack.evaluate_sensor(late_hours).run_requests or []

    assert [request.tags[RANGE_START] for request in requests] == [hour_key(hour)] * is_asked
    for request in requests:  # behind all that have no figures
        assert request.tags.items() >= {REFINES: "true", **OLD_RANGE}.items()
    assert stack.rows(b"SELECT FROM unpublished_hour") == []


@pytest.mark.usefixtures("next_hour_is_far")
def test_the_running_hour_and_one_within_its_grace_wait(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    stack.deliver(METER, meter_rows({"timestamp": now}))
    assert asked(stack) == []

    this_hour = now.replace(minute=0, second=0, microsecond=0)
    stack.deliver(METER, meter_rows({"timestamp": this_hour - timedelta(seconds=1)}))
    long_grace = sensors._SETTINGS.model_copy(update={"hour_grace_seconds": 3600})
    monkeypatch.setattr(sensors, "_SETTINGS", long_grace)
    assert asked(stack) == []

    no_grace = sensors._SETTINGS.model_copy(update={"hour_grace_seconds": 0})
    monkeypatch.setattr(sensors, "_SETTINGS", no_grace)
    assert asked(stack) == [(hour_key(this_hour - HOUR), hour_key(this_hour - HOUR))]


def test_an_hour_is_not_asked_for_while_a_run_of_it_is_under_way(stack: PipelineStack) -> None:
    stack.deliver(METER, meter_rows({}))
    run = begin_run(stack, DagsterRunStatus.STARTED)

    assert "1 of 1 hours that wait are under way" in str(
        stack.evaluate_sensor(late_hours).skip_message
    )
    stack.deliver(METER, meter_rows({"timestamp": HOUR_10 + HOUR}))
    assert asked(stack) == [(hour_key(HOUR_10 + HOUR), hour_key(HOUR_10 + HOUR))]
    assert HourlyRuns(stack.instance).unfinished == run.run_id


def test_a_run_whose_process_was_killed_is_failed_and_its_hour_asked_for_again(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.deliver(METER, meter_rows({}))
    run = begin_run(stack, DagsterRunStatus.STARTED)
    assert fail_abandoned_runs(stack.instance, sessions(run), in_(minutes=1)) == []

    monkeypatch.setattr("pipelines.automation.runs._TIME_WITHOUT_SESSION", timedelta(seconds=-1))
    monkeypatch.setattr("pipelines.automation.runs._TIME_TO_RENEW", timedelta(seconds=-1))
    monkeypatch.setattr("pipelines.automation.runs._FIRST_PAUSE", timedelta(seconds=0))
    assert asked(stack) == []  # this look fails the run, the next one asks again
    assert asked(stack) == [(hour_key(HOUR_10), hour_key(HOUR_10))]
    assert status_of(stack, run) == DagsterRunStatus.FAILURE


@pytest.mark.parametrize(
    "asset", ["meter_telemetry_history", "daily_efficiency_report", "raw_meter_heartbeats"]
)
def test_a_killed_run_that_was_started_from_the_page_of_an_asset_is_failed(
    stack: PipelineStack, asset: str
) -> None:
    run = begin_run_of_assets(stack, DagsterRunStatus.STARTED, asset)
    assert fail_abandoned_runs(stack.instance, NO_SESSIONS, in_(seconds=20)) == []

    assert fail_abandoned_runs(stack.instance, NO_SESSIONS, in_(minutes=1)) == [run.run_id]
    assert status_of(stack, run) == DagsterRunStatus.FAILURE


def test_a_run_that_never_got_a_process_is_failed_after_minutes_and_a_queued_one_never(
    stack: PipelineStack,
) -> None:
    lost = begin_run_of_assets(stack, DagsterRunStatus.NOT_STARTED, "meter_telemetry_history")
    starting = begin_run(stack, DagsterRunStatus.STARTING)
    queued = begin_run(stack, DagsterRunStatus.QUEUED)
    assert fail_abandoned_runs(stack.instance, NO_SESSIONS, in_(minutes=4)) == []

    failed = fail_abandoned_runs(stack.instance, NO_SESSIONS, in_(minutes=6))

    assert set(failed) == {lost.run_id, starting.run_id}
    assert status_of(stack, queued) == DagsterRunStatus.QUEUED


def test_a_start_that_a_restart_of_the_database_fell_into_is_given_up_sooner(
    stack: PipelineStack,
) -> None:
    run = begin_run(stack, DagsterRunStatus.STARTING)
    restarted = sessions(since=in_(minutes=1))

    assert fail_abandoned_runs(stack.instance, restarted, in_(minutes=1, seconds=55)) == []
    assert fail_abandoned_runs(stack.instance, restarted, in_(minutes=2, seconds=5)) == [run.run_id]


def test_a_run_has_time_to_renew_its_session_after_the_database_came_back(
    stack: PipelineStack,
) -> None:
    run = begin_run(stack, DagsterRunStatus.STARTED)
    restarted = sessions(since=in_(minutes=10))

    assert fail_abandoned_runs(stack.instance, restarted, in_(minutes=10, seconds=10)) == []
    assert fail_abandoned_runs(stack.instance, restarted, in_(minutes=10, seconds=20)) == [
        run.run_id
    ]


def test_a_run_that_was_being_canceled_as_its_process_died_is_canceled(
    stack: PipelineStack,
) -> None:
    run = begin_run(stack, DagsterRunStatus.CANCELING)

    assert fail_abandoned_runs(stack.instance, NO_SESSIONS, in_(minutes=1)) == [run.run_id]
    assert status_of(stack, run) == DagsterRunStatus.CANCELED


POOL = METER.history_table


def claim(stack: PipelineStack, run_id: str) -> bool:
    """True if the run has the one slot of the pool now; else it waits for it."""
    storage = stack.instance.event_log_storage
    storage.set_concurrency_slots(POOL, 1)
    return bool(storage.claim_concurrency_slot(POOL, run_id, POOL).is_claimed)


@pytest.mark.parametrize(
    "ended", [DagsterRunStatus.FAILURE, DagsterRunStatus.SUCCESS, DagsterRunStatus.CANCELED, None]
)
def test_the_slot_of_a_run_that_has_ended_or_was_deleted_goes_to_who_waits_for_it(
    stack: PipelineStack, ended: DagsterRunStatus | None
) -> None:
    holder = begin_run(stack, ended).run_id if ended else make_new_run_id()
    waiting = begin_run(stack, DagsterRunStatus.STARTED).run_id
    assert claim(stack, holder)
    assert not claim(stack, waiting)

    stack.evaluate_sensor(late_hours)

    assert claim(stack, waiting)


def test_a_slot_that_was_freed_and_given_to_nobody_goes_to_who_waits_for_it(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder, waiting = (begin_run(stack, DagsterRunStatus.STARTED).run_id for _ in range(2))
    assert claim(stack, holder)
    assert not claim(stack, waiting)
    storage = stack.instance.event_log_storage
    with monkeypatch.context() as patch:  # the holder dies in the middle
        patch.setattr(type(storage), "assign_pending_steps", lambda *_: None)
        storage.free_concurrency_slots_for_run(holder)
    assert not claim(stack, waiting)

    stack.evaluate_sensor(late_hours)

    assert claim(stack, waiting)


def test_a_run_keeps_its_slot_as_long_as_it_or_its_process_lives(stack: PipelineStack) -> None:
    ended_by_force = begin_run(stack, DagsterRunStatus.CANCELED)
    assert claim(stack, ended_by_force.run_id)
    assert free_slots(stack.instance, sessions(ended_by_force)) == []
    assert free_slots(stack.instance, NO_SESSIONS) == [ended_by_force.run_id]

    at_work = begin_run(stack, DagsterRunStatus.STARTED)
    assert claim(stack, at_work.run_id)
    assert free_slots(stack.instance, NO_SESSIONS) == []


def test_a_run_that_was_given_up_keeps_its_slot_for_one_more_look(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may live and take a new session by then, as after a cut connection."""
    monkeypatch.setattr("pipelines.automation.runs._TIME_WITHOUT_SESSION", timedelta(seconds=-1))
    monkeypatch.setattr("pipelines.automation.runs._TIME_TO_RENEW", timedelta(seconds=-1))
    holder = begin_run(stack, DagsterRunStatus.STARTED)
    waiting = begin_run(stack, DagsterRunStatus.QUEUED).run_id
    assert claim(stack, holder.run_id)

    stack.evaluate_sensor(late_hours)
    assert status_of(stack, holder) == DagsterRunStatus.FAILURE
    assert not claim(stack, waiting)
    assert free_slots(stack.instance, sessions(holder)) == []

    stack.evaluate_sensor(late_hours)
    assert claim(stack, waiting)


def test_a_run_that_uses_no_warehouse_and_so_holds_no_session_is_left_alone(
    stack: PipelineStack,
) -> None:
    @dg.op
    def look() -> None: ...

    @dg.job
    def looking() -> None:
        look()

    run = stack.instance.create_run_for_job(looking, status=DagsterRunStatus.STARTED)

    assert fail_abandoned_runs(stack.instance, NO_SESSIONS, in_(days=1)) == []
    assert status_of(stack, run) == DagsterRunStatus.STARTED


def test_a_run_that_has_just_closed_its_session_to_finish_is_not_failed(
    stack: PipelineStack,
) -> None:
    run = begin_run(stack, DagsterRunStatus.STARTED)
    later = in_(hours=1)
    stack.instance.report_dagster_event(
        dg.DagsterEvent("ENGINE_EVENT", "hourly", event_specific_data=EngineEventData()),
        run.run_id,
        timestamp=(later - timedelta(seconds=1)).timestamp(),
    )

    assert fail_abandoned_runs(stack.instance, NO_SESSIONS, later) == []
    assert fail_abandoned_runs(stack.instance, NO_SESSIONS, later + HOUR) == [run.run_id]


def test_the_sensor_and_a_person_do_not_work_on_the_hours_at_once(stack: PipelineStack) -> None:
    stack.deliver(METER, meter_rows({}))
    begin_run_of_assets(stack, DagsterRunStatus.STARTED, "raw_meter_heartbeats")
    begin_run_of_assets(stack, DagsterRunStatus.STARTED, "daily_efficiency_report")
    assert asked(stack) == [(hour_key(HOUR_10), hour_key(HOUR_10))]

    tables = (table.name for table in HOURLY_TABLES)
    begin_run_of_assets(stack, DagsterRunStatus.QUEUED, *tables)
    assert "1 of 1 hours that wait are under way" in str(
        stack.evaluate_sensor(late_hours).skip_message
    )


def test_runs_under_way_are_seen_behind_any_number_of_finished_ones(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.automation.runs._REMEMBERED", 1)
    run = begin_run(stack, DagsterRunStatus.STARTED)
    begin_run(stack, DagsterRunStatus.SUCCESS)

    assert HourlyRuns(stack.instance).unfinished == run.run_id


def test_every_asset_of_the_hourly_job_counts_as_work_on_the_hours() -> None:
    job = definitions.resolve_job_def("hourly")

    assert job.asset_layer.selected_asset_keys == HOURLY_ASSETS


def test_a_run_holds_a_session_while_it_lives(stack: PipelineStack) -> None:
    seen: list[object] = []

    @dg.op
    def look(warehouse: WarehouseResource) -> None:
        seen.extend(stack.rows(b"SELECT application_name FROM pg_stat_activity"))

    @dg.job(resource_defs={"warehouse": RESOURCES["warehouse"]})
    def looking() -> None:
        look()

    result = looking.execute_in_process(instance=stack.instance)

    assert {"application_name": f"wattlake-run-{result.run_id}"} in seen


def test_a_run_that_outlives_the_end_of_its_session_takes_a_new_one_and_leaves_none(
    stack: PipelineStack,
) -> None:
    @dg.op
    def look(warehouse: WarehouseResource) -> None:
        with warehouse.autocommit() as connection:

            def held() -> Collection[str]:
                return sessions_of_runs(connection).names

            (name,) = wait_for(held)
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE application_name LIKE 'wattlake-run-%'"
            )
            assert list(wait_for(held)) == [name]

    @dg.job(resource_defs={"warehouse": RESOURCES["warehouse"]})
    def looking() -> None:
        look()

    looking.execute_in_process(instance=stack.instance)

    assert not stack.rows(
        b"SELECT FROM pg_stat_activity WHERE application_name LIKE 'wattlake-run-%%'"
        b" AND datname = current_database()"
    )


def test_a_failed_hour_is_tried_again_after_a_pause_and_holds_up_no_other(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.deliver(METER, meter_rows({}))
    begin_run(stack, DagsterRunStatus.FAILURE)

    assert "wait for their next attempt" in str(stack.evaluate_sensor(late_hours).skip_message)

    stack.deliver(METER, meter_rows({"timestamp": HOUR_10 + HOUR}))
    assert asked(stack) == [(hour_key(HOUR_10 + HOUR), hour_key(HOUR_10 + HOUR))]

    monkeypatch.setattr("pipelines.automation.runs._FIRST_PAUSE", timedelta(seconds=0))
    assert asked(stack) == [
        (hour_key(HOUR_10 + HOUR), hour_key(HOUR_10 + HOUR)),
        (hour_key(HOUR_10), hour_key(HOUR_10)),
    ]


def test_a_bad_hour_is_soon_alone_and_all_others_are_computed_in_large_ranges(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.automation.runs._FIRST_PAUSE", timedelta(seconds=0))
    hours = [HOUR_10 - n * HOUR for n in range(240)]
    stack.deliver(METER, meter_rows(*({"timestamp": hour} for hour in hours)))
    bad, runs = hour_key(hours[77]), 0
    while ranges := [one for one in asked(stack) if one != (bad, bad)]:
        for first, last in ranges:
            is_bad = first <= bad <= last
            stack.instance.create_run_for_job(
                definitions.resolve_job_def("hourly"),
                status=DagsterRunStatus.FAILURE if is_bad else DagsterRunStatus.SUCCESS,
                tags=range_tags(first, last),
            )
            if not is_bad:
                publish(stack, first, last)
            runs += 1
        assert runs < 40
    assert asked(stack) == [(bad, bad)]
    # Alone it is tried again after ever longer pauses.
    for _ in range(3):
        stack.instance.create_run_for_job(
            definitions.resolve_job_def("hourly"),
            status=DagsterRunStatus.FAILURE,
            tags=range_tags(bad, bad),
        )
    (failed,) = HourlyRuns(stack.instance).failures().values()
    assert (failed.count, failed.length, failed.longest) == (3, 1, 1)


def publish(stack: PipelineStack, first: str, last: str) -> None:
    """What a successful run notes of its hours."""
    with psycopg.connect(stack.database_url) as connection:
        connection.execute(
            "UPDATE partition_ledger SET published_version = raw_version,"
            " published_revision = revision WHERE hour BETWEEN %s AND %s",
            [hour_of_key(first), hour_of_key(last)],
        )


def first_day_loaded(stack: PipelineStack) -> str:
    """First partition of definitions that are loaded now, in a process of their own."""
    told = "from pipelines.partitions import FIRST_HOUR; print(f'{FIRST_HOUR:%Y-%m-%d}')"
    command = [sys.executable, "-c", told]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.usefixtures("next_hour_is_far")
def test_partitions_begin_a_year_before_the_installation_or_with_older_heartbeats(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert first_day_loaded(stack) == f"{in_(days=-365):%Y-%m-%d}"
    old = in_(days=-3000).replace(minute=0, second=0, microsecond=0)
    stack.deliver(METER, meter_rows({"timestamp": old}))
    monkeypatch.setattr(sensors, "FIRST_HOUR", in_(days=-365))  # as the daemon has loaded it

    assert "1 hours from" in str(stack.evaluate_sensor(late_hours).skip_message)
    assert first_day_loaded(stack) == f"{old:%Y-%m-%d}"
    monkeypatch.setattr(sensors, "FIRST_HOUR", old)
    assert asked(stack) == [(hour_key(old), hour_key(old))]


@pytest.mark.usefixtures("next_hour_is_far")
def test_hours_of_a_clock_at_its_epoch_are_named_and_never_asked_for(stack: PipelineStack) -> None:
    stack.deliver(METER, meter_rows({"timestamp": datetime(2003, 5, 1, tzinfo=UTC)}))

    assert "before the first partition" in str(stack.evaluate_sensor(late_hours).skip_message)
    assert first_day_loaded(stack) == f"{in_(days=-365):%Y-%m-%d}"
    (never,) = stack.rows(query("hours_never_computed"))
    assert (never["hours"], never["advised"], never["too_early"]) == (1, None, 1)
    (status,) = stack.rows(query("whole_status"), now=datetime.now(UTC))
    assert (status["hours_waiting"], status["hours_compacted"]) == (0, 0)


def test_a_setting_says_where_partitions_begin_and_others_learn_of_it(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARTITIONS_START", "2026-06-01")
    monkeypatch.setattr(sensors, "_SETTINGS", PipelineSettings())
    monkeypatch.setattr(sensors, "FIRST_HOUR", datetime(2026, 6, 1, tzinfo=UTC))
    stack.deliver(METER, meter_rows({"timestamp": datetime(2026, 5, 1, tzinfo=UTC)}))

    assert "set PARTITIONS_START to an earlier day" in str(
        stack.evaluate_sensor(late_hours).skip_message
    )
    assert first_day_loaded(stack) == "2026-06-01"
    (never,) = stack.rows(query("hours_never_computed"))
    first = datetime(2026, 5, 1, tzinfo=UTC)
    assert (never["hours"], never["first"], never["advised"]) == (1, first, first)

    monkeypatch.delenv("PARTITIONS_START")
    monkeypatch.setattr(sensors, "_SETTINGS", PipelineSettings())
    stack.evaluate_sensor(late_hours)
    (never,) = stack.rows(query("hours_never_computed"))
    assert never["hours"] == 0


def test_the_hourly_schedule_asks_for_the_ended_hour_and_skips_clean_and_empty_ones(
    charged: PipelineStack, tmp_path: Path
) -> None:
    at = HOUR_10 + HOUR + timedelta(minutes=3)

    # A schedule is given a reference to its instance, which an ephemeral one does not have.
    with dg.DagsterInstance.local_temp(str(tmp_path)) as charged.instance:
        request = charged.evaluate_schedule(every_hour, at)
        assert isinstance(request, dg.RunRequest)
        assert request.tags.items() >= hour_tags(HOUR_10).items()
        charged.run("hourly", request.tags)

        assert "is computed already" in str(charged.evaluate_schedule(every_hour, at))
        assert "no heartbeats" in str(charged.evaluate_schedule(every_hour, at + 5 * HOUR))


def test_the_daily_schedule_asks_for_yesterday(stack: PipelineStack) -> None:
    request = stack.evaluate_schedule(every_day, datetime(2026, 11, 21, 0, 30, tzinfo=UTC))

    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2026-11-20"


def renewed(stack: PipelineStack, cursor: str | None) -> tuple[list[tuple[str, str]], str | None]:
    """First and last day of each run that the sensor asks for, and its cursor."""
    tick = stack.evaluate_sensor(changed_days, cursor)
    requests = tick.run_requests or []
    return [(r.tags[RANGE_START], r.tags[RANGE_END]) for r in requests], tick.cursor


DAY = ("2026-11-20", "2026-11-20")


def test_a_day_is_computed_again_once_for_the_hours_of_a_run(charged: PipelineStack) -> None:
    assert charged.evaluate_sensor(changed_days).run_requests == []
    charged.run_hours(HOUR_10 - HOUR, HOUR_10 + HOUR)

    days, cursor = renewed(charged, None)
    assert days == [DAY]
    charged.run("daily", range_tags(*DAY))

    days, cursor = renewed(charged, cursor)
    assert days == []
    charged.run_hours(HOUR_10, HOUR_10)
    assert renewed(charged, cursor)[0] == [DAY]


def test_a_day_that_failed_or_was_killed_is_asked_for_until_it_succeeds(
    charged: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    charged.run_hours(HOUR_10, HOUR_10)
    cursor = renewed(charged, None)[1]
    begin_day(charged, DAY[0], DagsterRunStatus.FAILURE)
    killed = begin_day(charged, DAY[0], DagsterRunStatus.STARTED)
    assert renewed(charged, cursor)[0] == []
    assert fail_abandoned_runs(charged.instance, NO_SESSIONS, in_(minutes=1)) == [killed.run_id]

    days, cursor = renewed(charged, cursor)
    assert days == []  # the pause after a failure
    monkeypatch.setattr("pipelines.automation.runs._FIRST_PAUSE", timedelta(seconds=0))
    for _ in range(2):
        days, cursor = renewed(charged, cursor)
        assert days == [DAY]

    charged.run("daily", range_tags(*DAY))
    assert renewed(charged, cursor)[0] == []


def test_what_ran_while_the_clock_was_ahead_holds_nothing_up(
    charged: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    charged.run_hours(HOUR_10, HOUR_10)
    charged.run("daily", range_tags(*DAY))
    begin_run(charged, DagsterRunStatus.FAILURE)
    assert renewed(charged, None)[0] == []
    days_ago = datetime.now(UTC) - timedelta(days=3)

    class SetBack(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return days_ago

    monkeypatch.setattr(sensors, "datetime", SetBack)
    charged.deliver(METER, meter_rows({}))
    assert (hour_key(HOUR_10), hour_key(HOUR_10)) in asked(charged)
    days, cursor = renewed(charged, None)
    assert days == [DAY]
    assert cursor is not None
    # A run that starts from now on is the last one that this day needs.
    assert OutdatedDays.model_validate_json(cursor).days[HOUR_10.date()].last == days_ago


def test_a_failure_is_remembered_when_many_runs_have_gone_by(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.automation.runs._REMEMBERED", 1)
    begin_day(stack, DAY[0], DagsterRunStatus.FAILURE)
    cursor = renewed(stack, None)[1]
    begin_day(stack, "2026-11-18", DagsterRunStatus.SUCCESS)

    assert renewed(stack, cursor)[0] == [DAY]


def test_a_failed_day_of_the_daily_schedule_is_asked_for_again(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.automation.runs._FIRST_PAUSE", timedelta(seconds=0))
    stack.instance.create_run_for_job(
        definitions.resolve_job_def("daily"),
        status=DagsterRunStatus.FAILURE,
        tags={"dagster/partition": DAY[0]},
    )

    assert renewed(stack, None)[0] == [DAY]


def test_a_day_that_began_before_an_hour_was_computed_is_computed_again(
    charged: PipelineStack,
) -> None:
    run = begin_day(charged, DAY[0], DagsterRunStatus.NOT_STARTED)
    charged.instance.report_engine_event("begins", run)
    charged.instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", "daily"), run.run_id)
    charged.run_hours(HOUR_10, HOUR_10)
    days, cursor = renewed(charged, None)
    assert days == []  # while it is being computed
    charged.instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", "daily"), run.run_id)

    assert renewed(charged, cursor)[0] == [DAY]


def test_a_repeated_tick_asks_for_the_same_days(charged: PipelineStack) -> None:
    charged.run_hours(HOUR_10, HOUR_10)

    first, again = charged.evaluate_sensor(changed_days), charged.evaluate_sensor(changed_days)

    assert [r.run_key for r in first.run_requests or []] == [f"{DAY[0]}..{DAY[1]} after none"]
    assert [r.run_key for r in again.run_requests or []] == [f"{DAY[0]}..{DAY[1]} after none"]


def test_a_day_waits_for_the_run_that_computes_its_hours_but_not_for_ever(
    charged: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    charged.run_hours(HOUR_10, HOUR_10)
    begin_run(charged, DagsterRunStatus.STARTED)

    tick = charged.evaluate_sensor(changed_days)
    assert "is under way" in str(tick.skip_message)

    monkeypatch.setattr(sensors, "_LONGEST_WAIT", timedelta(seconds=0))
    assert renewed(charged, tick.cursor)[0] == [DAY]


def test_everything_is_on_by_default() -> None:
    repository = definitions.get_repository_def()

    assert {sensor.name: sensor.default_status.value for sensor in repository.sensor_defs} == {
        "late_hours": "RUNNING",
        "changed_days": "RUNNING",
        "changed_reports": "RUNNING",
        "outdated_condition": "RUNNING",
        "failed_runs": "RUNNING",
    }
    assert {
        schedule.name: schedule.default_status.value for schedule in repository.schedule_defs
    } == {
        "every_hour": "RUNNING",
        "every_day": "RUNNING",
        "watch_every_hour": "RUNNING",
        "every_night": "RUNNING",
    }


def test_observing_reports_the_size_of_the_raw_tables_and_the_waiting_hours(
    charged: PipelineStack,
) -> None:
    charged.run("observe_raw", {})

    for stream in (METER, VEHICLE):
        found = charged.instance.fetch_observations(dg.AssetKey(stream.raw_table), limit=10)
        total, waiting = (
            record.asset_observation.metadata
            for record in found.records
            if record.asset_observation
        )
        assert total["dagster/row_count"].value == 3 * 180
        assert (waiting["hours_waiting"].value, waiting["rows_waiting"].value) == (3, 3 * 180)
