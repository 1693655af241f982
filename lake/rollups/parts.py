"""Parts of a fleet that no link connects: what is computed of one says nothing about another."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from lake.energy.intervals import Integers
from lake.schema.streams import METER, VEHICLE

LEAST_ROWS: Final = 200_000
"""Heartbeats of a part: what a part of fewer costs is not their mathematics."""


class FleetPart(NamedTuple):
    """The heartbeats of some devices, and all links that these have."""

    meters: pl.DataFrame
    vehicles: pl.DataFrame
    links: pl.DataFrame


def parts_of_fleet(
    meters: pl.DataFrame, vehicles: pl.DataFrame, links: pl.DataFrame, most: int
) -> Sequence[FleetPart]:
    """Split a fleet into at most so many parts of about as many devices, in order of vehicles."""
    parts = min(most, (meters.height + vehicles.height) // LEAST_ROWS)
    if parts < 2:
        return [FleetPart(meters, vehicles, links)]
    meter_ids, vehicle_ids = (
        pl.concat([rows[device].unique(), links[device].unique()]).unique().sort()
        for rows, device in ((meters, METER.device), (vehicles, VEHICLE.device))
    )
    of_meter, of_vehicle = _part_of_each(
        meter_ids.search_sorted(links[METER.device]).to_numpy(),
        vehicle_ids.search_sorted(links[VEHICLE.device]).to_numpy(),
        (len(meter_ids), len(vehicle_ids)),
        parts,
    )
    found = []
    for part in range(parts):
        is_my_meter = pl.col(METER.device).is_in(meter_ids.filter(of_meter == part).implode())
        is_my_vehicle = pl.col(VEHICLE.device).is_in(
            vehicle_ids.filter(of_vehicle == part).implode()
        )
        found.append(
            FleetPart(
                meters.filter(is_my_meter),
                vehicles.filter(is_my_vehicle),
                links.filter(is_my_vehicle),
            )
        )
    return found


def _part_of_each(
    link_meter: Integers, link_vehicle: Integers, devices: tuple[int, int], parts: int
) -> tuple[Integers, Integers]:
    """Return the part of each meter and of each vehicle, by the numbers of the ends of links."""
    meters, vehicles = devices
    group = np.arange(vehicles)
    while True:  # as often as links are in a row
        of_meter = np.full(meters, vehicles)
        np.minimum.at(of_meter, link_meter, group[link_vehicle])
        joined = group.copy()
        np.minimum.at(joined, link_vehicle, of_meter[link_meter])
        if (joined == group).all():
            break
        group = joined
    before = np.cumsum(np.bincount(group, minlength=vehicles + 1)) - 1
    part = np.minimum(before * parts // max(vehicles, 1), parts - 1)
    alone = np.arange(meters) * parts // max(meters, 1)
    return np.where(of_meter < vehicles, part[of_meter], alone), part[group]
