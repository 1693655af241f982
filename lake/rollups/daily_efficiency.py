"""A UTC day of vehicles, chargers and the fleet: sums of its hours, the rest from heartbeats.

Explained in docs/energy.md. An hour cuts what is known at its start, and a gap may span hours: the
longest gap, coverage, matched shares and the mean temperature of a day are those of one window.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import polars as pl

from lake.energy.charger_efficiency import LINKED_ENERGY, with_charger_efficiency
from lake.energy.efficiency import fleet_efficiency, vehicle_efficiency_rows, with_efficiency
from lake.energy.interval_energy import exact_sum
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_DAILY
from lake.schema.partitions import utc_window
from lake.schema.vehicle_efficiency import FLEET_EFFICIENCY_DAILY, VEHICLE_EFFICIENCY_DAILY
from lake.settings import EnergySettings

# What adds up exactly over the hours,
_SUMS: Final = (
    exact_sum(pl.col("energy_ac_kwh")),
    exact_sum(pl.col("energy_dc_kwh")),
    pl.col("data_points_meter", "data_points_vehicle", "resets", "duplicates").sum(),
    pl.len().cast(pl.Int64).alias("hours"),
)
# ... and what does not.
_EVIDENCE: Final = (
    "charger_class",
    "coverage_ac",
    "coverage_dc",
    "matched_share_ac",
    "matched_share_dc",
    "longest_gap_seconds",
    "average_battery_temp",
    "link_source",
    "meter_ids",
)
_CHARGER_ENERGIES: Final = ("energy_ac_kwh", "unlinked_energy_ac_kwh", "energy_dc_kwh")
_CHARGER_COUNTS: Final = ("data_points_meter", "data_points_vehicle", "resets", "duplicates")
_CHARGER_EVIDENCE: Final = (
    "charger_class",
    "coverage_ac",
    "coverage_dc",
    "matched_share_ac",
    "matched_share_dc",
    "longest_gap_seconds",
    "vehicle_ids",
    LINKED_ENERGY,
)


def vehicle_evidence(
    facts: pl.LazyFrame, start: datetime, end: datetime, settings: EnergySettings
) -> pl.LazyFrame:
    """Return the columns that hours don't add up to, from rows of `vehicle_facts`."""
    return vehicle_efficiency_rows(facts, start, end, settings).select("vehicle_id", *_EVIDENCE)


def vehicle_day(
    hours: pl.LazyFrame,
    evidence: Sequence[pl.DataFrame],
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> pl.DataFrame:
    """Return the rows of VEHICLE_EFFICIENCY_DAILY for the day [start, end), sorted by vehicle.

    `hours` are the day's rows of VEHICLE_EFFICIENCY_HOURLY, `evidence` those of `vehicle_evidence`
    for each part of the day. A day that is not over ends at `end`.
    """
    start, end = utc_window(start, end)
    if not evidence:
        return pl.DataFrame(VEHICLE_EFFICIENCY_DAILY.schema.empty_table())
    return (
        sums_of_vehicle_hours(hours)
        .join(pl.concat(evidence).lazy(), on="vehicle_id")
        .pipe(with_efficiency, end - start, settings)
        .with_columns(date=pl.lit(start.date()))
        .select(VEHICLE_EFFICIENCY_DAILY.names)
        .sort("vehicle_id")
        .collect()
    )


def fleet_day(
    vehicles: pl.LazyFrame, fleet_hours: pl.LazyFrame, settings: EnergySettings
) -> pl.LazyFrame:
    """Return the row of FLEET_EFFICIENCY_DAILY from `vehicle_day` and the fleet's hours."""
    of_hours = fleet_hours.group_by(date=pl.col("hour_start").dt.date()).agg(
        exact_sum(pl.col("unlinked_energy_ac_kwh")), hours=pl.len().cast(pl.Int64)
    )
    unlinked = of_hours.select("date", "unlinked_energy_ac_kwh")
    return (
        fleet_efficiency(vehicles, unlinked, settings, "date")
        .join(of_hours.select("date", "hours"), on="date", how="left")
        .with_columns(pl.col("hours").fill_null(0))
        .select(FLEET_EFFICIENCY_DAILY.names)
    )


def sums_of_vehicle_hours(hours: pl.LazyFrame) -> pl.LazyFrame:
    """Add up the hours of each vehicle, rows of VEHICLE_EFFICIENCY_HOURLY, and count them."""
    return hours.group_by("vehicle_id").agg(_SUMS)


def charger_evidence(facts: pl.LazyFrame) -> pl.LazyFrame:
    """Return the columns that hours don't add up to, from rows of `charger_facts`."""
    return facts.select("meter_id", *_CHARGER_EVIDENCE)


def charger_day(
    hours: pl.LazyFrame,
    evidence: Sequence[pl.DataFrame],
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> pl.DataFrame:
    """Return the rows of CHARGER_EFFICIENCY_DAILY for the day [start, end), sorted by meter.

    `hours` are the day's rows of CHARGER_EFFICIENCY_HOURLY, `evidence` those of `charger_evidence`
    for each part of the day. A day that is not over ends at `end`.
    """
    start, end = utc_window(start, end)
    if not evidence:
        return pl.DataFrame(CHARGER_EFFICIENCY_DAILY.schema.empty_table())
    linked = pl.col("energy_ac_kwh").fill_null(0.0) - pl.col("unlinked_energy_ac_kwh")
    is_known = pl.col(LINKED_ENERGY).is_not_null()
    return (
        sums_of_charger_hours(hours)
        .join(pl.concat(evidence).lazy(), on="meter_id")
        .with_columns(pl.when(is_known).then(linked.round(9)).alias(LINKED_ENERGY))
        .pipe(with_charger_efficiency, end - start, settings)
        .with_columns(date=pl.lit(start.date()))
        .select(CHARGER_EFFICIENCY_DAILY.names)
        .sort("meter_id")
        .collect()
    )


def sums_of_charger_hours(hours: pl.LazyFrame) -> pl.LazyFrame:
    """Add up the hours of each meter, rows of CHARGER_EFFICIENCY_HOURLY, and count them."""
    return hours.group_by("meter_id").agg(
        *(exact_sum(pl.col(name)) for name in _CHARGER_ENERGIES),
        pl.col(_CHARGER_COUNTS).sum(),
        hours=pl.len().cast(pl.Int64),
    )
