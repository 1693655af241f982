"""Marts: efficiency of hours and days as Postgres tables, with the same rows as in the lake."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, time
from typing import NamedTuple

import dagster as dg
import polars as pl
import psycopg
from adbc_driver_postgresql import dbapi

from lake import DAY, HOUR, Lake, hours_between
from lake.schema import (
    CHARGER_EFFICIENCY_HOURLY,
    FLEET_EFFICIENCY_HOURLY,
    VEHICLE_EFFICIENCY_HOURLY,
    contiguous_hours,
    contiguous_ranges,
)
from pipelines.assets.daily import CHARGER_DAYS, FLEET_DAYS, VEHICLE_DAYS
from pipelines.assets.hourly import CHARGERS, FLEET, VEHICLES
from pipelines.assets.mart import Mart
from pipelines.assets.metadata import EQUAL, RETRIES
from pipelines.assets.read_failures import fail_on_unreadable
from pipelines.assets.sessions import SESSION_CHECKS, SESSION_SPECS, publish_sessions
from pipelines.checks.results import latched_result, selected_results
from pipelines.checks.rules import differing_rows
from pipelines.compute.pricing import days_of_unpriced_sessions, mark_sessions_priced
from pipelines.ledger import changed_hours, mark_published, state_of_efficiency
from pipelines.partitions import DAILY, HOURLY, days_of_run, hour_key, hours_of_run
from pipelines.resources import LakeResource, WarehouseResource
from warehouse_sql.named_queries import query

_HOURS_A_TRANSACTION = 24
_DAYS_A_TRANSACTION = 31
# One writer for all marts: two that delete the same rows could block each other.
MART_POOL = "efficiency_marts"

HOUR_MARTS = (
    Mart(VEHICLE_EFFICIENCY_HOURLY, VEHICLES.key),
    Mart(CHARGER_EFFICIENCY_HOURLY, CHARGERS.key),
    Mart(FLEET_EFFICIENCY_HOURLY, FLEET.key),
)
DAY_MARTS = tuple(Mart(days.table, days.key) for days in (VEHICLE_DAYS, CHARGER_DAYS, FLEET_DAYS))
MARTS = (*HOUR_MARTS, *DAY_MARTS)


class _Compared(NamedTuple):
    """Rows that differ from the lake, by key and hour_start, and the rows of each hour or day."""

    differing: pl.DataFrame
    counts: Mapping[datetime, int]


@dg.multi_asset(
    name="efficiency_marts",
    specs=[*(mart.spec() for mart in HOUR_MARTS), *SESSION_SPECS],
    check_specs=[*(mart.check_spec() for mart in HOUR_MARTS), *SESSION_CHECKS],
    partitions_def=HOURLY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=MART_POOL,
    retry_policy=RETRIES,
    can_subset=True,
)
def efficiency_marts(
    context: dg.AssetExecutionContext, lake: LakeResource, warehouse: WarehouseResource
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Publish the hours of the run, and the hours beside them that changed, in all their tables.

    With the charging sessions that they touch, which are computed here: an hour counts as published
    once they are. Hours that are older than the retention count as published without their rows:
    the lake alone has them.
    """
    tables, hours, now = lake.lake(), hours_of_run(context), datetime.now(UTC)
    with warehouse.autocommit() as connection:
        every = sorted({*hours, *changed_hours(connection, hours)})
        states = state_of_efficiency(connection, every)
    windows = [(part[0], part[-1] + HOUR) for part in contiguous_hours(every, _HOURS_A_TRANSACTION)]
    compared = _publish(tables, warehouse, HOUR_MARTS, windows, now)
    sessions = publish_sessions(tables, warehouse, every, now)
    with warehouse.autocommit() as connection:
        checks = _check_results(connection, HOUR_MARTS, compared, every, now)
        # Not before they are compared, or a run that dies in between would leave that undone.
        mark_published(connection, states)
    keys = {hour: hour_key(hour) for hour in hours}
    for mart, of_mart in zip(HOUR_MARTS, compared, strict=True):
        yield from _materialized(context, mart.asset_key, of_mart.counts, keys)
    for spec in SESSION_SPECS:
        yield from _materialized(context, spec.key, sessions.counts, keys)
    yield from selected_results(context, [*checks, *sessions.results])


