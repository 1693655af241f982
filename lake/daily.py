"""The tables of UTC days: the columns of the hourly ones, over a day."""

from typing import Final

from lake.derived import FLEET_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_HOURLY
from lake.table_spec import DATE, HOUR_START, TableSpec, count

_HOURS: Final = count("hours", "hours of the day that have a row")


def _by_day(hourly: TableSpec, name: str, description: str) -> TableSpec:
    key = tuple(DATE.name if part == HOUR_START.name else part for part in hourly.key)
    figures = (column for column in hourly.columns if column != HOUR_START)
    return TableSpec(name, description, key, (DATE, *figures, _HOURS))


VEHICLE_EFFICIENCY_DAILY: Final = _by_day(
    VEHICLE_EFFICIENCY_HOURLY,
    "vehicle_efficiency_daily",
    "energy, efficiency and its evidence for each vehicle and UTC day",
)
FLEET_EFFICIENCY_DAILY: Final = _by_day(
    FLEET_EFFICIENCY_HOURLY,
    "fleet_efficiency_daily",
    "energy and efficiency of the whole fleet for each UTC day",
)

DAILY_TABLES: Final = (VEHICLE_EFFICIENCY_DAILY, FLEET_EFFICIENCY_DAILY)
