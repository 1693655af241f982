"""The figures of a day, read from the tables that they are shown from."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from lake import METER, VEHICLE, EnergySettings, Lake
from lake.derived import FLEET_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_HOURLY
from lake.efficiency import RATED
from lake.rollup import roll_up_fleet, roll_up_vehicles

DAY = timedelta(days=1)


@dataclass(frozen=True)
class DayFigures:
    """Everything that the report of one UTC day says.

    `vehicles`: a row for each vehicle, as `roll_up_vehicles` returns it. `fleet`: the one row of
    `roll_up_fleet`, empty if nobody sent anything. `hours`: the day's rows of
    fleet_efficiency_hourly. `sources`: the version of each table that was read.
    """

    day: date
    generated_at: datetime
    vehicles: pl.DataFrame
    fleet: pl.DataFrame
    hours: pl.DataFrame
    sources: dict[str, int]

    @property
    def so_far(self) -> bool:
        """Whether the day was not over when the report was made."""
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


def figures_of_day(
    lake: Lake, day: date, generated_at: datetime, settings: EnergySettings
) -> DayFigures:
    """Read the day from the hourly efficiency tables and add it up."""
    start = _midnight(day)
    end = min(start + DAY, max(generated_at.replace(minute=0, second=0, microsecond=0), start))
    vehicle_hours, vehicle_version = _read(lake, VEHICLE_EFFICIENCY_HOURLY.name, day)
    fleet_hours, fleet_version = _read(lake, FLEET_EFFICIENCY_HOURLY.name, day)
    # Coverage is about the time that has passed; in the first hour of a day that is one hour.
    window_end = max(end, start + timedelta(hours=1))
    vehicles = roll_up_vehicles(vehicle_hours.lazy(), start, window_end, settings).collect()
    fleet = roll_up_fleet(vehicles.lazy(), fleet_hours.lazy(), start, settings).collect()
    return DayFigures(
        day=day,
        generated_at=generated_at,
        vehicles=vehicles,
        fleet=fleet,
        hours=fleet_hours.sort("hour_start"),
        sources={
            VEHICLE_EFFICIENCY_HOURLY.name: vehicle_version,
            FLEET_EFFICIENCY_HOURLY.name: fleet_version,
            METER.history_table: lake.open(METER.history_table).version(),
            VEHICLE.history_table: lake.open(VEHICLE.history_table).version(),
        },
    )


def _read(lake: Lake, table: str, day: date) -> tuple[pl.DataFrame, int]:
    handle = lake.open(table)
    rows = lake.scan(handle).filter(pl.col("date") == day).drop("date")
    return rows.collect(), handle.version()


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
