"""The vehicle and fleet efficiency tables, hourly and daily: columns, meanings, units."""

from typing import Final

import pyarrow as pa

from lake.schema.cost_columns import COST_COLUMNS
from lake.schema.fact_columns import FACT_COLUMNS, TEMPERATURE_COLUMNS
from lake.schema.streams import Column
from lake.schema.table_spec import (
    DATE,
    HOUR_START,
    TableSpec,
    count_column,
    number_column,
    text_column,
)


def _vehicles_with(status: str) -> Column:
    return count_column(f"vehicles_{status}", f"vehicles of status '{status}'")


_OF_VEHICLES: Final = (
    text_column("vehicle_id", "id of the vehicle"),
    number_column("energy_ac_kwh", "AC energy of the linked meters, kWh; null: not known"),
    number_column("energy_dc_kwh", "DC energy delivered to the battery, kWh; null: not known"),
    number_column(
        "loss_kwh",
        "matched_energy_ac_kwh - matched_energy_dc_kwh, kWh; null where efficiency_percent is",
    ),
    number_column(
        "efficiency_percent",
        "100 * matched_energy_dc_kwh / matched_energy_ac_kwh, never clamped, percent; null where "
        "too little is known for a ratio",
    ),
    text_column(
        "status",
        "excellent, good, warning, critical, idle, insufficient_data, unmapped or implausible",
    ),
    text_column("reason", "code of what the status rests on; the codes are in docs/energy.md"),
    text_column(
        "charger_class",
        "class of the charger that gave the most AC energy, whose limits the status has; null: "
        "it has no class",
        nullable=True,
    ),
    count_column("data_points_meter", "meter heartbeats credited to the vehicle"),
    count_column("data_points_vehicle", "heartbeats of the vehicle"),
    number_column("coverage_ac", "part of the time with known AC energy, 0-1", nullable=False),
    number_column("coverage_dc", "part of the time with known DC energy, 0-1", nullable=False),
    number_column(
        "matched_share_ac",
        "part of the AC energy in time with known DC energy, 0-1; null: no AC energy",
    ),
    number_column(
        "matched_share_dc",
        "part of the DC energy in time with known AC energy, 0-1; null: no DC energy",
    ),
    number_column(
        "longest_gap_seconds",
        "longest time without a heartbeat on the AC or the DC side, seconds",
        nullable=False,
    ),
    count_column("resets", "registers that restarted at zero"),
    count_column("duplicates", "received copies of the counted heartbeats that were removed"),
    number_column("average_battery_temp", "mean battery temperature, degrees Celsius"),
    text_column(
        "link_source",
        "where the link to the meter comes from: link, heartbeat or rule, joined by '+' where "
        "there are several; null: no link",
        nullable=True,
    ),
    Column("meter_ids", pa.list_(pa.large_string()), "ids of the linked meters", nullable=False),
    *FACT_COLUMNS,
    *TEMPERATURE_COLUMNS,
)

_OF_FLEET: Final = (
    number_column("energy_ac_kwh", "AC energy of all linked vehicles, kWh", nullable=False),
    number_column("energy_dc_kwh", "DC energy of all linked vehicles, kWh", nullable=False),
    number_column(
        "rated_energy_ac_kwh",
        "matched AC energy of the vehicles with a believable ratio (excellent to critical), kWh",
        nullable=False,
    ),
    number_column(
        "rated_energy_dc_kwh", "matched DC energy of the same vehicles, kWh", nullable=False
    ),
    number_column("loss_kwh", "rated_energy_ac_kwh - rated_energy_dc_kwh, kWh", nullable=False),
    number_column(
        "efficiency_percent",
        "100 * rated_energy_dc_kwh / rated_energy_ac_kwh, percent; null: no rated energy",
    ),
    number_column(
        "unlinked_energy_ac_kwh",
        "AC energy of meters while they fed no vehicle, kWh: billed, credited to nobody",
        nullable=False,
    ),
    count_column("vehicles", "vehicles with a heartbeat or a link"),
    _vehicles_with("excellent"),
    _vehicles_with("good"),
    _vehicles_with("warning"),
    _vehicles_with("critical"),
    _vehicles_with("idle"),
    _vehicles_with("insufficient_data"),
    _vehicles_with("unmapped"),
    _vehicles_with("implausible"),
)

VEHICLE_EFFICIENCY_HOURLY: Final = TableSpec(
    "vehicle_efficiency_hourly",
    "energy, efficiency and its evidence for each vehicle and UTC hour",
    ("vehicle_id", "hour_start"),
    (HOUR_START, *_OF_VEHICLES),
)

VEHICLE_EFFICIENCY_DAILY: Final = TableSpec(
    "vehicle_efficiency_daily",
    "energy, efficiency and its evidence for each vehicle and UTC day",
    ("date", "vehicle_id"),
    (
        DATE,
        *_OF_VEHICLES,
        count_column("hours", "hours of the day in which the vehicle has a row"),
        *COST_COLUMNS,
    ),
)

FLEET_EFFICIENCY_HOURLY: Final = TableSpec(
    "fleet_efficiency_hourly",
    "energy and efficiency of the whole fleet for each UTC hour",
    ("hour_start",),
    (HOUR_START, *_OF_FLEET),
)

FLEET_EFFICIENCY_DAILY: Final = TableSpec(
    "fleet_efficiency_daily",
    "energy and efficiency of the whole fleet for each UTC day",
    ("date",),
    (
        DATE,
        *_OF_FLEET,
        count_column("hours", "hours of the day that have a row"),
        *COST_COLUMNS,
    ),
)
