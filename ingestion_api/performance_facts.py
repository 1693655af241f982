"""What Postgres knows of some vehicles in a window, at one moment."""

import asyncio
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

import polars as pl
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.rows import DictRow

from ingestion_api.packs import unpacked
from ingestion_api.parameters import BadWindow, Period, window
from lake import METER, STREAMS, VEHICLE, EnergySettings, Stream, hour_of
from lake.device_reading import LakeView
from lake.energy import CHARGER_CLASSES
from lake.links import pair_by_trailing_number
from warehouse_sql.queries import query

Connection = psycopg.AsyncConnection[DictRow]

_NUMBER: Final = re.compile(r"[0-9]+$")
_UTC_TIME: Final = pl.Datetime("us", "UTC")
_LINK: Final[dict[str, type[pl.String] | pl.Datetime]] = {
    "meter_id": pl.String,
    "vehicle_id": pl.String,
    "valid_from": _UTC_TIME,
    "valid_to": _UTC_TIME,
}
_PAIR: Final = ("meter_id", "vehicle_id")


class UnknownVehicle(Exception):
    """No heartbeat of this vehicle was ever received."""


@dataclass(frozen=True)
class Facts:
    """The vehicles that were asked for, and what tells of them, their meters and the others there.

    Heartbeats of `vehicles` and `meters` that are not in the lake yet are in `outbox`.
    """

    asked: list[str]
    period: Period
    vehicles: list[str]
    meters: list[str]
    links: pl.DataFrame
    pairs: pl.DataFrame
    charger_classes: pl.DataFrame
    dirty_hours: Mapping[str, set[datetime]]
    outbox: Mapping[str, pa.Table]

    def fingerprint(self, view: LakeView, energy: EnergySettings) -> str:
        """Another text whenever the answer may be another: all that it rests on, as a hash."""
        since = _context_start(self.period, energy)
        told: list[Any] = [
            self.asked,
            self.period,
            energy.model_dump_json(),
            *(frame.rows() for frame in (self.links, self.pairs, self.charger_classes)),
        ]
        for stream in STREAMS.values():
            dirty, waiting = self.dirty_hours[stream.name], self.outbox[stream.name]
            dirty = dirty | {hour_of(row["timestamp"]) for row in waiting.to_pylist()}
            told += [view.paths(stream, since, self.period.end, dirty), waiting.to_pylist()]
        return sha256(repr(told).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class FoundFacts:
    """Facts of all vehicles that have a window, and why the others have none."""

    facts: list[Facts]
    refused: Mapping[str, UnknownVehicle | BadWindow]


async def read_facts(
    conn: Connection,
    vehicle_ids: Collection[str],
    start: datetime | None,
    end: datetime | None,
    now: datetime,
    longest_days: int,
    energy: EnergySettings,
) -> FoundFacts:
    """Everything needed beside the lake, of one snapshot.

    The window ends now, or just after the newest heartbeat of the vehicle or its meters if a
    clock is ahead: what was acknowledged is always inside. Vehicles of one window are one Facts.
    """
    asked = sorted(set(vehicle_ids))
    async with conn.transaction():
        await conn.execute(query("one_snapshot"))
        # In a window up to now, every device is known, whatever its clock says.
        pairs = await _pairs(conn, asked, end, end or now, energy)
        fed_by = defaultdict(set)
        for row in [
            *await _rows(conn, "meters_of_vehicles", vehicle_ids=asked),
            *pairs.iter_rows(named=True),
        ]:
            fed_by[row["vehicle_id"]].add(row["meter_id"])
        every_meter = sorted(set[str]().union(*fed_by.values()))
        newest = {
            (row["kind"], row["device_id"]): row["timestamp"]
            for row in await _rows(conn, "newest_times", vehicle_ids=asked, meter_ids=every_meter)
        }
        refused: dict[str, UnknownVehicle | BadWindow] = {}
        by_end: dict[datetime, list[str]] = defaultdict(list)
        periods: dict[datetime, Period] = {}
        for vehicle in asked:
            if (VEHICLE.name, vehicle) not in newest:
                refused[vehicle] = UnknownVehicle(vehicle)
                continue
            keys = [(VEHICLE.name, vehicle), *((METER.name, meter) for meter in fed_by[vehicle])]
            heard = max(newest[key] for key in keys if key in newest)
            try:
                period = window(start, end, _after(heard, now), longest_days)
            except BadWindow as error:
                refused[vehicle] = error
                continue
            by_end[period.end].append(vehicle)
            periods[period.end] = period
        facts = []
        for until, vehicles in by_end.items():
            if until != (end or now):  # a clock is ahead: a later end can only unpair
                pairs = await _pairs(conn, vehicles, end, until, energy)
            meters = sorted(set[str]().union(*(fed_by[vehicle] for vehicle in vehicles)))
            of_these = pairs.filter(pl.col("vehicle_id").is_in(vehicles))
            facts.append(await _facts(conn, vehicles, meters, of_these, periods[until], energy))
    return FoundFacts(facts, refused)


async def _facts(
    conn: Connection,
    asked: list[str],
    meters: list[str],
    pairs: pl.DataFrame,
    period: Period,
    energy: EnergySettings,
) -> Facts:
    others = await _rows(conn, "vehicles_of_meters", meter_ids=meters)
    vehicles = sorted({*asked, *(row["vehicle_id"] for row in others)})
    between = {"start": _context_start(period, energy), "end": period.end}
    in_window = {"start": period.start, "end": period.end}
    statements: list[tuple[str, dict[str, Any]]] = [
        ("links_of_devices", {"vehicle_ids": vehicles, "meter_ids": meters, **in_window}),
        ("charger_classes_of_meters", {"meter_ids": meters}),
        ("dirty_hours_between", between),
        ("packs_wait", {}),
        ("meter_outbox_of_device", {"devices": meters, **between}),
        ("vehicle_outbox_of_device", {"devices": vehicles, **between}),
    ]
    async with conn.pipeline():  # one way to the server and back
        cursors = [await conn.execute(query(name), values) for name, values in statements]
        links, classes, dirty, packs, *waiting = [await cursor.fetchall() for cursor in cursors]
    dirty_hours: dict[str, set[datetime]] = {METER.name: set(), VEHICLE.name: set()}
    for row in dirty:
        dirty_hours[row["stream"]].add(row["hour"])
    outbox = {
        stream.name: pa.Table.from_pylist(rows, stream.arrow_schema)
        for stream, rows in zip((METER, VEHICLE), waiting, strict=True)
    }
    if packs[0]["wait"]:
        for stream, devices in ((METER, meters), (VEHICLE, vehicles)):
            packed = await _packed(conn, stream, devices, between)
            outbox[stream.name] = pa.concat_tables([outbox[stream.name], *packed])
    return Facts(
        asked,
        period,
        vehicles,
        meters,
        pl.DataFrame(links, schema=_LINK),
        pairs,
        pl.DataFrame(classes, schema=CHARGER_CLASSES),
        dirty_hours,
        outbox,
    )


async def _packed(
    conn: Connection, stream: Stream, devices: Sequence[str], between: Mapping[str, datetime]
) -> list[pa.Table]:
    """The heartbeats of these devices in packs."""
    parts = []
    # A few at a time: while the lake is away, all may be more than fits in memory.
    async with conn.cursor("packs", binary=True) as packs:
        packs.itersize = 8
        await packs.execute(query("packs_between"), {"stream": stream.name, **between})
        async for row in packs:
            parts.append(await asyncio.to_thread(_of_devices, row["heartbeats"], stream, devices))
    return parts


def _of_devices(pack: bytes, stream: Stream, devices: Sequence[str]) -> pa.Table:
    """The heartbeats of these devices in a pack."""
    rows = unpacked(pack, stream)
    return rows.filter(pc.is_in(rows[stream.device], pa.array(devices, pa.large_string())))


def _context_start(period: Period, energy: EnergySettings) -> datetime:
    return hour_of(period.start - timedelta(hours=energy.register_lookback_hours))


def _after(newest: datetime, now: datetime) -> datetime:
    """The end of a window up to now that holds `newest`: now, or the next whole second."""
    if newest < now:
        return now
    return newest.replace(microsecond=0) + timedelta(seconds=1)


async def _pairs(
    conn: Connection,
    vehicle_ids: Sequence[str],
    heard_before: datetime | None,
    end: datetime,
    energy: EnergySettings,
) -> pl.DataFrame:
    """The meters of these vehicles by the rule of the trailing number.

    The rule knows the devices that were heard before a time (None: all of them), and leaves alone
    what something else has linked before `end`, the end of the window.
    """
    numbers = {
        number[0].lstrip("0") for vehicle in vehicle_ids if (number := _NUMBER.search(vehicle))
    }
    if not numbers or not energy.link_by_trailing_number:
        return pl.DataFrame(schema=dict.fromkeys(_PAIR, pl.String))
    devices = await _rows(
        conn,
        "same_trailing_number",
        numbers=sorted(numbers),
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
    ).filter(pl.col("vehicle_id").is_in(list(vehicle_ids)))


async def _rows(conn: Connection, name: str, **parameters: Any) -> list[DictRow]:
    return await (await conn.execute(query(name), parameters)).fetchall()
