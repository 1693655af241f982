"""Links: the meter that feeds each vehicle, and when. Explained in docs/energy.md.

A link is a row of LINK_COLUMNS: `meter_id` feeds `vehicle_id` in the half-open UTC time range
[valid_from, valid_to). What `resolve_links` returns has at most one vehicle for a meter at a time.
"""

from datetime import datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from lake.schema.partitions import DAY, EPOCH, literal, utc_window
from lake.schema.streams import REGISTER, VEHICLE
from lake.settings import EnergySettings

LINK: Final = "link"
HEARTBEAT: Final = "heartbeat"
RULE: Final = "rule"
STRONGEST_FIRST: Final = (LINK, HEARTBEAT, RULE)

LINK_COLUMNS: Final = ("meter_id", "vehicle_id", "valid_from", "valid_to", "source")

# Of a claim that a vehicle makes: a link's, how strong it is, and the time before and after it in
# which it keeps off others that stand (null: it does not).
CLAIM_COLUMNS: Final = (*LINK_COLUMNS, "strength", "keeps_off")

# Of a reading that may name a meter; `moves`: energy reached the battery in the time it is about.
NAMING: Final = ("vehicle_id", "timestamp", "meter_id", "moves")

# Strengths of claims to a meter, the strongest first. A certain one lies between two heartbeats
# without a silence; the others reach into a silence, or hold on after the last word.
_LINKED: Final = 0
_MOVING_CERTAIN: Final = 1
_MOVING: Final = 2
_STANDING_CERTAIN: Final = 3
_STANDING: Final = 4

# The columns of a pair.
PAIR: Final = {"meter_id": pl.String(), "vehicle_id": pl.String()}

