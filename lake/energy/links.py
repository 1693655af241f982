"""Links: the meter that feeds each vehicle, and when. Explained in docs/energy.md.

A link is a row of LINK_COLUMNS: `meter_id` feeds `vehicle_id` in the half-open UTC time range
[valid_from, valid_to). What `resolve_links` returns has at most one vehicle for a meter at a time.
"""

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from lake.schema.partitions import literal, utc_window
from lake.settings import EnergySettings

LINK: Final = "link"
HEARTBEAT: Final = "heartbeat"
RULE: Final = "rule"
STRONGEST_FIRST: Final = (LINK, HEARTBEAT, RULE)

LINK_COLUMNS: Final = ("meter_id", "vehicle_id", "valid_from", "valid_to", "source")

# The columns of a pair.
PAIR: Final = {"meter_id": pl.String(), "vehicle_id": pl.String()}

_TIME: Final = pl.Datetime("us", "UTC")
_TICK: Final = timedelta(microseconds=1)


def resolve_links(
    explicit: pl.LazyFrame,
    named: pl.LazyFrame,
    by_rule: pl.LazyFrame,
    start: datetime,
    end: datetime,
) -> pl.LazyFrame:
    """Return the links that count in the window: LINK_COLUMNS, sorted by meter and time.

    `explicit` has meter_id, vehicle_id, valid_from, valid_to (null: open); `named` is what
    `named_links` returns; `by_rule` has meter_id and vehicle_id and counts for the whole window.
    An explicit link stands above the names in heartbeats, for its meter and for its vehicle. Of
    several vehicles that name one meter, one that stands there is before one that came from or
    has gone to a silence, then the first by id. A device that is linked otherwise in the window
    takes no part in the rule.
    """
    start, end = utc_window(start, end)
    named = named.cache()
    claims = pl.concat(
        [
            _claims(explicit, "valid_from", "valid_to", LINK, rank=0),
            _claims(named, "certain_from", "certain_to", HEARTBEAT, rank=1),
            _claims(named, "valid_from", "valid_to", HEARTBEAT, rank=2),
        ]
    )
    claims = clip_links(claims, start, end).cache()
    rule = by_rule.join(claims, on="meter_id", how="anti").join(claims, on="vehicle_id", how="anti")
    of_one_vehicle = _best_at_each_time(claims, "vehicle_id")
    of_one_meter = _best_at_each_time(of_one_vehicle, "meter_id").filter(
        pl.col("vehicle_id") == pl.col("vehicle_id").min().over("_segment")
    )
    return (
        pl.concat(
            [
                join_adjacent_links(of_one_meter),
                links_by_rule(rule, start, end),
            ]
        )
    ).sort("meter_id", "valid_from")


def links_by_rule(pairs: pl.LazyFrame, start: datetime, end: datetime) -> pl.LazyFrame:
    """Return what `resolve_links` would, for devices that nothing but the rule links."""
    start, end = utc_window(start, end)
    rule = pairs.with_columns(valid_from=literal(start), valid_to=literal(end))
    claims = _claims(rule, "valid_from", "valid_to", RULE, rank=3)
    return claims.select(LINK_COLUMNS).sort("meter_id", "valid_from")


def clip_links(links: pl.LazyFrame, start: datetime, end: datetime) -> pl.LazyFrame:
    """Return the links with a moment in the window, cut to it."""
    return links.with_columns(
        valid_from=pl.max_horizontal("valid_from", literal(start)),
        valid_to=pl.min_horizontal("valid_to", literal(end)),
    ).filter(pl.col("valid_from") < pl.col("valid_to"))


def join_adjacent_links(links: pl.LazyFrame) -> pl.LazyFrame:
    """Join links that follow one another and say the same, as those of a day's hours."""
    same = pl.all_horizontal(
        pl.col(name) == pl.col(name).shift(1) for name in ("meter_id", "vehicle_id", "source")
    )
    continues = (same & (pl.col("valid_from") == pl.col("valid_to").shift(1))).fill_null(False)
    return (
        links.sort("meter_id", "valid_from")
        .with_columns(_link=(~continues).cum_sum())
        .group_by("_link")
        .agg(
            pl.col("meter_id", "vehicle_id", "source").first(),
            pl.col("valid_from").min(),
            pl.col("valid_to").max(),
        )
        .select(LINK_COLUMNS)
        .sort("meter_id", "valid_from")
    )


