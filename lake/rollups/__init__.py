"""Rows of the hourly and daily tables, computed from readings; pure."""

from lake.rollups.crossing import lacking_readings
from lake.rollups.day import DayInputs, efficiency_of_day, health_of_day
from lake.rollups.hour import (
    HourInputs,
    Tables,
    cadences_of_hour,
    efficiency_of_hour,
    health_of_hour,
)
from lake.rollups.hour_batch import tables_of_hours
from lake.rollups.merging import as_windows, merge_charger_hours, merge_vehicle_hours

__all__ = [
    "DayInputs",
    "HourInputs",
    "Tables",
    "as_windows",
    "cadences_of_hour",
    "efficiency_of_day",
    "efficiency_of_hour",
    "health_of_day",
    "health_of_hour",
    "lacking_readings",
    "merge_charger_hours",
    "merge_vehicle_hours",
    "tables_of_hours",
]
