"""The efficiency of chargers: energy from each meter against energy in the vehicles it fed.

Terms, formulas and limits are explained in docs/energy.md.
"""

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from lake.energy.attribution import attribute_to_meters, attribute_to_vehicles, number_devices
from lake.energy.efficiency import with_efficiency
from lake.energy.interval_energy import exact_sum
from lake.energy.links import clip_links
from lake.energy.matched_share import coverage, known_time, matched_share, on_axis
from lake.energy.time_axis import TimeAxis
from lake.schema.charger_efficiency import CHARGER_COLUMNS, CHARGER_EFFICIENCY_HOURLY
from lake.settings import EnergySettings

# AC energy of a meter while it fed a vehicle, kWh; null: not known.
LINKED_ENERGY: Final = "_linked_energy_ac_kwh"

# What an efficiency is added to.
CHARGER_FACTS: Final = (
    *(
        column.name
        for column in CHARGER_COLUMNS
        if column.name not in ("loss_kwh", "efficiency_percent", "status")
    ),
    LINKED_ENERGY,
)

_OF_READINGS: Final = (
    "number",
    "timestamp",
    "energy_kwh",
    "is_reset",
    "duplicates",
    "interval_start",
    "covered_from",
)


def charger_efficiency_rows(
    facts: pl.LazyFrame, start: datetime, end: datetime, settings: EnergySettings
) -> pl.LazyFrame:
    """Return the rows of CHARGER_EFFICIENCY_HOURLY from `charger_facts`, sorted by meter.

    The window is [start, end) in UTC.
    """
    return (
        with_charger_efficiency(facts, end - start, settings)
        .with_columns(hour_start=pl.lit(start, pl.Datetime("us", "UTC")))
        .select(CHARGER_EFFICIENCY_HOURLY.names)
        .sort("meter_id")
    )


def charger_facts(
    meters: pl.LazyFrame,
    vehicles: pl.LazyFrame,
    links: pl.LazyFrame,
    classes: pl.LazyFrame,
    start: datetime,
    end: datetime,
) -> pl.LazyFrame:
    """Return the evidence for each meter's efficiency in a window, columns CHARGER_FACTS.

    One row for each meter that has a heartbeat or a link in the window, which is in UTC. `meters`
    and `vehicles` are what `measured_energy` returns for it; links are as `resolve_links` returns
    them; `classes` has one row of meter_id and charger_class for each meter that has a class.
    """
    axis = TimeAxis(start, end)
    meters = meters.select("meter_id", "gap_seconds", *_OF_READINGS).cache()
    vehicles = vehicles.select("vehicle_id", *_OF_READINGS).cache()
    links = clip_links(links, axis.start, axis.end)
    numbers = number_devices(meters, links, "meter_id").cache()
    links = links.join(numbers, on="meter_id").with_row_index("link").cache()
    linked = attribute_to_vehicles(meters, links, axis).filter(pl.col("link").is_not_null())
    ac = on_axis(linked, axis).cache()
    dc = on_axis(attribute_to_meters(vehicles, ac, links, axis), axis).cache()
    known_ac, known_dc = known_time(ac), known_time(dc).cache()
    table = numbers
    for facts in (
        links.group_by("number").agg(vehicle_ids=pl.col("vehicle_id").unique().sort()),
        _meter_side(meters, axis),
        coverage(known_time(on_axis(meters, axis)), axis, "ac"),
        ac.group_by("number").agg(exact_sum(pl.col("energy_kwh")).alias(LINKED_ENERGY)),
        _vehicle_side(dc),
        coverage(known_dc, axis, "dc"),
        matched_share(ac, known_dc, "ac"),
        matched_share(dc, known_ac, "dc"),
    ):
        table = table.join(facts, on="number", how="left")
    return finish_charger_facts(table, classes, axis)


def finish_charger_facts(
    table: pl.LazyFrame, classes: pl.LazyFrame, axis: TimeAxis
) -> pl.LazyFrame:
    """Return CHARGER_FACTS from the numbers of both sides of each meter, null where unknown.

    They are resets_ac, _dc and duplicates_ac, _dc instead of their sums, and no unlinked energy.
    """
    total, of_vehicles = (pl.col(name).fill_null(0.0) for name in ("energy_ac_kwh", LINKED_ENERGY))
    silent = (axis.end - axis.start).total_seconds()
    return (
        table.join(classes.select("meter_id", "charger_class"), on="meter_id", how="left")
        .with_columns(
            unlinked_energy_ac_kwh=(total - of_vehicles).round(9),
            vehicle_ids=pl.col("vehicle_ids").fill_null([]),
            longest_gap_seconds=pl.col("longest_gap_seconds").fill_null(silent),
            resets=pl.sum_horizontal("resets_ac", "resets_dc"),
            duplicates=pl.sum_horizontal("duplicates_ac", "duplicates_dc"),
        )
        .with_columns(
            pl.col(
                "data_points_meter", "data_points_vehicle", "coverage_ac", "coverage_dc"
            ).fill_null(0)
        )
        .select(CHARGER_FACTS)
    )


def with_charger_efficiency(
    facts: pl.LazyFrame, window: timedelta, settings: EnergySettings
) -> pl.LazyFrame:
    """Add loss, efficiency and status of the energy while linked, LINKED_ENERGY."""
    has_vehicle = pl.col("vehicle_ids").list.len() > 0
    return (
        facts.rename({"energy_ac_kwh": "_energy_ac_kwh", LINKED_ENERGY: "energy_ac_kwh"})
        .with_columns(link_source=pl.when(has_vehicle).then(pl.lit("any")))
        .pipe(with_efficiency, window, settings)
        .with_columns(energy_ac_kwh="_energy_ac_kwh")
    )


def _meter_side(meters: pl.LazyFrame, axis: TimeAxis) -> pl.LazyFrame:
    """The meter's own numbers, whether linked or not."""
    since_start = axis.in_seconds((pl.col("timestamp") - axis.start).dt.total_microseconds())
    silent = pl.min_horizontal("gap_seconds", since_start)
    return (
        meters.with_columns(_silent=silent, _since_start=since_start)
        .group_by("number")
        .agg(
            energy_ac_kwh=exact_sum(pl.col("energy_kwh")),
            data_points_meter=pl.len().cast(pl.Int64),
            longest_gap_seconds=pl.max_horizontal(
                pl.col("_silent").max(),
                (axis.length / 1e6 - pl.col("_since_start").max()).round(6),
            ),
            resets_ac=pl.col("is_reset").sum().cast(pl.Int64),
            duplicates_ac=pl.col("duplicates").sum().cast(pl.Int64),
        )
    )


def _vehicle_side(dc: pl.LazyFrame) -> pl.LazyFrame:
    """The numbers of the vehicles while the meter fed them, rows of `on_axis`."""
    return dc.group_by("number").agg(
        energy_dc_kwh=exact_sum(pl.col("energy_kwh")),
        data_points_vehicle=pl.len().cast(pl.Int64),
        resets_dc=pl.col("is_reset").sum().cast(pl.Int64),
        duplicates_dc=pl.col("duplicates").sum().cast(pl.Int64),
    )
