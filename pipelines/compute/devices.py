"""The device registry as the pipelines fill and read it."""

from collections.abc import Collection, Sequence
from datetime import date, datetime

import polars as pl
import psycopg

from lake import HOUR, Lake, Stream, scan_history
from lake.energy import CADENCE, CHARGER_CLASSES
from lake.schema import contiguous_hours
from warehouse_sql.named_queries import query

_HOURS_A_LOOK = 24


def register_devices(
    connection: psycopg.Connection, lake: Lake, stream: Stream, hours: Sequence[datetime]
) -> None:
    """Register the devices in the history of these hours, with the times of their heartbeats.

    What is noted only grows, so that neither the order of the hours nor a repetition makes a
    difference. Hours that did not expect a device then and should have are opened again. Ask before
    the hours are marked as compacted: who finds them compacted finds their devices registered.
    """
    of_day = pl.col("timestamp").dt.date().alias("day")
    removed = _removed_within(connection, stream, hours[0], hours[-1] + HOUR)
    is_back = (pl.col("timestamp") > pl.col("removed_at")).fill_null(value=False).alias("is_back")
    heard = pl.concat(
        scan_history(lake, stream, part[0], part[-1] + HOUR)
        .join(removed, on=stream.device, how="left")
        .group_by(stream.device, of_day, is_back)
        .agg(pl.col("timestamp").min(), has_energy=pl.col(stream.energy).is_not_null().any())
        .collect()
        for part in contiguous_hours(hours, _HOURS_A_LOOK)
    )
    if heard.is_empty():
        return
    connection.execute(
        query("register_devices"),
        {
            "stream": stream.name,
            "devices": heard[stream.device].to_list(),
            "times": heard["timestamp"].to_list(),
            "energies": heard["has_energy"].to_list(),
        },
    )


def _removed_within(
    connection: psycopg.Connection, stream: Stream, start: datetime, end: datetime
) -> pl.LazyFrame:
    """Devices that were removed in a window: what they said before and after are two things."""
    rows = connection.execute(
        query("devices_removed_within"), {"stream": stream.name, "start": start, "end": end}
    ).fetchall()
    schema = {stream.device: pl.String(), "removed_at": pl.Datetime("us", "UTC")}
    return pl.LazyFrame(rows, schema=schema, orient="row")


def charger_classes(connection: psycopg.Connection) -> pl.DataFrame:
    """Frame of meter_id and charger_class, of every meter whose charger has a class.

    Read it after the state of the hours to compute: a class that changes raises their revision.
    """
    rows = connection.execute(query("charger_classes")).fetchall()
    return pl.DataFrame(rows, schema=CHARGER_CLASSES, orient="row")


def with_cadences(
    rows: pl.DataFrame, connection: psycopg.Connection, stream: Stream
) -> pl.DataFrame:
    """Add CADENCE to the heartbeats of a stream. Read as `charger_classes`."""
    told = connection.execute(query("told_cadences"), {"stream": stream.name}).fetchall()
    schema = {stream.device: pl.String(), CADENCE: pl.Float64()}
    if not told:
        return rows.with_columns(pl.lit(None, schema[CADENCE]).alias(CADENCE))
    cadences = pl.DataFrame(told, schema=schema, orient="row")
    return rows.join(cadences, on=stream.device, how="left", maintain_order="left")


def expected_devices(connection: psycopg.Connection, stream: Stream, end: datetime) -> list[str]:
    """Ids of the devices that should have been heard in the hour before `end`."""
    asked = {"stream": stream.name, "end": end}
    return [device for (device,) in connection.execute(query("expected_devices"), asked)]


def days_with_energy(
    connection: psycopg.Connection, stream: Stream, devices: Collection[str]
) -> dict[str, list[tuple[date, date]]]:
    """Ranges of days, the last one included, on which each device may have sent an energy."""
    asked = {"stream": stream.name, "devices": list(devices)}
    found: dict[str, list[tuple[date, date]]] = {}
    for device, first, last in connection.execute(query("days_with_energy"), asked):
        found.setdefault(device, []).append((first, last))
    return found
