"""Inputs of the tables of an hour and of a day, read from the lake and Postgres."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta

import polars as pl
import psycopg

from lake import (
    DAY,
    HOUR,
    METER,
    STREAMS,
    VEHICLE,
    EnergySettings,
    Lake,
    Stream,
    hour_of,
)
from lake.energy import PAIR, contested_meters, links_by_rule, named_links, resolve_links
from lake.history import HistoryWindow, SequentialHistoryReader
from lake.rollups import (
    DayInputs,
    HourInputs,
    Tables,
    efficiency_of_day,
    health_of_day,
    links_of_hours,
)
from lake.schema import HOURLY_EFFICIENCY, VEHICLE_EFFICIENCY_HOURLY
from pipelines.compute.devices import charger_classes, expected_devices
from warehouse_sql.named_queries import query

HistoryReaders = Mapping[str, SequentialHistoryReader]


def history_readers(lake: Lake, settings: EnergySettings, end: datetime) -> HistoryReaders:
    """Readers of the history by stream, for `hour_inputs` of ascending hours up to `end`."""
    return {
        name: SequentialHistoryReader(lake, stream, settings, end)
        for name, stream in STREAMS.items()
    }


def hour_inputs(
    history_readers: HistoryReaders,
    connection: psycopg.Connection,
    hour: datetime,
    settings: EnergySettings,
) -> HourInputs:
    """Inputs of one hour: heartbeats of the history, links and devices."""
    meters, vehicles = (
        history_readers[stream.name].read(hour, hour + HOUR) for stream in (METER, VEHICLE)
    )
    return inputs_from_heartbeats(connection, meters, vehicles, hour, settings)


def inputs_from_heartbeats(
    connection: psycopg.Connection,
    meters: pl.DataFrame,
    vehicles: pl.DataFrame,
    hour: datetime,
    settings: EnergySettings,
) -> HourInputs:
    """Inputs of one hour with these heartbeats: those of the hour and their context, each once."""
    classes = charger_classes(connection)
    links, contested = _links(connection, meters, vehicles, hour, settings)
    return HourInputs(
        start=hour,
        meters=meters.lazy(),
        vehicles=vehicles.lazy(),
        links=links.lazy(),
        charger_classes=classes.lazy(),
        expected={
            stream.name: expected_devices(connection, stream, hour + HOUR)
            for stream in STREAMS.values()
        },
        rows=meters.height + vehicles.height + classes.height,
        contested=contested,
    )


def day_inputs(
    lake: Lake,
    connection: psycopg.Connection,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> DayInputs:
    """Inputs of the day [start, end), at most 24 hours: hours, heartbeats, links and classes."""
    meters, vehicles = (
        HistoryWindow(lake, stream, start, end, settings) for stream in (METER, VEHICLE)
    )
    hours = {
        spec.name: lake.scan(lake.open(spec.name))
        .filter(pl.col("date") == start.date())
        .select(spec.names)
        .collect()
        for spec in HOURLY_EFFICIENCY
    }
    of_vehicles = hours[VEHICLE_EFFICIENCY_HOURLY.name].filter(pl.col("hour_start") < end)
    explicit = _explicit(connection, start, end, settings)
    return DayInputs(
        meters=meters,
        vehicles=vehicles,
        hours=hours,
        links=links_of_hours(of_vehicles, explicit.lazy(), vehicles.scan(), settings).lazy(),
        charger_classes=charger_classes(connection).lazy(),
    )


def _links(
    connection: psycopg.Connection,
    meters: pl.DataFrame,
    vehicles: pl.DataFrame,
    hour: datetime,
    settings: EnergySettings,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The links of an hour, and the meters that several vehicles name at a time."""
    start, end = hour, hour + HOUR
    by_rule = pl.DataFrame(schema=PAIR)
    if settings.link_by_trailing_number:
        by_rule = _pairs(connection, end).filter(
            pl.col(METER.device).is_in(_devices(meters, METER, start))
            | pl.col(VEHICLE.device).is_in(_devices(vehicles, VEHICLE, start))
        )
    explicit = _explicit(connection, start, end, settings)
    if explicit.is_empty() and vehicles[METER.device].null_count() == vehicles.height:
        return links_by_rule(by_rule.lazy(), start, end).collect(), pl.DataFrame()
    named = named_links(vehicles.lazy(), settings).collect().lazy()
    links = resolve_links(explicit.lazy(), named, by_rule.lazy(), start, end)
    # As a plan, every table that reads the links would have it optimized again: a second an hour.
    found, contested = pl.collect_all([links, contested_meters(named, start, end)])
    return found, contested


def _explicit(
    connection: psycopg.Connection, start: datetime, end: datetime, settings: EnergySettings
) -> pl.DataFrame:
    """Explicit links of the window and of the largest gap before it, cut to that.

    A name that a link overrules keeps no other vehicle off, also when both were just before.
    """
    since = start - timedelta(seconds=settings.largest_gap_seconds)
    return pl.DataFrame(
        connection.execute(query("links_between"), {"start": since, "end": end}).fetchall(),
        schema={
            "meter_id": pl.String,
            "vehicle_id": pl.String,
            "valid_from": pl.Datetime("us", "UTC"),
            "valid_to": pl.Datetime("us", "UTC"),
        },
        orient="row",
    )


def _pairs(connection: psycopg.Connection, end: datetime) -> pl.DataFrame:
    """Pairs by the rule of the trailing number that count in the hour before `end`.

    Also those that were heard in the days before only: a meter that is silent for an hour must
    change no other link.
    """
    rows = connection.execute(query("pairs_of_hour"), {"end": end}).fetchall()
    return pl.DataFrame(rows, schema=PAIR, orient="row")


def _devices(readings: pl.DataFrame, stream: Stream, start: datetime) -> list[str]:
    """Devices with a heartbeat in the hour that begins at `start`."""
    present = readings.filter(pl.col("timestamp") >= start)
    return present[stream.device].unique().to_list()


def day_tables(
    lake: Lake, connection: psycopg.Connection, day: date, settings: EnergySettings, now: datetime
) -> tuple[Tables, frozenset[datetime]]:
    """The rows of each daily table for one day, by the name of the table.

    With them hours before the day whose readings are lost, and which they should have known.
    Each frame has the columns of its TableSpec and the order of its key; it is empty where nothing
    was heard. Of a day that is not over at `now` the coverage is that of the time that has passed.
    """
    start = datetime.combine(day, time(), UTC)
    end = min(start + DAY, max(hour_of(now), start + HOUR))
    inputs = day_inputs(lake, connection, start, end, settings)
    lost = inputs.meters.lost | inputs.vehicles.lost
    return {**efficiency_of_day(inputs, settings), **health_of_day(inputs, settings)}, lost
