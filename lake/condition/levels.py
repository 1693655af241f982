"""Weekly levels of chargers and vehicles: how far each is from what the fleet would reach there."""

from datetime import datetime
from typing import Final

import polars as pl

from lake.condition.sessions import DEVICE_COLUMNS, METER, VEHICLE

WEEKS: Final = 52

LEVELS: Final = {
    "device_kind": pl.String(),
    "device_id": pl.String(),
    "week": pl.Int32(),
    "level_percent": pl.Float64(),
    "standard_error": pl.Float64(),
    "sessions": pl.UInt32(),
    "expected_efficiency_percent": pl.Float64(),
    "cold_percent": pl.Float64(),
}
"""Columns of levels. `week` counts the seven days before a moment, the newest is -1."""

_WEEK: Final = 7 * 86_400_000_000
_FEWEST_OF_A_WEEK: Final = 50  # sessions of a class, for its median to be one
_ROUNDS: Final = 3
_SHRINK_SESSIONS: Final = 5
_CLIP: Final = 3.0
_COLD_KNOWN: Final = 0.15  # part of what is expected of cold by which it is wrong for one device


def adjusted_deviations(expected: pl.DataFrame, through: datetime) -> pl.DataFrame:
    """Return the sessions that count, of the WEEKS before a moment, and what is usual of them.

    `week` is that of LEVELS. From `deviation_percent` of `expected_efficiency` the median of the
    class in that week is taken away: what befalls all is no fault of one. `usual_meter` and
    `usual_vehicle` are the medians of both devices, percent.
    """
    of_class = ("charger_class", "week")
    common = (
        pl.when(pl.len().over(of_class) >= _FEWEST_OF_A_WEEK)
        .then(pl.col("deviation_percent").median().over(of_class))
        .otherwise(0.0)
    )
    rows = (
        expected.lazy()
        .filter(pl.col("deviation_percent").is_not_null())
        .with_columns(week=week_of(through))
        .filter(pl.col("week").is_between(-WEEKS, -1))
        .with_columns(deviation_percent=pl.col("deviation_percent") - common)
        .collect()
    )
    return rows.with_columns(_usual(rows))


def weekly_levels(adjusted: pl.DataFrame) -> pl.DataFrame:
    """Return LEVELS of all devices from sessions of `adjusted_deviations`.

    `level_percent` is the mean of `deviation_percent` less what is usual of the vehicles (of a
    charger), or of the chargers (of a vehicle). Sessions weigh by the inverse of their variances,
    and what strays more than three spreads from the week's median is clipped to that.
    """
    return pl.concat(_levels(adjusted, kind) for kind in DEVICE_COLUMNS)


def week_of(through: datetime) -> pl.Expr:
    """Return the number of the week in which a session begins: -1 is the last one before then."""
    end = pl.lit(through).cast(pl.Datetime("us", "UTC")).to_physical()
    return ((pl.col("begins").to_physical() - end) // _WEEK).cast(pl.Int32)


def _usual(rows: pl.DataFrame) -> pl.DataFrame:
    """Medians of chargers and vehicles in turn, each less the other; of few sessions nearer zero.

    They are far from those of an additive model fitted at once only where a device has a single
    partner: then the vehicle has all that is usual, and none is left for its charger.
    """
    deviation = pl.col("deviation_percent")
    enough = pl.len() / (pl.len() + _SHRINK_SESSIONS)
    found = rows.select("meter_id", "vehicle_id", deviation, usual_meter=0.0, usual_vehicle=0.0)
    for _ in range(_ROUNDS):
        for kind, other in ((VEHICLE, METER), (METER, VEHICLE)):
            level = (deviation - pl.col(f"usual_{other}")).median() * enough
            found = found.with_columns(level.over(DEVICE_COLUMNS[kind]).alias(f"usual_{kind}"))
    return found.select("usual_meter", "usual_vehicle")


def _levels(rows: pl.DataFrame, kind: str) -> pl.DataFrame:
    device = DEVICE_COLUMNS[kind]
    other = METER if kind == VEHICLE else VEHICLE
    own = pl.col("deviation_percent") - pl.col(f"usual_{other}")
    middle = pl.col("own").median().over(device, "week")
    most = _CLIP * pl.col("spread_percent")
    weight = pl.col("spread_percent") ** -2
    return (
        rows.lazy()
        .select(device, "week", "spread_percent", *_MEANS, own=own)
        .with_columns(own=pl.col("own").clip(middle - most, middle + most), weight=weight)
        .group_by(device, "week")
        .agg(
            level_percent=(pl.col("own") * pl.col("weight")).sum() / pl.col("weight").sum(),
            standard_error=(
                1 / pl.col("weight").sum() + (_COLD_KNOWN * pl.col("cold_percent").mean()) ** 2
            ).sqrt(),
            sessions=pl.len().cast(pl.UInt32),
            **{name: pl.col(name).mean() for name in _MEANS},
        )
        .select(pl.lit(kind).alias("device_kind"), pl.col(device).alias("device_id"), *_MEASURES)
        .sort("device_id", "week")
        .collect()
    )


_MEANS: Final = ("expected_efficiency_percent", "cold_percent")
_MEASURES: Final = [name for name in LEVELS if not name.startswith("device_")]
