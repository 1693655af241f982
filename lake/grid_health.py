"""The voltage that each charger sees: its spread, and how often it leaves the limits.

The limits are those of EN 50160: 10 % below and above the nominal voltage. What lies beyond them
is a dip (sag) or a swell in the words of EN 61000-4-30.
"""

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from lake.energy import exact_mean, utc_window
from lake.settings import EnergySettings
from lake.spread import minutes, percentile, time_of_reading
from lake.table_spec import HOUR_START, TableSpec, count, number, text

_PERCENTILES: Final = (1, 5, 50, 95, 99)
# In tenths of the nominal voltage, for 0.9 and 1.1 are no exact floats: 1.1 * 230 > 253.
_LOWEST_TENTHS: Final = 9
_HIGHEST_TENTHS: Final = 11

_SAMPLED: Final = (
    "a new one after a silence longer than the largest gap; counted in the hour where it begins. "
    "Of disturbances shorter than the time between two readings only those that one meets are seen"
)

GRID_HEALTH_HOURLY: Final = TableSpec(
    "grid_health_hourly",
    "voltage at each meter that sent one, for each UTC hour",
    ("meter_id", "hour_start"),
    (
        HOUR_START,
        text("meter_id", "id of the meter"),
        number("nominal_voltage", "nominal voltage of the charger's class, volt", nullable=False),
        count("readings", "heartbeats with a voltage"),
        number("voltage_min", "lowest voltage, volt", nullable=False),
        number("voltage_mean", "plain mean of the voltages, volt", nullable=False),
        number("voltage_max", "highest voltage, volt", nullable=False),
        *(
            number(
                f"voltage_p{percent:02}",
                f"percentile {percent} of the voltages, interpolated linearly between the two "
                "nearest by rank (Hyndman and Fan type 7), volt",
                nullable=False,
            )
            for percent in _PERCENTILES
        ),
        number(
            "minutes_measured",
            "time that the readings with a voltage stand for: each for the time since the previous "
            "heartbeat, at most the largest gap, a first one for a nominal interval; minutes",
            nullable=False,
        ),
        number(
            "minutes_below",
            "part of minutes_measured under 90 % of nominal (EN 50160), minutes",
            nullable=False,
        ),
        number(
            "minutes_above",
            "part of minutes_measured over 110 % of nominal (EN 50160), minutes",
            nullable=False,
        ),
        count("sags", f"runs of consecutive voltages under 90 % of nominal; {_SAMPLED}"),
        count("swells", f"runs of consecutive voltages over 110 % of nominal; {_SAMPLED}"),
    ),
)


def grid_health(
    readings: pl.LazyFrame,
    classes: pl.LazyFrame,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> pl.LazyFrame:
    """The rows of GRID_HEALTH_HOURLY for the window [start, end), sorted by meter.

    `readings` have meter_id, timestamp and voltage, in any order, one row for each meter and
    timestamp. Rows before `start` are context, as `scan_context` reads it: they tell how long the
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
            **{f"voltage_p{percent:02}": percentile(voltage, percent) for percent in _PERCENTILES},
            minutes_measured=minutes(time, pl.lit(True)),
            minutes_below=minutes(time, pl.col("_is_low")),
            minutes_above=minutes(time, pl.col("_is_high")),
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
        .with_columns(_time=time_of_reading("_device", settings))
        .filter(voltage.is_not_null())
        .join(
            _nominal_voltages(classes, settings), on="meter_id", how="left", maintain_order="left"
        )
        .with_columns(nominal.fill_null(settings.nominal_voltage))
        .with_columns(
            _is_low=voltage * 10 < nominal * _LOWEST_TENTHS,
            _is_high=voltage * 10 > nominal * _HIGHEST_TENTHS,
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
