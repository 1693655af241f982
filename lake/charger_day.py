"""A UTC day of the chargers: sums of its hours, and from its heartbeats what hours can't tell.

As lake/days.py does for the vehicles.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import polars as pl

from lake.charger_efficiency import (
    CHARGER_EFFICIENCY_DAILY,
    LINKED_ENERGY,
    with_charger_efficiency,
)
from lake.energy import exact_sum, utc_window
from lake.settings import EnergySettings

_ENERGIES: Final = ("energy_ac_kwh", "unlinked_energy_ac_kwh", "energy_dc_kwh")
_COUNTS: Final = ("data_points_meter", "data_points_vehicle", "resets", "duplicates")
_EVIDENCE: Final = (
    "charger_class",
    "coverage_ac",
    "coverage_dc",
    "matched_share_ac",
    "matched_share_dc",
    "longest_gap_seconds",
    "vehicle_ids",
    LINKED_ENERGY,
)


def charger_evidence(facts: pl.LazyFrame) -> pl.LazyFrame:
    """What does not add up over the hours of a window, from rows of `charger_facts`."""
    return facts.select("meter_id", *_EVIDENCE)


def charger_day(
    hours: pl.LazyFrame,
    evidence: Sequence[pl.DataFrame],
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> pl.DataFrame:
    """The rows of CHARGER_EFFICIENCY_DAILY for the day [start, end), sorted by meter.

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
    """What adds up exactly, for each meter in rows of CHARGER_EFFICIENCY_HOURLY, and `hours`."""
    return hours.group_by("meter_id").agg(
        *(exact_sum(pl.col(name)) for name in _ENERGIES),
        pl.col(_COUNTS).sum(),
        hours=pl.len().cast(pl.Int64),
    )
