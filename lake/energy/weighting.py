"""Time-weighted statistics and percentiles of a measurement."""

from datetime import timedelta

import polars as pl

from lake.settings import EnergySettings


def percentile(values: pl.Expr, percent: int) -> pl.Expr:
    """Return a percentile of the non-null values, interpolated between the nearest ranks.

    The method is type 7 of Hyndman and Fan (1996), that of NumPy and of spreadsheets: n sorted
    values lie at the ranks 0 to n - 1, and the percentile at rank (n - 1) * percent / 100.
    """
    return values.quantile(percent / 100, interpolation="linear").round(9)


def time_weights(device: str, settings: EnergySettings) -> pl.Expr:
    """Return the microseconds each reading stands for: since the device's previous one.

    Of rows sorted by device and timestamp. At most the largest gap; a first reading stands for one
    nominal interval, and so does one whose previous reading lies more than the largest gap before
    the reading's hour: that is how far back an hour looks. The time belongs to the window of the
    reading as a whole, so the minutes of hours add up to those of their day.
    """
    timestamp, previous = pl.col("timestamp"), pl.col("timestamp").shift(1)
    nominal = timedelta(seconds=settings.nominal_interval_seconds)
    largest_gap = timedelta(seconds=settings.largest_gap_seconds)
    is_known = previous >= timestamp.dt.truncate("1h") - largest_gap
    is_same = pl.col(device) == pl.col(device).shift(1)
    since_previous = pl.when(is_same & is_known).then(timestamp - previous)
    time = pl.min_horizontal(since_previous.fill_null(nominal), pl.lit(largest_gap))
    return time.dt.total_microseconds()


def weighted_minutes(time: pl.Expr, where: pl.Expr) -> pl.Expr:
    """Add up the minutes of readings where a condition is true; one that is null is not."""
    return (time.filter(where).sum() / 60e6).round(9)
