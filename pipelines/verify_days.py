"""The tables of a UTC day against what its hours and heartbeats give, to the last bit."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import polars as pl
from psycopg.rows import class_row

from lake import EnergySettings, Lake, TableMissing
from lake.derived import FLEET_EFFICIENCY_DAILY
from lake.table_spec import TableSpec
from lake.tables import DAILY_TABLES
from pipelines.partitions import DAY
from pipelines.resources import WarehouseResource
from pipelines.tables_of_day import tables_of_day
from pipelines.verify_findings import Finding, row_finding
from warehouse_sql.queries import query

# The daily run begins at most a quarter of an hour after the hourly one, and takes a while.
_TIME_TO_FOLLOW: Final = timedelta(hours=1)


@dataclass(frozen=True)
class _LedgerDay:
    first_hour: datetime | None
    compacted_at: datetime | None
    waits: bool


def verify_day(
    lake: Lake, warehouse: WarehouseResource, day: date, settings: EnergySettings
) -> list[Finding]:
    """Where the daily tables are not what the hours and the heartbeats of the day give.

    Every value counts: also coverage, shares and gaps, which do not add up. The history of the day
    is taken as it is, its hours have been compared with raw. Nothing is judged while an hour of the
    day waits, or while the day's own run may yet follow the last hour or the end of the day. A
    finding names the first hour of the day that the ledger knows: once that is computed again, the
    day is as well.
    """
    midnight = datetime.combine(day, time(), UTC)
    ledger = _ledger_day(warehouse, midnight, settings)
    if ledger.waits:
        return []
    found = list(_differences(lake, warehouse, day, ledger.first_hour or midnight, settings))
    changed_at = max(ledger.compacted_at or midnight, midnight + DAY)
    lately = datetime.now(UTC) - changed_at < _TIME_TO_FOLLOW
    if found and lately and not _is_written_since(lake, day, changed_at):
        return []
    return found


def _differences(
    lake: Lake, warehouse: WarehouseResource, day: date, hour: datetime, settings: EnergySettings
) -> Iterator[Finding]:
    try:
        with warehouse.autocommit() as connection:
            expected = tables_of_day(lake, connection, day, settings, datetime.now(UTC))
    except TableMissing:
        return  # a table of hours, and each hour has said so
    for spec in DAILY_TABLES:
        rows = expected[spec.name].select(spec.names).sort(spec.key)
        finding = row_finding(hour, spec.name, rows, _rows(lake, spec, day), spec.key)
        if finding is not None:
            yield finding


def _rows(lake: Lake, spec: TableSpec, day: date) -> pl.DataFrame:
    try:
        rows = lake.scan(lake.open(spec.name)).filter(pl.col("date") == day)
    except TableMissing:
        rows = pl.DataFrame(spec.schema.empty_table()).lazy()
    return rows.select(spec.names).sort(spec.key).collect()


def _is_written_since(lake: Lake, day: date, moment: datetime) -> bool:
    """Whether the tables of the day were written after `moment`."""
    try:
        log = pl.DataFrame(lake.open(FLEET_EFFICIENCY_DAILY.name).get_add_actions(flatten=True))
    except TableMissing:
        return False
    if log.is_empty():
        return False
    written = log.filter(pl.col("partition.date") == day)["modification_time"]  # milliseconds
    return bool((written > moment.timestamp() * 1000).any())


def _ledger_day(
    warehouse: WarehouseResource, midnight: datetime, settings: EnergySettings
) -> _LedgerDay:
    """What the ledger says of a day, and of the time before it from which it may be counted."""
    look_back = timedelta(hours=settings.register_lookback_hours)
    asked = {"since": midnight - look_back, "start": midnight, "end": midnight + DAY}
    with (
        warehouse.autocommit() as connection,
        connection.cursor(row_factory=class_row(_LedgerDay)) as cursor,
    ):
        (found,) = cursor.execute(query("ledger_of_day"), asked).fetchall()
    return found
