"""All tables of an hour, each a pure function of its heartbeats and what links them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from lake.energy.charger_efficiency import charger_efficiency_rows
from lake.energy.efficiency import fleet_efficiency, unlinked_energy, vehicle_efficiency_rows
from lake.energy.interval_energy import measured_energy
from lake.energy.window_facts import facts_of_window
from lake.engine import IN_MEMORY
from lake.health.completeness import heartbeat_completeness
from lake.health.grid import grid_health
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_HOURLY
from lake.schema.completeness import HEARTBEAT_COMPLETENESS_HOURLY
from lake.schema.grid_health import GRID_HEALTH_HOURLY
from lake.schema.partitions import HOUR
from lake.schema.streams import METER, STREAMS, VEHICLE
from lake.schema.vehicle_efficiency import FLEET_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_HOURLY
from lake.settings import EnergySettings

Tables = dict[str, pl.DataFrame]


@dataclass(frozen=True)
class HourInputs:
    """The inputs of an hour's tables.

    `meters` and `vehicles` are the heartbeats of the hour with the columns of the history, and the
    context before it (`lake.scan_context`). `links` are what `resolve_links` returns for the hour.
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
    contested: pl.DataFrame = field(default_factory=pl.DataFrame)
    """What `contested_meters` returns for the hour; no column where no vehicle names a meter."""

    @property
    def window(self) -> tuple[datetime, datetime]:
        """The start and the end of the hour."""
        return self.start, self.start + HOUR


def efficiency_of_hour(inputs: HourInputs, settings: EnergySettings) -> Tables:
    """Return the rows of vehicle_, charger_ and fleet_efficiency_hourly, by table name.

    No row at all where no device has a heartbeat or a link: nobody asks for such an hour, and one
    that is computed by hand must not look like one in which the fleet stood still.
    """
    of_vehicles, of_chargers, unlinked = devices_of_hour(inputs, settings, unlinked_energy)
    fleet = fleet_efficiency(of_vehicles.lazy(), unlinked.lazy(), settings).collect()
    if of_vehicles.is_empty() and of_chargers.is_empty():
        fleet = fleet.clear()
    return {
        VEHICLE_EFFICIENCY_HOURLY.name: of_vehicles,
        CHARGER_EFFICIENCY_HOURLY.name: of_chargers,
        FLEET_EFFICIENCY_HOURLY.name: fleet,
    }


def devices_of_hour(
    inputs: HourInputs,
    settings: EnergySettings,
    unlinked: Callable[[pl.LazyFrame, pl.LazyFrame, datetime, datetime], pl.LazyFrame],
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return the rows of vehicle_ and charger_efficiency_hourly, and those of `unlinked`.

    `unlinked` takes rows of `measured_energy` of the meters, the links, and the window.
    """
    window, links, classes = inputs.window, inputs.links, inputs.charger_classes
    meters = measured_energy(inputs.meters, METER, *window, settings, classes)
    vehicles = measured_energy(inputs.vehicles, VEHICLE, *window, settings)
    meters, vehicles = (
        rows.lazy() for rows in pl.collect_all([meters, vehicles], engine=IN_MEMORY)
    )
    facts_of_vehicles, facts_of_chargers = facts_of_window(
        meters, vehicles, links, classes, *window
    )
    of_vehicles, of_chargers, found = pl.collect_all(
        [
            vehicle_efficiency_rows(facts_of_vehicles.lazy(), *window, settings),
            charger_efficiency_rows(facts_of_chargers.lazy(), *window, settings),
            unlinked(meters, links, *window),
        ],
        engine=IN_MEMORY,
    )
    return of_vehicles, of_chargers, found


def health_of_hour(inputs: HourInputs, settings: EnergySettings) -> Tables:
    """Return the rows of grid_health_hourly and heartbeat_completeness_hourly, by table."""
    grid = grid_health(inputs.meters, inputs.charger_classes, *inputs.window, settings)
    (complete,) = completeness_of_hours([inputs], settings)
    return {GRID_HEALTH_HOURLY.name: grid.collect(), HEARTBEAT_COMPLETENESS_HOURLY.name: complete}


def completeness_of_hours(
    hours: Sequence[HourInputs], settings: EnergySettings
) -> list[pl.DataFrame]:
    """Return the rows of heartbeat_completeness_hourly of each hour.

    No row where no device of either stream was expected or heard.
    """
    found = pl.collect_all(
        [
            heartbeat_completeness(readings, one.expected[name], stream, *one.window, settings)
            for one in hours
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
