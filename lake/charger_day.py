"""A UTC day of the chargers: sums of its hours, and from its heartbeats what hours can't tell.

As lake/days.py does for the vehicles. A part of a vehicle's energy depends on all meters that fed
it, so meters that are linked to the same vehicles are computed together.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import polars as pl

from lake.charger_efficiency import (
    CHARGER_EFFICIENCY_DAILY,
    LINKED_ENERGY,
    charger_facts,
    with_charger_efficiency,
)
from lake.energy import IN_MEMORY, exact_sum, measured_energy, utc_window
from lake.links import joined_links
from lake.settings import EnergySettings
from lake.streams import METER, VEHICLE

# As many meters, and the vehicles linked to them, take about half a GiB.
_METERS_AT_ONCE: Final = 1000

_ENERGIES: Final = ("energy_ac_kwh", "unlinked_energy_ac_kwh", "energy_dc_kwh")
_COUNTS: Final = ("data_points_meter", "data_points_vehicle", "resets", "duplicates")
_EVIDENCE: Final = (
    "charger_class",
    "coverage_ac",
    "coverage_dc",
    "matched_share_ac",
    "matched_share_dc",
    "longest_gap_seconds",
    "vehicle_ids",
    LINKED_ENERGY,
)


def charger_day(
    hours: pl.LazyFrame,
    meter_readings: pl.LazyFrame,
    vehicle_readings: pl.LazyFrame,
    links: pl.LazyFrame,
    charger_classes: pl.LazyFrame,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> pl.DataFrame:
    """The rows of CHARGER_EFFICIENCY_DAILY for the day [start, end), sorted by meter.

    `hours` are the day's rows of CHARGER_EFFICIENCY_HOURLY; the other arguments are those of
    `lake.days.vehicle_day`.
    """
    start, end = utc_window(start, end)
    known = sums_of_charger_hours(hours).collect()
    facts = [
        charger_facts(
            measured_energy(
                _of(meter_readings, meters), METER, start, end, settings, charger_classes
            ),
            measured_energy(_of(vehicle_readings, vehicles), VEHICLE, start, end, settings),
            fed.lazy(),
            charger_classes,
            start,
            end,
        )
        .select("meter_id", *_EVIDENCE)
        .collect(engine=IN_MEMORY)
        for meters, vehicles, fed in _parts(known["meter_id"], joined_links(links).collect())
    ]
    if not facts:
        return pl.DataFrame(CHARGER_EFFICIENCY_DAILY.schema.empty_table())
    linked = pl.col("energy_ac_kwh").fill_null(0.0) - pl.col("unlinked_energy_ac_kwh")
    is_known = pl.col(LINKED_ENERGY).is_not_null()
    return (
        known.lazy()
        .join(pl.concat(facts).lazy(), on="meter_id")
        .with_columns(pl.when(is_known).then(linked.round(9)).alias(LINKED_ENERGY))
        .pipe(with_charger_efficiency, end - start, settings)
        .with_columns(date=pl.lit(start.date()))
        .select(CHARGER_EFFICIENCY_DAILY.names)
        .sort("meter_id")
        .collect()
    )


def sums_of_charger_hours(hours: pl.LazyFrame) -> pl.LazyFrame:
    """What adds up exactly, for each meter in rows of CHARGER_EFFICIENCY_HOURLY, and `hours`."""
    return hours.group_by("meter_id").agg(
        *(exact_sum(pl.col(name)) for name in _ENERGIES),
        pl.col(_COUNTS).sum(),
        hours=pl.len().cast(pl.Int64),
    )


def _parts(
    meters: pl.Series, links: pl.DataFrame
) -> Iterator[tuple[pl.Series, pl.Series, pl.DataFrame]]:
    """Some meters at a time, the vehicles that any of them fed, and their links."""
    groups = _groups(meters, links)
    part = (pl.col("group").rank("dense") - 1) // _METERS_AT_ONCE
    for of_part in groups.with_columns(part=part).sort("part", "meter_id").partition_by("part"):
        some, fed = of_part["meter_id"].unique(), of_part["vehicle_id"].drop_nulls().unique()
        yield some, fed, links.filter(pl.col("meter_id").is_in(some.to_list()))


def _groups(meters: pl.Series, links: pl.DataFrame) -> pl.DataFrame:
    """meter_id, vehicle_id (null: fed none) and `group`: the same for all that hang together."""
    edges = links.select("meter_id", "vehicle_id").unique()
    found = (
        pl.DataFrame({"meter_id": meters.sort()})
        .with_row_index("group")
        .join(edges, on="meter_id", how="left", maintain_order="left")
    )
    group = pl.col("group")
    is_fed = pl.col("vehicle_id").is_not_null()
    while True:
        lowest = found.with_columns(
            pl.when(is_fed).then(group.min().over("vehicle_id")).otherwise(group)
        ).with_columns(group.min().over("meter_id"))
        if lowest["group"].equals(found["group"]):
            return found
        found = lowest


def _of(readings: pl.LazyFrame, devices: pl.Series) -> pl.LazyFrame:
    """The readings of these devices; a scan leaves out what lies outside of their range."""
    device = pl.col(devices.name)
    first, last = (pl.lit(bound, pl.String) for bound in (devices.min(), devices.max()))
    return readings.filter(device.is_between(first, last), device.is_in(devices.to_list()))
