"""The checks of the tables of hours: their names, and the rows that break them."""

from collections.abc import Mapping
from typing import Final

import polars as pl

from lake.schema import (
    CHARGER_EFFICIENCY_HOURLY,
    CHARGING_STRETCH_HOURLY,
    FLEET_EFFICIENCY_HOURLY,
    GRID_HEALTH_HOURLY,
    HEARTBEAT_COMPLETENESS_HOURLY,
    VEHICLE_EFFICIENCY_HOURLY,
)
from pipelines.checks.rules import (
    chargers_unlike_fleet,
    fleet_unlike_vehicles,
    gaining_vehicles,
    implausible_vehicles,
    miscounted_heartbeats,
    uncovered_vehicles,
    uneven_stretches,
    unheard_voltages,
    vehicles_unlike_chargers,
)

PLAUSIBLE: Final = "efficiency_plausible"
GAINING: Final = "dc_not_above_ac"
COVERAGE: Final = "hours_covered"
CONTESTED: Final = "one_vehicle_at_a_meter"
"""Judged by the links of the hours and not by the rows of a table."""
ADDS_UP: Final = "stretches_add_up"
HEARD: Final = "voltages_were_sent"
LIKE_CHARGERS: Final = "agrees_with_chargers"
LIKE_FLEET: Final = "agrees_with_fleet"
LIKE_VEHICLES: Final = "agrees_with_vehicles"
LIKE_DEVICES: Final = "agrees_with_devices"


def offenders_of_hours(
    tables: Mapping[str, pl.DataFrame], uncovered_percent: float
) -> dict[str, pl.DataFrame]:
    """Return for each check of rows of all hourly tables those that break it.

    `tables` are by name the rows of the hours, `uncovered_percent` is the setting
    `uncovered_vehicles_percent`.
    """
    vehicles, chargers, fleet, grid, completeness = (
        tables[spec.name].lazy()
        for spec in (
            VEHICLE_EFFICIENCY_HOURLY,
            CHARGER_EFFICIENCY_HOURLY,
            FLEET_EFFICIENCY_HOURLY,
            GRID_HEALTH_HOURLY,
            HEARTBEAT_COMPLETENESS_HOURLY,
        )
    )
    return {
        PLAUSIBLE: implausible_vehicles(vehicles).collect(),
        GAINING: gaining_vehicles(vehicles).collect(),
        COVERAGE: uncovered_vehicles(vehicles, uncovered_percent).collect(),
        ADDS_UP: uneven_stretches(
            tables[CHARGING_STRETCH_HOURLY.name], tables[VEHICLE_EFFICIENCY_HOURLY.name]
        ),
        LIKE_CHARGERS: vehicles_unlike_chargers(vehicles, chargers),
        LIKE_FLEET: chargers_unlike_fleet(chargers, fleet),
        LIKE_VEHICLES: fleet_unlike_vehicles(fleet, vehicles, "hour_start"),
        LIKE_DEVICES: miscounted_heartbeats(completeness, vehicles, chargers),
        HEARD: unheard_voltages(grid, chargers),
    }
