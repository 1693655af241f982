"""Jobs, and requests for runs of them."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

import dagster as dg
from dagster import AssetSelection

from lake import hours_between
from lake.reports import KINDS, Period
from pipelines.assets.external import registry
from pipelines.assets.marts import efficiency_day_marts
from pipelines.automation.watch import WATCHED
from pipelines.partitions import REFINES, hour_key, hour_of_key

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
# `dagster.yaml` lets one run at a time have this tag, so that the other place is for what is new.
OLD_RANGE = {"wattlake/range": "old"}
_NEWEST_FIRST = {"dagster/priority": "1"}

_NO_TAGS: Mapping[str, str] = {}
_WATCHED = AssetSelection.checks(*WATCHED)
_PUBLISHED_DAYS = AssetSelection.assets(efficiency_day_marts)

hourly = dg.define_asset_job(
    "hourly",
    selection=AssetSelection.groups("history", "efficiency", "health", "sessions", "serving")
    - _PUBLISHED_DAYS
    - _WATCHED,
    description="Compacts hours, computes their efficiency and publishes it; a range is one run.",
)
daily = dg.define_asset_job(
    "daily",
    selection=AssetSelection.groups("daily")
    | AssetSelection.assets("daily_efficiency_report")
    | _PUBLISHED_DAYS,
    description="Computes UTC days, publishes them and renders their reports; a range is one run.",
)
condition = dg.define_asset_job(
    "condition",
    selection=AssetSelection.groups("condition"),
    description="Looks at the sessions of a year: what is wrong with which device, whom to visit; "
    "a range of days is one run.",
)
REPORT_JOBS = {
    kind: dg.define_asset_job(
        f"{adverb}_report",
        selection=AssetSelection.assets(f"{adverb}_efficiency_report"),
        description=f"Renders the reports of a {kind}; a range is one run.",
    )
    for kind, adverb in zip(KINDS, ("daily", "weekly", "monthly"), strict=True)
}
observe_raw = dg.define_asset_job(
    "observe_raw",
    selection=AssetSelection.groups("raw", include_sources=True) - _WATCHED,
    description="Looks at the size of the raw tables and at the hours that wait.",
)

watch = dg.define_asset_job(
    "watch",
    selection=_WATCHED | AssetSelection.assets(registry),
    description="Checks that no hour is left behind and that the ledger counts what the lake has, "
    "and notes how many links, devices and tariffs there are.",
)


def range_tags(first: str, last: str) -> dict[str, str]:
    """Run tags that ask for all partitions from one key to another in a single run."""
    return {RANGE_START: first, RANGE_END: last}


def hours_request(
    hours: Sequence[datetime], after_run: str, *, old: bool = False, refines: bool = False
) -> dg.RunRequest:
    """Request one run of the hourly job for contiguous hours, `old` ones behind all that are new.

    `refines`: they were computed, and readings have come that they had lacked.
    `after_run` is the newest run before it: a tick that is repeated asks for the same run, and
    the same hours can be asked for again once any run has gone by.
    """
    tags = {REFINES: "true"} if refines else {}
    return _request(hourly.name, hour_key(hours[0]), hour_key(hours[-1]), after_run, old, tags)


def days_request(
    days: Sequence[date], after_run: str, *, old: bool = False, job: str = daily.name
) -> dg.RunRequest:
    """Request one run of a job of days for contiguous ones; the rest is as for `hours_request`."""
    return _request(job, f"{days[0]:%Y-%m-%d}", f"{days[-1]:%Y-%m-%d}", after_run, old)


def reports_request(periods: Sequence[Period], after_run: str) -> dg.RunRequest:
    """Request one run of the reports of contiguous periods; the rest is as for `hours_request`."""
    job, first, last = REPORT_JOBS[periods[0].kind], periods[0].first, periods[-1].first
    return _request(job.name, f"{first:%Y-%m-%d}", f"{last:%Y-%m-%d}", after_run, old=True)


def hours_of_tags(tags: Mapping[str, str]) -> set[datetime]:
    """The hours that a run with these tags was asked for."""
    first, last = part_keys(tags)
    if first is None or last is None:
        return set()
    return {*hours_between(hour_of_key(first), hour_of_key(last)), hour_of_key(last)}


def days_of_tags(tags: Mapping[str, str]) -> set[date]:
    """The days that a run with these tags was asked for."""
    first, last = part_keys(tags)
    if first is None or last is None:
        return set()
    start = date.fromisoformat(first)
    return {start + timedelta(days=n) for n in range((date.fromisoformat(last) - start).days + 1)}


def part_keys(tags: Mapping[str, str]) -> tuple[str | None, str | None]:
    """First and last partition key of a run with these tags; None for a run without any."""
    one = tags.get("dagster/partition")
    return tags.get(RANGE_START, one), tags.get(RANGE_END, one)


def _request(
    job: str, first: str, last: str, after_run: str, old: bool, tags: Mapping[str, str] = _NO_TAGS
) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"{first}..{last} after {after_run}",
        job_name=job,
        tags=range_tags(first, last) | (OLD_RANGE if old else _NEWEST_FIRST) | dict(tags),
    )
