"""Voltage at each charger: its distribution, and how often it leaves the limits.

The limits are those of EN 50160: 10 % below and above the nominal voltage. What lies beyond them
is a dip (sag) or a swell in the words of EN 61000-4-30.
"""

from datetime import datetime, timedelta

import polars as pl

from lake.energy.exact import exact_mean
from lake.energy.weighting import percentile, time_weights, weighted_minutes
from lake.schema.grid_health import (
    GRID_HEALTH_HOURLY,
    HIGHEST_TENTHS,
    LOWEST_TENTHS,
    VOLTAGE_PERCENTILES,
)
from lake.schema.partitions import utc_window
from lake.settings import EnergySettings


def grid_health(
    readings: pl.LazyFrame,
    classes: pl.LazyFrame,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> pl.LazyFrame:
    """Return the rows of GRID_HEALTH_HOURLY for [start, end), sorted by meter.

    `readings` have meter_id, timestamp and voltage, in any order, one row for each meter and
    timestamp. Rows before `start` are context, those of the largest gap: they tell how long the
    first readings stand for, and which runs go on. `classes` has one row of meter_id and
    charger_class for each meter that has a class.
    """
    start, end = utc_window(start, end)
    voltage, time = pl.col("voltage"), pl.col("_time")
    return (
        _voltages(readings.filter(pl.col("timestamp") < end), classes, settings)
        .filter(pl.col("timestamp") >= start)
        .group_by("meter_id")
        .agg(
            pl.col("nominal_voltage").first(),
            readings=pl.len().cast(pl.Int64),
            voltage_min=voltage.min(),
            voltage_mean=exact_mean(voltage),
            voltage_max=voltage.max(),
            **{
                f"voltage_p{percent:02}": percentile(voltage, percent)
                for percent in VOLTAGE_PERCENTILES
            },
            minutes_measured=weighted_minutes(time, pl.lit(True)),
            minutes_below=weighted_minutes(time, pl.col("_is_low")),
            minutes_above=weighted_minutes(time, pl.col("_is_high")),
            sags=pl.col("_begins_low").sum().cast(pl.Int64),
            swells=pl.col("_begins_high").sum().cast(pl.Int64),
        )
        .with_columns(hour_start=pl.lit(start, pl.Datetime("us", "UTC")))
        .select(GRID_HEALTH_HOURLY.names)
        .sort("meter_id")
    )


def _voltages(
    readings: pl.LazyFrame, classes: pl.LazyFrame, settings: EnergySettings
) -> pl.LazyFrame:
    """The readings with a voltage: their time, whether it is low or high, and begins to be so."""
    timestamp, device = pl.col("timestamp"), pl.col("_device")
    voltage, nominal = pl.col("voltage"), pl.col("nominal_voltage")
    largest_gap = timedelta(seconds=settings.largest_gap_seconds)
    goes_on = (device == device.shift(1)) & (timestamp - timestamp.shift(1) <= largest_gap)
    is_low, is_high = pl.col("_is_low"), pl.col("_is_high")
    return (
        readings.select("meter_id", "timestamp", "voltage")
        .sort("meter_id", "timestamp", maintain_order=True)  # takes sorted rows as they are
        .with_columns(_device=pl.col("meter_id").rle_id())
        .with_columns(_time=time_weights("_device", settings))
        .filter(voltage.is_not_null())
        .join(
            _nominal_voltages(classes, settings), on="meter_id", how="left", maintain_order="left"
        )
        .with_columns(nominal.fill_null(settings.nominal_voltage))
        .with_columns(
            _is_low=voltage * 10 < nominal * LOWEST_TENTHS,
            _is_high=voltage * 10 > nominal * HIGHEST_TENTHS,
        )
        .with_columns(
            _begins_low=is_low & ~(goes_on & is_low.shift(1)).fill_null(False),
            _begins_high=is_high & ~(goes_on & is_high.shift(1)).fill_null(False),
        )
    )


def _nominal_voltages(classes: pl.LazyFrame, settings: EnergySettings) -> pl.LazyFrame:
    """The nominal voltage of each meter whose class has one of its own."""
    own = {
        name: described.nominal_voltage
        for name, described in settings.charger_classes.items()
        if described.nominal_voltage is not None
    }
    of_class = pl.LazyFrame(
        {"charger_class": own.keys(), "nominal_voltage": own.values()},
        schema={"charger_class": pl.String, "nominal_voltage": pl.Float64},
    )
    return classes.join(of_class, on="charger_class").select("meter_id", "nominal_voltage")