_REACH: Final = 1.5
_LONGEST_HOLD: Final = timedelta(hours=1)
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
    several vehicles that name one meter, one whose energy moves is before one that stands; then one
    that is heard on both sides of that time is before one that came from or has gone to a silence;
    then the first by id. Shortly before and after the energy of a vehicle moves, the meter is no
    other's that stands. A device that is linked otherwise in the window takes no part in the rule.
    """
    start, end = utc_window(start, end)
    claims = pl.concat(
        [
            explicit.select(
                "meter_id",
                "vehicle_id",
                pl.col("valid_from", "valid_to").cast(_TIME),
                source=pl.lit(LINK),
                strength=pl.lit(_LINKED, pl.Int8),
                keeps_off=pl.lit(None, pl.Duration("us")),
            )
            .with_columns(pl.col("valid_to").fill_null(literal(end)))
            .filter(pl.col("valid_from") < pl.col("valid_to")),
            named.select(CLAIM_COLUMNS),
        ]
    ).cache()
    in_window = clip_links(claims, start, end).cache()
    rule = by_rule.join(in_window, on="meter_id", how="anti").join(
        in_window, on="vehicle_id", how="anti"
    )
    links = clip_links(_one_vehicle_at_each_time(_strongest(claims)), start, end)
    return (
        pl.concat(
            [
                join_adjacent_links(links),
                links_by_rule(rule, start, end),
            ]
        )
    ).sort("meter_id", "valid_from")


def links_around(
    explicit: pl.LazyFrame,
    named: pl.LazyFrame,
    by_rule: pl.LazyFrame,
    start: datetime,
    end: datetime,
) -> pl.LazyFrame:
    """Return the links of a window and of a day to either side of it, as `resolve_links` does.

    A pair of `by_rule` that nothing else links in the window counts beyond it as well, up to where
    something else has linked or will link its meter.
    """
    start, end = utc_window(start, end)
    begins, ends = start - DAY, end + DAY
    links = resolve_links(explicit, named, by_rule.clear(), begins, ends).cache()
    inside = clip_links(links, start, end)
    free = by_rule.join(inside, on="meter_id", how="anti").join(inside, on="vehicle_id", how="anti")
    others = links.group_by("meter_id").agg(
        _last=pl.col("valid_to").filter(pl.col("valid_to") <= literal(start)).max(),
        _next=pl.col("valid_from").filter(pl.col("valid_from") >= literal(end)).min(),
    )
    rule = (
        links_by_rule(free, begins, ends)
        .join(others, on="meter_id", how="left")
        .with_columns(
            valid_from=pl.max_horizontal("valid_from", "_last"),
            valid_to=pl.min_horizontal("valid_to", "_next"),
        )
        .select(LINK_COLUMNS)
    )
    return pl.concat([links, rule]).sort("meter_id", "valid_from")


def links_by_rule(pairs: pl.LazyFrame, start: datetime, end: datetime) -> pl.LazyFrame:
    """Return what `resolve_links` would, for devices that nothing but the rule links."""
    start, end = utc_window(start, end)
    return pairs.select(
        "meter_id",
        "vehicle_id",
        valid_from=literal(start),
        valid_to=literal(end),
        source=pl.lit(RULE),
    ).sort("meter_id", "valid_from")


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
    """Return what the heartbeats of vehicles claim: CLAIM_COLUMNS.

    `vehicle_readings` have the columns of the history and hold, beside the window, the heartbeats
    of the largest gap before it and the last value of each register.
    """
    return claims_of_names(speaking_readings(moving_readings(vehicle_readings), settings))


def moving_readings(vehicle_readings: pl.LazyFrame) -> pl.LazyFrame:
    """Return the readings of vehicles that name any meter: the columns NAMING, sorted.

    `moves` is true for an interval with energy, and for a register above its previous value.
    """
    energy, is_register = pl.col(VEHICLE.energy), pl.col("reading_type") == REGISTER
    vehicle, value = pl.col("vehicle_id"), pl.when(is_register).then(energy)
    # Sorted by vehicle, the last value before a reading is the vehicle's own or another's.
    last_is_own = pl.when(value.is_not_null()).then(vehicle).forward_fill().shift(1) == vehicle
    last = pl.when(last_is_own).then(value.forward_fill().shift(1))
    readings = vehicle_readings.select(
        "vehicle_id", "timestamp", "meter_id", VEHICLE.energy, "reading_type"
    ).cache()
    # Few vehicles name a meter, and the others need not be sorted.
    return (
        readings.join(
            readings.filter(pl.col("meter_id").is_not_null()), on="vehicle_id", how="semi"
        )
        .sort("vehicle_id", "timestamp")
        .select(
            "vehicle_id",
            "timestamp",
            "meter_id",
            moves=(energy > pl.when(is_register).then(last).otherwise(0)).fill_null(False),
        )
    )


def speaking_readings(readings: pl.LazyFrame, settings: EnergySettings) -> pl.LazyFrame:
    """Add to NAMING the time that each reading speaks for, as `claims_of_names` takes it.

    It speaks for the time since the vehicle's previous heartbeat, at most as long as a name holds,
    and what it names holds as long after it: the largest gap, or, for a vehicle that sends more
    seldom, one and a half of the shorter of the two steps before or after it, at most an hour.
    `readings` are sorted by vehicle and time.
    """
    largest_gap = timedelta(seconds=settings.largest_gap_seconds)
    timestamp, vehicle = pl.col("timestamp"), pl.col("vehicle_id")
    step = (timestamp - _previous(timestamp)).dt.total_microseconds()
    before = step.shift(1).over(vehicle)
    behind = pl.when(before.is_not_null()).then(pl.min_horizontal(step, before))
    ahead = behind.shift(-2).over(vehicle)
    usual = pl.max_horizontal(behind, ahead).cast(pl.Duration("us"))
    reach = pl.min_horizontal(
        (usual.dt.total_microseconds() * _REACH).cast(pl.Int64).cast(pl.Duration("us")),
        _LONGEST_HOLD,
    )
    holds = pl.when(usual > largest_gap).then(reach).otherwise(largest_gap)
    return readings.with_columns(speaks_for=holds).with_columns(
        speaks_from=pl.max_horizontal(_previous(timestamp), timestamp - pl.col("speaks_for"))
    )


def claims_of_names(readings: pl.LazyFrame) -> pl.LazyFrame:
    """Return the claims of vehicles to the meters that they name: CLAIM_COLUMNS.

    `readings` have the columns NAMING (`meter_id` null: names none; `moves`: energy flowed),
    `speaks_from` (where the time begins that the reading is about) and `speaks_for` (how long its
    name holds after it, and after how long without a heartbeat there was a silence). All readings
    of a vehicle count, naming or not; they are sorted by vehicle and time.

    The last name before a silence or a change holds on until the next, at most `speaks_for`; so
    does a claim of a vehicle that moves, from one moving reading to the next.
    """
    readings = readings.cache()
    ranges = _naming_ranges(readings).cache()
    moving = _moving_ranges(readings.filter("moves"), ranges).cache()
    return pl.concat(
        [
            _claims(moving, "certain_from", "certain_to", _MOVING_CERTAIN),
            _claims(moving, "valid_from", "valid_to", _MOVING),
            _claims(ranges, "certain_from", "certain_to", _STANDING_CERTAIN),
            _claims(ranges, "valid_from", "valid_to", _STANDING),
        ]
    )


def uncontested_links(
    vehicle_readings: pl.LazyFrame, start: datetime, end: datetime, settings: EnergySettings
) -> pl.LazyFrame:
    """Return what `links_around` does for vehicles of which each names one meter, at most.

    And nobody and nothing else links any of these vehicles and meters: so it is all the time in
    which a name holds, however strong the claim is. `vehicle_readings` are sorted by vehicle and
    time, with vehicle_id, timestamp and meter_id.
    """
    start, end = utc_window(start, end)
    ranges = _naming_ranges(speaking_readings(vehicle_readings, settings))
    links = clip_links(_claims(ranges, "valid_from", "valid_to", _STANDING), start - DAY, end + DAY)
    return join_adjacent_links(links)


def time_of_unbroken_name(
    times: npt.NDArray[np.int64], settings: EnergySettings
) -> tuple[datetime, datetime] | None:
    """Return the time [from, to) in which `uncontested_links` links a vehicle; None: ask there.

    Its heartbeats at these times, whole microseconds in order, all name the same meter. It has one
    link where none comes later than the largest gap after the one before.
    """
    largest_gap = timedelta(seconds=settings.largest_gap_seconds)
    if not times.size or (np.diff(times) > largest_gap // _TICK).any():
        return None
    first, last = (EPOCH + int(time) * _TICK for time in times[[0, -1]])
    return first - largest_gap + _TICK, last + largest_gap + _TICK


def contested_meters(claims: pl.LazyFrame, start: datetime, end: datetime) -> pl.LazyFrame:
    """Return the meters that several vehicles name at a time, in a window.

    `claims` are CLAIM_COLUMNS. Columns meter_id, vehicle_ids (sorted) and seconds; sorted by meter.
    """
    heard = clip_links(claims.filter(pl.col("strength") == _STANDING_CERTAIN), start, end)
    return (
        _cut_at_each_change(heard, "meter_id")
        .group_by("meter_id", "_segment")
        .agg(
            pl.col("vehicle_id").unique(),
            pl.col("valid_from", "valid_to").first(),
        )
        .filter(pl.col("vehicle_id").list.len() > 1)
        .group_by("meter_id")
        .agg(
            vehicle_ids=pl.col("vehicle_id").explode().unique().sort(),
            seconds=(pl.col("valid_to") - pl.col("valid_from")).sum().dt.total_microseconds() / 1e6,
        )
        .sort("meter_id")
    )


def _previous(column: pl.Expr) -> pl.Expr:
    """The value of the vehicle's row before, where rows are sorted by vehicle; else null."""
    vehicle = pl.col("vehicle_id")
    return pl.when(vehicle == vehicle.shift(1)).then(column.shift(1))


