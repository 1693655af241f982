"""Verification of charging sessions: to compute them again from the stretches changes none."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from typing import Final

import polars as pl
import psycopg

from lake import DAY, EnergySettings, LakeDamaged, TableMissing, hours_between
from lake.delta import READ_ERRORS
from lake.schema import (
    CHARGING_SESSION,
    CHARGING_STRETCH_HOURLY,
    VEHICLE_EFFICIENCY_HOURLY,
)
from lake.sessions import LONGEST_SESSION
from pipelines.assets.sessions import SESSION_MART
from pipelines.compute.pricing import known_pricing, repriced_days
from pipelines.compute.sessions import Renewal, newest_computed_end, renewed_sessions
from pipelines.resources import WarehouseResource
from pipelines.verify.files import CheckedTables
from pipelines.verify.findings import Finding, row_finding
from warehouse_sql.named_queries import query

_SOURCES: Final = (CHARGING_STRETCH_HOURLY, VEHICLE_EFFICIENCY_HOURLY, CHARGING_SESSION)


def verify_sessions(
    tables: CheckedTables, warehouse: WarehouseResource, day: date, settings: EnergySettings
) -> list[Finding] | None:
    """Findings of the sessions that begin on a UTC day, in the lake and in Postgres.

    The stretches are taken as they are: each hour has been compared with raw. None, not judged,
    while an hour of the day or of those beside it waits, while a day that they reach into is to be
    priced again, or where a file can't be read. A finding
    names the hour in which its sessions begin: once that is computed again, so are they.
    """
    midnight = datetime.combine(day, time(), UTC)
    window = midnight, midnight + DAY
    is_whole = [tables.is_whole(spec.name, spec.time_column, *window) for spec in _SOURCES]
    if not all(is_whole):
        return None
    now = datetime.now(UTC)
    with warehouse.autocommit() as connection:
        repriced = repriced_days(connection)
        touched = {day + n * DAY for n in range(LONGEST_SESSION // DAY + 1)}
        if _waits(connection, midnight) or not touched.isdisjoint(repriced):
            return None
        through = newest_computed_end(connection, now)
        try:
            pricing, hours = known_pricing(connection), hours_between(*window)
            renewal = renewed_sessions(tables.lake, connection, hours, through, settings, pricing)
        except TableMissing:
            return []  # it is made anew, and its hours are told by those of its sources
        except (LakeDamaged, *READ_ERRORS):  # of the time beside the day
            return None
        found = list(_differences(renewal, warehouse, midnight, SESSION_MART.first(now)))
        return None if found and _waits(connection, midnight) else found


def _differences(
    renewal: Renewal, warehouse: WarehouseResource, midnight: datetime, first: datetime
) -> Iterator[Finding]:
    spec = CHARGING_SESSION
    in_day = pl.col("begins").is_between(midnight, midnight + DAY, closed="left")
    expected, found = renewal.new.filter(in_day), renewal.old.filter(in_day)
    yield from _by_hour(spec.name, expected, found)
    start = max(midnight, first)
    if start < midnight + DAY:
        with warehouse.arrow() as connection:
            copied = SESSION_MART.rows(connection, start, midnight + DAY, found)
        in_lake = found.filter(pl.col("begins") >= start)
        yield from _by_hour(SESSION_MART.asset_key.to_user_string(), in_lake, copied)


def _by_hour(table: str, expected: pl.DataFrame, found: pl.DataFrame) -> Iterator[Finding]:
    key = CHARGING_SESSION.key
    hour = pl.col("begins").dt.truncate("1h")
    for begins in pl.concat([expected, found]).select(hour.unique().sort()).to_series():
        wanted, got = (frame.filter(hour == begins).sort(key) for frame in (expected, found))
        finding = row_finding(begins.astimezone(UTC), table, wanted, got, key)
        if finding is not None:
            yield finding


def _waits(connection: psycopg.Connection, midnight: datetime) -> bool:
    """True while an hour waits that a session of the day may reach into."""
    window = {"start": midnight - DAY, "end": midnight + 2 * DAY}
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return any(row["waits"] for row in cursor.execute(query("ledger_between"), window))
