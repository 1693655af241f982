"""Schedules: the newest hour and the day before."""

from datetime import UTC, timedelta

import dagster as dg

from lake import HOUR, hour_of
from pipelines.automation.jobs import daily, hourly, hours_request, watch
from pipelines.automation.runs import HourlyRuns
from pipelines.ledger import has_heartbeats, waiting_hours
from pipelines.partitions import day_key
from pipelines.resources import WarehouseResource


@dg.schedule(
    name="every_hour",
    job=hourly,
    cron_schedule="3 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Computes the hour that has ended, unless the sensor was there before.",
)
def every_hour(
    context: dg.ScheduleEvaluationContext, warehouse: WarehouseResource
) -> dg.RunRequest | dg.SkipReason:
    """Ask for the hour before the scheduled time if it has heartbeats that nobody took in."""
    hour = hour_of(context.scheduled_execution_time) - HOUR
    with warehouse.autocommit() as connection:
        known = has_heartbeats(connection, hour)
        waiting = waiting_hours(connection, hour, hour + HOUR)
    if not known:
        return dg.SkipReason(f"no heartbeats of {hour:%Y-%m-%d %H:00} UTC")
    if not waiting:
        return dg.SkipReason(f"{hour:%Y-%m-%d %H:00} UTC is computed already")
    runs = HourlyRuns(context.instance)
    if runs.under_way is None or hour in runs.under_way:
        return dg.SkipReason(f"run {runs.unfinished} is under way; late_hours looks after it")
    return hours_request([hour], runs.newest)


@dg.schedule(
    name="every_day",
    job=daily,
    cron_schedule="30 0 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Computes the day that has ended and renders its report.",
)
def every_day(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Ask for yesterday."""
    yesterday = context.scheduled_execution_time.astimezone(UTC) - timedelta(days=1)
    return dg.RunRequest(partition_key=day_key(yesterday))


watch_every_hour = dg.ScheduleDefinition(
    name="watch_every_hour",
    job=watch,
    cron_schedule="20 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Looks for hours that are left behind and for a ledger that is wrong.",
)
