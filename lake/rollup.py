"""Hours added up: the efficiency of a longer window from the rows of its hours."""

from datetime import datetime
from typing import Final

import polars as pl

from lake.derived import FLEET_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_HOURLY
from lake.efficiency import RATED, fleet_efficiency, with_efficiency
from lake.energy import exact_sum, utc_window
from lake.links import STRONGEST_FIRST
from lake.settings import EnergySettings
from lake.sides import of_most_energy

_SUMS: Final = (
    exact_sum(pl.col("energy_ac_kwh")),
    exact_sum(pl.col("energy_dc_kwh")),
    pl.col("data_points_meter", "data_points_vehicle", "resets", "duplicates").sum(),
    pl.len().cast(pl.Int64).alias("hours"),
)


def sums_of_hours(hours: pl.LazyFrame) -> pl.LazyFrame:
    """What adds up exactly, for each vehicle in rows of VEHICLE_EFFICIENCY_HOURLY, and `hours`."""
    return hours.group_by("vehicle_id").agg(_SUMS)


def roll_up_vehicles(
    hours: pl.LazyFrame, start: datetime, end: datetime, settings: EnergySettings
) -> pl.LazyFrame:
    """One row for each vehicle in rows of VEHICLE_EFFICIENCY_HOURLY, sorted by vehicle.

    The columns of that table with `hour_start` = `start`, and `hours`: how many have a row.
    Energies and counts are sums, the efficiency and its status are those of the sums. A matched
    share is the mean of the hours' weighted by their energies; coverage is that of the window
    from `start` to `end`, an hour without a row covers nothing. `longest_gap_seconds` is the
    longest within one hour, `average_battery_temp` the mean weighted by heartbeats,
    `charger_class` that of the hours with the most AC energy.
    """
    start, end = utc_window(start, end)
    window_hours = (end - start).total_seconds() / 3600
    sources = pl.col("link_source").drop_nulls().str.split("+").explode()
    classes = of_most_energy(hours, "vehicle_id", "charger_class", pl.col("energy_ac_kwh"))
    return (
        hours.group_by("vehicle_id")
        .agg(
            *_SUMS,
            *(pl.col(f"coverage_{side}").sum() / window_hours for side in ("ac", "dc")),
            *(_weighted_share(side) for side in ("ac", "dc")),
            pl.col("longest_gap_seconds").max(),
            average_battery_temp=_weighted_mean(
                pl.col("average_battery_temp"), pl.col("data_points_vehicle")
            ),
            link_source=sources.cast(pl.Enum(STRONGEST_FIRST))
            .unique()
            .sort()
            .cast(pl.String)
            .str.join("+"),
            meter_ids=pl.col("meter_ids").explode().drop_nulls().unique().sort(),
            _is_linked=pl.col("link_source").is_not_null().any(),
        )
        .join(classes, on="vehicle_id")
        .with_columns(
            hour_start=pl.lit(start, pl.Datetime("us", "UTC")),
            link_source=pl.when("_is_linked").then("link_source"),
        )
        .pipe(with_efficiency, end - start, settings)
        .select(*(column.name for column in VEHICLE_EFFICIENCY_HOURLY.columns), "hours")
        .sort("vehicle_id")
    )


def roll_up_fleet(
    vehicles: pl.LazyFrame, fleet_hours: pl.LazyFrame, start: datetime, settings: EnergySettings
) -> pl.LazyFrame:
    """One row of the columns of FLEET_EFFICIENCY_HOURLY for the window of `vehicles`.

    `vehicles` is what `roll_up_vehicles` returns; `fleet_hours` brings the unlinked energy.
    """
    unlinked = fleet_hours.select(
        hour_start=pl.lit(start, pl.Datetime("us", "UTC")),
        unlinked_energy_ac_kwh=exact_sum(pl.col("unlinked_energy_ac_kwh")).fill_null(0.0),
    )
    return fleet_efficiency(vehicles, unlinked, settings).select(
        column.name for column in FLEET_EFFICIENCY_HOURLY.columns
    )


def lowest_efficiency(vehicles: pl.LazyFrame, count: int) -> pl.LazyFrame:
    """The `count` rated vehicles of lowest efficiency, the lowest first, ties by greater loss."""
    return (
        vehicles.filter(pl.col("status").is_in(RATED))
        .sort("efficiency_percent", "loss_kwh", "vehicle_id", descending=[False, True, False])
        .head(count)
    )


def _weighted_share(side: str) -> pl.Expr:
    share = pl.col(f"matched_share_{side}")
    return _weighted_mean(share, pl.col(f"energy_{side}_kwh").abs()).alias(f"matched_share_{side}")


def _weighted_mean(values: pl.Expr, weights: pl.Expr) -> pl.Expr:
    """Mean of the non-null values; null where there are none or all weigh nothing."""
    weights = weights.filter(values.is_not_null())
    total = exact_sum(weights.cast(pl.Float64))
    products = values.drop_nulls() * weights
    return pl.when(total > 0).then(exact_sum(products) / total)
