"""The energy on both sides of each vehicle: given by its meters, and received by its battery.

Explained in docs/energy.md. Readings are rows of `measured_energy`. Vehicles are numbered, and the
times of all of them lie on one axis (lake/energy/time_axis.py). Of a meter's side the links are
those of `resolve_links` cut to the window, with `link`, which tells them apart, and the `number` of
the meter.
"""

import polars as pl

from lake.energy.interval_energy import DECIMALS, PER_UNIT, exact_sum
from lake.energy.time_axis import TimeAxis


def number_devices(readings: pl.LazyFrame, links: pl.LazyFrame, device: str) -> pl.LazyFrame:
    """Return the id and the `number` of each device that has a reading or a link.

    `device` is meter_id or vehicle_id. Readings, rows of `measured_energy`, have their number
    already; a device without one is numbered after them.
    """
    heard, number = _devices(readings, device), pl.col("number").cast(pl.Int64)
    silent = links.select(device).unique().join(heard, on=device, how="anti")
    after = number.max().fill_null(-1) + number.is_null().cum_sum()
    return pl.concat([heard, silent], how="diagonal").with_columns(number.fill_null(after))


def attribute_to_vehicles(
    meters: pl.LazyFrame, links: pl.LazyFrame, axis: TimeAxis
) -> pl.LazyFrame:
    """Give each meter reading the `link` of its timestamp and the vehicle's `number`, or nulls.

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
            _begins=axis.position("valid_from", "_meter"),
            _ends=axis.position("valid_to", "_meter"),
        )
        .sort("_begins")
    )
    is_fed = pl.col("_at") < pl.col("_ends")
    since = pl.when(is_fed).then("valid_from")
    return (
        meters.with_columns(_at=axis.position("timestamp"))
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


def sum_readings(side: pl.LazyFrame, axis: TimeAxis, by: str, *more: pl.Expr) -> pl.LazyFrame:
    """Add up energy, counts and gaps of a side's readings (rows of `on_axis`), for each `by`.

    `gap` and `last` are microseconds: the longest time without a reading of the vehicle up to one
    of these readings, and the last of them since the start of the window. `more` is added up too.
    """
    first, earlier = axis.start_position(), pl.col("at").shift(1)
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


def label_side(found: pl.LazyFrame, axis: TimeAxis, side: str) -> pl.LazyFrame:
    """Name the sums of a side, ac or dc, after it; the gap in seconds, to the window's end."""
    longest_gap = pl.max_horizontal("gap", axis.length - pl.col("last"))
    return found.select(
        "number",
        pl.col("energy_kwh").alias(f"energy_{side}_kwh"),
        pl.col("data_points", "resets", "duplicates").name.suffix(f"_{side}"),
        axis.in_seconds(longest_gap).alias(f"gap_{side}"),
        pl.col("^average_battery_temp$"),
    )


def name_of_most_energy(rows: pl.LazyFrame, owner: str, name: str, energy: pl.Expr) -> pl.LazyFrame:
    """Return for each owner the name with the most energy in its rows; of equal ones the first."""
    return (
        rows.group_by(owner, name)
        .agg(_energy=exact_sum(energy).fill_null(0.0))
        .sort(owner, "_energy", name, descending=[False, True, False], nulls_last=True)
        .unique(owner, keep="first", maintain_order=True)
        .select(owner, name)
    )


