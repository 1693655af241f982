"""Sensor of reports: those of weeks and months, and of days by other clocks than UTC."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import dagster as dg
from pydantic import BaseModel

from lake import DAY
from lake.reports import KINDS, Kind, Period
from pipelines.assets.daily import FLEET_DAYS
from pipelines.automation.jobs import REPORT_JOBS, reports_request
from pipelines.automation.runs import DayRuns
from pipelines.compute.places import read_places
from pipelines.partitions import DAILY, MONTHLY, WEEKLY
from pipelines.resources import WarehouseResource
from pipelines.settings import PipelineSettings

_SETTINGS = PipelineSettings()
_EVENTS_A_LOOK = 1_000
_PERIODS_A_RUN = 31
_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
_PARTITIONS = {"day": DAILY, "week": WEEKLY, "month": MONTHLY}


class OutdatedReports(BaseModel, frozen=True):
    """Cursor of `changed_reports`: by kind the first days of reports older than their tables.

    Each with the time of the change.
    """

    seen_event: int = 0
    periods: dict[Kind, dict[date, datetime]] = {}


@dg.sensor(
    name="changed_reports",
    jobs=list(REPORT_JOBS.values()),
    minimum_interval_seconds=_SETTINGS.sensor_interval_seconds,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Renders the reports of the weeks and months that hold a day which was computed, "
    "once that day is over, and those of days by the clocks of depots. The report of a day itself "
    "is made with the day.",
)
def changed_reports(
    context: dg.SensorEvaluationContext, warehouse: WarehouseResource
) -> dg.SensorResult:
    """Ask for each outdated report until a run that started after the change succeeds."""
    now = datetime.now(UTC)
    known = OutdatedReports()
    if context.cursor:
        known = OutdatedReports.model_validate_json(context.cursor)
    found = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=FLEET_DAYS.key, after_storage_id=known.seen_event),
        limit=_EVENTS_A_LOOK,
        ascending=True,
    ).records
    with warehouse.autocommit() as connection:
        places = read_places(connection, _SETTINGS.report_time_zone)
    zones = {places.zone(scope) for scope in places.scopes}
    outdated: dict[Kind, dict[date, datetime]] = {
        kind: dict(known.periods.get(kind, {})) for kind in KINDS
    }
    for event in found:
        if event.partition_key is not None:
            moment = min(datetime.fromtimestamp(event.timestamp, UTC), now)
            for period in outdated_periods(date.fromisoformat(event.partition_key), zones, now):
                outdated[period.kind][period.first] = moment
    requests = []
    for kind in KINDS:
        runs = DayRuns(context.instance, REPORT_JOBS[kind].name)
        computed, failures, under_way = runs.computed(now), runs.failures(), runs.unfinished
        outdated[kind] = {
            first: moment
            for first, moment in outdated[kind].items()
            if moment > computed.get(first, _BEGINNING)
        }
        due = [
            Period(kind, first)
            for first in sorted(outdated[kind])
            if first not in under_way
            and ((failed := failures.get(first)) is None or failed.is_due(now))
            and _PARTITIONS[kind].has_partition_key(f"{first:%Y-%m-%d}")
        ]
        requests += [reports_request(part, runs.newest) for part in _contiguous(due)]
    newest = found[-1].storage_id if found else known.seen_event
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else "every report knows its newest days",
        cursor=OutdatedReports(seen_event=newest, periods=outdated).model_dump_json(),
    )


def outdated_periods(day: date, zones: Iterable[ZoneInfo], now: datetime) -> set[Period]:
    """Return the periods with hours of a UTC day whose reports the daily job does not make.

    Those of weeks and months once the day is over: while it goes on, its own report says enough.
    """
    start = datetime.combine(day, time(), UTC)
    local = {
        moment.astimezone(zone).date()
        for zone in zones
        for moment in (start, start + DAY - DAY / 24)
    }
    found = {Period("day", other) for other in local - {day}}
    if day < now.date():
        longer: tuple[Kind, ...] = ("week", "month")
        found |= {Period.holding(kind, other) for kind in longer for other in local}
    return found


def _contiguous(periods: Sequence[Period]) -> list[list[Period]]:
    found: list[list[Period]] = []
    for period in periods:
        if found and found[-1][-1].next() == period and len(found[-1]) < _PERIODS_A_RUN:
            found[-1].append(period)
        else:
            found.append([period])
    return found
