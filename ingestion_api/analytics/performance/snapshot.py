"""Reader of vehicle contexts from one snapshot of Postgres."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from ingestion_api.analytics.performance.vehicle_context import (
    LINKS_AROUND,
    UnknownVehicle,
    VehicleContext,
    VehicleContexts,
    hours_of,
)
from ingestion_api.database.dedicated_connection import PipelinedQueries, Row
from ingestion_api.outbox.pack import unpack
from ingestion_api.rest.parameters import LAST_HOURS, BadWindow, Period, window
from lake import METER, VEHICLE, EnergySettings, Stream
from lake.reads import Heard
from warehouse_sql.binary_parameters import text_array, timestamp
from warehouse_sql.named_queries import query
from warehouse_sql.statement_pipeline import Statement

# How far the context of a window reaches is only seen in the lake.
_EVER: Final = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


async def read_contexts(
    queries: PipelinedQueries,
    vehicle_ids: Collection[str],
    start: datetime | None,
    end: datetime | None,
    now: datetime,
    longest_days: int,
    energy: EnergySettings,
    believed_until: datetime,
) -> VehicleContexts:
    """Everything needed beside the lake, of one snapshot.

    The window ends now, or just after the newest heartbeat of the vehicle or its meters if a
    clock of theirs is ahead: what was acknowledged is always inside, unless it is of a time that
    is not believed now, after `believed_until`. Vehicles of one window share a context.
    """
    asked = sorted(set(vehicle_ids))
    until = end or now
    # In a window up to now, a device counts as heard however far ahead its clock is.
    _, by_rule, named = await queries.fetch(
        ("begin_snapshot", []),
        _pairs_of(asked, start or until - LAST_HOURS, end, until, energy),
        ("meters_of_vehicles", [text_array(asked)]),
    )
    pairs = _by_vehicle(by_rule)
    fed_by = {vehicle: {meter} for vehicle, meter in pairs.items()}
    for row in named:
        fed_by.setdefault(row["vehicle_id"], set()).add(row["meter_id"])
    every_meter = sorted(set[str]().union(*fed_by.values()))
    meters = text_array(every_meter)
    times, others, classes = await queries.fetch(
        ("heard_times", [text_array(asked), meters]),
        ("vehicles_of_meters", [meters]),
        ("charger_classes_of_meters", [meters]),
    )
    linked_to: dict[str, set[str]] = defaultdict(set)
    for row in others:
        linked_to[row["meter_id"]].add(row["vehicle_id"])
    heard = {
        (row["kind"], row["device_id"]): Heard(row["oldest"] or _EVER[1], row["newest"])
        for row in times
    }
    of_meters = _OfMeters(
        fed_by, linked_to, {row["meter_id"]: row["charger_class"] for row in classes}, heard
    )
    refused: dict[str, UnknownVehicle | BadWindow] = {}
    by_end: dict[datetime, list[str]] = defaultdict(list)
    periods: dict[datetime, Period] = {}
    for vehicle in asked:
        if (VEHICLE.name, vehicle) not in heard:
            refused[vehicle] = UnknownVehicle(vehicle)
            continue
        fed = ((METER.name, meter) for meter in fed_by.get(vehicle, ()))
        newest = [heard[key].last for key in ((VEHICLE.name, vehicle), *fed) if key in heard]
        believed = [time for time in newest if time <= believed_until]
        try:
            period = window(start, end, _after(believed, now), longest_days)
        except BadWindow as error:
            refused[vehicle] = error
            continue
        by_end[period.end].append(vehicle)
        periods[period.end] = period
    contexts = []
    for until, vehicles in by_end.items():
        of_these = {vehicle: pairs[vehicle] for vehicle in vehicles if vehicle in pairs}
        if until != (end or now):  # a clock is ahead: a later window can only unpair
            since = periods[until].start
            (by_rule,) = await queries.fetch(_pairs_of(vehicles, since, end, until, energy))
            of_these = _by_vehicle(by_rule)
        contexts.append(
            await _context(queries, vehicles, of_meters, of_these, periods[until], energy)
        )
    await queries.fetch(("end_snapshot", []))
    return VehicleContexts(contexts, refused)


@dataclass(frozen=True)
class _OfMeters:
    """Facts about meters, and when all devices were heard, that do not depend on the window."""

    fed_by: Mapping[str, set[str]]
    linked_to: Mapping[str, set[str]]
    charger_classes: Mapping[str, str]
    heard: Mapping[tuple[str, str], Heard]


async def _context(
    queries: PipelinedQueries,
    asked: list[str],
    known: _OfMeters,
    pairs: Mapping[str, str],
    period: Period,
    energy: EnergySettings,
) -> VehicleContext:
    meters = sorted(set[str]().union(*(known.fed_by.get(vehicle, set()) for vehicle in asked)))
    linked_to = {meter: known.linked_to.get(meter, set()) for meter in meters}
    vehicles = sorted(set(asked).union(*linked_to.values()))
    ever = timestamp(_EVER[0]), timestamp(_EVER[1])
    hours = hours_of(period)
    around = hours.start - LINKS_AROUND, hours.end + LINKS_AROUND
    of_vehicles, of_meters = text_array(vehicles), text_array(meters)
    links, dirty, packs, *waiting = await queries.fetch(
        ("links_of_devices", [of_vehicles, of_meters, *map(timestamp, around)]),
        ("dirty_hours_between", ever),
        ("packs_wait", []),
        ("meter_outbox_of_device", [of_meters, *ever]),
        ("vehicle_outbox_of_device", [of_vehicles, *ever]),
    )
    dirty_hours: dict[str, set[datetime]] = {METER.name: set(), VEHICLE.name: set()}
    for row in dirty:
        dirty_hours[row["stream"]].add(row["hour"])
    outbox = {
        stream.name: pa.Table.from_pylist(rows, stream.arrow_schema)
        for stream, rows in zip((METER, VEHICLE), waiting, strict=True)
    }
    if packs[0]["wait"]:
        for stream, devices in ((METER, meters), (VEHICLE, vehicles)):
            packed = await _packed(queries.conn, stream, devices)
            outbox[stream.name] = pa.concat_tables([outbox[stream.name], *packed])
    classes = {
        meter: known.charger_classes[meter] for meter in meters if meter in known.charger_classes
    }
    return VehicleContext(
        asked,
        period,
        vehicles,
        meters,
        links,
        pairs,
        linked_to,
        classes,
        known.heard,
        dirty_hours,
        outbox,
    )


async def _packed(
    conn: psycopg.AsyncConnection,
    stream: Stream,
    devices: Sequence[str],
) -> list[pa.Table]:
    """The heartbeats of these devices in packs."""
    parts = []
    # A few at a time: while the lake is away, all may be more than fits in memory.
    async with conn.cursor("packs", binary=True) as packs:
        packs.itersize = 8
        told = {"stream": stream.name, "start": _EVER[0], "end": _EVER[1]}
        await packs.execute(query("packs_between"), told)
        async for (heartbeats,) in packs:
            parts.append(await asyncio.to_thread(_of_devices, heartbeats, stream, devices))
    return parts


def _of_devices(pack: bytes, stream: Stream, devices: Sequence[str]) -> pa.Table:
    """The heartbeats of these devices in a pack."""
    rows = unpack(pack, stream)
    return rows.filter(pc.is_in(rows[stream.device], pa.array(devices, pa.large_string())))


def _after(times: Sequence[datetime], now: datetime) -> datetime:
    """The end of a window up to now that holds these: now, or the next whole second."""
    newest = max(times, default=now)
    if not times or newest < now:
        return now
    return newest.replace(microsecond=0) + timedelta(seconds=1)


def _pairs_of(
    vehicle_ids: Sequence[str],
    start: datetime,
    heard_before: datetime | None,
    end: datetime,
    energy: EnergySettings,
) -> Statement:
    """Asks for the meters of these vehicles by the rule of the trailing number.

    Of devices that were heard in the window from `start` or in the days before it, and before a
    time (None: whenever), and that nothing else has linked before `end`, the end of the window.
    """
    return (
        "pairs_of_vehicles",
        [
            text_array(vehicle_ids if energy.link_by_trailing_number else []),
            None if heard_before is None else timestamp(heard_before),
            timestamp(end),
            timestamp(start),
        ],
    )


def _by_vehicle(pairs: Sequence[Row]) -> dict[str, str]:
    return {row["vehicle_id"]: row["meter_id"] for row in pairs}
