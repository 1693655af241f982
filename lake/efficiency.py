"""The efficiency of vehicles and of the fleet: the only place that divides DC by AC energy.

Terms, formulas and limits are explained in docs/energy.md; the columns in lake/derived.py.
"""

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from lake.derived import FLEET_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_HOURLY
from lake.energy import exact_mean, exact_sum, in_seconds, measured_energy, utc_window
from lake.links import STRONGEST_FIRST
from lake.matching import coverage, known_time, matched_share
from lake.settings import EnergySettings
from lake.streams import METER, VEHICLE

RATED: Final = ("excellent", "good", "warning", "critical")
STATUSES: Final = (*RATED, "idle", "insufficient_data", "unmapped", "implausible")

_TIME: Final = pl.Datetime("us", "UTC")


def vehicle_efficiency(
    meter_readings: pl.LazyFrame,
    vehicle_readings: pl.LazyFrame,
    links: pl.LazyFrame,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> pl.LazyFrame:
    """The rows of VEHICLE_EFFICIENCY_HOURLY for the window [start, end), sorted by vehicle.

    One row for each vehicle that has a heartbeat or a link in the window. Readings as in
    `measured_energy`, with their context before `start`; links as `resolve_links` returns them.
    """
    start, end = utc_window(start, end)
    links = _links_in(links, start, end)
    meters = measured_energy(meter_readings, METER, start, end, settings)
    ac = _credited(meters, links).filter(pl.col("vehicle_id").is_not_null()).cache()
    dc = measured_energy(vehicle_readings, VEHICLE, start, end, settings).cache()
    known_ac, known_dc = known_time(ac).cache(), known_time(dc).cache()
    vehicles = pl.concat([links.select("vehicle_id"), dc.select("vehicle_id")]).unique()
    table = (
        vehicles.join(_link_summary(links), on="vehicle_id", how="left")
        .join(_side(ac, start, end, "ac", "meter"), on="vehicle_id", how="left")
        .join(_side(dc, start, end, "dc", "vehicle"), on="vehicle_id", how="left")
        .join(_average_temperature(dc), on="vehicle_id", how="left")
        .join(coverage(known_ac, start, end, "ac"), on="vehicle_id", how="left")
        .join(coverage(known_dc, start, end, "dc"), on="vehicle_id", how="left")
        .join(matched_share(ac, known_dc, "ac"), on="vehicle_id", how="left")
        .join(matched_share(dc, known_ac, "dc"), on="vehicle_id", how="left")
    )
    silent = (end - start).total_seconds()
    return (
        with_efficiency(table, end - start, settings)
        .with_columns(
            hour_start=pl.lit(start, _TIME),
            longest_gap_seconds=pl.max_horizontal(
                pl.col("gap_ac").fill_null(silent), pl.col("gap_dc").fill_null(silent)
            ),
            resets=pl.sum_horizontal("resets_ac", "resets_dc"),
            duplicates=pl.sum_horizontal("duplicates_ac", "duplicates_dc"),
            meter_ids=pl.col("meter_ids").fill_null([]),
        )
        .with_columns(
            pl.col(
                "data_points_meter", "data_points_vehicle", "coverage_ac", "coverage_dc"
            ).fill_null(0)
        )
        .select(column.name for column in VEHICLE_EFFICIENCY_HOURLY.columns)
        .sort("vehicle_id")
    )


def fleet_efficiency(
    vehicles: pl.LazyFrame, unlinked: pl.LazyFrame, settings: EnergySettings
) -> pl.LazyFrame:
    """The rows of FLEET_EFFICIENCY_HOURLY: one for each hour_start in either input, sorted.

    `vehicles` are rows of `vehicle_efficiency`, `unlinked` those of `unlinked_energy`. The
    efficiency is that of the sums over the vehicles with a believable ratio, not a mean of ratios.
    """
    energy_ac, energy_dc = pl.col("energy_ac_kwh"), pl.col("energy_dc_kwh")
    is_linked = pl.col("status") != "unmapped"
    is_rated = pl.col("status").is_in(RATED)
    fleets = vehicles.group_by("hour_start").agg(
        exact_sum(energy_ac.filter(is_linked)),
        exact_sum(energy_dc.filter(is_linked)),
        rated_energy_ac_kwh=exact_sum(energy_ac.filter(is_rated)),
        rated_energy_dc_kwh=exact_sum(energy_dc.filter(is_rated)),
        vehicles=_count(pl.len()),
        **{f"vehicles_{name}": _count((pl.col("status") == name).sum()) for name in STATUSES},
    )
    rated_ac, rated_dc = pl.col("rated_energy_ac_kwh"), pl.col("rated_energy_dc_kwh")
    return (
        fleets.join(unlinked, on="hour_start", how="full", coalesce=True)
        .with_columns(pl.all().exclude("hour_start").fill_null(0))
        .with_columns(
            loss_kwh=(rated_ac - rated_dc).round(9),
            efficiency_percent=efficiency_percent(rated_ac, rated_dc, settings),
        )
        .select(column.name for column in FLEET_EFFICIENCY_HOURLY.columns)
        .sort("hour_start")
    )


def unlinked_energy(
    meter_readings: pl.LazyFrame,
    links: pl.LazyFrame,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> pl.LazyFrame:
    """One row, hour_start and unlinked_energy_ac_kwh: AC energy of meters while unlinked.

    The arguments are those of `vehicle_efficiency`.
    """
    start, end = utc_window(start, end)
    meters = measured_energy(meter_readings, METER, start, end, settings)
    uncredited = _credited(meters, _links_in(links, start, end)).filter(
        pl.col("vehicle_id").is_null()
    )
    return uncredited.select(
        hour_start=pl.lit(start, _TIME),
        unlinked_energy_ac_kwh=exact_sum(pl.col("energy_kwh")).fill_null(0.0),
    )


def with_efficiency(
    energies: pl.LazyFrame, window: timedelta, settings: EnergySettings
) -> pl.LazyFrame:
    """Add loss_kwh, status and efficiency_percent to the energies of a window.

    `energies` have energy_ac_kwh, energy_dc_kwh, matched_share_ac, matched_share_dc and
    link_source, null where not known. Where nothing but stand-by flowed there is no ratio.
    """
    energy_ac, energy_dc = pl.col("energy_ac_kwh"), pl.col("energy_dc_kwh")
    status = efficiency_status(
        pl.col("link_source").is_not_null(),
        energy_ac,
        energy_dc,
        pl.col("matched_share_ac"),
        pl.col("matched_share_dc"),
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
    """100 * DC / AC in percent, never clamped; null where AC energy is too small or not known."""
    measurable = (energy_ac > 0) & (energy_ac >= settings.idle_below_kwh)
    return pl.when(measurable).then(100 * energy_dc / energy_ac)


def efficiency_status(
    is_linked: pl.Expr,
    energy_ac: pl.Expr,
    energy_dc: pl.Expr,
    matched_share_ac: pl.Expr,
    matched_share_dc: pl.Expr,
    window: timedelta,
    settings: EnergySettings,
) -> pl.Expr:
    """The first status that applies: what is not known stands before what is wrong, before ratios.

    Energies in kWh, null where not known; a matched share is null where there is no energy. The
    limit of `idle` is for an hour: stand-by adds up in a longer window, while nothing is stored.
    """
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
        .when(percent > settings.excellent_above_percent)
        .then(pl.lit("excellent"))
        .when(percent >= settings.good_from_percent)
        .then(pl.lit("good"))
        .when(percent >= settings.warning_from_percent)
        .then(pl.lit("warning"))
        .otherwise(pl.lit("critical"))
    )


def _is_little(energy: pl.Expr, idle_below: float) -> pl.Expr:
    return (energy < idle_below) | (energy <= 0)


def _links_in(links: pl.LazyFrame, start: datetime, end: datetime) -> pl.LazyFrame:
    return links.filter(pl.col("valid_from") < end, pl.col("valid_to") > start)


def _credited(meters: pl.LazyFrame, links: pl.LazyFrame) -> pl.LazyFrame:
    """Add to each meter reading the vehicle it fed (null: none).

    A reading says nothing about time before its link: interval_start and covered_from are cut.
    """
    feeds = pl.col("timestamp") < pl.col("valid_to")
    return (
        meters.join_asof(
            links.select("meter_id", "vehicle_id", "valid_from", "valid_to").sort(
                "meter_id", "valid_from"
            ),
            left_on="timestamp",
            right_on="valid_from",
            by="meter_id",
            check_sortedness=False,  # it can't be checked by group; both sides are sorted above
        )
        .with_columns(
            vehicle_id=pl.when(feeds).then("vehicle_id"),
            interval_start=pl.max_horizontal("interval_start", pl.when(feeds).then("valid_from")),
            covered_from=pl.when(pl.col("covered_from").is_not_null()).then(
                pl.max_horizontal("covered_from", pl.when(feeds).then("valid_from"))
            ),
        )
        .drop("valid_from", "valid_to")
    )


def _link_summary(links: pl.LazyFrame) -> pl.LazyFrame:
    by_strength = pl.col("source").cast(pl.Enum(STRONGEST_FIRST)).unique().sort()
    return links.group_by("vehicle_id").agg(
        link_source=by_strength.cast(pl.String).str.join("+"),
        meter_ids=pl.col("meter_id").unique().sort(),
    )


def _side(
    readings: pl.LazyFrame, start: datetime, end: datetime, side: str, device: str
) -> pl.LazyFrame:
    """Energy, data points and faults of one side of each vehicle, whichever device sent them."""
    timestamp = pl.col("timestamp")
    longest_gap = pl.max_horizontal(
        "_between", pl.col("_first") - start, pl.lit(end) - pl.col("_last")
    )
    return (
        readings.group_by("vehicle_id")
        .agg(
            exact_sum(pl.col("energy_kwh")).alias(f"energy_{side}_kwh"),
            _count(pl.len()).alias(f"data_points_{device}"),
            _count(pl.col("is_reset").sum()).alias(f"resets_{side}"),
            _count(pl.col("duplicates").sum()).alias(f"duplicates_{side}"),
            _between=timestamp.sort().diff().max(),
            _first=timestamp.min(),
            _last=timestamp.max(),
        )
        .with_columns(in_seconds(longest_gap).alias(f"gap_{side}"))
        .drop("_between", "_first", "_last")
    )


def _average_temperature(readings: pl.LazyFrame) -> pl.LazyFrame:
    return readings.group_by("vehicle_id").agg(
        average_battery_temp=exact_mean(pl.col("battery_temp"))
    )


def _count(number: pl.Expr) -> pl.Expr:
    return number.cast(pl.Int64)
