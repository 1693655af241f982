"""The table of the hours of charging vehicles, cut where energy begins and ceases to flow."""

from typing import Final

import pyarrow as pa

from lake.schema.fact_columns import FACT_COLUMNS, TEMPERATURE_COLUMNS
from lake.schema.streams import TIMESTAMP, Column
from lake.schema.table_spec import (
    HOUR_START,
    TableSpec,
    count_column,
    number_column,
    text_column,
)

CHARGING_STRETCH_HOURLY: Final = TableSpec(
    "charging_stretch_hourly",
    "hours in which a vehicle charged, cut into stretches of charging and the time between them",
    ("vehicle_id", "begins"),
    (
        HOUR_START,
        text_column("vehicle_id", "id of the vehicle"),
        Column("begins", TIMESTAMP, "start of the stretch, UTC", nullable=False),
        Column("ends", TIMESTAMP, "end of the stretch, UTC", nullable=False),
        text_column(
            "evidence",
            "what shows that it charged: ac, dc (energy), soc (a rising state of charge), joined "
            "by '+'; null: time without charging",
            nullable=True,
        ),
        number_column("charging_seconds", "time in which it charged", nullable=False),
        Column(
            "silent_since",
            TIMESTAMP,
            "last energy before a silence after which energy came in this stretch; null: none",
        ),
        number_column("energy_ac_kwh", "AC energy of the linked meters, kWh; null: not known"),
        number_column("energy_dc_kwh", "DC energy delivered to the battery, kWh; null: not known"),
        number_column("peak_power_ac_kw", "greatest mean AC power of five minutes, kW"),
        number_column("peak_power_dc_kw", "greatest mean DC power of five minutes, kW"),
        number_column("soc_from", "first state of charge, percent"),
        number_column("soc_to", "last state of charge, percent"),
        number_column("battery_temp_min", "lowest battery temperature, degrees Celsius"),
        number_column("battery_temp_max", "highest battery temperature, degrees Celsius"),
        text_column("charger_class", "class of the charger; null: it has none", nullable=True),
        text_column(
            "link_source",
            "where the links come from: link, heartbeat or rule, joined by '+'; null: no link",
            nullable=True,
        ),
        Column("meter_ids", pa.list_(pa.large_string()), "ids of the linked meters", False),
        count_column("data_points_meter", "meter heartbeats credited to the vehicle"),
        count_column("data_points_vehicle", "heartbeats of the vehicle"),
        count_column("resets", "registers that restarted at zero"),
        count_column("duplicates", "received copies of the counted heartbeats that were removed"),
        *FACT_COLUMNS,
        *TEMPERATURE_COLUMNS,
    ),
)
