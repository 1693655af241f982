"""Partitions: the UTC hours and days of event time, and how the lake's times name them."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, time

import dagster as dg

from lake.hours import HOUR, hours_between
from pipelines.settings import PipelineSettings

# Time windows are computed, not stored: an early start costs a run nothing. Only the partition
# pages of the webserver list every key, which is why the start is a setting.
START = PipelineSettings().partitions_start

HOURLY = dg.HourlyPartitionsDefinition(start_date=f"{START:%Y-%m-%d}-00:00", timezone="UTC")
# The running day is a partition as well: its report says "so far".
DAILY = dg.DailyPartitionsDefinition(start_date=f"{START:%Y-%m-%d}", timezone="UTC", end_offset=1)

FIRST_HOUR = datetime.combine(START, time(), UTC)


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


def contiguous(hours: Iterable[datetime], longest: int) -> list[Sequence[datetime]]:
    """The hours in order, as ranges without a hole and of at most `longest` hours."""
    ranges: list[list[datetime]] = []
    for hour in sorted(set(hours)):
        if ranges and hour - ranges[-1][-1] == HOUR and len(ranges[-1]) < longest:
            ranges[-1].append(hour)
        else:
            ranges.append([hour])
    return list(ranges)
