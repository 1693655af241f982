"""The figures of a day, read from the tables that they are shown from."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

import polars as pl
import polars.selectors as cs

from lake import DAY, METER, VEHICLE, Lake
from lake.energy import RATED, exact_sum, ratio_percent
from lake.schema import (
    CHARGER_EFFICIENCY_DAILY,
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
    fleet_efficiency_hourly. `depots`: what `depot_figures` gives. `sources`: the version of each
    table that was read.
    """

    day: date
    generated_at: datetime
    vehicles: pl.DataFrame
    fleet: pl.DataFrame
    hours: pl.DataFrame
    depots: pl.DataFrame
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


def day_figures(
    lake: Lake, day: date, generated_at: datetime, depots: Mapping[str, str]
) -> DayFigures:
    """Read the day, as it was computed; `depots` are those of meters, by id."""
    vehicles, vehicle_version = _read(lake, VEHICLE_EFFICIENCY_DAILY, day)
    fleet, fleet_version = _read(lake, FLEET_EFFICIENCY_DAILY, day)
    hours, hour_version = _read(lake, FLEET_EFFICIENCY_HOURLY, day)
    chargers, charger_version = _read(lake, CHARGER_EFFICIENCY_DAILY, day)
    return DayFigures(
        day=day,
        generated_at=generated_at,
        vehicles=vehicles,
        fleet=fleet if fleet.height else _empty_fleet_row(day),
        hours=hours,
        depots=depot_figures(chargers, depots),
        sources={
            CHARGER_EFFICIENCY_DAILY.name: charger_version,
            VEHICLE_EFFICIENCY_DAILY.name: vehicle_version,
            FLEET_EFFICIENCY_DAILY.name: fleet_version,
            FLEET_EFFICIENCY_HOURLY.name: hour_version,
            METER.history_table: lake.open(METER.history_table).version(),
            VEHICLE.history_table: lake.open(VEHICLE.history_table).version(),
        },
    )


def depot_figures(chargers: pl.DataFrame, depots: Mapping[str, str]) -> pl.DataFrame:
    """Add up a day's rows of chargers by depot and currency; a null for the meters of no depot.

    Columns are depot, currency, energy_ac_kwh, loss_kwh and efficiency_percent of the rated
    chargers, cost_of_energy and cost_of_losses. Empty where no meter has a depot.
    """
    place = pl.col("meter_id").replace_strict(depots, default=None, return_dtype=pl.String)
    is_rated = pl.col("status").is_in(RATED)
    matched = ("matched_energy_ac_kwh", "matched_energy_dc_kwh")
    rated_ac, rated_dc = (pl.col(f"rated_{name}") for name in matched)
    costs = (pl.col("cost_of_energy"), pl.col("cost_of_losses"))
    found = (
        chargers.lazy()
        .filter(pl.lit(value=bool(depots)))
        .group_by(place.alias("depot"), "currency")
        .agg(
            exact_sum(pl.col("energy_ac_kwh")).fill_null(0.0),
            *(
                exact_sum(pl.col(name).filter(is_rated)).fill_null(0.0).alias(f"rated_{name}")
                for name in matched
            ),
            *(pl.when(cost.is_not_null().all()).then(cost.sum()) for cost in costs),
        )
    )
    return (
        found.with_columns(
            loss_kwh=(rated_ac - rated_dc).round(9),
            efficiency_percent=ratio_percent(rated_ac, rated_dc),
        )
        .drop(cs.starts_with("rated_"))
        .sort("depot", "currency", nulls_last=True)
        .collect()
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
