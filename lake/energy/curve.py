"""The curve of one vehicle: its energy, efficiency, state of charge and temperature, step by step.

Explained in docs/energy.md.
"""

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from lake.energy.attribution import attribute_to_vehicles, number_devices
from lake.energy.efficiency import efficiency_percent
from lake.energy.interval_energy import DECIMALS, PER_UNIT, exact_mean, exact_sum
from lake.energy.links import clip_links
from lake.energy.time_axis import TimeAxis
from lake.schema.partitions import utc_window
from lake.settings import EnergySettings

# More points than a screen shows are no more to see; less than 300 are read as a curve.
STEPS: Final = tuple(timedelta(minutes=minutes) for minutes in (5, 15, 60, 180, 1440))
_MOST_STEPS: Final = 300

_MICROSECOND = timedelta(microseconds=1)
_TEN_MINUTES = 600_000_000  # microseconds


def curve_step(start: datetime, end: datetime) -> timedelta:
    """Return the shortest of STEPS that cuts the window into 300 parts or less, or the longest."""
    return next((step for step in STEPS if (end - start) / step <= _MOST_STEPS), STEPS[-1])


def vehicle_curve(
    meters: pl.LazyFrame,
    vehicle: pl.LazyFrame,
    links: pl.LazyFrame,
    start: datetime,
    end: datetime,
    step: timedelta,
    settings: EnergySettings,
) -> pl.LazyFrame:
    """Return one row for each step with a part in [start, end), in order.

    `meters` and `vehicle` are what `measured_energy` returns for the window, the latter of one
    vehicle only; `links` are its links as `resolve_links` returns them. Steps begin at whole
    multiples of their length since 1970, so that a later window has the same ones.

    Columns: `begins`; energy_ac_kwh and energy_dc_kwh, null where no reading covers a part of the
    step; efficiency_percent, null unless both sides cover the step as far as a ratio needs, and
    where energy began or ceased to flow in it (but for ten minutes of a longer step); soc and
    battery_temp, means of the readings in the step, null where there is none.

    A reading's energy is spread evenly over the time that it covers, in whole microwatt-hours that
    add up to it: the steps together have exactly the energy of the window.
    """
    start, end = utc_window(start, end)
    axis = TimeAxis(start, end)
    links = clip_links(links, start, end)
    numbers = number_devices(vehicle, links, "vehicle_id")
    links = links.join(numbers, on="vehicle_id").with_row_index("link")
    linked = attribute_to_vehicles(meters, links, axis).filter(pl.col("link").is_not_null())
    width = step // _MICROSECOND
    place = pl.col("timestamp").dt.epoch("us") // width
    state = vehicle.group_by(_step=place).agg(
        exact_mean(pl.col("soc")).round(DECIMALS),
        exact_mean(pl.col("battery_temp")).round(DECIMALS),
    )
    limit = settings.matched_share_limit
    known, flowing = limit * pl.col("_length"), limit * pl.min_horizontal("_length", _TEN_MINUTES)
    is_rated = pl.all_horizontal(
        (pl.col(f"_known_{side}") >= known)
        & ((pl.col(f"_flows_{side}") == 0) | (pl.col(f"_flows_{side}") >= flowing))
        & pl.col(f"_in_place_{side}")
        for side in ("ac", "dc")
    )
    ratio = efficiency_percent(pl.col("energy_ac_kwh"), pl.col("energy_dc_kwh"), settings)
    return (
        _steps(start, end, width)
        .join(_side(linked, width, "ac"), on="_step", how="left")
        .join(_side(vehicle, width, "dc"), on="_step", how="left")
        .join(state, on="_step", how="left")
        .with_columns(efficiency_percent=pl.when(is_rated).then(ratio))
        .select(
            "begins", "energy_ac_kwh", "energy_dc_kwh", "efficiency_percent", "soc", "battery_temp"
        )
        .sort("begins")
    )


def _steps(start: datetime, end: datetime, width: int) -> pl.LazyFrame:
    """`_step`, its number since 1970, `begins`, and `_length`, its microseconds in the window."""
    window = pl.LazyFrame({"_start": [start], "_end": [end]}).select(
        pl.all().dt.cast_time_unit("us").dt.epoch("us")
    )
    first, last = pl.col("_start") // width, (pl.col("_end") - 1) // width
    begins = pl.col("_step") * width
    return (
        window.with_columns(_step=pl.int_ranges(first, last + 1))
        .explode("_step")
        .select(
            "_step",
            begins=begins.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
            _length=pl.min_horizontal(begins + width, "_end") - pl.max_horizontal(begins, "_start"),
        )
    )


def _side(readings: pl.LazyFrame, width: int, side: str) -> pl.LazyFrame:
    """The energy of a side in each step that one of its readings covers a part of.

    `_known` are the microseconds that they cover, those of several meters added up, `_flows` those
    with energy. `_in_place` is false where the energy of a longer time than a reading covers came
    in one: after a gap.
    """
    at, since = pl.col("_at"), pl.col("_since")
    begins, ends = (
        pl.max_horizontal(pl.col("_step") * width, since),
        pl.min_horizontal((pl.col("_step") + 1) * width, at),
    )
    length = at - since
    whole = (pl.col("energy_kwh") * PER_UNIT).round()
    part = (
        pl.when(length > 0)
        .then(
            (whole * (ends - since) / length).round() - (whole * (begins - since) / length).round()
        )
        .otherwise(whole)
    )
    return (
        readings.with_columns(
            _at=pl.col("timestamp").dt.epoch("us"),
            _since=pl.coalesce("covered_from", "timestamp").dt.epoch("us"),
        )
        .with_columns(
            _step=pl.int_ranges(
                since // width, pl.max_horizontal(since // width, (at - 1) // width) + 1
            )
        )
        .explode("_step")
        .select(
            "_step",
            _energy=part / PER_UNIT,
            _covers=pl.max_horizontal(ends - begins, 0),
            _is_in_place=(pl.col("covered_from") <= pl.col("interval_start")).fill_null(True),
        )
        .group_by("_step")
        .agg(
            exact_sum(pl.col("_energy")).alias(f"energy_{side}_kwh"),
            pl.col("_covers").sum().alias(f"_known_{side}"),
            pl.col("_covers").filter(pl.col("_energy") != 0).sum().alias(f"_flows_{side}"),
            pl.col("_is_in_place").all().alias(f"_in_place_{side}"),
        )
    )
