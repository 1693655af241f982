"""Rows of a longer time, merged from the rows of its hours: the facts of hours add up."""

from datetime import datetime
from typing import Final

import numpy as np
import polars as pl

from lake.energy.exact import exact_sum
from lake.energy.fact_columns import charger_rows, facts_of_rows, unlinked_of_rows, vehicle_rows
from lake.energy.facts import Facts, WindowEnergy, merge_facts
from lake.energy.intervals import Integers
from lake.energy.links import STRONGEST_FIRST
from lake.schema.cost_columns import COST_COLUMNS
from lake.schema.partitions import DAY, HOUR, microseconds
from lake.settings import EnergySettings

_SEPARATOR: Final = "+"
_END, _HOURS = "_end", "_hours"


def as_windows(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows of a table of hours or of days in one form, that can be merged together.

    Costs of days, which do not follow from facts, are left out.
    """
    if "date" not in rows.columns:
        return rows.with_columns(
            pl.lit(1, pl.Int64).alias(_HOURS), (pl.col("hour_start") + HOUR).alias(_END)
        )
    begin = pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    others = pl.all().exclude("date", "hours", *(column.name for column in COST_COLUMNS))
    return rows.select(
        begin.alias("hour_start"), others, pl.col("hours").alias(_HOURS), (begin + DAY).alias(_END)
    )


def merge_vehicle_hours(
    hours: pl.DataFrame, start: datetime, end: datetime, settings: EnergySettings
) -> pl.DataFrame:
    """Merge rows of VEHICLE_EFFICIENCY_HOURLY that lie in [start, end) to one for each vehicle.

    With `hours`, the number of the rows of each. Rows of `as_windows` may be of days as well; the
    class of a charger is then that of the most energy by day.
    """
    hours = _windows(hours).sort("vehicle_id", "hour_start")
    facts, _ = _merged(hours, "vehicle_id", start, end)
    by_vehicle = hours.lazy().group_by("vehicle_id", maintain_order=True)
    sources = pl.col("link_source").str.split(_SEPARATOR).list.explode().drop_nulls()
    about = by_vehicle.agg(
        link_source=pl.when(pl.col("link_source").is_not_null().any()).then(
            sources.unique()
            .cast(pl.Enum(STRONGEST_FIRST))
            .sort()
            .cast(pl.String)
            .str.join(_SEPARATOR)
        ),
        meter_ids=pl.col("meter_ids").list.explode().drop_nulls().unique().sort(),
        hours=pl.col(_HOURS).sum(),
    ).join(_class_of_most_energy(hours), on="vehicle_id", how="left", maintain_order="left")
    found = about.collect()
    links = found.filter(pl.col("link_source").is_not_null())
    rows = vehicle_rows(facts, found["vehicle_id"], links, settings)
    return rows.join(found.select("vehicle_id", "hours"), on="vehicle_id", maintain_order="left")


def merge_charger_hours(
    hours: pl.DataFrame, start: datetime, end: datetime, settings: EnergySettings
) -> pl.DataFrame:
    """Merge rows of CHARGER_EFFICIENCY_HOURLY as `merge_vehicle_hours` does those of vehicles."""
    hours = _windows(hours).sort("meter_id", "hour_start")
    facts, owner = _merged(hours, "meter_id", start, end)
    unlinked = unlinked_of_rows(hours)
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    total = (
        WindowEnergy(*(np.add.reduceat(column, first) for column in unlinked))
        if len(first)
        else unlinked
    )
    vehicles = pl.col("vehicle_ids").list.explode().drop_nulls().unique().sort()
    found = (
        hours.lazy()
        .group_by("meter_id", maintain_order=True)
        .agg(
            vehicle_ids=vehicles,
            charger_class=pl.col("charger_class").last(),
            hours=pl.col(_HOURS).sum(),
        )
        .collect()
    )
    fed = pl.when(pl.col("vehicle_ids").list.len() > 0).then("vehicle_ids")
    links = found.with_columns(vehicle_ids=fed).drop("hours")
    rows = charger_rows(facts, total, found["meter_id"], links, settings)
    return rows.join(found.select("meter_id", "hours"), on="meter_id", maintain_order="left")


def _merged(
    hours: pl.DataFrame, device: str, start: datetime, end: datetime
) -> tuple[Facts, Integers]:
    """The facts of each device over the whole time, and the device's number of each row."""
    begins, ends = (hours[name].to_physical().to_numpy() for name in ("hour_start", _END))
    facts = facts_of_rows(hours, begins, np.minimum(ends, microseconds(end)))
    owner = (hours[device].rle_id().cast(pl.Int64)).to_numpy()
    if not hours.height:
        return facts, owner
    return merge_facts(facts, owner, microseconds(start), microseconds(end)), owner


def _windows(rows: pl.DataFrame) -> pl.DataFrame:
    return rows if _END in rows.columns else as_windows(rows)


def _class_of_most_energy(hours: pl.DataFrame) -> pl.LazyFrame:
    """The class of the chargers that gave the most; of equal ones that of the first hour."""
    return (
        hours.lazy()
        .filter(pl.col("meter_ids").list.len() > 0)
        .group_by("vehicle_id", "charger_class")
        .agg(exact_sum(pl.col("energy_ac_kwh")).fill_null(0.0), pl.col("hour_start").min())
        .sort("vehicle_id", "energy_ac_kwh", "hour_start", descending=[False, True, False])
        .unique("vehicle_id", keep="first", maintain_order=True)
        .select("vehicle_id", "charger_class")
    )
