"""Who gets a reading's energy: the vehicle that the meter fed, or the meters that fed the vehicle.

Readings are rows of `measured_energy`, links as `resolve_links` returns them. A reading belongs to
the link of its timestamp and says nothing about the time before that link: interval_start and
covered_from are cut there. Explained in docs/energy.md.
"""

import polars as pl

from lake.energy import exact_sum

_PER_UNIT = 1e9
_DECIMALS = 9


def fed_vehicle(meters: pl.LazyFrame, links: pl.LazyFrame) -> pl.LazyFrame:
    """Each meter reading with the `vehicle_id` that it fed; null: it fed none."""
    ranges = links.select("meter_id", "vehicle_id", "valid_from", "valid_to")
    return _at_its_time(meters, ranges, "meter_id").pipe(_cut).drop("valid_from")


def feeding_meters(vehicles: pl.LazyFrame, fed: pl.LazyFrame, links: pl.LazyFrame) -> pl.LazyFrame:
    """Each vehicle reading once for each `meter_id` that fed the vehicle then, with its part.

    `fed` are the rows of `fed_vehicle`. Where several meters feed a vehicle, its energy is shared
    in proportion to what each of them gave it in all of `fed`; the first by id has all if none
    gave any. Parts are whole microwatt-hours and add up to those of the reading. Readings without
    a meter are left out, and so is the meter that a vehicle names.
    """
    shares = _shares(fed, links).cache()
    times = shares.select("vehicle_id", "_time", valid_from="_begins", valid_to="_ends").unique()
    whole = (pl.col("energy_kwh") * _PER_UNIT).round()
    part = (whole * pl.col("_until")).round() - (whole * pl.col("_since")).round()
    return (
        _at_its_time(vehicles.drop("meter_id"), times, "vehicle_id")
        .drop("valid_from")
        .join(shares.select("_time", "meter_id", "valid_from", "_since", "_until"), on="_time")
        .with_columns(energy_kwh=(part / _PER_UNIT).round(_DECIMALS))
        .pipe(_cut)
        .drop("_time", "valid_from", "_since", "_until")
    )


def _at_its_time(readings: pl.LazyFrame, ranges: pl.LazyFrame, device: str) -> pl.LazyFrame:
    """Add to each reading what the device's range of its timestamp says; null where there is none.

    The ranges of a device, valid_from to valid_to, do not overlap. Readings are sorted.
    """
    names = [name for name in ranges.collect_schema().names() if name not in {device, "valid_to"}]
    inside = pl.col("timestamp") < pl.col("valid_to")
    return (
        readings.join_asof(
            ranges.sort(device, "valid_from"),
            left_on="timestamp",
            right_on="valid_from",
            by=device,
            check_sortedness=False,  # it can't be checked by group; both sides are sorted
        )
        .with_columns(pl.when(inside).then(pl.col(names)).name.keep())
        .drop("valid_to")
    )


def _cut(readings: pl.LazyFrame) -> pl.LazyFrame:
    """Leave out what a reading says about the time before valid_from (null: nothing is cut)."""
    covered_from = pl.max_horizontal("covered_from", "valid_from")
    return readings.with_columns(
        interval_start=pl.max_horizontal("interval_start", "valid_from"),
        covered_from=pl.when(pl.col("covered_from").is_not_null()).then(covered_from),
    )


def _shares(fed: pl.LazyFrame, links: pl.LazyFrame) -> pl.LazyFrame:
    """The meters of a vehicle between two changes of its links, each with its part of the energy.

    Columns vehicle_id, `_time` (the number of the time from `_begins` to `_ends`), meter_id,
    valid_from, and the part as a range `_since` to `_until` of 0 to 1.
    """
    cuts = (
        pl.concat([links.select("vehicle_id", _at=name) for name in ("valid_from", "valid_to")])
        .unique()
        .sort("vehicle_id", "_at")
        .with_columns(_time=pl.int_range(pl.len()), _ends=pl.col("_at").shift(-1))
    ).cache()
    first = cuts.select("vehicle_id", valid_from="_at", _first="_time")
    last = cuts.select("vehicle_id", valid_to="_at", _last="_time")
    feeding = (
        links.join(first, on=["vehicle_id", "valid_from"])
        .join(last, on=["vehicle_id", "valid_to"])
        .select("vehicle_id", "meter_id", "valid_from", _time=pl.int_ranges("_first", "_last"))
        .explode("_time")
        .join(cuts.select("_time", "_ends", _begins="_at"), on="_time")
        .sort("_time", "meter_id")
    ).cache()
    weight, reached = pl.col("_weight"), pl.col("_weight").cum_sum().over("_time")
    total = weight.sum().over("_time")
    is_first = pl.int_range(pl.len()).over("_time") == 0
    return (
        feeding.join(
            _given(fed, feeding), on=["meter_id", "vehicle_id"], how="left", maintain_order="left"
        )
        .with_columns(_weight=pl.col("_given").fill_null(0).clip(lower_bound=0))
        .with_columns(_weight=pl.when(total > 0).then(weight).otherwise(is_first.cast(pl.Int64)))
        .with_columns(_since=(reached - weight) / total, _until=reached / total)
    )


def _given(fed: pl.LazyFrame, feeding: pl.LazyFrame) -> pl.LazyFrame:
    """What each meter gave to each vehicle that was ever fed by several, in microwatt-hours."""
    with_several = feeding.filter(pl.len().over("_time") > 1).select("vehicle_id").unique()
    return (
        fed.join(with_several, on="vehicle_id", how="semi")
        .group_by("meter_id", "vehicle_id")
        .agg(_given=(exact_sum(pl.col("energy_kwh")) * _PER_UNIT).round().cast(pl.Int64))
    )
