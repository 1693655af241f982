"""What is computed because something has changed: late heartbeats, recomputed hours."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from lake import HOUR
from pipelines.efficiency import FLEET
from pipelines.jobs import daily_report, hourly, hours_request, range_tags
from pipelines.ledger import sessions_of_runs, waiting_hours
from pipelines.partitions import FIRST_HOUR, contiguous, hour_of_key
from pipelines.raw import observation
from pipelines.resources import WarehouseResource
from pipelines.runs import HourlyRuns, fail_abandoned_runs
from pipelines.settings import PipelineSettings

_SETTINGS = PipelineSettings()
_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
_REQUESTS_A_TICK = 10
_EVENTS_A_LOOK = 5_000


@dg.sensor(
    name="late_hours",
    job=hourly,
    minimum_interval_seconds=_SETTINGS.sensor_interval_seconds,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Computes each closed hour that has heartbeats which the marts do not know yet.",
)
def late_hours(
    context: dg.SensorEvaluationContext, warehouse: WarehouseResource
) -> dg.SensorResult | dg.SkipReason:
    """Ask for the waiting hours of the ledger, contiguous ones as one run."""
    now = datetime.now(UTC)
    closed = now - timedelta(seconds=_SETTINGS.hour_grace_seconds) - HOUR
    with warehouse.autocommit() as connection:
        for run_id in fail_abandoned_runs(context.instance, sessions_of_runs(connection), now):
            context.log.warning(f"the process of run {run_id} is gone; its hours follow")
        runs = HourlyRuns(context.instance)
        if runs.unfinished:
            return dg.SkipReason(f"run {runs.unfinished} is under way")
        # The end is exclusive, an hour is closed from its grace on.
        waiting = waiting_hours(connection, _BEGINNING, closed + timedelta(microseconds=1))
    early = sorted({entry.hour for entry in waiting if entry.hour < FIRST_HOUR})
    if early:
        context.log.warning(
            f"{len(early)} hours from {early[0]:%Y-%m-%d} on lie before PARTITIONS_START "
            f"{FIRST_HOUR:%Y-%m-%d} and are not computed; set it to an earlier day"
        )
    hours = {entry.hour for entry in waiting} - set(early)
    failures = runs.failures(hours)
    due: dict[int, list[datetime]] = defaultdict(list)
    for hour in hours:
        count, retry_at = failures.get(hour, (0, now))
        if retry_at <= now:
            # Hours that failed do not share a run with others, or one bad hour would hold up all.
            due[count].append(hour)
    ranges = [
        found
        for count in sorted(due)
        for found in contiguous(due[count], 1 if count > 1 else _SETTINGS.hours_per_run)
    ][:_REQUESTS_A_TICK]
    if not ranges:
        return dg.SkipReason(_why_idle(len(hours), len(early)))
    asked = {hour for found in ranges for hour in found}
    return dg.SensorResult(
        run_requests=[hours_request(found, runs.newest) for found in ranges],
        asset_events=[observation(entry) for entry in waiting if entry.hour in asked],
    )


@dg.sensor(
    name="report_renewal",
    job=daily_report,
    minimum_interval_seconds=_SETTINGS.sensor_interval_seconds,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Renders the report of a day again when hours of it were computed since.",
)
def report_renewal(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Ask for the report of each day whose fleet efficiency was materialized since last time."""
    if unfinished := HourlyRuns(context.instance).unfinished:
        return dg.SkipReason(f"run {unfinished} is under way; its report follows")
    found = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=FLEET.key, after_storage_id=int(context.cursor or 0)),
        limit=_EVENTS_A_LOOK,
        ascending=True,
    )
    if not found.records:
        return dg.SkipReason("no hour was computed since the last report")
    days = {
        hour_of_key(record.partition_key).date()
        for record in found.records
        if record.partition_key is not None
    }
    newest = found.records[-1].storage_id
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=f"{first}..{last} after event {newest}", tags=range_tags(first, last)
            )
            for first, last in _day_ranges(days)
        ],
        cursor=str(newest),
    )


def _day_ranges(days: set[date]) -> list[tuple[str, str]]:
    """First and last partition key of each stretch of days without a hole."""
    ranges: list[tuple[date, date]] = []
    for day in sorted(days):
        if ranges and day - ranges[-1][1] == timedelta(days=1):
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return [(f"{first:%Y-%m-%d}", f"{last:%Y-%m-%d}") for first, last in ranges]


def _why_idle(waiting: int, early: int) -> str:
    reason = f"{waiting} hours wait for their next attempt" if waiting else "no closed hour waits"
    return (
        f"{reason}; {early} lie before PARTITIONS_START {FIRST_HOUR:%Y-%m-%d}" if early else reason
    )
