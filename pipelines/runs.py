"""The runs: which is at work, which was left behind by a dead process, which hours failed."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from pipelines.jobs import daily_report, hourly, hours_of_tags
from pipelines.resources import session_of_run

_WAITING = {DagsterRunStatus.QUEUED, DagsterRunStatus.NOT_STARTED}
_AT_WORK = {DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING}
_UNFINISHED = {*_WAITING, DagsterRunStatus.STARTING, *_AT_WORK}

_REMEMBERED = 100
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=30), timedelta(hours=1)
# From its start to its session a run takes a moment, and its process some seconds to start.
_TIME_TO_OPEN_SESSION = timedelta(seconds=30)
_TIME_TO_START = timedelta(minutes=5)


class HourlyRuns:
    """The newest runs of the hourly job, as they were when this was made."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._records = instance.get_run_records(
            RunsFilter(job_name=hourly.name), limit=_REMEMBERED
        )

    @property
    def newest(self) -> str:
        """Id of the newest run."""
        return self._records[0].dagster_run.run_id if self._records else "none"

    @property
    def unfinished(self) -> str | None:
        """Id of a run that is queued or under way."""
        for record in self._records:
            if record.dagster_run.status in _UNFINISHED:
                return record.dagster_run.run_id
        return None

    def failures(self, hours: Collection[datetime]) -> dict[datetime, tuple[int, datetime]]:
        """How often each hour failed since it last succeeded, and when it may be tried again."""
        failed: dict[datetime, tuple[int, datetime]] = {}
        settled: set[datetime] = set()
        for record in self._records:  # newest first
            of_run = hours_of_tags(record.dagster_run.tags) & set(hours) - settled
            if record.dagster_run.status == DagsterRunStatus.SUCCESS:
                settled |= of_run
                continue
            for hour in of_run:
                count, last = failed.get(hour, (0, _changed(record)))
                failed[hour] = (count + 1, last)
        return {
            hour: (count, last + min(_FIRST_PAUSE * 2 ** (count - 1), _LONGEST_PAUSE))
            for hour, (count, last) in failed.items()
        }


def fail_abandoned_runs(
    instance: dg.DagsterInstance, sessions: Collection[str], now: datetime
) -> list[str]:
    """Fail runs that Dagster takes for alive, but whose process is gone: killed, or a power cut.

    `sessions` are the names of the database sessions that live runs hold. Returns the run ids. Left
    alone, such runs would keep their place in the queue and their pools for ever.
    """
    failed = []
    for job in (hourly, daily_report):
        unfinished = RunsFilter(job_name=job.name, statuses=list(_UNFINISHED))
        for record in instance.get_run_records(unfinished):
            run = record.dagster_run
            silent = now - _changed(record) > _patience(run.status)
            if silent and session_of_run(run.run_id) not in sessions:
                instance.report_run_failed(run, "the process of this run is gone")
                instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
                failed.append(run.run_id)
    return failed


def _patience(status: DagsterRunStatus) -> timedelta:
    if status in _AT_WORK:
        return _TIME_TO_OPEN_SESSION
    if status == DagsterRunStatus.STARTING:
        return _TIME_TO_START
    return timedelta.max


def _changed(record: dg.RunRecord) -> datetime:
    """When the run took on its status."""
    return record.update_timestamp.astimezone(UTC)
