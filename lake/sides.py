"""The two sides of each vehicle in a window: what its meters gave it, and what it says it got.

Explained in docs/energy.md. Readings are rows of `measured_energy`. Vehicles are numbered, and the
times of all of them lie on one axis (lake/time_axis.py).
"""

import polars as pl

from lake.energy import exact_sum
from lake.time_axis import TimeAxis


def numbered_vehicles(vehicles: pl.LazyFrame, links: pl.LazyFrame) -> pl.LazyFrame:
    """vehicle_id and `number` of each vehicle that has a reading or a link.

    Readings have their number already; a vehicle without one is numbered after them.
    """
    heard, number = _devices(vehicles, "vehicle_id"), pl.col("number").cast(pl.Int64)
    silent = links.select("vehicle_id").unique().join(heard, on="vehicle_id", how="anti")
    after = number.max().fill_null(-1) + number.is_null().cum_sum()
    return pl.concat([heard, silent], how="diagonal").with_columns(number.fill_null(after))


def credited(meters: pl.LazyFrame, links: pl.LazyFrame, axis: TimeAxis) -> pl.LazyFrame:
    """Each meter reading with the `link` of its timestamp and the vehicle's `number`, or nulls.

    `links` have meter_id, valid_from and valid_to within the window, `link` (what tells them
    apart) and the vehicle's `number`. A reading says nothing about time before its link:
    interval_start and covered_from are cut.
    """
    ranges = (
        links.join(_devices(meters, "meter_id").rename({"number": "_meter"}), on="meter_id")
        .select(
            "link",
            "number",
            "valid_from",
            _begins=axis.at("valid_from", "_meter"),
            _ends=axis.at("valid_to", "_meter"),
        )
        .sort("_begins")
    )
    is_fed = pl.col("_at") < pl.col("_ends")
    since = pl.when(is_fed).then("valid_from")
    return (
        meters.with_columns(_at=axis.at("timestamp"))
        .drop("number")
        .join_asof(ranges, left_on="_at", right_on="_begins", coalesce=False)
        .with_columns(
            pl.when(is_fed).then(pl.col("link", "number")).name.keep(),
            interval_start=pl.max_horizontal("interval_start", since),
            covered_from=pl.when(pl.col("covered_from").is_not_null()).then(
                pl.max_horizontal("covered_from", since)
            ),
        )
        .drop("_at", "_begins", "_ends", "valid_from")
    )


def totals(side: pl.LazyFrame, axis: TimeAxis, by: str, *more: pl.Expr) -> pl.LazyFrame:
    """Energy, counts and silences of a side's readings (rows of `on_axis`), for each `by`.

    `gap` and `last` are microseconds: the longest time without a reading of the vehicle up to one
    of these readings, and the last of them since the start of the window. `more` is added up too.
    """
    first, earlier = axis.first(), pl.col("at").shift(1)
    return (
        side.with_columns(
            _gap=pl.col("at") - pl.max_horizontal(earlier, first), _last=pl.col("at") - first
        )
        .group_by(by)
        .agg(
            exact_sum(pl.col("energy_kwh")),
            *more,
            data_points=pl.len().cast(pl.Int64),
            resets=pl.col("is_reset").sum().cast(pl.Int64),
            duplicates=pl.col("duplicates").sum().cast(pl.Int64),
            gap=pl.col("_gap").max(),
            last=pl.col("_last").max(),
        )
    )


def of_side(found: pl.LazyFrame, axis: TimeAxis, side: str) -> pl.LazyFrame:
    """The totals of a side, ac or dc, with its name in theirs; the gap in seconds, to the end."""
    longest_gap = pl.max_horizontal("gap", axis.length - pl.col("last"))
    return found.select(
        "number",
        pl.col("energy_kwh").alias(f"energy_{side}_kwh"),
        pl.col("data_points", "resets", "duplicates").name.suffix(f"_{side}"),
        axis.in_seconds(longest_gap).alias(f"gap_{side}"),
        pl.col("^average_battery_temp$"),
    )


def of_most_energy(rows: pl.LazyFrame, owner: str, name: str, energy: pl.Expr) -> pl.LazyFrame:
    """For each owner the name with the most energy in its rows; of equal ones the first."""
    return (
        rows.group_by(owner, name)
        .agg(_energy=exact_sum(energy).fill_null(0.0))
        .sort(owner, "_energy", name, descending=[False, True, False], nulls_last=True)
        .unique(owner, keep="first", maintain_order=True)
        .select(owner, name)
    )


def _devices(readings: pl.LazyFrame, device: str) -> pl.LazyFrame:
    """The device and its number, once each."""
    is_first = (pl.col("number") != pl.col("number").shift(1)).fill_null(True)
    return readings.select(device, "number").filter(is_first)
