"""The runs: which is at work, which was left behind by a dead process, what failed."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Generic, TypeVar

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from pipelines.history import meter_telemetry_history, vehicle_telemetry_history
from pipelines.hourly import hourly_tables
from pipelines.jobs import daily, days_of_tags, hourly, hours_of_tags
from pipelines.resources import session_of_run
from pipelines.serving import efficiency_marts

HOURLY_ASSETS = frozenset(
    key
    for assets in (
        meter_telemetry_history,
        vehicle_telemetry_history,
        hourly_tables,
        efficiency_marts,
    )
    for key in assets.keys
)

_NOT_LAUNCHED = {DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING}
_AT_WORK = {DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING}
_UNFINISHED = {DagsterRunStatus.QUEUED, *_NOT_LAUNCHED, *_AT_WORK}

_REMEMBERED = 100
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=30), timedelta(hours=1)
# Before its session a run takes a moment to connect, after it a moment to note its success.
_TIME_WITHOUT_SESSION = timedelta(seconds=30)
_TIME_TO_START = timedelta(minutes=5)

_WAREHOUSE = "warehouse"
# The job that Dagster runs for a selection of assets, without one for all of them.
_ASSET_JOB = "__ASSET_JOB"

Part = TypeVar("Part", bound=date)


@dataclass(frozen=True)
class Failures:
    """The failures of an hour or a day since it last succeeded."""

    count: int
    last: datetime

    @property
    def retry_at(self) -> datetime:
        """When it may be tried again; the pause doubles with each failure up to an hour."""
        doubled = min(self.count - 1, 10)
        return self.last + min(_FIRST_PAUSE * (1 << doubled), _LONGEST_PAUSE)


class _RunsOfJob(ABC, Generic[Part]):
    """The newest runs of a job, as they were when this was made."""

    def __init__(self, instance: dg.DagsterInstance, job: str) -> None:
        self._records = instance.get_run_records(RunsFilter(job_name=job), limit=_REMEMBERED)

    @property
    def newest(self) -> str:
        """Id of the newest run."""
        return self._records[0].dagster_run.run_id if self._records else "none"

    @abstractmethod
    def parts(self, tags: Mapping[str, str]) -> set[Part]:
        """The hours or days that a run with these tags is about."""

    def failures(self) -> dict[Part, Failures]:
        """The hours or days whose newest finished run did not succeed."""
        failed: dict[Part, Failures] = {}
        settled: set[Part] = set()
        for record in self._records:  # newest first
            run = record.dagster_run
            if run.status in _UNFINISHED:
                continue
            of_run = self.parts(run.tags) - settled
            if run.status == DagsterRunStatus.SUCCESS:
                settled |= of_run
                continue
            for part in of_run:
                known = failed.get(part, Failures(0, _changed(record)))
                failed[part] = Failures(known.count + 1, known.last)
        return failed


class HourlyRuns(_RunsOfJob[datetime]):
    """The newest runs of the hourly job, and whatever else works on its assets."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        under_way = instance.get_run_records(RunsFilter(statuses=list(_UNFINISHED)))
        self._unfinished = [record.dagster_run for record in under_way]
        super().__init__(instance, hourly.name)

    @property
    def unfinished(self) -> str | None:
        """Id of a run that is queued or under way, of this job or of any of its assets."""
        return next((run.run_id for run in self._unfinished if _works_on_hours(run)), None)

    def parts(self, tags: Mapping[str, str]) -> set[datetime]:
        """The hours of a run."""
        return hours_of_tags(tags)


class DayRuns(_RunsOfJob[date]):
    """The newest runs of the daily job."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        super().__init__(instance, daily.name)

    def parts(self, tags: Mapping[str, str]) -> set[date]:
        """The days of a run."""
        return days_of_tags(tags)

    @property
    def unfinished(self) -> set[date]:
        """Days that are queued or being computed."""
        return {
            day
            for record in self._records
            if record.dagster_run.status in _UNFINISHED
            for day in self.parts(record.dagster_run.tags)
        }

    @property
    def computed(self) -> dict[date, datetime]:
        """For each day the start of its newest successful run, which knows what was before."""
        started: dict[date, datetime] = {}
        for record in self._records:
            if record.dagster_run.status == DagsterRunStatus.SUCCESS and record.start_time:
                start = datetime.fromtimestamp(record.start_time, UTC)
                for day in self.parts(record.dagster_run.tags):
                    started[day] = max(start, started.get(day, start))
        return started


def fail_abandoned_runs(
    instance: dg.DagsterInstance, sessions: Collection[str], now: datetime
) -> list[str]:
    """Fail runs that Dagster takes for alive, but whose process is gone: killed, or a power cut.

    `sessions` are the names of the database sessions that live runs hold, read at `now` or later.
    Returns the run ids. Left alone, such runs would keep their place in the queue and their pools
    for ever. Runs of every job are looked at, those that were started from an asset's page
    included; a run that does not use the warehouse holds no session and is left alone.
    """
    failed = []
    for record in instance.get_run_records(RunsFilter(statuses=[*_NOT_LAUNCHED, *_AT_WORK])):
        run = record.dagster_run
        if (
            session_of_run(run.run_id) not in sessions
            and now - _last_sign(instance, record) > _patience(run.status)
            and _uses_warehouse(instance, run)
        ):
            instance.report_run_failed(run, "the process of this run is gone")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            failed.append(run.run_id)
    return failed


def _works_on_hours(run: dg.DagsterRun) -> bool:
    if run.asset_selection is None:
        return run.job_name in (hourly.name, _ASSET_JOB)
    return not HOURLY_ASSETS.isdisjoint(run.asset_selection)


def _patience(status: DagsterRunStatus) -> timedelta:
    return _TIME_TO_START if status in _NOT_LAUNCHED else _TIME_WITHOUT_SESSION


def _last_sign(instance: dg.DagsterInstance, record: dg.RunRecord) -> datetime:
    """When the run last changed its status or said anything.

    A run speaks right before it opens its session and right before it closes it, so a living one
    is never without a session for long after its newest event.
    """
    events = instance.get_records_for_run(record.dagster_run.run_id, limit=1, ascending=False)
    spoken = [datetime.fromtimestamp(event.timestamp, UTC) for event in events.records]
    return max([_changed(record), *spoken])


def _uses_warehouse(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    if run.job_snapshot_id is None:
        return False
    ops = instance.get_job_snapshot(run.job_snapshot_id).node_defs_snapshot.op_def_snaps
    return any(_WAREHOUSE in op.required_resource_keys for op in ops)


def _changed(record: dg.RunRecord) -> datetime:
    """When the run took on its status."""
    return record.update_timestamp.astimezone(UTC)
