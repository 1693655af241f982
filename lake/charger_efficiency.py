"""The efficiency of chargers: what each meter gave, and what the vehicles made of it.

Terms, formulas and limits are explained in docs/energy.md.
"""

from datetime import datetime, timedelta
from typing import Final

import polars as pl
import pyarrow as pa

from lake.credit import fed_vehicle, feeding_meters
from lake.efficiency import with_efficiency
from lake.energy import exact_sum, in_seconds, utc_window
from lake.matching import known_time, matched_share
from lake.settings import EnergySettings
from lake.streams import Column
from lake.table_spec import DATE, HOUR_START, TableSpec, count, number, text

_COLUMNS: Final = (
    text("meter_id", "id of the meter"),
    text("charger_class", "class of the charger; null: of none", nullable=True),
    number("energy_ac_kwh", "AC energy of the meter, kWh; null: not known"),
    number(
        "unlinked_energy_ac_kwh",
        "part of energy_ac_kwh while the meter fed no vehicle, kWh",
        nullable=False,
    ),
    number(
        "energy_dc_kwh",
        "DC energy of the vehicles while this meter fed them, where several did its part by AC "
        "energy, kWh; null: not known",
    ),
    number(
        "loss_kwh",
        "energy_ac_kwh - unlinked_energy_ac_kwh - energy_dc_kwh, kWh; null where the AC energy "
        "while linked or the DC energy is not known",
    ),
    number(
        "efficiency_percent",
        "100 * energy_dc_kwh / (energy_ac_kwh - unlinked_energy_ac_kwh), never clamped, percent; "
        "null where AC energy is too small for a ratio or either energy is not known",
    ),
    text(
        "status",
        "of the energy while linked: excellent, good, warning, critical, idle, insufficient_data, "
        "unmapped (fed no vehicle) or implausible",
    ),
    count("data_points_meter", "heartbeats of the meter"),
    count("data_points_vehicle", "heartbeats of vehicles while this meter fed them"),
    number("coverage_ac", "part of the time with known AC energy, 0-1", nullable=False),
    number(
        "coverage_dc",
        "part of the time with known DC energy of a vehicle that this meter fed, 0-1",
        nullable=False,
    ),
    number(
        "matched_share_ac",
        "part of the AC energy while linked in time with known DC energy, 0-1; null: no such AC "
        "energy",
    ),
    number(
        "matched_share_dc",
        "part of the DC energy in time with known AC energy of this meter, 0-1; null: no DC energy",
    ),
    number("longest_gap_seconds", "longest time without a heartbeat of the meter, seconds", False),
    count("resets", "registers that restarted at zero, of the meter and the vehicles it fed"),
    count("duplicates", "received copies of the counted heartbeats that were removed"),
    Column(
        "vehicle_ids",
        pa.list_(pa.large_string()),
        "ids of the vehicles that were linked to the meter",
        nullable=False,
    ),
)

CHARGER_EFFICIENCY_HOURLY: Final = TableSpec(
    "charger_efficiency_hourly",
    "energy, efficiency and its evidence for each meter and UTC hour, whoever charged there",
    ("hour_start", "meter_id"),
    (HOUR_START, *_COLUMNS),
)

CHARGER_EFFICIENCY_DAILY: Final = TableSpec(
    "charger_efficiency_daily",
    "energy, efficiency and its evidence for each meter and UTC day, whoever charged there",
    ("date", "meter_id"),
    (DATE, *_COLUMNS),
)


