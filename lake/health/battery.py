"""The treatment of a vehicle's battery: temperature, state of charge, energy."""

from datetime import datetime, timedelta

import polars as pl

from lake.energy.exact import exact_mean, exact_sum
from lake.energy.weighting import percentile, time_weights, weighted_minutes
from lake.schema.battery_health import (
    BATTERY_HEALTH_DAILY,
    FREEZING,
    TEMPERATURE_LIMITS,
    TEMPERATURE_PERCENTILES,
)
from lake.schema.partitions import utc_window
from lake.settings import EnergySettings


def battery_health(
    readings: pl.LazyFrame,
    hours: pl.LazyFrame,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> pl.LazyFrame:
    """Return the rows of BATTERY_HEALTH_DAILY for [start, end), sorted by vehicle.

    One row for each vehicle with a heartbeat in the window. `readings` have vehicle_id, timestamp,
    soc and battery_temp, in any order, one row for each vehicle and timestamp; rows before `start`
    are context, those of the largest gap. `hours` are rows of VEHICLE_EFFICIENCY_HOURLY of the
    window: their DC energy is this table's.
    """
    start, end = utc_window(start, end)
    temperature, soc, time = pl.col("battery_temp"), pl.col("soc"), pl.col("_time")
    rows = _in_order(readings.filter(pl.col("timestamp") < end), start, settings)
    energies = hours.group_by("vehicle_id").agg(exact_sum(pl.col("energy_dc_kwh")))
    return (
        rows.filter(pl.col("timestamp") >= start)
        .group_by("vehicle_id")
        .agg(
            readings=pl.len().cast(pl.Int64),
            temperature_min=temperature.min(),
            temperature_mean=exact_mean(temperature),
            temperature_max=temperature.max(),
            **{f"temperature_p{n:02}": percentile(temperature, n) for n in TEMPERATURE_PERCENTILES},
            minutes_measured=weighted_minutes(time, temperature.is_not_null()),
            **{
                f"minutes_above_{n}": weighted_minutes(time, temperature > n)
                for n in TEMPERATURE_LIMITS
            },
            **{f"minutes_below_{FREEZING}": weighted_minutes(time, temperature < FREEZING)},
            soc_min=soc.min(),
            soc_max=soc.max(),
            soc_first=soc.drop_nulls().first(),
            soc_last=soc.drop_nulls().last(),
            soc_swing=(soc.max() - soc.min()).round(9),
            soc_charged=_sum_of_steps(pl.col("_soc_step")),
            soc_discharged=_sum_of_steps(-pl.col("_soc_step")),
        )
        .join(energies, on="vehicle_id", how="left")
        .with_columns(date=pl.lit(start.date()))
        .select(BATTERY_HEALTH_DAILY.names)
        .sort("vehicle_id")
    )


def battery_health_in_parts(
    readings: pl.LazyFrame,
    hours: pl.LazyFrame,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
    vehicles: int = 1_000,
) -> pl.DataFrame:
    """Return the rows of `battery_health`, computed for so many vehicles at a time.

    The readings of a fleet's day do not fit into little memory at once. Those of a range of ids
    lie together in every hour of the history, so that each part reads little but its own.
    """
    ids = readings.select(pl.col("vehicle_id").unique()).collect(engine="streaming")
    ordered = ids["vehicle_id"].sort()
    parts = [battery_health(readings.head(0), hours, start, end, settings).collect()]
    for part in ordered.to_frame().iter_slices(vehicles):
        own = pl.col("vehicle_id").is_between(pl.lit(part.item(0, 0)), pl.lit(part.item(-1, 0)))
        rows = battery_health(readings.filter(own), hours.filter(own), start, end, settings)
        parts.append(rows.collect())
    return pl.concat(parts)


def _in_order(readings: pl.LazyFrame, start: datetime, settings: EnergySettings) -> pl.LazyFrame:
    """Sorted, with the time that each reading stands for and the step of the state of charge."""
    largest_gap = timedelta(seconds=settings.largest_gap_seconds)
    timestamp, soc, device = pl.col("timestamp"), pl.col("soc"), pl.col("_device")
    sent = soc.is_not_null()
    before = {
        "_soc_before": soc,
        "_soc_before_at": pl.when(sent).then(timestamp),
        "_soc_before_of": pl.when(sent).then(device),
    }
    soc_before_at = pl.col("_soc_before_at")
    # The limit makes the result independent of how much context the caller has read.
    counts = (pl.col("_soc_before_of") == device) & (
        (soc_before_at >= start) | (timestamp - soc_before_at <= largest_gap)
    )
    return (
        readings.select("vehicle_id", "timestamp", "soc", "battery_temp")
        .sort("vehicle_id", "timestamp", maintain_order=True)
        .with_columns(_device=pl.col("vehicle_id").rle_id())
        .with_columns(
            _time=time_weights("_device", settings),
            **{name: value.forward_fill().shift(1) for name, value in before.items()},
        )
        .with_columns(_soc_step=pl.when(counts).then(soc - pl.col("_soc_before")))
        .drop(*before)
    )


def _sum_of_steps(steps: pl.Expr) -> pl.Expr:
    """Sum of the steps up; null where no state of charge was sent."""
    total = exact_sum(steps.filter(steps > 0)).fill_null(0.0)
    return pl.when(pl.col("soc").count() > 0).then(total)
