"""The table of charging sessions: columns, meanings, units."""

from typing import Final

import pyarrow as pa

from lake.schema.cost_columns import SESSION_COST_COLUMNS
from lake.schema.streams import TIMESTAMP, Column
from lake.schema.table_spec import TableSpec, count_column, number_column, text_column

CHARGING_SESSION: Final = TableSpec(
    "charging_session",
    "charging sessions of vehicles: when, how much, how well, and what shows it",
    ("vehicle_id", "begins"),
    (
        text_column("session_id", "id of the session, a UUID that stays when it is computed again"),
        text_column("vehicle_id", "id of the vehicle"),
        Column("meter_ids", pa.list_(pa.large_string()), "ids of the meters that fed it", False),
        Column("begins", TIMESTAMP, "when energy began to flow, UTC", nullable=False),
        Column("ends", TIMESTAMP, "when energy ceased to flow, UTC; null: it goes on"),
        Column(
            "last_energy_at", TIMESTAMP, "until when energy is known to have flowed, UTC", False
        ),
        Column("plugged_from", TIMESTAMP, "start of the explicit link, UTC; null: there is none"),
        Column(
            "plugged_to",
            TIMESTAMP,
            "end of the explicit link, UTC; null: there is none, or not yet",
        ),
        number_column("duration_seconds", "time from begins to last_energy_at", nullable=False),
        number_column("charging_seconds", "time of it in which energy flowed", nullable=False),
        number_column("plugged_seconds", "length of the explicit link; null: there is none"),
        number_column("energy_ac_kwh", "AC energy of the linked meters, kWh; null: not known"),
        number_column("energy_dc_kwh", "DC energy delivered to the battery, kWh; null: not known"),
        number_column(
            "matched_energy_ac_kwh",
            "AC energy that flowed while the DC energy was known, kWh",
            nullable=False,
        ),
        number_column(
            "matched_energy_dc_kwh",
            "DC energy that flowed while the AC energy was known, kWh",
            nullable=False,
        ),
        number_column(
            "loss_kwh",
            "matched_energy_ac_kwh - matched_energy_dc_kwh, kWh; null where efficiency_percent is",
        ),
        number_column(
            "efficiency_percent",
            "100 * matched_energy_dc_kwh / matched_energy_ac_kwh, never clamped, percent; null "
            "where too little is known for a ratio",
        ),
        text_column("status", "as of an hour: excellent to critical, or why it has no rating"),
        text_column("reason", "code of what the status rests on; the codes are in docs/energy.md"),
        number_column("soc_from", "state of charge at its start, percent"),
        number_column("soc_to", "state of charge at its end, percent"),
        number_column("mean_power_ac_kw", "AC energy over charging_seconds, kW"),
        number_column("mean_power_dc_kw", "DC energy over charging_seconds, kW"),
        number_column("peak_power_ac_kw", "greatest mean AC power of five minutes, kW"),
        number_column("peak_power_dc_kw", "greatest mean DC power of five minutes, kW"),
        number_column("battery_temp_min", "lowest battery temperature, degrees Celsius"),
        number_column("average_battery_temp", "mean battery temperature, degrees Celsius"),
        number_column("battery_temp_max", "highest battery temperature, degrees Celsius"),
        Column(
            "energy_ac_by_hour_kwh",
            pa.list_(pa.float64()),
            "energy_ac_kwh by UTC hour, from the hour of begins on, kWh",
            nullable=False,
        ),
        text_column(
            "evidence",
            "what it was found by: ac, dc (energy), soc (a rising state of charge), link (an "
            "explicit link of limited time), joined by '+'",
        ),
        text_column(
            "link_source",
            "where the links come from: link, heartbeat or rule, joined by '+'; null: no link",
            nullable=True,
        ),
        text_column(
            "charger_class", "class of the charger that gave the most; null: none", nullable=True
        ),
        count_column("data_points_meter", "meter heartbeats credited to the vehicle"),
        count_column("data_points_vehicle", "heartbeats of the vehicle"),
        number_column("coverage_ac", "part of the time with known AC energy, 0-1", nullable=False),
        number_column("coverage_dc", "part of the time with known DC energy, 0-1", nullable=False),
        number_column(
            "longest_gap_seconds",
            "longest time without a heartbeat on the AC or the DC side, seconds",
            nullable=False,
        ),
        Column(
            "supersedes",
            pa.list_(pa.large_string()),
            "ids of sessions that turned out to be parts of this one",
            nullable=False,
        ),
        *SESSION_COST_COLUMNS,
    ),
)