def charger_efficiency(
    meters: pl.LazyFrame,
    vehicles: pl.LazyFrame,
    links: pl.LazyFrame,
    classes: pl.LazyFrame,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> pl.LazyFrame:
    """The rows of CHARGER_EFFICIENCY_HOURLY for the window [start, end), sorted by meter.

    One row for each meter that has a heartbeat or a link in the window. `meters` and `vehicles`
    are what `measured_energy` returns for the window; links are as `resolve_links` returns them;
    `classes` has one row of meter_id and charger_class for each meter that has a class.
    """
    start, end = utc_window(start, end)
    links = links.filter(pl.col("valid_from") < end, pl.col("valid_to") > start)
    credited = fed_vehicle(_with_time(meters, start), links).cache()
    ac = credited.filter(pl.col("vehicle_id").is_not_null())
    dc = feeding_meters(vehicles, ac, links).cache()
    of_links = links.group_by("meter_id").agg(vehicle_ids=pl.col("vehicle_id").unique().sort())
    table = (
        _meter_side(credited, start, end)
        .join(of_links, on="meter_id", how="full", coalesce=True)
        .join(_vehicle_side(dc, start, end), on="meter_id", how="left")
        .join(_matched_share(ac, dc, "ac"), on="meter_id", how="left")
        .join(_matched_share(dc, ac, "dc"), on="meter_id", how="left")
        .join(classes.select("meter_id", "charger_class"), on="meter_id", how="left")
        .with_columns(
            hour_start=pl.lit(start, pl.Datetime("us", "UTC")),
            vehicle_ids=pl.col("vehicle_ids").fill_null([]),
            longest_gap_seconds=pl.col("longest_gap_seconds").fill_null(
                (end - start).total_seconds()
            ),
            resets=pl.sum_horizontal("resets_ac", "resets_dc"),
            duplicates=pl.sum_horizontal("duplicates_ac", "duplicates_dc"),
        )
        .with_columns(
            pl.col(
                "unlinked_energy_ac_kwh",
                "data_points_meter",
                "data_points_vehicle",
                "coverage_ac",
                "coverage_dc",
            ).fill_null(0)
        )
    )
    return (
        _with_efficiency(table, end - start, settings)
        .select(CHARGER_EFFICIENCY_HOURLY.names)
        .sort("meter_id")
    )


def _with_efficiency(
    table: pl.LazyFrame, window: timedelta, settings: EnergySettings
) -> pl.LazyFrame:
    """Add loss, efficiency and status of the energy while linked, `_linked_energy_ac_kwh`."""
    has_vehicle = pl.col("vehicle_ids").list.len() > 0
    return (
        table.rename({"energy_ac_kwh": "_energy_ac_kwh", "_linked_energy_ac_kwh": "energy_ac_kwh"})
        .with_columns(link_source=pl.when(has_vehicle).then(pl.lit("any")))
        .pipe(with_efficiency, window, settings)
        .with_columns(energy_ac_kwh="_energy_ac_kwh")
    )


def _with_time(meters: pl.LazyFrame, start: datetime) -> pl.LazyFrame:
    """Add the known time of each reading and the silence before it, both within the window."""
    return meters.with_columns(
        _known=pl.col("timestamp") - pl.col("covered_from"),
        _silent_seconds=pl.min_horizontal("gap_seconds", in_seconds(pl.col("timestamp") - start)),
    )


def _meter_side(credited: pl.LazyFrame, start: datetime, end: datetime) -> pl.LazyFrame:
    energy, is_linked = pl.col("energy_kwh"), pl.col("vehicle_id").is_not_null()
    return credited.group_by("meter_id").agg(
        energy_ac_kwh=exact_sum(energy),
        _linked_energy_ac_kwh=exact_sum(energy.filter(is_linked)),
        unlinked_energy_ac_kwh=exact_sum(energy.filter(~is_linked)),
        data_points_meter=pl.len().cast(pl.Int64),
        coverage_ac=_share_of_window(pl.col("_known"), start, end),
        longest_gap_seconds=pl.max_horizontal(
            pl.col("_silent_seconds").max(), in_seconds(end - pl.col("timestamp").max())
        ),
        resets_ac=pl.col("is_reset").sum().cast(pl.Int64),
        duplicates_ac=pl.col("duplicates").sum().cast(pl.Int64),
    )


def _vehicle_side(dc: pl.LazyFrame, start: datetime, end: datetime) -> pl.LazyFrame:
    # A meter feeds one vehicle at a time: what is known of its vehicles does not overlap.
    return dc.group_by("meter_id").agg(
        energy_dc_kwh=exact_sum(pl.col("energy_kwh")),
        data_points_vehicle=pl.len().cast(pl.Int64),
        coverage_dc=_share_of_window(pl.col("timestamp") - pl.col("covered_from"), start, end),
        resets_dc=pl.col("is_reset").sum().cast(pl.Int64),
        duplicates_dc=pl.col("duplicates").sum().cast(pl.Int64),
    )


def _share_of_window(known: pl.Expr, start: datetime, end: datetime) -> pl.Expr:
    return (in_seconds(known.sum()) / (end - start).total_seconds()).round(9)


def _matched_share(readings: pl.LazyFrame, others: pl.LazyFrame, side: str) -> pl.LazyFrame:
    """`lake.matching` by meter: it knows a group of readings by the name of vehicle_id."""
    share = matched_share(_by_meter(readings), known_time(_by_meter(others)), side)
    return share.rename({"vehicle_id": "meter_id"})


def _by_meter(readings: pl.LazyFrame) -> pl.LazyFrame:
    return readings.select(
        "timestamp", "energy_kwh", "interval_start", "covered_from", vehicle_id="meter_id"
    )
