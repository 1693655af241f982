"""Every table of a UTC day, computed from its hours."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time

import polars as pl
import psycopg

from lake import HOUR, EnergySettings, Lake, hour_of
from lake.daily import FLEET_EFFICIENCY_DAILY, VEHICLE_EFFICIENCY_DAILY
from lake.derived import FLEET_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_HOURLY
from lake.rollup import roll_up_fleet, roll_up_vehicles
from lake.table_spec import TableSpec
from pipelines.partitions import DAY


def tables_of_day(
    lake: Lake, connection: psycopg.Connection, day: date, settings: EnergySettings, now: datetime
) -> Mapping[str, pl.DataFrame]:
    """The rows of each daily table for one day, by the name of the table.

    Each frame has the columns of its TableSpec and the order of its key; it is empty where nothing
    was heard. Of a day that is not over at `now` the coverage is that of the time that has passed.
    """
    start = datetime.combine(day, time(), UTC)
    end = min(start + DAY, max(hour_of(now), start + HOUR))
    vehicle_hours = _hours_of_day(lake, VEHICLE_EFFICIENCY_HOURLY, day)
    fleet_hours = _hours_of_day(lake, FLEET_EFFICIENCY_HOURLY, day)
    vehicles = roll_up_vehicles(vehicle_hours.lazy(), start, end, settings).collect()
    fleet = roll_up_fleet(vehicles.lazy(), fleet_hours.lazy(), start, settings).collect()
    if fleet_hours.is_empty():
        fleet = fleet.clear()
    return {
        spec.name: rows.with_columns(date=pl.lit(day)).select(spec.names).sort(spec.key)
        for spec, rows in (
            (VEHICLE_EFFICIENCY_DAILY, vehicles),
            (
                FLEET_EFFICIENCY_DAILY,
                fleet.with_columns(hours=pl.lit(fleet_hours.height, pl.Int64)),
            ),
        )
    }


def _hours_of_day(lake: Lake, spec: TableSpec, day: date) -> pl.DataFrame:
    rows = lake.scan(lake.open(spec.name)).filter(pl.col("date") == day)
    return rows.select(spec.names).collect()
