"""Runs of Dagster: those at work, those left behind by a dead process, and failures."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Generic, TypeVar

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter
from dagster._core.storage.event_log import SqlEventLogStorage

from pipelines.assets.history import meter_telemetry_history, vehicle_telemetry_history
from pipelines.assets.hourly import hourly_tables
from pipelines.assets.marts import efficiency_marts
from pipelines.automation.jobs import OLD_RANGE, daily, days_of_tags, hourly, hours_of_tags
from pipelines.ledger import Sessions
from pipelines.run_session import session_of_run

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
# Shorter than the sensor's interval: the next look tries again, and not the one after it.
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=20), timedelta(hours=1)
_CLOCKS_DIFFER = timedelta(minutes=1)  # by less, or one of them was ahead
# Before its session a run takes a moment to connect, after it a moment to note its success.
_TIME_WITHOUT_SESSION = timedelta(seconds=30)
_TIME_TO_START = timedelta(minutes=5)
# After the database came back: a run renews its session, and a start has failed or gets there.
_TIME_TO_RENEW = timedelta(seconds=15)
_TIME_TO_START_ANEW = timedelta(minutes=1)

_GONE = "the process of this run is gone"
_WAREHOUSE = "warehouse"
# The job that Dagster runs for a selection of assets, without one for all of them.
_ASSET_JOB = "__ASSET_JOB"

Part = TypeVar("Part", bound=date)


@dataclass(frozen=True)
class Failures:
    """The failures of an hour or a day since it last succeeded.

    `length` is the hours or days of the shortest run that failed, `count` the number of failed runs
    of that length.
    """

    count: int
    last: datetime
    length: int

    @property
    def retry_at(self) -> datetime:
        """Time of the next attempt; the pause doubles with each failure up to an hour."""
        doubled = min(self.count - 1, 10)
        return self.last + min(_FIRST_PAUSE * (1 << doubled), _LONGEST_PAUSE)

    @property
    def longest(self) -> int:
        """Longest next run: half of the failed one, so that one bad part is soon alone."""
        return -(-self.length // 2)

    def is_due(self, now: datetime) -> bool:
        """True if it may be tried again now; at once after a failure while a clock was ahead."""
        return self.last > now + _CLOCKS_DIFFER or self.retry_at <= now


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
            of_run = self.parts(run.tags)
            if run.status == DagsterRunStatus.SUCCESS:
                settled |= of_run
                continue
            length = len(of_run)
            for part in of_run - settled:
                known = failed.get(part, Failures(0, _changed(record), length))
                if length < known.length:
                    known = Failures(0, known.last, length)
                count = known.count + (length == known.length)
                failed[part] = replace(known, count=count)
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

    @property
    def under_way(self) -> set[datetime] | None:
        """Hours of all such runs; None where one names no hours."""
        of_runs = [self.parts(run.tags) for run in self._unfinished if _works_on_hours(run)]
        return set[datetime]().union(*of_runs) if all(of_runs) else None

    @property
    def old_ranges(self) -> int:
        """Number of runs of old ranges that are queued or under way."""
        return sum(run.tags.items() >= OLD_RANGE.items() for run in self._unfinished)

    def parts(self, tags: Mapping[str, str]) -> set[datetime]:
        """The hours of a run."""
        return hours_of_tags(tags)


class DayRuns(_RunsOfJob[date]):
    """The newest runs of the daily job, or of another one by days."""

    def __init__(self, instance: dg.DagsterInstance, job: str = daily.name) -> None:
        super().__init__(instance, job)

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

    def computed(self, now: datetime) -> dict[date, datetime]:
        """Start of the newest successful run of each day, which knows what was before.

        A run of a time still to come started while a clock was ahead; what it knew is unknown.
        """
        started: dict[date, datetime] = {}
        for record in self._records:
            if record.dagster_run.status == DagsterRunStatus.SUCCESS and record.start_time:
                start = datetime.fromtimestamp(record.start_time, UTC)
                if start > now + _CLOCKS_DIFFER:
                    continue
                for day in self.parts(record.dagster_run.tags):
                    started[day] = max(start, started.get(day, start))
        return started


def fail_abandoned_runs(
    instance: dg.DagsterInstance, sessions: Sessions, now: datetime
) -> list[str]:
    """End runs that Dagster takes for alive, but whose process is gone: killed, or a power cut.

    `sessions` were read at `now` or later. Returns the run ids; `free_slots` gives back what such
    runs held. Left alone, they would keep their place in the queue for ever. Runs of every job are
    looked at, those that were started from an asset's page included; a run that does not use the
    warehouse holds no session and is left to Dagster's own monitoring, which knows times only.
    """
    ended = []
    for record in instance.get_run_records(RunsFilter(statuses=[*_NOT_LAUNCHED, *_AT_WORK])):
        run = record.dagster_run
        if (
            session_of_run(run.run_id) not in sessions.names
            and now > _given_up_at(run.status, _last_sign(instance, record), sessions.since)
            and _uses_warehouse(instance, run)
        ):
            if run.status == DagsterRunStatus.CANCELING:
                instance.report_run_canceled(run, _GONE)
            else:
                instance.report_run_failed(run, _GONE)
            ended.append(run.run_id)
    return ended


def free_slots(
    instance: dg.DagsterInstance, sessions: Sessions, just_failed: Collection[str] = ()
) -> list[str]:
    """Free the pool slots of runs that have ended, whichever way, or were deleted; their run ids.

    Such a slot is left taken where the database or the process dies at the end of a step, and
    whoever waits for it would wait for ever. A run that was ended by force keeps its slots until
    its process is gone, and one of `just_failed` until the next look: if it lives after all, it has
    a session again by then. Read `sessions` before.
    """
    storage = instance.event_log_storage
    pools = storage.get_concurrency_infos(sorted(storage.get_concurrency_keys())).values()
    holders = {slot.run_id for pool in pools for slot in pool.claimed_slots}
    holders |= {step.run_id for pool in pools for step in pool.pending_steps}
    if not holders:
        return []
    alive = RunsFilter(run_ids=sorted(holders), statuses=list(_UNFINISHED))
    unfinished = {record.dagster_run.run_id for record in instance.get_run_records(alive)}
    ended = sorted(
        run_id
        for run_id in holders - unfinished - set(just_failed)
        if session_of_run(run_id) not in sessions.names
    )
    for run_id in ended:
        storage.free_concurrency_slots_for_run(run_id)
    if isinstance(storage, SqlEventLogStorage):
        # A slot whose last holder died before it passed it on belongs to nobody, and calls nobody.
        storage.assign_pending_steps(
            [
                pool.concurrency_key
                for pool in pools
                if pool.pending_step_count and pool.assigned_step_count < pool.slot_count
            ]
        )
    return ended


def _works_on_hours(run: dg.DagsterRun) -> bool:
    if run.asset_selection is None:
        return run.job_name in (hourly.name, _ASSET_JOB)
    return not HOURLY_ASSETS.isdisjoint(run.asset_selection)


def _given_up_at(status: DagsterRunStatus, last_sign: datetime, since: datetime) -> datetime:
    """Time at which a run without a session is given up; sessions are kept `since` then."""
    if status not in _NOT_LAUNCHED:
        return max(last_sign + _TIME_WITHOUT_SESSION, since + _TIME_TO_RENEW)
    return since + _TIME_TO_START_ANEW if last_sign < since else last_sign + _TIME_TO_START


def _last_sign(instance: dg.DagsterInstance, record: dg.RunRecord) -> datetime:
    """Time of the last change of the run's status or of its last event.

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
    """Time of the last change of the run's status."""
    return record.update_timestamp.astimezone(UTC)
