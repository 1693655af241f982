"""Retention of Dagster's runs: each night those are deleted of which nothing is shown any more."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from pipelines.assets.metadata import RETRIES
from pipelines.settings import PipelineSettings

_ENDED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
_EVENTS_A_LOOK = 1_000
_FORMER_PREFIX = "maintenance"
# Each hour of `hourly` is as a rule computed once: nearly all of its runs are the newest of an hour
# for ever, and to look at all of them each night would take longer every year.
_JOBS = ("daily", "watch", "maintenance", "observe_raw")


@dataclass(frozen=True)
class PrunedRuns:
    """Numbers of old runs: deleted, and kept because their assets' pages show them."""

    deleted: int
    kept: int


@dg.op(
    pool="runs",
    retry_policy=RETRIES,
    description=(
        "Deletes runs that are older than `RUN_RETENTION_DAYS`, with their events and logs.\n\n"
        "**How it works.** Runs of the jobs " + ", ".join(f"`{job}`" for job in _JOBS) + ", and "
        "runs of any job that did not succeed. A run that holds the newest materialization of an "
        "asset or of a partition stays, and every partition keeps its state and its numbers.\n\n"
        "**Caveats.** Successful runs of `hourly` stay: each holds the record of its hours. A "
        "failure that `RUN_FAILURE_WEBHOOK` has not taken by then is no longer told."
    ),
)
def runs_retention(context: dg.OpExecutionContext) -> None:
    """Delete old runs and tell how many."""
    started, days = time.monotonic(), PipelineSettings().run_retention_days
    before = datetime.now(UTC) - timedelta(days=days)
    _forget_assets(context.instance)
    done = prune_runs(context.instance, _JOBS, before)
    context.add_output_metadata(
        {
            "retention": f"{days} days: runs before {before:%Y-%m-%d %H:%M} UTC",
            "runs_deleted": done.deleted,
            "runs_kept_as_the_newest": done.kept,
            "seconds": round(time.monotonic() - started, 3),
        }
    )


def _forget_assets(instance: dg.DagsterInstance) -> None:
    """Forget the assets that the steps of this job were in earlier versions.

    Dagster would show them for ever, and their newest runs would never go.
    """
    if gone := instance.get_asset_keys(prefix=[_FORMER_PREFIX]):
        instance.wipe_assets(gone)


def prune_runs(instance: dg.DagsterInstance, jobs: Sequence[str], before: datetime) -> PrunedRuns:
    """Delete ended runs that were made before a time, but for those that hold a newest record.

    Of these jobs all runs are looked at, of others those that failed or were canceled.
    """
    deleted, kept = 0, set()
    for run_id in _candidates(instance, jobs, before):
        if _holds_a_newest(instance, run_id):
            kept.add(run_id)
        else:
            # The logs first: without their run nobody would look for them again.
            instance.compute_log_manager.delete_logs(prefix=[run_id])
            instance.delete_run(run_id)
            deleted += 1
    return PrunedRuns(deleted, len(kept))


def _candidates(
    instance: dg.DagsterInstance, jobs: Sequence[str], before: datetime
) -> Iterator[str]:
    filters = [RunsFilter(job_name=job, statuses=_ENDED, created_before=before) for job in jobs]
    filters.append(RunsFilter(statuses=_ENDED[1:], created_before=before))
    for wanted in filters:
        yield from (record.dagster_run.run_id for record in instance.get_run_records(wanted))


def _holds_a_newest(instance: dg.DagsterInstance, run_id: str) -> bool:
    """True if a materialization of the run is the newest one of its asset and partition."""
    for event in _materializations(instance, run_id):
        found = event.asset_materialization
        if found is None:
            continue
        of = dg.AssetRecordsFilter(
            asset_key=found.asset_key,
            asset_partitions=None if found.partition is None else [found.partition],
        )
        newest = instance.fetch_materializations(of, limit=1).records
        if newest and newest[0].storage_id == event.storage_id:
            return True
    return False


def _materializations(instance: dg.DagsterInstance, run_id: str) -> Iterator[dg.EventLogRecord]:
    cursor = None
    while True:
        found = instance.get_records_for_run(
            run_id, cursor, dg.DagsterEventType.ASSET_MATERIALIZATION, limit=_EVENTS_A_LOOK
        )
        yield from found.records
        if not found.has_more:
            return
        cursor = found.cursor
