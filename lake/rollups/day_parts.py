"""The heartbeats of a UTC day, measured for some devices at a time, so that they fit into memory.

A part of a vehicle's energy depends on all meters that fed it, so meters and vehicles that links
join, even by way of others, are in one part.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final, NamedTuple

import polars as pl

from lake.energy.interval_energy import measured_energy
from lake.energy.links import join_adjacent_links
from lake.engine import IN_MEMORY
from lake.schema.streams import METER, VEHICLE
from lake.settings import EnergySettings

# A thousand meters with their vehicles, a heartbeat a minute each, take about half a GiB.
_GROUPS_AT_ONCE: Final = 1000


# The readings of some devices.
Readings = Callable[[pl.Series], pl.LazyFrame]


class DayPart(NamedTuple):
    """Rows of `measured_energy` of some meters and vehicles, and all their links of the day."""

    meters: pl.LazyFrame
    vehicles: pl.LazyFrame
    links: pl.LazyFrame


def day_parts(
    meter_ids: pl.Series,
    vehicle_ids: pl.Series,
    meter_readings: Readings,
    vehicle_readings: Readings,
    links: pl.LazyFrame,
    charger_classes: pl.LazyFrame,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> Iterator[DayPart]:
    """Yield the parts of the UTC window [start, end); each device is in one of them.

    The ids are those of all devices with a heartbeat or a link in the window. `links` are what the
    hours resolved, one after another. Readings are those of the window and the context before it.
    """
    joined = join_adjacent_links(links).collect()
    for devices in _parts(meter_ids, vehicle_ids, joined):
        meters, vehicles = devices["meter_id"], devices["vehicle_id"]
        ac, dc = (
            rows.lazy()
            for rows in pl.collect_all(
                [meter_readings(meters), vehicle_readings(vehicles)], engine=IN_MEMORY
            )
        )
        measured = pl.collect_all(
            [
                measured_energy(ac, METER, start, end, settings, charger_classes),
                measured_energy(dc, VEHICLE, start, end, settings),
            ],
            engine=IN_MEMORY,
        )
        linked = joined.filter(pl.col("meter_id").is_in(meters.drop_nulls().to_list()))
        yield DayPart(*(frame.lazy() for frame in (*measured, linked)))


def _parts(meters: pl.Series, vehicles: pl.Series, links: pl.DataFrame) -> list[pl.DataFrame]:
    """Frames of meter_id and vehicle_id; null beside a device without a link."""
    groups = _groups(meters, links)
    alone = pl.DataFrame({"vehicle_id": vehicles.sort()}).join(links, on="vehicle_id", how="anti")
    after = pl.int_range(pl.len(), dtype=pl.UInt32) + meters.len()
    every = pl.concat(
        [groups, alone.select("vehicle_id", group=after)], how="diagonal"
    ).with_columns(part=(pl.col("group").rank("dense") - 1) // _GROUPS_AT_ONCE)
    return every.sort("part").partition_by("part")


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
