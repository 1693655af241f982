"""Verification of a UTC day: its tables against its merged hours, to the last bit."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import polars as pl
from psycopg.rows import class_row

from lake import DAY, VEHICLE, EnergySettings, LakeDamaged, TableMissing, hour_of
from lake.costs import Pricing
from lake.delta import READ_ERRORS
from lake.schema import (
    CONDITION_TABLES,
    DAILY_TABLES,
    FLEET_EFFICIENCY_DAILY,
    HOURLY_EFFICIENCY,
)
from pipelines.assets.marts import DAY_MARTS
from pipelines.compute.inputs import day_inputs, day_tables
from pipelines.compute.pricing import read_pricing, repriced_days
from pipelines.resources import WarehouseResource
from pipelines.verify.files import CheckedTables
from pipelines.verify.findings import Finding, row_finding
from pipelines.verify.marts import MartReader
from warehouse_sql.named_queries import query

# The daily run begins at most a quarter of an hour after the hourly one, and takes a while.
_TIME_TO_FOLLOW: Final = timedelta(hours=1)
# What a day is computed from, and the time in it.
_SOURCES: Final = (
    (VEHICLE.history_table, "timestamp"),
    *((spec.name, spec.time_column) for spec in HOURLY_EFFICIENCY),
)


@dataclass(frozen=True)
class _LedgerDay:
    first_hour: datetime | None
    compacted_at: datetime | None
    waits: bool


def verify_day(
    tables: CheckedTables,
    warehouse: WarehouseResource,
    marts: MartReader,
    day: date,
    settings: EnergySettings,
) -> list[Finding] | None:
    """Findings where the daily tables are not what the hours and heartbeats of the day give.

    Where they are, also where their copies in Postgres are not the same.

    Every value counts. The hours of the day are taken as they are, and so is its history: both have
    been compared with raw. It is not judged, None, while an hour of the day waits or the day is to
    be priced again, where a file
    that it is computed from can't be read, or while the day's own run may yet follow the last hour
    or the end of the day. A finding names the first hour of the day that the ledger knows: once
    that is computed again, the day is as well.
    """
    midnight = datetime.combine(day, time(), UTC)
    for spec in (*DAILY_TABLES, *CONDITION_TABLES):  # a damaged one is told anyhow
        tables.is_whole(spec.name, spec.time_column, midnight, midnight + DAY)
    ledger = _ledger_day(warehouse, midnight, settings)
    if ledger.waits or not all(tables.is_whole(*of, midnight, midnight + DAY) for of in _SOURCES):
        return None
    first_hour = ledger.first_hour or midnight
    try:
        with warehouse.autocommit() as connection:
            pricing = read_pricing(connection, settings)
            if day in repriced_days(connection):
                return None
        found = list(_differences(tables, day, first_hour, settings, pricing))
    except (LakeDamaged, *READ_ERRORS):  # of the time before the day, from which it is counted
        return None
    changed_at = max(ledger.compacted_at or midnight, midnight + DAY)
    lately = datetime.now(UTC) - changed_at < _TIME_TO_FOLLOW
    if found and lately and not _is_written_since(tables, day, changed_at):
        return None
    if found:
        return found  # its copies follow
    copies = list(_differing_copies(tables, marts, midnight, first_hour))
    # The run that has written the day publishes it a moment later.
    written_lately = _is_written_since(tables, day, datetime.now(UTC) - _TIME_TO_FOLLOW)
    return None if copies and written_lately else copies


def _differences(
    tables: CheckedTables,
    day: date,
    hour: datetime,
    settings: EnergySettings,
    pricing: Pricing | None,
) -> Iterator[Finding]:
    midnight = datetime.combine(day, time(), UTC)
    try:
        inputs = day_inputs(tables.lake, day, settings, datetime.now(UTC), pricing)
        expected, lost = day_tables(inputs, settings)
    except TableMissing:
        return  # a table of hours, and each hour has said so
    if expected is None:
        return  # hours of an older version, and each hour has said so
    if lost:
        raise LakeDamaged(f"the heartbeats of {min(lost):%Y-%m-%d %H:%M} UTC are lost")
    for spec in DAILY_TABLES:
        found = tables.computed(spec, midnight, midnight + DAY)
        if not found.whole:
            continue  # the file that can't be read is a finding
        rows = expected[spec.name].select(spec.names).sort(spec.key)
        finding = row_finding(hour, spec.name, rows, found.rows, spec.key)
        if finding is not None:
            yield finding


def _differing_copies(
    tables: CheckedTables, marts: MartReader, midnight: datetime, hour: datetime
) -> Iterator[Finding]:
    window = midnight, midnight + DAY
    for mart in DAY_MARTS:
        in_lake = tables.computed(mart.table, *window)
        finding = marts.finding(mart, hour, window, in_lake.rows) if in_lake.whole else None
        if finding is not None:
            yield finding


def first_hour_of(warehouse: WarehouseResource, day: date, settings: EnergySettings) -> datetime:
    """Hour that a finding of a day names."""
    midnight = datetime.combine(day, time(), UTC)
    return _ledger_day(warehouse, midnight, settings).first_hour or midnight


def _is_written_since(tables: CheckedTables, day: date, moment: datetime) -> bool:
    """True if the tables of the day were written after `moment`."""
    try:
        table = tables.open(FLEET_EFFICIENCY_DAILY.name)
    except TableMissing:
        return False
    if table is None:
        return False
    log = pl.DataFrame(table.get_add_actions(flatten=True))
    if log.is_empty():
        return False
    written = log.filter(pl.col("partition.date") == day)["modification_time"]  # milliseconds
    return bool((written > moment.timestamp() * 1000).any())


def _ledger_day(
    warehouse: WarehouseResource, midnight: datetime, settings: EnergySettings
) -> _LedgerDay:
    """Ledger rows of a day, and of the time before it from which it may be counted."""
    since = hour_of(midnight - timedelta(seconds=settings.largest_gap_seconds))
    asked = {"since": since, "start": midnight, "end": midnight + DAY}
    with (
        warehouse.autocommit() as connection,
        connection.cursor(row_factory=class_row(_LedgerDay)) as cursor,
    ):
        (found,) = cursor.execute(query("ledger_of_day"), asked).fetchall()
    return found
