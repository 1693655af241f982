"""Partitions: the UTC hours and days of event time, and how the lake's times name them."""

from datetime import UTC, date, datetime, time, timedelta

import dagster as dg

from lake import hours_between
from lake.reports import Kind, Period
from pipelines.first_partition import first_day

# Time windows are computed, not stored: an early start costs a run nothing (but see
# `newest_partition`). Only the partition pages of the webserver list every key.
START = first_day()

HOURLY = dg.HourlyPartitionsDefinition(start_date=f"{START:%Y-%m-%d}-00:00", timezone="UTC")
# The running day is a partition as well: its report says "so far".
DAILY = dg.DailyPartitionsDefinition(start_date=f"{START:%Y-%m-%d}", timezone="UTC", end_offset=1)

# Those of reports, from the one on that the first day lies in; named by their first days.
WEEKLY = dg.WeeklyPartitionsDefinition(
    start_date=f"{Period.holding('week', START).first:%Y-%m-%d}",
    timezone="UTC",
    day_offset=1,
    end_offset=1,
)
MONTHLY = dg.MonthlyPartitionsDefinition(
    start_date=f"{START:%Y-%m}-01", timezone="UTC", end_offset=1
)

# Tag of a run that computes hours again for readings that they had lacked.
REFINES = "wattlake/refines"

FIRST_HOUR = datetime.combine(START, time(), UTC)


def newest_partition(asset: str | dg.AssetKey) -> dg.AssetDep:
    """The dependency of an asset without partitions on one that has them.

    On all partitions, which is Dagster's default, each step would list every key since the start:
    a second of processor time for an asset of ten years.
    """
    return dg.AssetDep(asset, partition_mapping=dg.LastPartitionMapping())


def hour_key(hour: datetime) -> str:
    """The partition key of the hour that starts at `hour`."""
    return f"{hour.astimezone(UTC):%Y-%m-%d-%H:00}"


def hour_of_key(key: str) -> datetime:
    """The start of the hour that a partition key names."""
    return datetime.strptime(key, HOURLY.fmt).replace(tzinfo=UTC)


def day_key(moment: datetime) -> str:
    """The partition key of the UTC day that `moment` lies in."""
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def hours_of_run(context: dg.AssetExecutionContext) -> list[datetime]:
    """Every hour that this run was asked for, one partition or a range of them."""
    window = context.partition_time_window
    return hours_between(window.start.astimezone(UTC), window.end.astimezone(UTC))


def days_of_run(context: dg.AssetExecutionContext) -> list[date]:
    """Every UTC day that this run was asked for, one partition or a range of them."""
    window = context.partition_time_window
    first = window.start.astimezone(UTC).date()
    count = (window.end.astimezone(UTC).date() - first).days
    return [first + timedelta(days=n) for n in range(count)]


def period_of_key(kind: Kind, key: str) -> Period:
    """The period of a report that a partition key names by its first day."""
    return Period(kind, date.fromisoformat(key))