@dg.multi_asset(
    name="efficiency_day_marts",
    specs=[mart.spec() for mart in DAY_MARTS],
    check_specs=[mart.check_spec() for mart in DAY_MARTS],
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=MART_POOL,
    retry_policy=RETRIES,
    can_subset=True,
)
def efficiency_day_marts(
    context: dg.AssetExecutionContext, lake: LakeResource, warehouse: WarehouseResource
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Publish those days of the run that are within the retention, in all their tables.

    Where the day was priced again, the sessions that touch it are, too.
    """
    tables, now = lake.lake(), datetime.now(UTC)
    days = [datetime.combine(day, time(), UTC) for day in days_of_run(context)]
    parts = contiguous_ranges(days, DAY, _DAYS_A_TRANSACTION)
    windows = [(part[0], part[-1] + DAY) for part in parts]
    compared = _publish(tables, warehouse, DAY_MARTS, windows, now)
    with warehouse.autocommit() as connection:
        unpriced = days_of_unpriced_sessions(connection)
        for day in days:
            if day.date() in unpriced:
                publish_sessions(tables, warehouse, hours_between(day, day + DAY), now)
                mark_sessions_priced(connection, {day.date(): unpriced[day.date()]})
        hours = hours_between(days[0], days[-1] + DAY)
        checks = _check_results(connection, DAY_MARTS, compared, hours, now)
    keys = {day: f"{day:%Y-%m-%d}" for day in days}
    for mart, of_mart in zip(DAY_MARTS, compared, strict=True):
        yield from _materialized(context, mart.asset_key, of_mart.counts, keys)
    yield from selected_results(context, checks)


def _publish(
    lake: Lake,
    warehouse: WarehouseResource,
    marts: Sequence[Mart],
    windows: Sequence[tuple[datetime, datetime]],
    now: datetime,
) -> list[_Compared]:
    """Copy the rows of each window, of all marts in one transaction; then compare them."""
    for start, end in windows:
        with fail_on_unreadable(lake, [mart.table.name for mart in marts], start, end):
            rows = [mart.lake_rows(lake, start, end, now) for mart in marts]
        with warehouse.transaction() as connection:
            for mart, of_mart in zip(marts, rows, strict=True):
                mart.replace(connection, of_mart, start, end)
            if marts is HOUR_MARTS:  # alert rules look at what is new
                connection.execute(query("note_publication"))
    with warehouse.arrow() as arrow:
        return [_compare(lake, arrow, mart, windows, now) for mart in marts]


def _compare(
    lake: Lake,
    connection: dbapi.Connection,
    mart: Mart,
    windows: Sequence[tuple[datetime, datetime]],
    now: datetime,
) -> _Compared:
    differing, counts = [], dict[datetime, int]()
    hour_start = pl.col(mart.table.time_column).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    for start, end in windows:
        expected = mart.lake_rows(lake, start, end, now)
        found = mart.rows(connection, start, end, expected)
        differing.append(differing_rows(expected, found, mart.table.key))
        counts.update(found.group_by(hour_start).len().iter_rows())
    return _Compared(pl.concat(differing).with_columns(hour_start=hour_start), counts)


def _check_results(
    connection: psycopg.Connection,
    marts: Sequence[Mart],
    compared: Sequence[_Compared],
    hours: Sequence[datetime],
    now: datetime,
) -> list[dg.AssetCheckResult]:
    return [
        latched_result(
            connection,
            EQUAL,
            of_mart.differing,
            hours,
            what="rows that differ from the lake",
            asset_key=mart.asset_key,
            since=mart.first(now),
        )
        for mart, of_mart in zip(marts, compared, strict=True)
    ]


def _materialized(
    context: dg.AssetExecutionContext,
    asset: dg.AssetKey,
    counts: Mapping[datetime, int],
    keys: Mapping[datetime, str],
) -> Iterator[dg.MaterializeResult[None]]:
    """The materialization of an asset that was asked for, with the rows of each of its `keys`."""
    if asset in context.selected_asset_keys:
        for start, key in keys.items():
            context.add_asset_metadata(
                {"dagster/partition_row_count": counts.get(start, 0)},
                asset_key=asset,
                partition_key=key,
            )
        yield dg.MaterializeResult(asset_key=asset)
