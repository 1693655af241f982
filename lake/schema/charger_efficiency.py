"""The tables of the efficiency of chargers."""

from typing import Final

import pyarrow as pa

from lake.schema.cost_columns import COST_COLUMNS
from lake.schema.fact_columns import FACT_COLUMNS
from lake.schema.streams import Column
from lake.schema.table_spec import (
    DATE,
    HOUR_START,
    TableSpec,
    count_column,
    number_column,
    text_column,
)

CHARGER_COLUMNS: Final = (
    text_column("meter_id", "id of the meter"),
    text_column("charger_class", "class of the charger; null: of none", nullable=True),
    number_column("energy_ac_kwh", "AC energy of the meter, kWh; null: not known"),
    number_column(
        "unlinked_energy_ac_kwh",
        "part of energy_ac_kwh while the meter fed no vehicle, kWh",
        nullable=False,
    ),
    number_column(
        "energy_dc_kwh",
        "DC energy of the vehicles while this meter fed them, where several did its part by AC "
        "energy, kWh; null: not known",
    ),
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
        "of the energy while linked: excellent, good, warning, critical, idle, insufficient_data, "
        "unmapped (fed no vehicle) or implausible",
    ),
    text_column("reason", "code of what the status rests on; the codes are in docs/energy.md"),
    count_column("data_points_meter", "heartbeats of the meter"),
    count_column("data_points_vehicle", "heartbeats of vehicles while this meter fed them"),
    number_column("coverage_ac", "part of the time with known AC energy, 0-1", nullable=False),
    number_column(
        "coverage_dc",
        "part of the time with known DC energy of a vehicle that this meter fed, 0-1",
        nullable=False,
    ),
    number_column(
        "matched_share_ac",
        "part of the AC energy while linked in time with known DC energy, 0-1; null: no such AC "
        "energy",
    ),
    number_column(
        "matched_share_dc",
        "part of the DC energy in time with known AC energy of this meter, 0-1; null: no DC energy",
    ),
    number_column(
        "longest_gap_seconds", "longest time without a heartbeat of the meter, seconds", False
    ),
    count_column(
        "resets", "registers that restarted at zero, of the meter and the vehicles it fed"
    ),
    count_column("duplicates", "received copies of the counted heartbeats that were removed"),
    Column(
        "vehicle_ids",
        pa.list_(pa.large_string()),
        "ids of the vehicles that were linked to the meter",
        nullable=False,
    ),
    number_column(
        "unlinked_known_ac_seconds",
        "time in which the meter's energy is known while it fed no vehicle",
        nullable=False,
    ),
    *FACT_COLUMNS,
)

CHARGER_EFFICIENCY_HOURLY: Final = TableSpec(
    "charger_efficiency_hourly",
    "energy, efficiency and its evidence for each meter and UTC hour, whoever charged there",
    ("meter_id", "hour_start"),
    (HOUR_START, *CHARGER_COLUMNS),
)

CHARGER_EFFICIENCY_DAILY: Final = TableSpec(
    "charger_efficiency_daily",
    "energy, efficiency and its evidence for each meter and UTC day, whoever charged there",
    ("date", "meter_id"),
    (
        DATE,
        *CHARGER_COLUMNS,
        count_column("hours", "hours with a row in charger_efficiency_hourly"),
        *COST_COLUMNS,
    ),
)
