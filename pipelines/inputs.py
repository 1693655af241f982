"""What the tables of an hour and of a day are computed from, read from the lake and Postgres."""

from datetime import datetime, timedelta

import polars as pl
import psycopg

from lake import (
    HOUR,
    METER,
    STREAMS,
    VEHICLE,
    EnergySettings,
    Lake,
    Stream,
    hours_between,
    scan_context,
    scan_history,
)
from lake.day_tables import DayInputs
from lake.hour_tables import HourInputs
from lake.links import named_links, pair_by_trailing_number, resolve_links
from lake.tables import HOURLY_EFFICIENCY
from pipelines.devices import charger_classes, expected_devices
from warehouse_sql.queries import query


def hour_inputs(
    lake: Lake, connection: psycopg.Connection, hour: datetime, settings: EnergySettings
) -> HourInputs:
    """The heartbeats of the history, the links and the devices of one hour."""
    meters, vehicles = (
        _readings(lake, stream, hour, settings).collect() for stream in (METER, VEHICLE)
    )
    return inputs_of_readings(connection, meters, vehicles, hour, settings)


def inputs_of_readings(
    connection: psycopg.Connection,
    meters: pl.DataFrame,
    vehicles: pl.DataFrame,
    hour: datetime,
    settings: EnergySettings,
) -> HourInputs:
    """The same with heartbeats from elsewhere: those of the hour and their context, each once."""
    return HourInputs(
        start=hour,
        meters=meters.lazy(),
        vehicles=vehicles.lazy(),
        links=_links(connection, meters, vehicles, hour, settings).lazy(),
        charger_classes=charger_classes(connection),
        expected={
            stream.name: expected_devices(connection, stream, hour + HOUR)
            for stream in STREAMS.values()
        },
    )


def day_inputs(
    lake: Lake,
    connection: psycopg.Connection,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> DayInputs:
    """The hours, heartbeats, links and classes of the day [start, end), at most 24 hours."""
    names = {stream.name: [stream.device, "timestamp"] for stream in STREAMS.values()}
    names[VEHICLE.name].append("meter_id")
    links = []
    # Links need less context than energy: not the last values of registers, hours before.
    before = timedelta(seconds=settings.largest_gap_seconds)
    for hour in hours_between(start, end):
        meters, vehicles = (
            scan_history(lake, stream, hour - before, hour + HOUR)
            .select(names[stream.name])
            .collect()
            for stream in (METER, VEHICLE)
        )
        links.append(_links(connection, meters, vehicles, hour, settings))
    return DayInputs(
        start=start,
        end=end,
        hours={
            spec.name: lake.scan(lake.open(spec.name))
            .filter(pl.col("date") == start.date())
            .select(spec.names)
            .collect()
            for spec in HOURLY_EFFICIENCY
        },
        meters=_readings(lake, METER, start, settings, end),
        vehicles=_readings(lake, VEHICLE, start, settings, end),
        links=pl.concat(links).lazy(),
        charger_classes=charger_classes(connection),
    )


def _readings(
    lake: Lake,
    stream: Stream,
    start: datetime,
    settings: EnergySettings,
    end: datetime | None = None,
) -> pl.LazyFrame:
    """The heartbeats of an hour, or up to `end`, and the predecessors of the first ones."""
    return pl.concat(
        [
            scan_context(lake, stream, start, settings),
            scan_history(lake, stream, start, end or start + HOUR),
        ]
    )


def _links(
    connection: psycopg.Connection,
    meters: pl.DataFrame,
    vehicles: pl.DataFrame,
    hour: datetime,
    settings: EnergySettings,
) -> pl.DataFrame:
    start, end = hour, hour + HOUR
    explicit = pl.DataFrame(
        connection.execute(query("links_between"), {"start": start, "end": end}).fetchall(),
        schema={
            "meter_id": pl.String,
            "vehicle_id": pl.String,
            "valid_from": pl.Datetime("us", "UTC"),
            "valid_to": pl.Datetime("us", "UTC"),
        },
        orient="row",
    )
    by_rule = pl.DataFrame(schema={"meter_id": pl.String, "vehicle_id": pl.String})
    if settings.link_by_trailing_number:
        by_rule = _pairs(connection, end).filter(
            pl.col(METER.device).is_in(_devices(meters, METER, start))
            | pl.col(VEHICLE.device).is_in(_devices(vehicles, VEHICLE, start))
        )
    resolved = resolve_links(
        explicit.lazy(), named_links(vehicles.lazy(), settings), by_rule.lazy(), start, end
    )
    # As a plan, every table that reads the links would have it optimized again: a second an hour.
    return resolved.collect()


def _pairs(connection: psycopg.Connection, end: datetime) -> pl.DataFrame:
    """Pairs by the rule of the trailing number among all devices that were heard before `end`.

    Not only those of the hour: a meter that is silent for an hour must change no other link. Left
    alone are those that something else has linked before `end`.
    """
    devices = connection.execute(query("known_devices"), {"end": end}).fetchall()
    known: dict[str, list[str]] = {METER.name: [], VEHICLE.name: []}
    linked: dict[str, set[str]] = {METER.name: set(), VEHICLE.name: set()}
    for kind, device, is_linked in devices:
        known[kind].append(device)
        if is_linked:
            linked[kind].add(device)
    return pair_by_trailing_number(
        known[METER.name], known[VEHICLE.name], linked[METER.name], linked[VEHICLE.name]
    )


def _devices(readings: pl.DataFrame, stream: Stream, start: datetime) -> list[str]:
    """Devices with a heartbeat in the hour that begins at `start`."""
    present = readings.filter(pl.col("timestamp") >= start)
    return present[stream.device].unique().to_list()
