"""The tables of a UTC day against those of its hours: what adds up must add up to the last bit."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import polars as pl
from psycopg.rows import class_row

from lake import EnergySettings, Lake, TableMissing
from lake.battery_health import BATTERY_HEALTH_DAILY
from lake.charger_day import sums_of_charger_hours
from lake.charger_efficiency import CHARGER_EFFICIENCY_DAILY, CHARGER_EFFICIENCY_HOURLY
from lake.days import fleet_day, sums_of_vehicle_hours
from lake.derived import (
    FLEET_EFFICIENCY_DAILY,
    FLEET_EFFICIENCY_HOURLY,
    VEHICLE_EFFICIENCY_DAILY,
    VEHICLE_EFFICIENCY_HOURLY,
)
from lake.table_spec import TableSpec
from pipelines.partitions import DAY
from pipelines.resources import WarehouseResource
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
    """Where the daily tables are not the sums of the hourly ones.

    Nothing is judged while an hour of the day waits, or was computed so lately that the day's own
    run may yet follow. A finding names the first hour of the day that the ledger knows: once that
    is computed again, the day is as well.
    """
    midnight = datetime.combine(day, time(), UTC)
    ledger = _ledger_day(warehouse, midnight, settings)
    lately = ledger.compacted_at and datetime.now(UTC) - ledger.compacted_at < _TIME_TO_FOLLOW
    if ledger.waits:
        return []
    found = list(_differences(lake, day, ledger.first_hour or midnight, settings))
    if found and lately and not _is_written_since(lake, day, ledger.compacted_at):
        return []
    return found


def _differences(
    lake: Lake, day: date, hour: datetime, settings: EnergySettings
) -> Iterator[Finding]:
    vehicles = _rows(lake, VEHICLE_EFFICIENCY_HOURLY, day)
    sums = sums_of_vehicle_hours(vehicles.lazy()).collect()
    chargers = _rows(lake, CHARGER_EFFICIENCY_HOURLY, day)
    of_vehicles, of_chargers, of_fleet, of_batteries = (
        _rows(lake, spec, day)
        for spec in (
            VEHICLE_EFFICIENCY_DAILY,
            CHARGER_EFFICIENCY_DAILY,
            FLEET_EFFICIENCY_DAILY,
            BATTERY_HEALTH_DAILY,
        )
    )
    fleet_hours = _rows(lake, FLEET_EFFICIENCY_HOURLY, day).lazy()
    batteries = of_batteries.select("vehicle_id", "energy_dc_kwh")
    for spec, expected, found in (
        (VEHICLE_EFFICIENCY_DAILY, sums, of_vehicles),
        (CHARGER_EFFICIENCY_DAILY, sums_of_charger_hours(chargers.lazy()).collect(), of_chargers),
        (
            FLEET_EFFICIENCY_DAILY,
            fleet_day(of_vehicles.lazy(), fleet_hours, settings).collect(),
            of_fleet,
        ),
        (
            BATTERY_HEALTH_DAILY,
            batteries.select("vehicle_id").join(
                sums.select("vehicle_id", "energy_dc_kwh"), on="vehicle_id", how="left"
            ),
            batteries,
        ),
    ):
        key = [name for name in spec.key if name in expected.columns]
        same = expected.sort(key)
        finding = row_finding(hour, spec.name, same, found.select(same.columns).sort(key), key)
        if finding is not None:
            yield finding


def _rows(lake: Lake, spec: TableSpec, day: date) -> pl.DataFrame:
    try:
        rows = lake.scan(lake.open(spec.name)).filter(pl.col("date") == day)
    except TableMissing:
        rows = pl.DataFrame(spec.schema.empty_table()).lazy()
    return rows.select(spec.names).collect()


def _is_written_since(lake: Lake, day: date, moment: datetime | None) -> bool:
    """Whether the tables of the day were written after `moment`."""
    try:
        log = pl.DataFrame(lake.open(FLEET_EFFICIENCY_DAILY.name).get_add_actions(flatten=True))
    except TableMissing:
        return False
    if log.is_empty() or moment is None:
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
