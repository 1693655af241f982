"""A UTC day: sums of its hours, and from its heartbeats what hours can't tell exactly.

Explained in docs/energy.md. An hour cuts what is known at its start, and a gap may span hours: the
longest gap, coverage, matched shares and the mean temperature of a day are those of one window.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import polars as pl

from lake.derived import FLEET_EFFICIENCY_DAILY, VEHICLE_EFFICIENCY_DAILY
from lake.efficiency import fleet_efficiency, vehicle_efficiency, with_efficiency
from lake.energy import IN_MEMORY, exact_sum, measured_energy, utc_window
from lake.links import joined_links
from lake.settings import EnergySettings
from lake.streams import METER, VEHICLE

# A thousand vehicles with a heartbeat a minute on both sides take about half a GiB.
_VEHICLES_AT_ONCE: Final = 1000

# What adds up exactly over the hours,
_SUMS: Final = (
    exact_sum(pl.col("energy_ac_kwh")),
    exact_sum(pl.col("energy_dc_kwh")),
    pl.col("data_points_meter", "data_points_vehicle", "resets", "duplicates").sum(),
    pl.len().cast(pl.Int64).alias("hours"),
)
# ... and what does not.
_EVIDENCE: Final = (
    "charger_class",
    "coverage_ac",
    "coverage_dc",
    "matched_share_ac",
    "matched_share_dc",
    "longest_gap_seconds",
    "average_battery_temp",
    "link_source",
    "meter_ids",
)


def vehicle_day(
    hours: pl.LazyFrame,
    meter_readings: pl.LazyFrame,
    vehicle_readings: pl.LazyFrame,
    links: pl.LazyFrame,
    charger_classes: pl.LazyFrame,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> pl.DataFrame:
    """The rows of VEHICLE_EFFICIENCY_DAILY for the day [start, end), sorted by vehicle.

    `hours` are the day's rows of VEHICLE_EFFICIENCY_HOURLY, `links` what the hours resolved, one
    after another. Readings are those of the day and the context before it, as for an hour; best
    as scans of sorted files, because they are read for some vehicles at a time. A day that is not
    over ends at `end`.
    """
    start, end = utc_window(start, end)
    sums = sums_of_vehicle_hours(hours).collect()
    fed = joined_links(links).collect()
    evidence = [
        vehicle_efficiency(
            measured_energy(
                _of_meters(meter_readings, some), METER, start, end, settings, charger_classes
            ),
            measured_energy(
                vehicle_readings.filter(part),
                VEHICLE,
                start,
                end,
                settings,
            ),
            some.lazy(),
            charger_classes,
            start,
            end,
            settings,
        )
        .select("vehicle_id", *_EVIDENCE)
        .collect(engine=IN_MEMORY)
        for part, some in _parts(sums["vehicle_id"].sort(), fed)
    ]
    if not evidence:
        return pl.DataFrame(VEHICLE_EFFICIENCY_DAILY.schema.empty_table())
    return (
        sums.lazy()
        .join(pl.concat(evidence).lazy(), on="vehicle_id")
        .pipe(with_efficiency, end - start, settings)
        .with_columns(date=pl.lit(start.date()))
        .select(VEHICLE_EFFICIENCY_DAILY.names)
        .sort("vehicle_id")
        .collect()
    )


def fleet_day(
    vehicles: pl.LazyFrame, fleet_hours: pl.LazyFrame, settings: EnergySettings
) -> pl.LazyFrame:
    """The row of FLEET_EFFICIENCY_DAILY from those of `vehicle_day` and of the fleet's hours."""
    of_hours = fleet_hours.group_by(date=pl.col("hour_start").dt.date()).agg(
        exact_sum(pl.col("unlinked_energy_ac_kwh")), hours=pl.len().cast(pl.Int64)
    )
    unlinked = of_hours.select("date", "unlinked_energy_ac_kwh")
    return (
        fleet_efficiency(vehicles, unlinked, settings, "date")
        .join(of_hours.select("date", "hours"), on="date", how="left")
        .with_columns(pl.col("hours").fill_null(0))
        .select(FLEET_EFFICIENCY_DAILY.names)
    )


def sums_of_vehicle_hours(hours: pl.LazyFrame) -> pl.LazyFrame:
    """What adds up exactly, for each vehicle in rows of VEHICLE_EFFICIENCY_HOURLY, and `hours`."""
    return hours.group_by("vehicle_id").agg(_SUMS)


def _parts(vehicles: pl.Series, links: pl.DataFrame) -> Iterator[tuple[pl.Expr, pl.DataFrame]]:
    """Some vehicles at a time: the condition on their ids, and their links."""
    for offset in range(0, len(vehicles), _VEHICLES_AT_ONCE):
        part = _in_range("vehicle_id", vehicles.slice(offset, _VEHICLES_AT_ONCE))
        yield part, links.filter(part)


def _of_meters(readings: pl.LazyFrame, links: pl.DataFrame) -> pl.LazyFrame:
    """The readings of the linked meters."""
    meters = links["meter_id"].unique()
    # A scan leaves out what lies outside of a range, and not what is no member.
    return readings.filter(
        _in_range("meter_id", meters), pl.col("meter_id").is_in(meters.to_list())
    )


def _in_range(device: str, ids: pl.Series) -> pl.Expr:
    first, last = (pl.lit(bound, pl.String) for bound in (ids.min(), ids.max()))
    return pl.col(device).is_between(first, last)
