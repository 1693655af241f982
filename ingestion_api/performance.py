"""Energy and efficiency of one vehicle, exact up to what was acknowledged a moment ago.

First the facts of one Postgres snapshot (links, hours that wait for a compaction, heartbeats still
in the outbox), only then the lake: a heartbeat leaves the outbox after the lake has it, so in this
order none is missed.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.rows import DictRow

from ingestion_api.lake_reading import reading_the_lake
from ingestion_api.packs import unpacked
from ingestion_api.parameters import Period, window
from lake import (
    METER,
    VEHICLE,
    EnergySettings,
    Lake,
    Stream,
    hour_of,
    scan_context,
    scan_heartbeats,
)
from lake.efficiency import vehicle_efficiency
from lake.energy import CHARGER_CLASSES, measured_energy
from lake.links import named_links, pair_by_trailing_number, resolve_links
from warehouse_sql.queries import query

_NUMBER: Final = re.compile(r"[0-9]+$")
_UTC_TIME: Final = pl.Datetime("us", "UTC")
_LINK: Final[dict[str, type[pl.String] | pl.Datetime]] = {
    "meter_id": pl.String,
    "vehicle_id": pl.String,
    "valid_from": _UTC_TIME,
    "valid_to": _UTC_TIME,
}


class UnknownVehicle(Exception):
    """No heartbeat of this vehicle was ever received."""


@dataclass(frozen=True)
class Facts:
    """What Postgres knows of a vehicle, its meters and their other vehicles, at one moment."""

    vehicle_id: str
    period: Period
    vehicles: list[str]
    meters: list[str]
    links: pl.DataFrame
    pairs: pl.DataFrame
    charger_classes: pl.DataFrame
    dirty_hours: Mapping[str, set[datetime]]
    outbox: Mapping[str, pa.Table]


@dataclass(frozen=True)
class Performance:
    """The row of `vehicle_efficiency`, None if the window holds nothing, and its links."""

    period: Period
    row: dict[str, Any] | None
    links: list[dict[str, Any]]


async def read_facts(
    conn: psycopg.AsyncConnection[DictRow],
    vehicle_id: str,
    start: datetime | None,
    end: datetime | None,
    now: datetime,
    longest_days: int,
    energy: EnergySettings,
) -> Facts:
    """Everything needed beside the lake; raises UnknownVehicle or BadWindow.

    The window ends now, or just after the newest heartbeat of the vehicle or its meters if a
    clock is ahead: what was acknowledged is always inside.
    """
    async with conn.transaction():
        await conn.execute(query("one_snapshot"))
        if not await _rows(conn, "live_vehicle", device=vehicle_id):
            raise UnknownVehicle(vehicle_id)
        # In a window up to now, every device is known, whatever its clock says.
        pairs = await _pairs(conn, vehicle_id, end, end or now, energy)
        meters = await _ids(conn, "meters_of_vehicle", vehicle_id=vehicle_id)
        meters = sorted({*meters, *pairs["meter_id"]})
        (newest,) = await _rows(conn, "newest_times", vehicle_id=vehicle_id, meter_ids=meters)
        period = window(start, end, _after(newest["newest"], now), longest_days)
        if period.end != (end or now):  # a clock is ahead: a later end can only unpair
            pairs = await _pairs(conn, vehicle_id, end, period.end, energy)
        others = await _ids(conn, "vehicles_of_meters", meter_ids=meters)
        vehicles = sorted({vehicle_id, *others})
        since = hour_of(period.start - timedelta(hours=energy.register_lookback_hours))
        between = {"start": since, "end": period.end}
        links = await _rows(
            conn,
            "links_of_devices",
            vehicle_ids=vehicles,
            meter_ids=meters,
            start=period.start,
            end=period.end,
        )
        classes = await _rows(conn, "charger_classes_of_meters", meter_ids=meters)
        dirty: dict[str, set[datetime]] = {METER.name: set(), VEHICLE.name: set()}
        for row in await _rows(conn, "dirty_hours_between", **between):
            dirty[row["stream"]].add(row["hour"])
        outbox = {}
        for stream, devices in ((METER, meters), (VEHICLE, vehicles)):
            waiting = await _rows(
                conn, f"{stream.name}_outbox_of_device", devices=devices, **between
            )
            parts = [pa.Table.from_pylist(waiting, stream.arrow_schema)]
            # A few at a time: while the lake is away, all may be more than fits in memory.
            async with conn.cursor("packs", binary=True) as packs:
                packs.itersize = 8
                await packs.execute(query("packs_between"), {"stream": stream.name, **between})
                async for row in packs:
                    parts.append(
                        await asyncio.to_thread(_of_devices, row["heartbeats"], stream, devices)
                    )
            outbox[stream.name] = pa.concat_tables(parts)
    return Facts(
        vehicle_id,
        period,
        vehicles,
        meters,
        pl.DataFrame(links, schema=_LINK),
        pairs,
        pl.DataFrame(classes, schema=CHARGER_CLASSES),
        dirty,
        outbox,
    )


@reading_the_lake()
def performance(lake: Lake, facts: Facts, energy: EnergySettings) -> Performance:
    """Read the lake and compute; blocks, so not for the event loop. Raises LakeError."""
    start, end = facts.period.start, facts.period.end

    def readings(stream: Stream, devices: Sequence[str]) -> pl.LazyFrame:
        dirty, outbox = facts.dirty_hours[stream.name], facts.outbox[stream.name]
        before = scan_context(lake, stream, start, energy, devices, dirty, outbox)
        within = scan_heartbeats(lake, stream, start, end, devices, dirty, outbox)
        return pl.concat([before, within]).collect().lazy()

    vehicles = readings(VEHICLE, facts.vehicles)
    links = (
        resolve_links(
            facts.links.lazy(), named_links(vehicles, energy), facts.pairs.lazy(), start, end
        )
        .filter(pl.col("vehicle_id") == facts.vehicle_id)
        .sort("valid_from", "meter_id")
        .collect()
    )
    charger_classes = facts.charger_classes.lazy()
    meters = readings(METER, sorted(set(links["meter_id"])))
    vehicle = vehicles.filter(pl.col("vehicle_id") == facts.vehicle_id)
    row = vehicle_efficiency(
        measured_energy(meters, METER, start, end, energy, charger_classes),
        measured_energy(vehicle, VEHICLE, start, end, energy),
        links.lazy(),
        charger_classes,
        start,
        end,
        energy,
    ).collect()
    return Performance(facts.period, next(row.iter_rows(named=True), None), links.to_dicts())


def _of_devices(pack: bytes, stream: Stream, devices: Sequence[str]) -> pa.Table:
    """The heartbeats of these devices in a pack."""
    rows = unpacked(pack, stream)
    return rows.filter(pc.is_in(rows[stream.device], pa.array(devices, pa.large_string())))


def _after(newest: datetime | None, now: datetime) -> datetime:
    """The end of a window up to now that holds `newest`: now, or the next whole second."""
    if newest is None or newest < now:
        return now
    return newest.replace(microsecond=0) + timedelta(seconds=1)


async def _pairs(
    conn: psycopg.AsyncConnection[DictRow],
    vehicle_id: str,
    heard_before: datetime | None,
    end: datetime,
    energy: EnergySettings,
) -> pl.DataFrame:
    """The meter of this vehicle by the rule of the trailing number, as one row or none.

    The rule knows the devices that were heard before a time (None: all of them), and leaves alone
    what something else has linked before `end`, the end of the window.
    """
    number = _NUMBER.search(vehicle_id)
    devices: list[DictRow] = []
    if number and energy.link_by_trailing_number:
        devices = await _rows(
            conn,
            "same_trailing_number",
            number=number[0].lstrip("0"),
            heard_before=heard_before,
            end=end,
        )
    meters = {row["device_id"]: row["linked"] for row in devices if row["kind"] == METER.name}
    vehicles = {row["device_id"]: row["linked"] for row in devices if row["kind"] == VEHICLE.name}
    return pair_by_trailing_number(
        meters,
        vehicles,
        [device for device, linked in meters.items() if linked],
        [device for device, linked in vehicles.items() if linked],
    )


async def _rows(
    conn: psycopg.AsyncConnection[DictRow], name: str, **parameters: Any
) -> list[DictRow]:
    return await (await conn.execute(query(name), parameters)).fetchall()


async def _ids(conn: psycopg.AsyncConnection[DictRow], name: str, **parameters: Any) -> list[str]:
    return [next(iter(row.values())) for row in await _rows(conn, name, **parameters)]