def attribute_to_meters(
    vehicles: pl.LazyFrame, linked: pl.LazyFrame, links: pl.LazyFrame, axis: TimeAxis
) -> pl.LazyFrame:
    """Repeat each vehicle reading for each meter that fed the vehicle then, with its part.

    `vehicles` are rows of `measured_energy` without meter_id, `linked` those of the meters while
    linked, with the `link`. Where several meters feed a vehicle, its energy is shared in
    proportion to what each of them gave it in all of `linked`; the first by id has all if none gave
    any. Parts are whole microwatt-hours and add up to those of the reading. `number` becomes that
    of the meter. A reading belongs to the links of its timestamp and says nothing about time
    before them: interval_start and covered_from are cut. Readings without a link are left out.
    """
    shares = _shares(linked, links).cache()
    times = (
        shares.select("vehicle_id", "_time", "_from", "_to")
        .unique()
        .join(_devices(vehicles, "vehicle_id"), on="vehicle_id")
        .select("_time", _begins=axis.position("_from"), _ends=axis.position("_to"))
        .sort("_begins")
    )
    whole = (pl.col("energy_kwh") * PER_UNIT).round()
    part = (whole * pl.col("_until")).round() - (whole * pl.col("_since")).round()
    covered_from = pl.max_horizontal("covered_from", "valid_from")
    return (
        vehicles.with_columns(_at=axis.position("timestamp"))
        .drop("number", "vehicle_id")
        .join_asof(times, left_on="_at", right_on="_begins", coalesce=False)
        .filter(pl.col("_at") < pl.col("_ends"))
        .join(
            shares.select("_time", "number", "valid_from", "_since", "_until"),
            on="_time",
            maintain_order="left",
        )
        .with_columns(
            energy_kwh=(part / PER_UNIT).round(DECIMALS),
            interval_start=pl.max_horizontal("interval_start", "valid_from"),
            covered_from=pl.when(pl.col("covered_from").is_not_null()).then(covered_from),
        )
        .drop("_at", "_begins", "_ends", "_time", "valid_from", "_since", "_until")
    )


def _shares(linked: pl.LazyFrame, links: pl.LazyFrame) -> pl.LazyFrame:
    """Return the meters of a vehicle between two changes of its links, with their parts.

    Columns vehicle_id, `_time` (the number of the time from `_from` to `_to`), the `number` and
    valid_from of the link, and the part as a range `_since` to `_until` of 0 to 1.
    """
    cuts = (
        pl.concat([links.select("vehicle_id", _at=name) for name in ("valid_from", "valid_to")])
        .unique()
        .sort("vehicle_id", "_at")
        .with_columns(_time=pl.int_range(pl.len()), _to=pl.col("_at").shift(-1))
    ).cache()
    first = cuts.select("vehicle_id", valid_from="_at", _first="_time")
    last = cuts.select("vehicle_id", valid_to="_at", _last="_time")
    weight, reached = pl.col("_weight"), pl.col("_weight").cum_sum().over("_time")
    total = weight.sum().over("_time")
    is_first = pl.int_range(pl.len()).over("_time") == 0
    return (
        links.join(first, on=["vehicle_id", "valid_from"])
        .join(last, on=["vehicle_id", "valid_to"])
        .with_columns(_time=pl.int_ranges("_first", "_last"))
        .explode("_time")
        .join(cuts.select("_time", "_to", _from="_at"), on="_time")
        .join(_given(linked, links), on=["number", "vehicle_id"])
        .sort("_time", "meter_id")
        .with_columns(_weight=pl.col("_given").clip(lower_bound=0))
        .with_columns(_weight=pl.when(total > 0).then(weight).otherwise(is_first.cast(pl.Int64)))
        .with_columns(_since=(reached - weight) / total, _until=reached / total)
    )


def _given(linked: pl.LazyFrame, links: pl.LazyFrame) -> pl.LazyFrame:
    """Return the energy that each meter gave to each linked vehicle, in microwatt-hours."""
    of_links = linked.group_by("link").agg(exact_sum(pl.col("energy_kwh")))
    in_microwatt_hours = (pl.col("energy_kwh") * PER_UNIT).round().cast(pl.Int64)
    return (
        links.join(of_links, on="link", how="left")
        .group_by("number", "vehicle_id")
        .agg(_given=in_microwatt_hours.sum())
    )


def _devices(readings: pl.LazyFrame, device: str) -> pl.LazyFrame:
    """The device and its number, once each."""
    is_first = (pl.col("number") != pl.col("number").shift(1)).fill_null(True)
    return readings.select(device, "number").filter(is_first)
