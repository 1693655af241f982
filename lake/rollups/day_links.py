"""The links of a day, put together from those that its computed hours used."""

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from lake.energy.links import (
    LINK_COLUMNS,
    RULE,
    claims_of_names,
    moving_readings,
    resolve_links,
    speaking_readings,
)
from lake.schema.partitions import HOUR
from lake.settings import EnergySettings

_NO_PAIRS: Final = pl.LazyFrame(schema={"meter_id": pl.String, "vehicle_id": pl.String})


def links_of_hours(
    hours: pl.DataFrame, explicit: pl.LazyFrame, heartbeats: pl.LazyFrame, settings: EnergySettings
) -> pl.DataFrame:
    """Return LINK_COLUMNS of every hour, one hour after another.

    `hours` are rows of VEHICLE_EFFICIENCY_HOURLY, `explicit` what `resolve_links` takes, for all
    of them; `heartbeats` those of vehicles, best as a scan, and of the largest gap before them. A
    link by the rule is for a whole hour and stands in the vehicle's row. Only the others are
    resolved again: what a vehicle without a link had to say made no difference to any.
    """
    by_rule = hours.filter(pl.col("link_source") == RULE).select(
        pl.col("meter_ids").list.first().alias("meter_id"),
        "vehicle_id",
        valid_from="hour_start",
        valid_to=pl.col("hour_start") + HOUR,
        source="link_source",
    )
    otherwise = hours.filter(pl.col("link_source") != RULE)
    if otherwise.is_empty():
        return by_rule.select(LINK_COLUMNS)
    vehicles = otherwise["vehicle_id"].unique().to_list()
    names = moving_readings(heartbeats.filter(pl.col("vehicle_id").is_in(vehicles)))
    names = names.collect().lazy()
    starts = otherwise["hour_start"].unique().sort()
    resolved = [_of_hour(start, explicit, names, settings) for start in starts]
    return pl.concat([by_rule.select(LINK_COLUMNS).lazy(), *resolved]).collect()


def _of_hour(
    start: datetime, explicit: pl.LazyFrame, names: pl.LazyFrame, settings: EnergySettings
) -> pl.LazyFrame:
    """The links of the hour that are not by the rule, from what was known when it ended."""
    before, end = timedelta(seconds=settings.largest_gap_seconds), start + HOUR
    timestamp = pl.col("timestamp")
    known = names.filter(timestamp >= start - before, timestamp < end)
    claims = claims_of_names(speaking_readings(known, settings))
    return resolve_links(explicit, claims, _NO_PAIRS, start, end)
