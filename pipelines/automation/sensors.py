"""Sensors: hours with late heartbeats, and days of recomputed hours."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

import dagster as dg
import psycopg
from pydantic import BaseModel

from lake import DAY, HOUR, EnergySettings
from lake.costs import BadTariff
from lake.schema import contiguous_hours, contiguous_ranges
from pipelines.assets.hourly import FLEET
from pipelines.assets.raw import observations
from pipelines.automation.jobs import (
    condition,
    daily,
    days_request,
    hourly,
    hours_request,
)
from pipelines.automation.runs import DayRuns, Failures, HourlyRuns, fail_abandoned_runs, free_slots
from pipelines.compute.pricing import note_changed_tariffs, repriced_days
from pipelines.first_partition import lower_first_partition
from pipelines.ledger import hours_to_refine, sessions_of_runs, waiting_hours
from pipelines.partitions import FIRST_HOUR, hour_of_key
from pipelines.resources import WarehouseResource
from pipelines.settings import PipelineSettings
from warehouse_sql.named_queries import query

_SETTINGS = PipelineSettings()
_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
_REQUESTS_A_TICK = 10
# So many keep two places busy until the next tick; the newest hours never wait behind them.
_OLD_RANGES = 4
_NEWEST = timedelta(hours=2)
_EVENTS_A_LOOK = 5_000
_DAYS_A_RUN = 31
# Where late heartbeats keep the hourly runs busy, a day does not wait for a pause of theirs.
_LONGEST_WAIT = timedelta(minutes=15)
# By then the hours before midnight are computed, and the one after it, which tells what has ended.
_NIGHT = timedelta(hours=2)
# Later changes of older days count for newer ones alone. A full fleet's day takes a minute.
_CONDITION_DAYS, _CONDITION_PAUSE = timedelta(days=35), timedelta(hours=6)


class Change(BaseModel, frozen=True):
    """First and last time a day changed since the start of its newest successful run."""

    first: datetime
    last: datetime


class OutdatedDays(BaseModel, frozen=True):
    """Cursor of `changed_days`: days whose tables and report are older than their hours."""

    seen_event: int = 0
    days: dict[date, Change] = {}


@dg.sensor(
    name="late_hours",
    job=hourly,
    minimum_interval_seconds=_SETTINGS.sensor_interval_seconds,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Computes each closed hour that has heartbeats which the marts do not know yet, "
    "and again one of which a reading comes that it lacked.",
)
def late_hours(
    context: dg.SensorEvaluationContext, warehouse: WarehouseResource
) -> dg.SensorResult | dg.SkipReason:
    """Ask for the waiting hours of the ledger, contiguous ones as one run, the newest first.

    Of the older ones a few ranges at a time, in runs that leave the newest hour its place; behind
    them computed hours of which a reading has come that they had lacked.
    """
    now = datetime.now(UTC)
    closed = now - timedelta(seconds=_SETTINGS.hour_grace_seconds) - HOUR
    with warehouse.autocommit() as connection:
        sessions = sessions_of_runs(connection)
        failed_runs = fail_abandoned_runs(context.instance, sessions, now)
        for run_id in failed_runs:
            context.log.warning(f"the process of run {run_id} is gone; it is failed")
        for run_id in free_slots(context.instance, sessions, failed_runs):
            context.log.warning(f"run {run_id} has ended; the pool slots that it held are free")
        runs = HourlyRuns(context.instance)
        under_way = runs.under_way
        if under_way is None:
            return dg.SkipReason(f"run {runs.unfinished} is under way")
        # The end is exclusive, an hour is closed from its grace on.
        waiting = waiting_hours(connection, _BEGINNING, closed + timedelta(microseconds=1))
        lower_first_partition(connection, _SETTINGS.partitions_start)
        refined = _hours_to_refine(connection, now)
    early = sorted({entry.hour for entry in waiting if entry.hour < FIRST_HOUR})
    if early:
        context.log.warning(_early(early))
    rows: dict[datetime, int] = defaultdict(int)
    for entry in waiting:
        rows[entry.hour] += entry.raw_rows
    hours = rows.keys() - set(early)
    failures = runs.failures()
    due: dict[tuple[bool, RunLimits], list[datetime]] = defaultdict(list)
    for hour in hours - under_way:
        failed = failures.get(hour)
        if failed is None or failed.is_due(now):
            kind = hour <= closed - _NEWEST, _run_limits(failed, _SETTINGS.hours_per_run)
            due[kind].append(hour)
    ranges: dict[bool, list[Sequence[datetime]]] = defaultdict(list)
    for (is_old, limits), of_kind in sorted(due.items()):
        ranges[is_old] += reversed(_bounded(contiguous_hours(of_kind, limits.longest), rows))
    old = ranges[True][: max(_OLD_RANGES - runs.old_ranges, 0)]
    # With figures that are there already, behind all that have none.
    again = [hour for hour in refined if hour >= FIRST_HOUR and hour not in hours | under_way]
    again = [hour for hour in again if (failed := failures.get(hour)) is None or failed.is_due(now)]
    refining = contiguous_hours(again, _SETTINGS.hours_per_run)[::-1]
    refining = refining[: max(_OLD_RANGES - runs.old_ranges - len(old), 0)]
    asked = [*ranges[False], *old]
    if not (asked or refining):
        return dg.SkipReason(_why_idle(len(hours), len(hours & under_way), early))
    return dg.SensorResult(
        run_requests=[
            *(hours_request(found, runs.newest) for found in ranges[False]),
            *(hours_request(found, runs.newest, old=True) for found in old),
            *(hours_request(found, runs.newest, old=True, refines=True) for found in refining),
        ],
        asset_events=[event for found in asked for event in observations(waiting, found)],
    )


@dg.sensor(
    name="changed_days",
    job=daily,
    minimum_interval_seconds=_SETTINGS.sensor_interval_seconds,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Computes a day again, with its report, until it knows every hour computed so far, "
    "and what energy costs.",
)
def changed_days(
    context: dg.SensorEvaluationContext, warehouse: WarehouseResource
) -> dg.SensorResult:
    """Ask for each changed day until a run that started after the change succeeds."""
    now = datetime.now(UTC)
    hourly_runs = HourlyRuns(context.instance)
    runs = DayRuns(context.instance)
    with warehouse.autocommit() as connection:
        try:
            note_changed_tariffs(connection, EnergySettings())
        except BadTariff as error:
            context.log.warning(f"TARIFF_FILE: {error}; days keep the costs that they have")
        repriced = repriced_days(connection)
    behind = _outdated_days(context, runs, repriced, now)
    failures, under_way = runs.failures(), runs.unfinished
    recent = now.date() - DAY
    due: dict[tuple[bool, RunLimits], list[date]] = defaultdict(list)
    for day, change in behind.days.items():
        failed, is_old = failures.get(day), day < recent
        wait = _may_change(day, is_old, hourly_runs) and now - change.first < _LONGEST_WAIT
        if wait or day in under_way or (failed is not None and not failed.is_due(now)):
            continue
        due[is_old, _run_limits(failed, _DAYS_A_RUN)].append(day)
    requests = [
        days_request(days, runs.newest, old=is_old)
        for (is_old, limits), of_kind in sorted(due.items())
        for days in reversed(contiguous_ranges(of_kind, DAY, limits.longest))
    ][:_REQUESTS_A_TICK]
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else _why_no_day(len(behind.days), hourly_runs.unfinished),
        cursor=behind.model_dump_json(),
    )


@dg.sensor(
    name="outdated_condition",
    job=condition,
    minimum_interval_seconds=max(_SETTINGS.sensor_interval_seconds, 60),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks at the condition of devices each night, and again, at most each six hours, "
    "where sessions of the last weeks have changed.",
)
def outdated_condition(
    context: dg.SensorEvaluationContext, warehouse: WarehouseResource
) -> dg.RunRequest | dg.SkipReason:
    """Ask for all days from the first outdated one of the last weeks up to yesterday.

    The list of a day follows from that of the day before, so they are one run, in their order.
    """
    now = datetime.now(UTC)
    last = (now - _NIGHT).date() - DAY
    with warehouse.autocommit() as connection:
        window = {"first": max(last - _CONDITION_DAYS, FIRST_HOUR.date()), "last": last}
        ((outdated,),) = connection.execute(query("outdated_condition_day"), window).fetchall()
        known = connection.execute(query("newest_condition_day")).fetchone()
        end = datetime.combine(last, time(), UTC) + DAY
        asked = {"end": end, "since": now - _CONDITION_PAUSE}
        ((arriving,),) = connection.execute(query("hours_arriving"), asked).fetchall()
    if outdated is None:
        return dg.SkipReason("every day knows its newest sessions")
    days = [outdated + timedelta(days=n) for n in range((last - outdated).days + 1)]
    runs = DayRuns(context.instance, condition.name)
    if runs.unfinished:
        return dg.SkipReason("a run is under way")
    failed = [failures for day, failures in runs.failures().items() if day in days]
    if any(not failures.is_due(now) for failures in failed):
        return dg.SkipReason("the last run failed; it is tried again later")
    if known is not None and known[0] >= last and now - known[1] < _CONDITION_PAUSE:
        return dg.SkipReason("the newest day was computed in the last six hours")
    if arriving:
        return dg.SkipReason(f"{arriving} hours wait to be computed first")
    return days_request(days, runs.newest, old=True, job=condition.name)


def _hours_to_refine(connection: psycopg.Connection, now: datetime) -> list[datetime]:
    pause = timedelta(seconds=_SETTINGS.refine_pause_seconds)
    return hours_to_refine(connection, now, pause, now - (_SETTINGS.refine_hours + 1) * HOUR)


class RunLimits(NamedTuple):
    """The hours or days that may share a run; the largest ranges come first."""

    failed: bool
    shortened: int
    longest: int


def _run_limits(failed: Failures | None, most: int) -> RunLimits:
    """Those that failed share no run with others, and at most half of the one that failed.

    So a bad hour is alone after as many runs as a range can be halved, and all others are computed
    in large ranges.
    """
    longest = min(failed.longest, most) if failed else most
    return RunLimits(failed is not None, most - longest, longest)


def _bounded(
    ranges: Iterable[Sequence[datetime]], rows: Mapping[datetime, int]
) -> list[Sequence[datetime]]:
    """The ranges in order, cut where one would have more rows than a run may."""
    cut: list[list[datetime]] = []
    for found in ranges:
        cut.append([])
        total = 0
        for hour in found:
            total += rows[hour]
            if cut[-1] and total > _SETTINGS.rows_per_run:
                cut.append([])
                total = rows[hour]
            cut[-1].append(hour)
    return list(cut)


def _may_change(day: date, is_old: bool, runs: HourlyRuns) -> bool:
    """True if a run is under way that may change the day's hours; any run, for an old day."""
    under_way = runs.under_way
    if is_old or under_way is None:
        return runs.unfinished is not None
    return any(hour.date() == day for hour in under_way)


