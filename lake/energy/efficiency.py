"""The efficiency of vehicles and of the fleet: the only place that divides DC by AC energy.

Terms, formulas and limits are explained in docs/energy.md; the columns in
lake/schema/vehicle_efficiency.py.
"""

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from lake.energy.attribution import (
    attribute_to_vehicles,
    label_side,
    name_of_most_energy,
    number_devices,
    sum_readings,
)
from lake.energy.interval_energy import exact_mean, exact_sum
from lake.energy.links import STRONGEST_FIRST, clip_links
from lake.energy.matched_share import coverage, known_time, matched_share, on_axis
from lake.energy.time_axis import TimeAxis
from lake.schema.partitions import literal, utc_window
from lake.schema.vehicle_efficiency import FLEET_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_HOURLY
from lake.settings import EnergySettings

RATED: Final = ("excellent", "good", "warning", "critical")
STATUSES: Final = (*RATED, "idle", "insufficient_data", "unmapped", "implausible")

MEAN_TEMPERATURE: Final = exact_mean(pl.col("battery_temp")).alias("average_battery_temp")

# What is known of a side: `label_side`, `coverage` and `matched_share`.
_OF_SIDE: Final = (
    "energy_{}_kwh",
    "data_points_{}",
    "resets_{}",
    "duplicates_{}",
    "gap_{}",
    "coverage_{}",
    "matched_share_{}",
)
VEHICLE_FACTS: Final = (
    "vehicle_id",
    "link_source",
    "meter_ids",
    "charger_class",
    *(name.format(side) for side in ("ac", "dc") for name in _OF_SIDE),
    "average_battery_temp",
)


