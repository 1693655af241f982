"""Sums and means that are the same in any order, as expressions.

A sum of floats depends on the order of its terms, and Polars adds in parallel: the last digits of a
total would differ between two runs. Sums are taken in whole microwatt-hours (10^-9 kWh), and so is
every other value: to 9 decimals.
"""

from typing import Final

import polars as pl

PER_UNIT: Final = 1e9
DECIMALS: Final = 9


def exact_sum(values: pl.Expr) -> pl.Expr:
    """Sum the non-null values to 9 decimals, in any order the same; null where there are none."""
    # Polars divides by multiplying with the reciprocal; rounding gives the nearest decimal.
    whole = (values * PER_UNIT).round().cast(pl.Int64)
    return pl.when(values.count() > 0).then((whole.sum() / PER_UNIT).round(DECIMALS))


def exact_mean(values: pl.Expr) -> pl.Expr:
    """Average the non-null values, in any order the same; null where there are none."""
    return exact_sum(values) / values.count()
