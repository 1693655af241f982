"""Every table of a UTC day."""

from datetime import UTC, date, datetime, time

import psycopg

from lake import HOUR, EnergySettings, Lake, hour_of
from lake.day_tables import efficiency_of_day, health_of_day
from lake.hour_tables import Tables
from pipelines.inputs import day_inputs
from pipelines.partitions import DAY


def tables_of_day(
    lake: Lake, connection: psycopg.Connection, day: date, settings: EnergySettings, now: datetime
) -> Tables:
    """The rows of each daily table for one day, by the name of the table.

    Each frame has the columns of its TableSpec and the order of its key; it is empty where nothing
    was heard. Of a day that is not over at `now` the coverage is that of the time that has passed.
    """
    start = datetime.combine(day, time(), UTC)
    end = min(start + DAY, max(hour_of(now), start + HOUR))
    inputs = day_inputs(lake, connection, start, end, settings)
    return {**efficiency_of_day(inputs, settings), **health_of_day(inputs, settings)}
