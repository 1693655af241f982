"""All tables of a UTC day: its hours merged; percentiles of batteries from its heartbeats."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import polars as pl

from lake.costs import Pricing, costs_of_day
from lake.energy.fleet import fleet_efficiency
from lake.health.battery import battery_health_in_parts
from lake.rollups.hour import Tables
from lake.rollups.merging import merge_charger_hours, merge_vehicle_hours
from lake.schema.battery_health import BATTERY_HEALTH_DAILY
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_DAILY, CHARGER_EFFICIENCY_HOURLY
from lake.schema.partitions import hours_between, utc_window
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


@dataclass(frozen=True)
class DayInputs:
    """The inputs of a day's tables: heartbeats of vehicles, and the rows of hours by table name.

    Without `pricing` nothing has a cost.
    """

    vehicles: WindowReadings
    hours: Mapping[str, pl.DataFrame]
    pricing: Pricing | None = None


def efficiency_of_day(day: DayInputs, settings: EnergySettings) -> Tables:
    """Return the rows of vehicle_, charger_ and fleet_efficiency_daily, by table name."""
    start, end = utc_window(day.vehicles.start, day.vehicles.end)
    of_vehicles, of_chargers, of_fleet = (
        day.hours[spec.name].filter(pl.col("hour_start") < end)
        for spec in (VEHICLE_EFFICIENCY_HOURLY, CHARGER_EFFICIENCY_HOURLY, FLEET_EFFICIENCY_HOURLY)
    )
    date = pl.lit(start.date()).alias("date")
    costs = costs_of_day(of_vehicles, of_chargers, hours_between(start, end), day.pricing)
    vehicles = _with_costs(
        merge_vehicle_hours(of_vehicles, start, end, settings).with_columns(date),
        costs.vehicles,
        "vehicle_id",
    )
    chargers = _with_costs(
        merge_charger_hours(of_chargers, start, end, settings).with_columns(date),
        costs.chargers,
        "meter_id",
    )
    fleet = (
        fleet_efficiency(vehicles.lazy(), chargers.lazy(), "date")
        .with_columns(hours=pl.lit(of_fleet.height, pl.Int64))
        .collect()
    )
    fleet = _with_costs(fleet, costs.fleet, "date").select(FLEET_EFFICIENCY_DAILY.names)
    return {
        VEHICLE_EFFICIENCY_DAILY.name: vehicles.select(VEHICLE_EFFICIENCY_DAILY.names),
        CHARGER_EFFICIENCY_DAILY.name: chargers.select(CHARGER_EFFICIENCY_DAILY.names),
        FLEET_EFFICIENCY_DAILY.name: fleet,
    }


def _with_costs(rows: pl.DataFrame, costs: pl.DataFrame, key: str) -> pl.DataFrame:
    return rows.join(costs, on=key, how="left", maintain_order="left")


def health_of_day(day: DayInputs, settings: EnergySettings) -> Tables:
    """Return the rows of battery_health_daily, by the name of the table."""
    hours = day.hours[VEHICLE_EFFICIENCY_HOURLY.name].lazy()
    rows = battery_health_in_parts(
        day.vehicles.scan(), hours, day.vehicles.start, day.vehicles.end, settings
    )
    return {BATTERY_HEALTH_DAILY.name: rows}
