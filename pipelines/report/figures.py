"""The figures of a day, read from the tables that they are shown from."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time

import polars as pl

from lake import DAY, METER, VEHICLE, Lake
from lake.energy import RATED
from lake.schema import (
    FLEET_EFFICIENCY_DAILY,
    FLEET_EFFICIENCY_HOURLY,
    VEHICLE_EFFICIENCY_DAILY,
    TableSpec,
)


@dataclass(frozen=True)
class DayFigures:
    """Everything that the report of one UTC day says.

    `vehicles`: the day's rows of vehicle_efficiency_daily. `fleet`: its one row of
    fleet_efficiency_daily, of zeros if nobody sent anything. `hours`: its rows of
    fleet_efficiency_hourly. `sources`: the version of each table that was read.
    """

    day: date
    generated_at: datetime
    vehicles: pl.DataFrame
    fleet: pl.DataFrame
    hours: pl.DataFrame
    sources: dict[str, int]

    @property
    def is_partial(self) -> bool:
        """True if the day was not over when the report was made."""
        return self.generated_at < _midnight(self.day) + DAY

    @property
    def hours_with_data(self) -> int:
        """Hours of the day that have been computed and have a heartbeat or a link."""
        return self.hours.height

    @property
    def rated_vehicles(self) -> int:
        """Vehicles whose efficiency is believable."""
        return self.vehicles.filter(pl.col("status").is_in(RATED)).height

    @property
    def rated_share(self) -> float | None:
        """Rated AC energy as percent of all linked AC energy; None where there is none."""
        linked, rated = self.fleet.select("energy_ac_kwh", "rated_energy_ac_kwh").row(0)
        return 100 * rated / linked if linked > 0 else None


def day_figures(lake: Lake, day: date, generated_at: datetime) -> DayFigures:
    """Read the day, as it was computed."""
    vehicles, vehicle_version = _read(lake, VEHICLE_EFFICIENCY_DAILY, day)
    fleet, fleet_version = _read(lake, FLEET_EFFICIENCY_DAILY, day)
    hours, hour_version = _read(lake, FLEET_EFFICIENCY_HOURLY, day)
    return DayFigures(
        day=day,
        generated_at=generated_at,
        vehicles=vehicles,
        fleet=fleet if fleet.height else _empty_fleet_row(day),
        hours=hours,
        sources={
            VEHICLE_EFFICIENCY_DAILY.name: vehicle_version,
            FLEET_EFFICIENCY_DAILY.name: fleet_version,
            FLEET_EFFICIENCY_HOURLY.name: hour_version,
            METER.history_table: lake.open(METER.history_table).version(),
            VEHICLE.history_table: lake.open(VEHICLE.history_table).version(),
        },
    )


def _read(lake: Lake, table: TableSpec, day: date) -> tuple[pl.DataFrame, int]:
    handle = lake.open(table.name)
    rows = lake.scan(handle).filter(pl.col("date") == day).select(table.names).sort(table.key)
    return rows.collect(), handle.version()


def _empty_fleet_row(day: date) -> pl.DataFrame:
    """The row of a day without heartbeats, which the table leaves out."""
    zeros = {c.name: None if c.nullable else 0 for c in FLEET_EFFICIENCY_DAILY.columns}
    empty = pl.DataFrame(FLEET_EFFICIENCY_DAILY.schema.empty_table())
    return pl.DataFrame([{**zeros, "date": day}], schema=empty.schema)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
