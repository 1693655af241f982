"""The share of AC energy that falls in time with known DC energy, and the reverse.

Explained in docs/energy.md. A side are rows of `on_axis`: readings that count for a vehicle, with
`number` of the vehicle and times on the axis of all vehicles (lake/energy/time_axis.py).
"""

import polars as pl

from lake.energy.interval_energy import exact_sum
from lake.energy.time_axis import TimeAxis, sort_by_position


def on_axis(readings: pl.LazyFrame, axis: TimeAxis) -> pl.LazyFrame:
    """Place the times of `measured_energy` rows, numbered by vehicle, on the axis; sort by `at`.

    The times get their places on the axis: `at` (timestamp), `since` (interval_start) and
    `known_from` (covered_from).
    """
    times = {"at": "timestamp", "since": "interval_start", "known_from": "covered_from"}
    return (
        readings.with_columns(**{name: axis.position(moment) for name, moment in times.items()})
        .drop(times.values())
        .pipe(sort_by_position, "at")
        .set_sorted("number")
    )


def known_time(side: pl.LazyFrame) -> pl.LazyFrame:
    """Return the times of a side's known energy, as sorted pieces that neither overlap nor touch.

    Columns number, begins, ends and `before`: known microseconds of all vehicles before `begins`.
    Several meters of a vehicle count once where their times overlap.
    """
    # Sorted by its end, a reading is the last of its piece if all later ones begin after it.
    begins, ends = pl.col("known_from").cum_min(reverse=True), pl.col("at")
    is_last = (begins.shift(-1) > ends).fill_null(True)
    is_first = is_last.shift(1).fill_null(True)
    length = pl.col("ends") - pl.col("begins")
    return (
        side.filter(pl.col("known_from").is_not_null())
        .select(
            pl.col("number").filter(is_first),
            begins=begins.filter(is_first),
            ends=ends.filter(is_last),
        )
        .with_columns(before=length.cum_sum() - length)
    )


def coverage(known: pl.LazyFrame, axis: TimeAxis, side: str) -> pl.LazyFrame:
    """Return the known time of each vehicle as a part of the window, 0-1."""
    known_seconds = axis.in_seconds((pl.col("ends") - pl.col("begins")).sum())
    share = known_seconds / (axis.end - axis.start).total_seconds()
    return known.group_by("number").agg(share.round(9).alias(f"coverage_{side}"))


def matched_share(side: pl.LazyFrame, known: pl.LazyFrame, name: str) -> pl.LazyFrame:
    """Return the part of each vehicle's energy in `known` time of the other side.

    Weights are absolute energies, so that noise which steps back cannot cancel what is not matched.
    """
    return share_of_energy(matched_readings(side, known), name)


def matched_readings(side: pl.LazyFrame, known: pl.LazyFrame) -> pl.LazyFrame:
    """Return readings with energy: `number`, `energy_kwh` without its sign, and `share`.

    The share is the part of it that lies in `known` time of the other side. The energy of a reading
    is spread evenly over interval_start to timestamp.
    """
    length = pl.col("at") - pl.col("since")
    matched = (pl.col("known_until_at") - pl.col("known_until_since")) / length
    # An interval of no length (a reading at the very start) is matched if its moment is known.
    share = pl.when(length > 0).then(matched).otherwise(pl.col("_is_known").cast(pl.Float64))
    energies = side.filter(pl.col("energy_kwh") != 0).select(
        "number", "at", "since", pl.col("energy_kwh").abs()
    )
    for moment in ("since", "at"):
        energies = _known_until(sort_by_position(energies, moment), moment, known)
    return energies.select("number", "energy_kwh", share=share)


def share_of_energy(readings: pl.LazyFrame, name: str) -> pl.LazyFrame:
    """Return the matched share of each number's rows of `matched_readings`."""
    weight, matched = pl.col("energy_kwh"), pl.col("_matched")
    return (
        readings.with_columns(_matched=weight * pl.col("share"))
        .group_by("number")
        .agg(exact_sum(matched), exact_sum(weight))
        .select("number", (matched / weight).alias(f"matched_share_{name}"))
    )


def _known_until(rows: pl.LazyFrame, moment: str, known: pl.LazyFrame) -> pl.LazyFrame:
    """Add known_until_`moment`, the known microseconds up to it, and whether it is known itself.

    They are counted from the start of the axis: what lies before the vehicle cancels.
    """
    inside = pl.min_horizontal(moment, "ends") - pl.col("begins")
    return (
        rows.join_asof(known.drop("number"), left_on=moment, right_on="begins", coalesce=False)
        .with_columns(
            (pl.col("before") + inside).fill_null(0).alias(f"known_until_{moment}"),
            _is_known=(pl.col(moment) <= pl.col("ends")).fill_null(False),
        )
        .drop("begins", "ends", "before")
    )
