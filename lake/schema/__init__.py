"""Schemas of all tables: streams, columns, partitions."""

from lake.schema.battery_health import BATTERY_HEALTH_DAILY
from lake.schema.catalog import (
    CONDITION_TABLES,
    DAILY_EFFICIENCY,
    DAILY_TABLES,
    DERIVED_TABLES,
    HOURLY_EFFICIENCY,
    HOURLY_TABLES,
)
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_DAILY, CHARGER_EFFICIENCY_HOURLY
from lake.schema.charging_session import CHARGING_SESSION
from lake.schema.charging_stretch import CHARGING_STRETCH_HOURLY
from lake.schema.completeness import HEARTBEAT_COMPLETENESS_HOURLY
from lake.schema.device_condition import DEVICE_ANOMALY, EFFICIENCY_TREND, MAINTENANCE_VISIT
from lake.schema.fact_columns import FACT_COLUMNS
from lake.schema.grid_health import GRID_HEALTH_HOURLY
from lake.schema.history import CONFLICTING_ENERGY, CONFLICTS, decode_history, history_table
from lake.schema.partitions import (
    contiguous_hours,
    contiguous_ranges,
    days_within,
    in_raw_partitions,
    in_window,
)
from lake.schema.session_excess_loss import SESSION_EXCESS_LOSS
from lake.schema.streams import DATE_PARTITION, HOUR_PARTITION, TIMESTAMP
from lake.schema.table_spec import DATE, HOUR_START, TableSpec, number_column, text_column
from lake.schema.vehicle_efficiency import (
    FLEET_EFFICIENCY_DAILY,
    FLEET_EFFICIENCY_HOURLY,
    VEHICLE_EFFICIENCY_DAILY,
    VEHICLE_EFFICIENCY_HOURLY,
)

__all__ = [
    "BATTERY_HEALTH_DAILY",
    "CHARGER_EFFICIENCY_DAILY",
    "CHARGER_EFFICIENCY_HOURLY",
    "CHARGING_SESSION",
    "CHARGING_STRETCH_HOURLY",
    "CONDITION_TABLES",
    "CONFLICTING_ENERGY",
    "CONFLICTS",
    "DAILY_EFFICIENCY",
    "DAILY_TABLES",
    "DATE",
    "DATE_PARTITION",
    "DERIVED_TABLES",
    "DEVICE_ANOMALY",
    "EFFICIENCY_TREND",
    "FACT_COLUMNS",
    "FLEET_EFFICIENCY_DAILY",
    "FLEET_EFFICIENCY_HOURLY",
    "GRID_HEALTH_HOURLY",
    "HEARTBEAT_COMPLETENESS_HOURLY",
    "HOURLY_EFFICIENCY",
    "HOURLY_TABLES",
    "HOUR_PARTITION",
    "HOUR_START",
    "MAINTENANCE_VISIT",
    "SESSION_EXCESS_LOSS",
    "TIMESTAMP",
    "VEHICLE_EFFICIENCY_DAILY",
    "VEHICLE_EFFICIENCY_HOURLY",
    "TableSpec",
    "contiguous_hours",
    "contiguous_ranges",
    "days_within",
    "decode_history",
    "history_table",
    "in_raw_partitions",
    "in_window",
    "number_column",
    "text_column",
]