def _outdated_days(
    context: dg.SensorEvaluationContext,
    runs: DayRuns,
    repriced: Collection[date],
    now: datetime,
) -> OutdatedDays:
    """The days of the cursor and what changed or failed since, without those now computed."""
    known = OutdatedDays.model_validate_json(context.cursor) if context.cursor else OutdatedDays()
    found = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=FLEET.key, after_storage_id=known.seen_event),
        limit=_EVENTS_A_LOOK,
        ascending=True,
    ).records
    moments = [
        moment for day, c in known.days.items() for moment in ((day, c.first), (day, c.last))
    ]
    moments += [
        (hour_of_key(event.partition_key).date(), datetime.fromtimestamp(event.timestamp, UTC))
        for event in found
        if event.partition_key is not None
    ]
    # A day stays repriced until a run has seen why, whatever the clocks of the two say.
    asked = known.days.keys() | runs.unfinished
    moments += [(day, now) for day in repriced if day not in asked]
    # A run that another asked for, the schedule for one, is nobody's care once it has failed.
    moments += [(day, failed.last) for day, failed in runs.failures().items()]
    computed = runs.computed(now)
    behind: dict[date, Change] = {}
    for day, told in moments:
        moment = min(told, now)  # else no run would be new enough for what a clock ahead has told
        if day >= FIRST_HOUR.date() and moment > computed.get(day, _BEGINNING):
            change = behind.get(day, Change(first=moment, last=moment))
            behind[day] = Change(first=min(change.first, moment), last=max(change.last, moment))
    return OutdatedDays(seen_event=found[-1].storage_id if found else known.seen_event, days=behind)


def _why_no_day(behind: int, hourly_run: str | None) -> str:
    if not behind:
        return "every day knows its newest hours"
    waiting = f"{behind} days wait to be computed"
    return f"{waiting}; run {hourly_run} is under way" if hourly_run else waiting


def _why_idle(waiting: int, under_way: int, early: list[datetime]) -> str:
    reason = f"{waiting} hours wait for their next attempt" if waiting else "no closed hour waits"
    if under_way:
        reason = f"{under_way} of {waiting} hours that wait are under way"
    return f"{reason}; {_early(early)}" if early else reason


def _early(hours: list[datetime]) -> str:
    found = f"{len(hours)} hours from {hours[0]:%Y-%m-%d} on lie before the first partition, "
    found += f"{FIRST_HOUR:%Y-%m-%d}: "
    if _SETTINGS.partitions_start is None:
        return found + (
            "those of the last 100,000 hours are computed once the daemon has loaded the "
            "definitions anew, within two minutes; older ones where PARTITIONS_START says so"
        )
    return found + "set PARTITIONS_START to an earlier day"
