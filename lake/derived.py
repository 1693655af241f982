"""The tables that are computed from the history: their columns, meanings and units."""

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from lake.streams import TIMESTAMP, Column


@dataclass(frozen=True)
class TableSpec:
    """A derived table: its first column is the UTC start of the hour that a row is about."""

    name: str
    description: str
    columns: tuple[Column, ...]


def _number(name: str, description: str, nullable: bool = True) -> Column:
    return Column(name, pa.float64(), description, nullable)


def _count(name: str, description: str) -> Column:
    return Column(name, pa.int64(), description, nullable=False)


def _vehicles_with(status: str) -> Column:
    return _count(f"vehicles_{status}", f"vehicles of status '{status}'")


_HOUR_START: Final = Column("hour_start", TIMESTAMP, "start of the hour, UTC", nullable=False)

VEHICLE_EFFICIENCY_HOURLY: Final = TableSpec(
    "vehicle_efficiency_hourly",
    "energy, efficiency and its evidence for each vehicle and UTC hour",
    (
        _HOUR_START,
        Column("vehicle_id", pa.large_string(), "id of the vehicle", nullable=False),
        _number("energy_ac_kwh", "AC energy of the linked meters, kWh; null: not known"),
        _number("energy_dc_kwh", "DC energy delivered to the battery, kWh; null: not known"),
        _number("loss_kwh", "energy_ac_kwh - energy_dc_kwh, kWh; null where either is"),
        _number(
            "efficiency_percent",
            "100 * energy_dc_kwh / energy_ac_kwh, never clamped, percent; null where AC energy is "
            "too small for a ratio or either energy is not known",
        ),
        Column(
            "status",
            pa.large_string(),
            "excellent, good, warning, critical, idle, insufficient_data, unmapped or implausible",
            nullable=False,
        ),
        _count("data_points_meter", "meter heartbeats credited to the vehicle"),
        _count("data_points_vehicle", "heartbeats of the vehicle"),
        _number("coverage_ac", "part of the hour with known AC energy, 0-1", nullable=False),
        _number("coverage_dc", "part of the hour with known DC energy, 0-1", nullable=False),
        _number(
            "matched_share_ac",
            "part of the AC energy in time with known DC energy, 0-1; null: no AC energy",
        ),
        _number(
            "matched_share_dc",
            "part of the DC energy in time with known AC energy, 0-1; null: no DC energy",
        ),
        _number(
            "longest_gap_seconds",
            "longest time without a heartbeat on the AC or the DC side, seconds",
            nullable=False,
        ),
        _count("resets", "registers that restarted at zero"),
        _count("duplicates", "received copies of the counted heartbeats that were removed"),
        _number("average_battery_temp", "mean battery temperature, degrees Celsius"),
        Column(
            "link_source",
            pa.large_string(),
            "where the link to the meter comes from: link, heartbeat or rule, joined by '+' where "
            "there are several; null: no link",
        ),
        Column(
            "meter_ids", pa.list_(pa.large_string()), "ids of the linked meters", nullable=False
        ),
    ),
)

FLEET_EFFICIENCY_HOURLY: Final = TableSpec(
    "fleet_efficiency_hourly",
    "energy and efficiency of the whole fleet for each UTC hour",
    (
        _HOUR_START,
        _number("energy_ac_kwh", "AC energy of all linked vehicles, kWh", nullable=False),
        _number("energy_dc_kwh", "DC energy of all linked vehicles, kWh", nullable=False),
        _number(
            "rated_energy_ac_kwh",
            "AC energy of the vehicles with a believable ratio (excellent to critical), kWh",
            nullable=False,
        ),
        _number("rated_energy_dc_kwh", "DC energy of the same vehicles, kWh", nullable=False),
        _number("loss_kwh", "rated_energy_ac_kwh - rated_energy_dc_kwh, kWh", nullable=False),
        _number(
            "efficiency_percent",
            "100 * rated_energy_dc_kwh / rated_energy_ac_kwh, percent; null: no rated energy",
        ),
        _number(
            "unlinked_energy_ac_kwh",
            "AC energy of meters while they fed no vehicle, kWh: billed, credited to nobody",
            nullable=False,
        ),
        _count("vehicles", "vehicles with a heartbeat or a link in the hour"),
        _vehicles_with("excellent"),
        _vehicles_with("good"),
        _vehicles_with("warning"),
        _vehicles_with("critical"),
        _vehicles_with("idle"),
        _vehicles_with("insufficient_data"),
        _vehicles_with("unmapped"),
        _vehicles_with("implausible"),
    ),
)

DERIVED_TABLES: Final = (VEHICLE_EFFICIENCY_HOURLY, FLEET_EFFICIENCY_HOURLY)