def _naming_ranges(readings: pl.LazyFrame) -> pl.LazyFrame:
    """Return the times in which a vehicle names a meter, from the `readings` of `claims_of_names`.

    With the part of each that is certain, and a number.
    """
    timestamp, meter, pause = pl.col("timestamp"), pl.col("meter_id"), pl.col("speaks_for")
    previous = _previous(timestamp)
    goes_on = (meter == meter.shift(1)) & (timestamp - previous <= pause)
    ranges = (
        readings.with_columns(_after_silence=(timestamp - previous > pause).fill_null(True))
        .filter(meter.is_not_null())
        .with_columns(
            # What the name before has said of its own time stands.
            speaks_from=pl.max_horizontal("speaks_from", previous),
            _range=(~goes_on.fill_null(False)).cum_sum(),
        )
        .group_by("_range")
        .agg(
            pl.col("vehicle_id", "meter_id", "speaks_from", "_after_silence").first(),
            _first=timestamp.min(),
            _last=timestamp.max(),
            _holds_until=(timestamp + pause).last(),
        )
        .sort("_range")
    )
    next_speaks_from = pl.when(pl.col("vehicle_id") == pl.col("vehicle_id").shift(-1)).then(
        pl.col("speaks_from").shift(-1)
    )
    # A reading at t is about the time before t: (a, b] in whole microseconds is [a + 1, b + 1).
    return ranges.select(
        "_range",
        "meter_id",
        "vehicle_id",
        valid_from=pl.col("speaks_from") + _TICK,
        valid_to=pl.min_horizontal("_holds_until", next_speaks_from) + _TICK,
        certain_from=pl.when("_after_silence")
        .then("_first")
        .otherwise(pl.col("speaks_from") + _TICK),
        certain_to=pl.col("_last") + _TICK,
    )