def named_links(vehicle_readings: pl.LazyFrame, settings: EnergySettings) -> pl.LazyFrame:
    """Return the ranges in which consecutive heartbeats of a vehicle name one meter.

    `vehicle_readings` have vehicle_id, timestamp and meter_id (null: names none) and hold, beside
    the window, the heartbeats of the largest gap before it. Returns LINK_COLUMNS and the part
    `certain_from` to `certain_to` that lies between heartbeats without a silence.

    A heartbeat speaks for the time since the vehicle's previous one, at most the largest gap; the
    last one before a silence or a change holds on until the next, at most the largest gap.
    """
    largest_gap = timedelta(seconds=settings.largest_gap_seconds)
    timestamp = pl.col("timestamp")
    same_vehicle = pl.col("vehicle_id") == pl.col("vehicle_id").shift(1)
    previous = pl.when(same_vehicle).then(timestamp.shift(1))
    names_meter = pl.col("meter_id").is_not_null()
    readings = vehicle_readings.select("vehicle_id", "timestamp", "meter_id").cache()
    naming = (
        # Few vehicles name a meter, and the others need not be sorted.
        readings.join(readings.filter(names_meter), on="vehicle_id", how="semi")
        .sort("vehicle_id", "timestamp")
        .with_columns(
            _speaks_from=pl.max_horizontal(previous, timestamp - largest_gap),
            _after_silence=(timestamp - previous > largest_gap).fill_null(True),
        )
        .filter(names_meter)
    )
    goes_on = (
        same_vehicle
        & (pl.col("meter_id") == pl.col("meter_id").shift(1))
        & (timestamp - timestamp.shift(1) <= largest_gap)
    ).fill_null(False)
    ranges = (
        naming.with_columns(_range=(~goes_on).cum_sum())
        .group_by("_range")
        .agg(
            pl.col("vehicle_id", "meter_id", "_speaks_from", "_after_silence").first(),
            _first=timestamp.min(),
            _last=timestamp.max(),
        )
        .sort("_range")
    )
    next_speaks_from = pl.when(pl.col("vehicle_id") == pl.col("vehicle_id").shift(-1)).then(
        pl.col("_speaks_from").shift(-1)
    )
    # A reading at t is about the time before t: (a, b] in whole microseconds is [a + 1, b + 1).
    return ranges.select(
        "meter_id",
        "vehicle_id",
        valid_from=pl.col("_speaks_from") + _TICK,
        valid_to=pl.min_horizontal(pl.col("_last") + largest_gap, next_speaks_from) + _TICK,
        source=pl.lit(HEARTBEAT),
        certain_from=pl.when("_after_silence")
        .then("_first")
        .otherwise(pl.col("_speaks_from") + _TICK),
        certain_to=pl.col("_last") + _TICK,
    )


def _claims(
    links: pl.LazyFrame, valid_from: str, valid_to: str, source: str, rank: int
) -> pl.LazyFrame:
    return links.select(
        "meter_id",
        "vehicle_id",
        valid_from=pl.col(valid_from).cast(_TIME),
        valid_to=pl.col(valid_to).cast(_TIME),
        source=pl.lit(source),
        _rank=pl.lit(rank, pl.Int8),
    )


def _best_at_each_time(claims: pl.LazyFrame, device: str) -> pl.LazyFrame:
    """Cut the claims where any claim of the same device begins or ends; keep the best rank.

    `_segment` numbers the times between two cuts of a device.
    """
    claims = claims.cache()
    cuts = (
        pl.concat([claims.select(device, _at=name) for name in ("valid_from", "valid_to")])
        .unique()
        .sort(device, "_at")
        .with_columns(_cut=pl.int_range(pl.len()), _next=pl.col("_at").shift(-1))
    ).cache()
    first = cuts.select(device, valid_from="_at", _first="_cut")
    last = cuts.select(device, valid_to="_at", _last="_cut")
    segments = cuts.select(_segment="_cut", valid_from="_at", valid_to="_next")
    return (
        claims.join(first, on=[device, "valid_from"])
        .join(last, on=[device, "valid_to"])
        .drop("valid_from", "valid_to")
        .with_columns(_segment=pl.int_ranges("_first", "_last"))
        .drop("_first", "_last")
        .explode("_segment")
        .join(segments, on="_segment")
        .filter(pl.col("_rank") == pl.col("_rank").min().over("_segment"))
    )
