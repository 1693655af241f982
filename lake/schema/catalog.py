"""Every table that the pipelines compute from the history."""

from typing import Final

from lake.schema.battery_health import BATTERY_HEALTH_DAILY
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_DAILY, CHARGER_EFFICIENCY_HOURLY
from lake.schema.charging_session import CHARGING_SESSION
from lake.schema.charging_stretch import CHARGING_STRETCH_HOURLY
from lake.schema.completeness import HEARTBEAT_COMPLETENESS_HOURLY
from lake.schema.device_condition import DEVICE_ANOMALY, EFFICIENCY_TREND, MAINTENANCE_VISIT
from lake.schema.grid_health import GRID_HEALTH_HOURLY
from lake.schema.session_excess_loss import SESSION_EXCESS_LOSS
from lake.schema.table_spec import TableSpec
from lake.schema.vehicle_efficiency import (
    FLEET_EFFICIENCY_DAILY,
    FLEET_EFFICIENCY_HOURLY,
    VEHICLE_EFFICIENCY_DAILY,
    VEHICLE_EFFICIENCY_HOURLY,
)

HOURLY_EFFICIENCY: Final = (
    VEHICLE_EFFICIENCY_HOURLY,
    CHARGER_EFFICIENCY_HOURLY,
    FLEET_EFFICIENCY_HOURLY,
)
DAILY_EFFICIENCY: Final = (
    VEHICLE_EFFICIENCY_DAILY,
    CHARGER_EFFICIENCY_DAILY,
    FLEET_EFFICIENCY_DAILY,
)
HOURLY_TABLES: Final[tuple[TableSpec, ...]] = (
    *HOURLY_EFFICIENCY,
    CHARGING_STRETCH_HOURLY,
    GRID_HEALTH_HOURLY,
    HEARTBEAT_COMPLETENESS_HOURLY,
)
DAILY_TABLES: Final[tuple[TableSpec, ...]] = (*DAILY_EFFICIENCY, BATTERY_HEALTH_DAILY)
CONDITION_TABLES: Final[tuple[TableSpec, ...]] = (
    SESSION_EXCESS_LOSS,
    EFFICIENCY_TREND,
    DEVICE_ANOMALY,
    MAINTENANCE_VISIT,
)
DERIVED_TABLES: Final = (*HOURLY_TABLES, *DAILY_TABLES, CHARGING_SESSION, *CONDITION_TABLES)