def _moving_ranges(moving: pl.LazyFrame, ranges: pl.LazyFrame) -> pl.LazyFrame:
    """Return the ranges in which a vehicle's energy moved at the meter that it names.

    As `ranges`, with `keeps_off`. A moving reading belongs to the range of its timestamp, also one
    that names no meter itself.
    """
    timestamp, since = pl.col("timestamp"), pl.col("_since")
    before = timestamp.shift(1) + _TICK
    goes_on = (pl.col("_range") == pl.col("_range").shift(1)) & (
        since - before <= pl.col("speaks_for")
    )
    return (
        moving.select("vehicle_id", "timestamp", "speaks_from", "speaks_for")
        .join_asof(
            ranges,
            left_on="timestamp",
            right_on="valid_from",
            by="vehicle_id",
            coalesce=False,
            check_sortedness=False,
        )
        .filter(timestamp < pl.col("valid_to"))
        .with_columns(_since=pl.max_horizontal(pl.col("speaks_from") + _TICK, "valid_from"))
        .with_columns(_run=(~goes_on.fill_null(False)).cum_sum())
        .group_by("_run")
        .agg(
            pl.col("meter_id", "vehicle_id", "certain_from", "certain_to").first(),
            valid_from=since.min(),
            valid_to=timestamp.max() + _TICK,
            keeps_off=pl.col("speaks_for").max(),
        )
        .with_columns(
            certain_from=pl.max_horizontal("certain_from", "valid_from"),
            certain_to=pl.min_horizontal("certain_to", "valid_to"),
        )
    )


def _claims(ranges: pl.LazyFrame, valid_from: str, valid_to: str, strength: int) -> pl.LazyFrame:
    keeps_off = pl.col("keeps_off") if strength <= _MOVING else pl.lit(None, pl.Duration("us"))
    return ranges.select(
        "meter_id",
        "vehicle_id",
        valid_from=pl.col(valid_from).cast(_TIME),
        valid_to=pl.col(valid_to).cast(_TIME),
        source=pl.lit(HEARTBEAT),
        strength=pl.lit(strength, pl.Int8),
        keeps_off=keeps_off,
    ).filter(pl.col("valid_from") < pl.col("valid_to"))


def _strongest(claims: pl.LazyFrame) -> pl.LazyFrame:
    """Return the claims of each vehicle where it has no stronger one."""
    cut = _cut_at_each_change(claims, "vehicle_id")
    return cut.filter(pl.col("strength") == pl.col("strength").min().over("_segment")).drop(
        "_segment"
    )


def _one_vehicle_at_each_time(claims: pl.LazyFrame) -> pl.LazyFrame:
    """Return for each meter and time the claim that counts, as `resolve_links` says."""
    claims = claims.cache()
    keeps_off, vehicle = pl.col("keeps_off"), pl.col("vehicle_id")
    around = claims.filter(keeps_off.is_not_null()).with_columns(
        valid_from=pl.col("valid_from") - keeps_off, valid_to=pl.col("valid_to") + keeps_off
    )
    owner = pl.when("_is_around").then(vehicle)
    others = (owner.min().over("_segment") != vehicle) | (owner.max().over("_segment") != vehicle)
    stands = pl.col("strength") >= _STANDING_CERTAIN
    claims = pl.concat(
        [
            claims.with_columns(_is_around=pl.lit(False)),
            around.with_columns(_is_around=pl.lit(True)),
        ]
    )
    return (
        _cut_at_each_change(claims, "meter_id")
        .filter(~(stands & others.fill_null(False)))
        .filter(~pl.col("_is_around"))
        .filter(pl.col("strength") == pl.col("strength").min().over("_segment"))
        .filter(vehicle == vehicle.min().over("_segment"))
    )


def _cut_at_each_change(claims: pl.LazyFrame, device: str) -> pl.LazyFrame:
    """Cut the claims where any claim of the same device begins or ends.

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
    )