def vehicle_efficiency(
    meters: pl.LazyFrame,
    vehicles: pl.LazyFrame,
    links: pl.LazyFrame,
    charger_classes: pl.LazyFrame,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> pl.LazyFrame:
    """Return the rows of VEHICLE_EFFICIENCY_HOURLY for [start, end), sorted by vehicle.

    One row for each vehicle that has a heartbeat or a link in the window. `meters` and `vehicles`
    are what `measured_energy` returns for the window; links as `resolve_links` returns them.
    `charger_classes` has meter_id and charger_class, one row for each meter that has a class.
    """
    start, end = utc_window(start, end)
    facts = vehicle_facts(meters, vehicles, links, charger_classes, start, end)
    return vehicle_efficiency_rows(facts, start, end, settings)


def vehicle_facts(
    meters: pl.LazyFrame,
    vehicles: pl.LazyFrame,
    links: pl.LazyFrame,
    charger_classes: pl.LazyFrame,
    start: datetime,
    end: datetime,
) -> pl.LazyFrame:
    """Return the evidence for each vehicle's efficiency in a window, columns VEHICLE_FACTS.

    The arguments are those of `vehicle_efficiency`; the window is in UTC.
    """
    axis = TimeAxis(start, end)
    meters, vehicles = meters.cache(), vehicles.cache()
    links = clip_links(links, axis.start, axis.end)
    numbers = number_devices(vehicles, links, "vehicle_id").cache()
    links = links.join(numbers, on="vehicle_id").with_row_index("link").cache()
    linked = attribute_to_vehicles(meters, links, axis).filter(pl.col("link").is_not_null())
    ac, dc = on_axis(linked, axis).cache(), on_axis(vehicles, axis).cache()
    known_ac, known_dc = known_time(ac).cache(), known_time(dc).cache()
    of_links = links.join(sum_readings(ac, axis, "link"), on="link", how="left").cache()
    of_vehicles = sum_readings(dc, axis, "number", MEAN_TEMPERATURE)
    table = numbers
    for facts in (
        _link_summary(links),
        _charger_class(of_links, charger_classes),
        label_side(_by_vehicle(of_links), axis, "ac"),
        label_side(of_vehicles, axis, "dc"),
        coverage(known_ac, axis, "ac"),
        coverage(known_dc, axis, "dc"),
        matched_share(ac, known_dc, "ac"),
        matched_share(dc, known_ac, "dc"),
    ):
        table = table.join(facts, on="number", how="left")
    return table.select(VEHICLE_FACTS)


def vehicle_efficiency_rows(
    facts: pl.LazyFrame, start: datetime, end: datetime, settings: EnergySettings
) -> pl.LazyFrame:
    """Return the rows of `vehicle_efficiency` from those of `vehicle_facts`."""
    silent = (end - start).total_seconds()
    return (
        with_efficiency(facts, end - start, settings)
        .with_columns(
            hour_start=literal(start),
            longest_gap_seconds=pl.max_horizontal(
                pl.col("gap_ac").fill_null(silent), pl.col("gap_dc").fill_null(silent)
            ),
            resets=pl.sum_horizontal("resets_ac", "resets_dc"),
            duplicates=pl.sum_horizontal("duplicates_ac", "duplicates_dc"),
            meter_ids=pl.col("meter_ids").fill_null([]),
            **{
                f"data_points_{device}": pl.col(f"data_points_{side}").fill_null(0)
                for side, device in (("ac", "meter"), ("dc", "vehicle"))
            },
        )
        .with_columns(pl.col("coverage_ac", "coverage_dc").fill_null(0))
        .select(VEHICLE_EFFICIENCY_HOURLY.names)
        .sort("vehicle_id")
    )


def fleet_efficiency(
    vehicles: pl.LazyFrame,
    unlinked: pl.LazyFrame,
    settings: EnergySettings,
    time_column: str = "hour_start",
) -> pl.LazyFrame:
    """Return the rows of FLEET_EFFICIENCY_HOURLY: one for each time in either input, sorted.

    `vehicles` are rows of `vehicle_efficiency`, `unlinked` those of `unlinked_energy`. The
    efficiency is that of the sums over the vehicles with a believable ratio, not a mean of ratios.
    """
    energy_ac, energy_dc = pl.col("energy_ac_kwh"), pl.col("energy_dc_kwh")
    is_linked = pl.col("status") != "unmapped"
    is_rated = pl.col("status").is_in(RATED)
    fleets = vehicles.group_by(time_column).agg(
        exact_sum(energy_ac.filter(is_linked)),
        exact_sum(energy_dc.filter(is_linked)),
        rated_energy_ac_kwh=exact_sum(energy_ac.filter(is_rated)),
        rated_energy_dc_kwh=exact_sum(energy_dc.filter(is_rated)),
        vehicles=_count(pl.len()),
        **{f"vehicles_{name}": _count((pl.col("status") == name).sum()) for name in STATUSES},
    )
    rated_ac, rated_dc = pl.col("rated_energy_ac_kwh"), pl.col("rated_energy_dc_kwh")
    return (
        fleets.join(unlinked, on=time_column, how="full", coalesce=True)
        .with_columns(pl.all().exclude(time_column).fill_null(0))
        .with_columns(
            loss_kwh=(rated_ac - rated_dc).round(9),
            efficiency_percent=efficiency_percent(rated_ac, rated_dc, settings),
        )
        .select(time_column, *FLEET_EFFICIENCY_HOURLY.names[1:])
        .sort(time_column)
    )


def lowest_efficiency(vehicles: pl.LazyFrame, count: int) -> pl.LazyFrame:
    """Return the `count` rated vehicles of lowest efficiency, ties by greater loss."""
    return sort_by_efficiency(vehicles.filter(pl.col("status").is_in(RATED)), "vehicle_id").head(
        count
    )


def sort_by_efficiency(rated: pl.LazyFrame, device: str) -> pl.LazyFrame:
    """Sort devices by efficiency, the lowest first, ties by greater loss, then by id."""
    return rated.sort("efficiency_percent", "loss_kwh", device, descending=[False, True, False])


def unlinked_energy(
    meters: pl.LazyFrame, links: pl.LazyFrame, start: datetime, end: datetime
) -> pl.LazyFrame:
    """Return one row, hour_start and unlinked_energy_ac_kwh: AC energy of unlinked meters.

    The arguments are those of `vehicle_efficiency`.
    """
    return unlinked_readings(meters, links, start, end).select(
        hour_start=literal(utc_window(start, end)[0]),
        unlinked_energy_ac_kwh=exact_sum(pl.col("energy_kwh")).fill_null(0.0),
    )


def unlinked_readings(
    meters: pl.LazyFrame, links: pl.LazyFrame, start: datetime, end: datetime
) -> pl.LazyFrame:
    """Return readings of meters, rows of `measured_energy`, at times without a link."""
    axis = TimeAxis(*utc_window(start, end))
    links = clip_links(links, axis.start, axis.end)
    numbered = links.with_row_index("link").with_columns(number=pl.lit(0, pl.Int64))
    return attribute_to_vehicles(meters, numbered, axis).filter(pl.col("link").is_null())


def with_efficiency(
    energies: pl.LazyFrame, window: timedelta, settings: EnergySettings
) -> pl.LazyFrame:
    """Add loss_kwh, status and efficiency_percent to the energies of a window.

    `energies` have energy_ac_kwh, energy_dc_kwh, matched_share_ac, matched_share_dc, link_source
    and charger_class, null where not known. Where nothing but stand-by flowed there is no ratio.
    """
    energy_ac, energy_dc = pl.col("energy_ac_kwh"), pl.col("energy_dc_kwh")
    status = efficiency_status(
        pl.col("link_source").is_not_null(),
        energy_ac,
        energy_dc,
        pl.col("matched_share_ac"),
        pl.col("matched_share_dc"),
        pl.col("charger_class"),
        window,
        settings,
    )
    return energies.with_columns(
        loss_kwh=(energy_ac - energy_dc).round(9), status=status
    ).with_columns(
        efficiency_percent=pl.when(pl.col("status") != "idle").then(
            efficiency_percent(energy_ac, energy_dc, settings)
        )
    )


def efficiency_percent(energy_ac: pl.Expr, energy_dc: pl.Expr, settings: EnergySettings) -> pl.Expr:
    """Return 100 * DC / AC, never clamped; null where AC energy is too small or not known.

    To 9 decimals: floats make 84.99999999999999 % of 10.2 / 12 kWh, on the wrong side of a limit.
    """
    measurable = (energy_ac > 0) & (energy_ac >= settings.idle_below_kwh)
    return pl.when(measurable).then((100 * energy_dc / energy_ac).round(9))


def efficiency_status(
    is_linked: pl.Expr,
    energy_ac: pl.Expr,
    energy_dc: pl.Expr,
    matched_share_ac: pl.Expr,
    matched_share_dc: pl.Expr,
    charger_class: pl.Expr,
    window: timedelta,
    settings: EnergySettings,
) -> pl.Expr:
    """Return the first status that applies: first the unknown, then the wrong, then ratios.

    Energies in kWh, null where not known; a matched share is null where there is no energy. The
    limit of `idle` is for an hour: stand-by adds up in a longer window, while nothing is stored.
    The limits of a ratio are those of the charger class.
    """
    warning_from, good_from, excellent_above = _status_limits(charger_class, settings)
    percent = efficiency_percent(energy_ac, energy_dc, settings)
    idle_below, share_limit = settings.idle_below_kwh, settings.matched_share_limit
    stand_by = idle_below * max(1.0, window / timedelta(hours=1))
    is_idle = (_is_little(energy_ac, stand_by) & _is_little(energy_dc, idle_below)) | (
        _is_little(energy_ac, idle_below) & energy_dc.is_null()
    )
    is_unknown = (
        energy_ac.is_null()
        | energy_dc.is_null()
        | (matched_share_ac < share_limit).fill_null(False)
        | (matched_share_dc < share_limit).fill_null(False)
    )
    is_implausible = (energy_dc <= 0) | (energy_dc > energy_ac)
    return (
        pl.when(~is_linked)
        .then(pl.lit("unmapped"))
        .when(is_idle)
        .then(pl.lit("idle"))
        .when(is_unknown)
        .then(pl.lit("insufficient_data"))
        .when(is_implausible)
        .then(pl.lit("implausible"))
        .when(percent > excellent_above)
        .then(pl.lit("excellent"))
        .when(percent >= good_from)
        .then(pl.lit("good"))
        .when(percent >= warning_from)
        .then(pl.lit("warning"))
        .otherwise(pl.lit("critical"))
    )


def _status_limits(charger_class: pl.Expr, settings: EnergySettings) -> list[pl.Expr]:
    """warning_from, good_from and excellent_above of each row's class."""
    names = list(settings.charger_classes)
    by_class = [settings.status_limits(name) for name in names]
    return [
        charger_class.replace_strict(
            names, [limits[n] for limits in by_class], default=of_all, return_dtype=pl.Float64
        )
        if names
        else pl.lit(of_all)
        for n, of_all in enumerate(settings.status_limits(None))
    ]


def _is_little(energy: pl.Expr, idle_below: float) -> pl.Expr:
    return (energy < idle_below) | (energy <= 0)


def _by_vehicle(of_links: pl.LazyFrame) -> pl.LazyFrame:
    """Totals of the links added up to those of the vehicles; sums stay exact."""
    return (
        of_links.filter(pl.col("data_points").is_not_null())
        .group_by("number")
        .agg(
            exact_sum(pl.col("energy_kwh")),
            pl.col("data_points", "resets", "duplicates").sum(),
            pl.col("gap", "last").max(),
        )
    )


def _charger_class(of_links: pl.LazyFrame, charger_classes: pl.LazyFrame) -> pl.LazyFrame:
    """The class of the meter that gave each vehicle the most; of equal ones the first by id."""
    return (
        name_of_most_energy(of_links, "number", "meter_id", pl.col("energy_kwh"))
        .join(charger_classes, on="meter_id", how="left")
        .select("number", "charger_class")
    )


def _link_summary(links: pl.LazyFrame) -> pl.LazyFrame:
    source = pl.col("source").cast(pl.Enum(STRONGEST_FIRST))
    sources = links.select("number", source).unique().sort("number", "source")
    meters = links.select("number", "meter_id").unique().sort("number", "meter_id")
    return (
        sources.group_by("number", maintain_order=True)
        .agg(pl.col("source").cast(pl.String))
        .select("number", link_source=pl.col("source").list.join("+"))
        .join(meters.group_by("number", maintain_order=True).agg(meter_ids="meter_id"), on="number")
    )


def _count(number: pl.Expr) -> pl.Expr:
    return number.cast(pl.Int64)
