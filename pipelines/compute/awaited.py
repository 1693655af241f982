"""Readings that have an hour computed again when they come: what it lacks or is divided by."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import polars as pl
import psycopg

from lake import HOUR, STREAMS, Stream
from lake.history import LONGEST_CADENCE
from lake.rollups import HourInputs
from warehouse_sql.named_queries import query

# A slow device is waited for until this many of its usual steps have gone by.
_STEPS: Final = 1.5

Awaited = Mapping[str, pl.DataFrame]
"""By stream rows of device_id and heard_until: a later reading with an energy changes the hour."""


def awaited_readings(readings: pl.DataFrame, stream: Stream, hour: datetime) -> pl.DataFrame:
    """Return device_id and heard_until of the devices whose first reading after an hour is missing.

    `readings` are `HourInputs.meters` or `.vehicles`. A device is waited for if one of its series
    has an energy in the hour or in the hour before, or if its next reading may begin in the hour by
    the time between its last ones, and none at the end of the hour or later. Sorted by device.
    """
    start, end = hour, hour + HOUR
    timestamp, series = pl.col("timestamp"), list(stream.series)
    last, step = pl.col("last"), pl.col("step")
    may_come = last + pl.min_horizontal(step * _STEPS, pl.lit(LONGEST_CADENCE)) >= start
    return (
        readings.lazy()
        .filter(pl.col(stream.energy).is_not_null())
        .group_by(series)
        .agg(
            last=timestamp.filter(timestamp < end).max(),
            step=timestamp.filter(timestamp < end).sort().diff().median(),
            is_there=(timestamp >= end).any(),
        )
        .filter(~pl.col("is_there"), (last >= start - HOUR) | (step.is_not_null() & may_come))
        .select(device_id=stream.device, heard_until=pl.lit(end - timedelta(microseconds=1)))
        .unique()
        .sort("device_id")
        .collect()
    )


def awaited_of_hour(inputs: HourInputs) -> Awaited:
    """Return `awaited_readings` of both streams."""
    return {
        name: awaited_readings(readings.collect(), stream, inputs.start)
        for (name, stream), readings in zip(
            STREAMS.items(), (inputs.meters, inputs.vehicles), strict=True
        )
    }


def note_context(
    connection: psycopg.Connection,
    hours: Sequence[datetime],
    found: Sequence[Awaited],
    crossing: Sequence[Mapping[str, pl.DataFrame]],
) -> None:
    """Let these be what each of the hours lacks and what it has taken from further on.

    Instead of what was noted before; `crossing` are `HourInputs.lacking`.
    """
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(query("forget_awaited_of_hours"), {"hours": list(hours)})
        with cursor.copy(query("copy_awaited_readings")) as copy:
            for hour, of_hour in zip(hours, found, strict=True):
                for stream, rows in of_hour.items():
                    for device, heard_until in rows.iter_rows():
                        copy.write_row((hour, stream, device, heard_until))
        cursor.execute(query("forget_crossing_of_hours"), {"hours": list(hours)})
        with cursor.copy(query("copy_crossing_readings")) as copy:
            for hour, of_hour in zip(hours, crossing, strict=True):
                for stream, rows in of_hour.items():
                    for row in rows.iter_rows():
                        copy.write_row((hour, stream, *row))


def lacks_what_came(
    connection: psycopg.Connection, readings: Mapping[str, pl.DataFrame], hour: datetime
) -> bool:
    """True if a reading that an hour lacked has come since; `readings` by stream, as above."""
    noted = connection.execute(query("awaited_of_hour"), {"hour": hour}).fetchall()
    still = {
        (name, device)
        for name, rows in readings.items()
        for device in awaited_readings(rows, STREAMS[name], hour)["device_id"]
    }
    return not still.issuperset(noted)
