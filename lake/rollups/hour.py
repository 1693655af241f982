"""All tables of an hour, each a pure function of its heartbeats and what links them."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import NamedTuple

import polars as pl

from lake.energy.efficiency import efficiency_of_window
from lake.energy.fleet import fleet_efficiency
from lake.engine import IN_MEMORY
from lake.health.cadence import device_cadences
from lake.health.completeness import heartbeat_completeness
from lake.health.grid import grid_health
from lake.rollups.parts import FleetPart, parts_of_fleet
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_HOURLY
from lake.schema.charging_stretch import CHARGING_STRETCH_HOURLY
from lake.schema.completeness import HEARTBEAT_COMPLETENESS_HOURLY
from lake.schema.grid_health import GRID_HEALTH_HOURLY
from lake.schema.partitions import HOUR
from lake.schema.streams import STREAMS
from lake.schema.vehicle_efficiency import FLEET_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_HOURLY
from lake.sessions.stretches import charging_stretches
from lake.settings import EnergySettings

Tables = dict[str, pl.DataFrame]


@dataclass(frozen=True)
class HourInputs:
    """The inputs of an hour's tables.

    `meters` and `vehicles` are the heartbeats of the hour with the columns of the history, and the
    readings beside it, as `lake.history.SequentialHistoryReader.read` gives them; with CADENCE or
    without. `links` are what
    `links_around` returns for the hour.
    `charger_classes` has a row of meter_id and charger_class for each meter that has a class,
    `expected` for each stream the ids of the devices that should have been heard.
    """

    start: datetime
    meters: pl.LazyFrame
    vehicles: pl.LazyFrame
    links: pl.LazyFrame
    charger_classes: pl.LazyFrame
    expected: Mapping[str, pl.LazyFrame]
    rows: int = 0
    """How many heartbeats and classes these are."""
    lacking: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    """What `lacking_readings` returned before they were added."""
    contested: pl.DataFrame = field(default_factory=pl.DataFrame)
    """What `contested_meters` returns for the hour; no column where no vehicle names a meter."""

    @property
    def window(self) -> tuple[datetime, datetime]:
        """The start and the end of the hour."""
        return self.start, self.start + HOUR


class DeviceTables(NamedTuple):
    """Rows of vehicle_ and charger_efficiency_hourly, and of charging_stretch_hourly."""

    vehicles: pl.DataFrame
    chargers: pl.DataFrame
    stretches: pl.DataFrame


def efficiency_of_hour(inputs: HourInputs, settings: EnergySettings) -> Tables:
    """Return the rows of vehicle_, charger_ and fleet_efficiency_hourly, by table name.

    With those of charging_stretch_hourly.

    No row at all where no device has a heartbeat or a link: nobody asks for such an hour, and one
    that is computed by hand must not look like one in which the fleet stood still.
    """
    of_vehicles, of_chargers, stretches = devices_of_hour(inputs, settings)
    fleet = fleet_efficiency(of_vehicles.lazy(), of_chargers.lazy()).collect()
    return {
        VEHICLE_EFFICIENCY_HOURLY.name: of_vehicles,
        CHARGER_EFFICIENCY_HOURLY.name: of_chargers,
        FLEET_EFFICIENCY_HOURLY.name: fleet,
        CHARGING_STRETCH_HOURLY.name: stretches,
    }


def devices_of_hour(inputs: HourInputs, settings: EnergySettings) -> DeviceTables:
    """Return the rows of the tables that have some for each device."""
    meters, vehicles, links, classes = pl.collect_all(
        [inputs.meters, inputs.vehicles, inputs.links, inputs.charger_classes], engine=IN_MEMORY
    )

    def of_part(part: FleetPart) -> DeviceTables:
        found = efficiency_of_window(*part, classes, *inputs.window, settings)
        return DeviceTables(
            *found.tables,
            charging_stretches(found, part.vehicles, part.links, classes, settings),
        )

    parts = parts_of_fleet(meters, vehicles, links, pl.thread_pool_size())
    if len(parts) == 1:
        return of_part(parts[0])
    found = [*_threads().map(of_part, parts)]
    orders = ["vehicle_id"], ["meter_id"], ["vehicle_id", "begins"]
    return DeviceTables(
        *(
            pl.concat(of_parts).sort(order)
            for of_parts, order in zip(zip(*found, strict=True), orders, strict=True)
        )
    )


@cache
def _threads() -> ThreadPoolExecutor:
    """Threads for parts of fleets; the libraries let others run while they compute.

    They stay: memory that a thread has freed is kept for it, and new ones would need as much again.
    """
    return ThreadPoolExecutor(pl.thread_pool_size(), "fleet-part")


def health_of_hour(inputs: HourInputs, settings: EnergySettings) -> Tables:
    """Return the rows of grid_health_hourly and heartbeat_completeness_hourly, by table."""
    grid = grid_health(inputs.meters, inputs.charger_classes, *inputs.window, settings)
    cadences = cadences_of_hour(inputs, settings)
    (complete,) = completeness_of_hours([inputs], [cadences], settings)
    return {GRID_HEALTH_HOURLY.name: grid.collect(), HEARTBEAT_COMPLETENESS_HOURLY.name: complete}


def cadences_of_hour(inputs: HourInputs, settings: EnergySettings) -> dict[str, pl.DataFrame]:
    """Return what `device_cadences` does of both streams, by their names."""
    classes = inputs.charger_classes.collect()
    return {
        name: device_cadences(readings.collect(), stream, classes, *inputs.window, settings)
        for (name, stream), readings in zip(
            STREAMS.items(), (inputs.meters, inputs.vehicles), strict=True
        )
    }


def completeness_of_hours(
    hours: Sequence[HourInputs],
    cadences: Sequence[Mapping[str, pl.DataFrame]],
    settings: EnergySettings,
) -> list[pl.DataFrame]:
    """Return the rows of heartbeat_completeness_hourly of each hour; `cadences` are theirs.

    No row where no device of either stream was expected or heard.
    """
    found = pl.collect_all(
        [
            heartbeat_completeness(
                readings, one.expected[name], of_hour[name].lazy(), stream, *one.window, settings
            )
            for one, of_hour in zip(hours, cadences, strict=True)
            for (name, stream), readings in zip(
                STREAMS.items(), (one.meters, one.vehicles), strict=True
            )
        ]
    )
    of_hours = []
    for first in range(0, len(found), len(STREAMS)):
        complete = pl.concat(found[first : first + len(STREAMS)])
        if not complete.select(pl.sum("devices_expected") + pl.sum("devices_heard")).item():
            complete = complete.clear()
        of_hours.append(complete)
    return of_hours
