"""All tables of a UTC day, from its hours and, where those don't add up, from its heartbeats."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import polars as pl

from lake.energy.window_facts import facts_of_window
from lake.health.battery import battery_health_in_parts
from lake.rollups.daily_efficiency import (
    charger_day,
    charger_evidence,
    fleet_day,
    vehicle_day,
    vehicle_evidence,
)
from lake.rollups.day_parts import day_parts
from lake.rollups.hour import Tables
from lake.schema.battery_health import BATTERY_HEALTH_DAILY
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_DAILY, CHARGER_EFFICIENCY_HOURLY
from lake.schema.partitions import utc_window
from lake.schema.vehicle_efficiency import (
    FLEET_EFFICIENCY_DAILY,
    FLEET_EFFICIENCY_HOURLY,
    VEHICLE_EFFICIENCY_DAILY,
    VEHICLE_EFFICIENCY_HOURLY,
)
from lake.settings import EnergySettings


class WindowReadings(Protocol):
    """The heartbeats of a window; `lake.history.context.HistoryWindow` is one."""

    @property
    def start(self) -> datetime: ...
    @property
    def end(self) -> datetime: ...
    @property
    def lost(self) -> frozenset[datetime]:
        """Hours before the window whose readings are lost, and were left out."""
        ...

    def scan(self) -> pl.LazyFrame:
        """Scan all heartbeats, and those of the largest gap before them."""
        ...

    def scan_devices(self, devices: pl.Series) -> pl.LazyFrame:
        """Scan what the energies of these devices need: heartbeats and context."""
        ...


@dataclass(frozen=True)
class DayInputs:
    """The inputs of a day's tables.

    `meters` and `vehicles` are the heartbeats of the day, `hours` its rows of the hourly efficiency
    tables, by their names; `links` what each hour resolved, one after another.
    """

    meters: WindowReadings
    vehicles: WindowReadings
    hours: Mapping[str, pl.DataFrame]
    links: pl.LazyFrame
    charger_classes: pl.LazyFrame


def efficiency_of_day(day: DayInputs, settings: EnergySettings) -> Tables:
    """Return the rows of vehicle_, charger_ and fleet_efficiency_daily, by table name."""
    start, end = utc_window(day.vehicles.start, day.vehicles.end)
    of_vehicles, of_chargers, of_fleet = (
        day.hours[spec.name]
        for spec in (VEHICLE_EFFICIENCY_HOURLY, CHARGER_EFFICIENCY_HOURLY, FLEET_EFFICIENCY_HOURLY)
    )
    parts = day_parts(
        of_chargers["meter_id"].unique(),
        of_vehicles["vehicle_id"].unique(),
        day.meters.scan_devices,
        day.vehicles.scan_devices,
        day.links,
        day.charger_classes,
        start,
        end,
        settings,
    )
    evidence = [
        (
            vehicle_evidence(facts_of_vehicles.lazy(), start, end, settings).collect(),
            charger_evidence(facts_of_chargers.lazy()).collect(),
        )
        for facts_of_vehicles, facts_of_chargers in (
            facts_of_window(*part, day.charger_classes, start, end) for part in parts
        )
    ]
    vehicles = vehicle_day(
        of_vehicles.lazy(), [found for found, _ in evidence], start, end, settings
    )
    chargers = charger_day(
        of_chargers.lazy(), [found for _, found in evidence], start, end, settings
    )
    return {
        VEHICLE_EFFICIENCY_DAILY.name: vehicles,
        CHARGER_EFFICIENCY_DAILY.name: chargers,
        FLEET_EFFICIENCY_DAILY.name: fleet_day(
            vehicles.lazy(), of_fleet.lazy(), settings
        ).collect(),
    }


def health_of_day(day: DayInputs, settings: EnergySettings) -> Tables:
    """Return the rows of battery_health_daily, by the name of the table."""
    hours = day.hours[VEHICLE_EFFICIENCY_HOURLY.name].lazy()
    rows = battery_health_in_parts(
        day.vehicles.scan(), hours, day.vehicles.start, day.vehicles.end, settings
    )
    return {BATTERY_HEALTH_DAILY.name: rows}
