"""The efficiency of one hour: a pure function of the history and the links."""

from datetime import datetime

import polars as pl
import psycopg

from lake import HOUR, METER, VEHICLE, EnergySettings, Lake, Stream, scan_context, scan_history
from lake.efficiency import fleet_efficiency, unlinked_energy, vehicle_efficiency
from lake.energy import measured_energy
from lake.links import named_links, pair_by_trailing_number, resolve_links
from pipelines.devices import charger_classes
from warehouse_sql.queries import query


def efficiency_of_hour(
    lake: Lake, connection: psycopg.Connection, hour: datetime, settings: EnergySettings
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of vehicle_efficiency_hourly and fleet_efficiency_hourly for one hour."""
    return efficiency_of_readings(
        connection,
        _readings(lake, METER, hour, settings),
        _readings(lake, VEHICLE, hour, settings),
        hour,
        settings,
    )


def efficiency_of_readings(
    connection: psycopg.Connection,
    meter_readings: pl.DataFrame,
    vehicle_readings: pl.DataFrame,
    hour: datetime,
    settings: EnergySettings,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The same from the heartbeats of the hour and their context, one row for each identity."""
    window = hour, hour + HOUR
    links = _links(connection, meter_readings, vehicle_readings, hour, settings)
    classes = charger_classes(connection)
    # Cached, so that each heartbeat is measured once.
    meters = measured_energy(meter_readings.lazy(), METER, *window, settings, classes).cache()
    vehicles = measured_energy(vehicle_readings.lazy(), VEHICLE, *window, settings)
    by_vehicle, unlinked = pl.collect_all(
        [
            vehicle_efficiency(meters, vehicles, links, classes, *window, settings),
            unlinked_energy(meters, links, *window),
        ]
    )
    fleet = fleet_efficiency(by_vehicle.lazy(), unlinked.lazy(), settings)
    return by_vehicle, fleet.collect()


def _readings(lake: Lake, stream: Stream, hour: datetime, settings: EnergySettings) -> pl.DataFrame:
    """The heartbeats of an hour and the predecessors of its first ones."""
    return pl.concat(
        [
            scan_context(lake, stream, hour, settings),
            scan_history(lake, stream, hour, hour + HOUR),
        ]
    ).collect()


def _links(
    connection: psycopg.Connection,
    meters: pl.DataFrame,
    vehicles: pl.DataFrame,
    hour: datetime,
    settings: EnergySettings,
) -> pl.LazyFrame:
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
    return resolve_links(
        explicit.lazy(), named_links(vehicles.lazy(), settings), by_rule.lazy(), start, end
    )


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
