"""The efficiency of the fleet, and the order of its devices by theirs."""

from typing import Final

import polars as pl

from lake.energy.exact import exact_sum
from lake.energy.status import RATED, STATUSES
from lake.schema.vehicle_efficiency import FLEET_EFFICIENCY_HOURLY

_RATED_AC: Final = pl.col("rated_energy_ac_kwh")
_RATED_DC: Final = pl.col("rated_energy_dc_kwh")


def fleet_efficiency(
    vehicles: pl.LazyFrame, chargers: pl.LazyFrame, time_column: str = "hour_start"
) -> pl.LazyFrame:
    """Return the rows of FLEET_EFFICIENCY_HOURLY: one for each time in either input, sorted.

    `vehicles` and `chargers` are rows of the efficiency tables. The efficiency is that of the sums
    over the vehicles with a believable ratio, not a mean of ratios.
    """
    is_linked = pl.col("status") != "unmapped"
    is_rated = pl.col("status").is_in(RATED)
    fleets = vehicles.group_by(time_column).agg(
        exact_sum(pl.col("energy_ac_kwh").filter(is_linked)),
        exact_sum(pl.col("energy_dc_kwh").filter(is_linked)),
        rated_energy_ac_kwh=exact_sum(pl.col("matched_energy_ac_kwh").filter(is_rated)),
        rated_energy_dc_kwh=exact_sum(pl.col("matched_energy_dc_kwh").filter(is_rated)),
        vehicles=_count(pl.len()),
        **{f"vehicles_{name}": _count((pl.col("status") == name).sum()) for name in STATUSES},
    )
    unlinked = chargers.group_by(time_column).agg(exact_sum(pl.col("unlinked_energy_ac_kwh")))
    return (
        fleets.join(unlinked, on=time_column, how="full", coalesce=True)
        .with_columns(pl.all().exclude(time_column).fill_null(0))
        .with_columns(
            loss_kwh=(_RATED_AC - _RATED_DC).round(9),
            efficiency_percent=ratio_percent(_RATED_AC, _RATED_DC),
        )
        .select(time_column, *FLEET_EFFICIENCY_HOURLY.names[1:])
        .sort(time_column)
    )


def charger_totals(chargers: pl.LazyFrame, time_column: str = "hour_start") -> pl.LazyFrame:
    """Return rows as of `fleet_efficiency` of chargers alone, whoever charged there.

    `energy_ac_kwh` is what they gave vehicles, `vehicles` counts chargers, and so does each status.
    """
    credited = pl.col("energy_ac_kwh").fill_null(0.0) - pl.col("unlinked_energy_ac_kwh")
    is_rated = pl.col("status").is_in(RATED)
    return (
        chargers.group_by(time_column)
        .agg(
            exact_sum(credited).alias("energy_ac_kwh"),
            exact_sum(pl.col("energy_dc_kwh")),
            exact_sum(pl.col("unlinked_energy_ac_kwh")),
            rated_energy_ac_kwh=exact_sum(pl.col("matched_energy_ac_kwh").filter(is_rated)),
            rated_energy_dc_kwh=exact_sum(pl.col("matched_energy_dc_kwh").filter(is_rated)),
            vehicles=_count(pl.len()),
            **{f"vehicles_{name}": _count((pl.col("status") == name).sum()) for name in STATUSES},
        )
        .with_columns(pl.all().exclude(time_column).fill_null(0))
        .with_columns(
            loss_kwh=(_RATED_AC - _RATED_DC).round(9),
            efficiency_percent=ratio_percent(_RATED_AC, _RATED_DC),
        )
        .select(time_column, *FLEET_EFFICIENCY_HOURLY.names[1:])
        .sort(time_column)
    )


def ratio_percent(rated_ac: pl.Expr, rated_dc: pl.Expr) -> pl.Expr:
    """Return 100 * DC / AC of rated energies to 9 decimals; null without AC energy.

    What `lake.energy.status.efficiency_percent` does for facts.
    """
    return pl.when(rated_ac > 0).then((100 * rated_dc / rated_ac).round(9))


def sort_by_efficiency(rated: pl.LazyFrame, device: str) -> pl.LazyFrame:
    """Sort devices by efficiency, the lowest first, ties by greater loss, then by id."""
    return rated.sort("efficiency_percent", "loss_kwh", device, descending=[False, True, False])


def _count(number: pl.Expr) -> pl.Expr:
    return number.cast(pl.Int64)
