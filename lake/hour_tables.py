"""All tables of an hour, each a pure function of its heartbeats and what links them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from lake.charger_efficiency import CHARGER_EFFICIENCY_HOURLY, charger_rows
from lake.completeness import HEARTBEAT_COMPLETENESS_HOURLY, heartbeat_completeness
from lake.derived import FLEET_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_HOURLY
from lake.efficiency import fleet_efficiency, unlinked_energy, vehicle_rows
from lake.energy import IN_MEMORY, measured_energy
from lake.facts import facts_of_window
from lake.grid_health import GRID_HEALTH_HOURLY, grid_health
from lake.hours import HOUR
from lake.settings import EnergySettings
from lake.streams import METER, STREAMS, VEHICLE

Tables = dict[str, pl.DataFrame]


@dataclass(frozen=True)
class HourInputs:
    """What the tables of an hour are computed from.

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

    @property
    def window(self) -> tuple[datetime, datetime]:
        """Start and end."""
        return self.start, self.start + HOUR


def efficiency_of_hour(inputs: HourInputs, settings: EnergySettings) -> Tables:
    """The rows of vehicle_, charger_ and fleet_efficiency_hourly, by the name of the table.

    No row at all where no device has a heartbeat or a link: nobody asks for such an hour, and one
    that is computed by hand must not look like one in which the fleet stood still.
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
    of_vehicles, of_chargers, unlinked = pl.collect_all(
        [
            vehicle_rows(facts_of_vehicles.lazy(), *window, settings),
            charger_rows(facts_of_chargers.lazy(), *window, settings),
            unlinked_energy(meters, links, *window),
        ],
        engine=IN_MEMORY,
    )
    fleet = fleet_efficiency(of_vehicles.lazy(), unlinked.lazy(), settings).collect()
    if of_vehicles.is_empty() and of_chargers.is_empty():
        fleet = fleet.clear()
    return {
        VEHICLE_EFFICIENCY_HOURLY.name: of_vehicles,
        CHARGER_EFFICIENCY_HOURLY.name: of_chargers,
        FLEET_EFFICIENCY_HOURLY.name: fleet,
    }


def health_of_hour(inputs: HourInputs, settings: EnergySettings) -> Tables:
    """The rows of grid_health_hourly and heartbeat_completeness_hourly, by table.

    No row of the completeness where no device of either stream was expected or heard.
    """
    readings = {METER.name: inputs.meters, VEHICLE.name: inputs.vehicles}
    grid, *heard = pl.collect_all(
        [
            grid_health(inputs.meters, inputs.charger_classes, *inputs.window, settings),
            *(
                heartbeat_completeness(
                    readings[name], inputs.expected[name], stream, *inputs.window, settings
                )
                for name, stream in STREAMS.items()
            ),
        ]
    )
    complete = pl.concat(heard)
    if not complete.select(pl.sum("devices_expected") + pl.sum("devices_heard")).item():
        complete = complete.clear()
    return {GRID_HEALTH_HOURLY.name: grid, HEARTBEAT_COMPLETENESS_HOURLY.name: complete}
