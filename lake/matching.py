"""When a side's energy is known, and which part of the other side's energy lies in that time.

Explained in docs/energy.md. Readings are rows of `measured_energy` with a `vehicle_id`.
"""

from datetime import datetime

import polars as pl

from lake.energy import exact_sum, in_seconds


def known_time(readings: pl.LazyFrame) -> pl.LazyFrame:
    """The time in which a side's energy is known, as pieces that do not overlap.

    Columns vehicle_id, begins, ends and `before`: known microseconds of the vehicle before
    `begins`. Several meters of a vehicle count once where their times overlap.
    """
    begins, ends, vehicle = pl.col("begins"), pl.col("ends"), pl.col("vehicle_id")
    # Nearly all readings continue the one before: joined first, little is left to be sorted.
    continues = (vehicle == vehicle.shift(1)) & (begins == ends.shift(1))
    pieces = (
        readings.filter(pl.col("covered_from").is_not_null())
        .select("vehicle_id", begins="covered_from", ends="timestamp")
        .with_columns(_piece=(~continues).fill_null(True).cum_sum())
        .group_by("_piece")
        .agg(vehicle.first(), begins.min(), ends.max())
    )
    return (
        pieces.sort("vehicle_id", "begins", "ends")
        .with_columns(_reached=ends.cum_max().shift(1).over("vehicle_id"))
        .with_columns(begins=pl.max_horizontal("begins", "_reached"))
        .filter(begins <= ends)
        .with_columns(_length=(ends - begins).dt.total_microseconds())
        .with_columns(before=pl.col("_length").cum_sum().over("vehicle_id") - pl.col("_length"))
        .select("vehicle_id", "begins", "ends", "before")
    )


def coverage(known: pl.LazyFrame, start: datetime, end: datetime, side: str) -> pl.LazyFrame:
    """Known time of each vehicle as a part of the window, 0-1."""
    length = pl.col("ends") - pl.col("begins")
    share = in_seconds(length.sum()) / (end - start).total_seconds()
    return known.group_by("vehicle_id").agg(share.round(9).alias(f"coverage_{side}"))


def matched_share(readings: pl.LazyFrame, known: pl.LazyFrame, side: str) -> pl.LazyFrame:
    """Part of each vehicle's energy that lies in `known` time of the other side.

    The energy of a reading is spread evenly over interval_start to timestamp. Weights are absolute
    energies, so that noise which steps back cannot cancel what is not matched.
    """
    length = (pl.col("timestamp") - pl.col("interval_start")).dt.total_microseconds()
    matched = (pl.col("known_until_timestamp") - pl.col("known_until_interval_start")) / length
    # An interval of no length (a reading at the very start) is matched if its moment is known.
    share = pl.when(length > 0).then(matched).otherwise(pl.col("_is_known").cast(pl.Float64))
    energies = readings.filter(pl.col("energy_kwh") != 0).select(
        "vehicle_id", "timestamp", "interval_start", _weight=pl.col("energy_kwh").abs()
    )
    for moment in ("interval_start", "timestamp"):
        energies = _known_until(energies, moment, known)
    return (
        energies.with_columns(_matched=pl.col("_weight") * share)
        .group_by("vehicle_id")
        .agg(exact_sum(pl.col("_matched")), exact_sum(pl.col("_weight")))
        .select(
            "vehicle_id", (pl.col("_matched") / pl.col("_weight")).alias(f"matched_share_{side}")
        )
    )


def _known_until(rows: pl.LazyFrame, moment: str, known: pl.LazyFrame) -> pl.LazyFrame:
    """Add known_until_`moment`, the known microseconds up to it, and whether it is known itself."""
    inside = (pl.min_horizontal(moment, "ends") - pl.col("begins")).dt.total_microseconds()
    return (
        rows.sort(moment)
        .join_asof(
            known,
            left_on=moment,
            right_on="begins",
            by="vehicle_id",
            check_sortedness=False,  # it can't be checked by group; both sides are sorted above
            coalesce=False,
        )
        .with_columns(
            (pl.col("before") + inside).fill_null(0).alias(f"known_until_{moment}"),
            _is_known=(pl.col(moment) <= pl.col("ends")).fill_null(False),
        )
        .drop("begins", "ends", "before")
    )
