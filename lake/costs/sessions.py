"""Costs of charging sessions, by the same prices and sums as those of days."""

from typing import Final

import polars as pl

from lake.costs.day import group_costs
from lake.costs.losses import hourly_flows
from lake.costs.pricing import Pricing
from lake.energy.exact import exact_sum
from lake.energy.status import RATED
from lake.schema.cost_columns import SESSION_COST_COLUMNS
from lake.schema.vehicle_efficiency import VEHICLE_EFFICIENCY_HOURLY

_ENERGIES: Final = ("energy_ac_kwh", "matched_energy_ac_kwh", "matched_energy_dc_kwh")


def price_sessions(
    sessions: pl.DataFrame,
    stretches: pl.DataFrame,
    chargers: pl.DataFrame,
    pricing: Pricing | None,
) -> pl.DataFrame:
    """Return rows of CHARGING_SESSION with their exact costs, in the same order.

    `stretches` are what they were merged from, `chargers` the rows of CHARGER_EFFICIENCY_HOURLY of
    their hours, needed where `needs_chargers` says so. Each hour of a session has the tariff that
    its vehicle has in it, and so the costs of sessions and of what is outside of them are those of
    the hours. Without tariffs there are none.
    """
    names = [column.name for column in SESSION_COST_COLUMNS]
    if pricing is None or sessions.is_empty():
        none = [pl.lit(None).cast(sessions.schema[name]).alias(name) for name in names]
        return sessions.with_columns(none)
    hours = _hours(sessions, stretches)
    flows = hourly_flows(
        VEHICLE_EFFICIENCY_HOURLY,
        pricing.of_vehicles(hours.lazy(), chargers.lazy()),
        device="session_id",
    )
    prices = pricing.prices(hours["hour_start"].unique())
    costs = group_costs(flows, prices, "session_id", pl.String())
    return (
        sessions.drop(names)
        .join(costs, on="session_id", how="left", maintain_order="left")
        .with_columns(pl.when(pl.col("status").is_in(RATED)).then("cost_of_losses"))
        .select(sessions.columns)
    )


def _hours(sessions: pl.DataFrame, stretches: pl.DataFrame) -> pl.DataFrame:
    """The energies of each session by hour, and the meters that fed its vehicle in it."""
    about = sessions.lazy().select("session_id", "vehicle_id", "status", "begins", "last_energy_at")
    within = (pl.col("begins_of_part") >= pl.col("begins")) & (
        pl.col("ends") <= pl.col("last_energy_at")
    )
    return (
        about.join(stretches.lazy(), on="vehicle_id", suffix="_of_part")
        .filter(within)
        .group_by("session_id", "vehicle_id", "status", "hour_start")
        .agg(
            *(exact_sum(pl.col(name)) for name in _ENERGIES),
            meter_ids=pl.col("meter_ids").list.explode().drop_nulls().unique().sort(),
        )
        .collect()
    )
