"""Reader of vehicle contexts from one snapshot of Postgres."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from lake.reads import Heard, LruCache
from warehouse_sql.binary_parameters import text_array, timestamp
from warehouse_sql.named_queries import query
from warehouse_sql.statement_pipeline import Statement

_NOTHING_WAITS: Final = [(stream, stream.arrow_schema.empty_table()) for stream in (METER, VEHICLE)]
_BYTES_A_DEVICE: Final = 150
# How far the context of a window reaches is only seen in the lake.
_EVER: Final = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Near:
    """The meters of a vehicle, and the vehicles of these."""

    meters: frozenset[str]
    vehicles: frozenset[str]

    @property
    def bytes(self) -> int:
        """About the memory that it takes."""
        return _BYTES_A_DEVICE * (2 + len(self.meters) + len(self.vehicles))


@dataclass(frozen=True)
class _Question:
    """The vehicles asked for and their window."""

    asked: list[str]
    start: datetime | None
    end: datetime | None
    now: datetime
    longest_days: int
    energy: EnergySettings
    believed_until: datetime

    @property
    def until(self) -> datetime:
        """The end of the window, unless a clock is ahead."""
        return self.end or self.now

    @property
    def of_vehicles(self) -> Sequence[Statement]:
        """Statements about what feeds them."""
        # In a window up to now, a device counts as heard however far ahead its clock is.
        since = self.start or self.until - LAST_HOURS
        return (
            _pairs_of(self.asked, since, self.end, self.until, self.energy),
            ("meters_of_vehicles", [text_array(self.asked)]),
        )

    def of_meters(self, meters: Iterable[str]) -> Sequence[Statement]:
        """Statements about the meters that may feed them."""
        names = text_array(sorted(meters))
        return (
            ("heard_times", [text_array(self.asked), names]),
            ("vehicles_of_meters", [names]),
            ("classes_and_cadences", [text_array(self.asked), names]),
        )


async def read_contexts(
    queries: PipelinedQueries,
    vehicle_ids: Collection[str],
    start: datetime | None,
    end: datetime | None,
    now: datetime,
    longest_days: int,
    energy: EnergySettings,
    believed_until: datetime,
    known: LruCache[str, Near],
) -> VehicleContexts:
    """Everything needed beside the lake, of one snapshot.

    The window ends now, or just after the newest heartbeat of the vehicle or its meters if a
    clock of theirs is ahead: what was acknowledged is always inside, unless it is of a time that
    is not believed now, after `believed_until`. Vehicles of one window share a context.

    `known` are the devices near vehicles that were asked for before: all is asked of these at once,
    and step by step where they are others by now.
    """
    asked = sorted(set(vehicle_ids))
    question = _Question(asked, start, end, now, longest_days, energy, believed_until)
    near = [known.get(vehicle) for vehicle in asked]
    found = await _at_once(queries, question, [one for one in near if one]) if all(near) else None
    if found is None:
        found = await _step_by_step(queries, question, known)
    return found


async def _at_once(
    queries: PipelinedQueries, question: _Question, near: Sequence[Near]
) -> VehicleContexts | None:
    """The context where nothing but these devices is near; None: more has to be asked."""
    meters = frozenset[str]().union(*(one.meters for one in near))
    vehicles = frozenset[str]().union(*(one.vehicles for one in near))
    until = question.until
    period = Period(start=question.start or until - LAST_HOURS, end=until)
    _, by_rule, named, times, others, classes, *about, _ = await queries.fetch(
        ("begin_snapshot", []),
        *question.of_vehicles,
        *question.of_meters(meters),
        *_about_devices(vehicles, meters, period),
        ("end_snapshot", []),
    )
    of_meters = _OfMeters.of(by_rule, named, times, others, classes)
    windows = _windows(question, of_meters)
    if windows.refused or windows.periods != {until: period} or _packs_wait(about):
        return None
    if of_meters.near(question.asked) != Near(meters, vehicles):
        return None
    context = _context(question.asked, of_meters, _by_vehicle(by_rule), period, about)
    return VehicleContexts([context], {})


async def _step_by_step(
    queries: PipelinedQueries, question: _Question, known: LruCache[str, Near]
) -> VehicleContexts:
    _, by_rule, named = await queries.fetch(("begin_snapshot", []), *question.of_vehicles)
    pairs = _by_vehicle(by_rule)
    meters = {*pairs.values(), *(row["meter_id"] for row in named)}
    about = await queries.fetch(*question.of_meters(meters))
    of_meters = _OfMeters.of(by_rule, named, *about)
    windows = _windows(question, of_meters)
    contexts = []
    for until, period in windows.periods.items():
        vehicles = windows.vehicles[until]
        of_these = {vehicle: pairs[vehicle] for vehicle in vehicles if vehicle in pairs}
        if until != question.until:  # a clock is ahead: a later window can only unpair
            pairs_then = _pairs_of(vehicles, period.start, question.end, until, question.energy)
            (by_rule,) = await queries.fetch(pairs_then)
            of_these = _by_vehicle(by_rule)
        near = of_meters.near(vehicles)
        rows = await queries.fetch(*_about_devices(near.vehicles, near.meters, period))
        context = _context(vehicles, of_meters, of_these, period, rows)
        if _packs_wait(rows):
            for stream, devices in ((METER, context.meters), (VEHICLE, context.vehicles)):
                packed = await _packed(queries.conn, stream, devices)
                waiting = pa.concat_tables([context.outbox[stream.name], *packed])
                context = replace(context, outbox={**context.outbox, stream.name: waiting})
        contexts.append(context)
        for vehicle in vehicles:
            known.put(vehicle, of_meters.near([vehicle]))
    await queries.fetch(("end_snapshot", []))
    return VehicleContexts(contexts, windows.refused)


@dataclass(frozen=True)
class _OfMeters:
    """Facts about devices, and when they were heard, that do not depend on the window."""

    fed_by: Mapping[str, set[str]]
    linked_to: Mapping[str, set[str]]
    charger_classes: Mapping[str, str]
    cadences: Mapping[tuple[str, str], float]
    heard: Mapping[tuple[str, str], Heard]

    @classmethod
    def of(
        cls,
        by_rule: Sequence[Row],
        named: Sequence[Row],
        times: Sequence[Row],
        others: Sequence[Row],
        told: Sequence[Row],
    ) -> "_OfMeters":
        fed_by: dict[str, set[str]] = defaultdict(set)
        for row in (*by_rule, *named):
            fed_by[row["vehicle_id"]].add(row["meter_id"])
        linked_to: dict[str, set[str]] = defaultdict(set)
        for row in others:
            linked_to[row["meter_id"]].add(row["vehicle_id"])
        heard = {
            (row["kind"], row["device_id"]): Heard(row["oldest"] or _EVER[1], row["newest"])
            for row in times
        }
        classes = {row["device_id"]: row["charger_class"] for row in told if row["charger_class"]}
        cadences = {
            (row["stream"], row["device_id"]): row["cadence_seconds"]
            for row in told
            if row["cadence_seconds"]
        }
        return cls(fed_by, linked_to, classes, cadences, heard)

    def near(self, vehicles: Collection[str]) -> Near:
        """Return the devices that these vehicles have to do with."""
        meters = frozenset[str]().union(*(self.fed_by.get(name, set()) for name in vehicles))
        linked = (self.linked_to.get(meter, set()) for meter in meters)
        return Near(meters, frozenset(vehicles).union(*linked))


@dataclass(frozen=True)
class _Windows:
    """The windows of the vehicles by their end, and why others have none."""

    periods: Mapping[datetime, Period]
    vehicles: Mapping[datetime, list[str]]
    refused: Mapping[str, UnknownVehicle | BadWindow]


def _windows(question: _Question, known: _OfMeters) -> _Windows:
    refused: dict[str, UnknownVehicle | BadWindow] = {}
    by_end: dict[datetime, list[str]] = defaultdict(list)
    periods: dict[datetime, Period] = {}
    heard, now = known.heard, question.now
    for vehicle in question.asked:
        if (VEHICLE.name, vehicle) not in heard:
            refused[vehicle] = UnknownVehicle(vehicle)
            continue
        fed = ((METER.name, meter) for meter in known.fed_by.get(vehicle, ()))
        newest = [heard[key].last for key in ((VEHICLE.name, vehicle), *fed) if key in heard]
        believed = [time for time in newest if time <= question.believed_until]
        end = _after(believed, now)
        try:
            period = window(question.start, question.end, end, question.longest_days)
        except BadWindow as error:
            refused[vehicle] = error
            continue
        by_end[period.end].append(vehicle)
        periods[period.end] = period
    return _Windows(periods, by_end, refused)


def _about_devices(
    vehicles: Collection[str], meters: Collection[str], period: Period
) -> Sequence[Statement]:
    """Ask for the links of devices around a window, and for what is on its way to the history."""
    ever = timestamp(_EVER[0]), timestamp(_EVER[1])
    hours = hours_of(period)
    around = hours.start - LINKS_AROUND, hours.end + LINKS_AROUND
    of_vehicles, of_meters = text_array(sorted(vehicles)), text_array(sorted(meters))
    return (
        ("links_of_devices", [of_vehicles, of_meters, *map(timestamp, around)]),
        ("dirty_hours_between", ever),
        ("packs_wait", []),
        ("meter_outbox_of_device", [of_meters, *ever]),
        ("vehicle_outbox_of_device", [of_vehicles, *ever]),
    )


def _packs_wait(rows: Sequence[Sequence[Row]]) -> bool:
    """Tell from the rows of `_about_devices`."""
    return bool(rows[2][0]["wait"])


def _context(
    asked: list[str],
    known: _OfMeters,
    pairs: Mapping[str, str],
    period: Period,
    rows: Sequence[Sequence[Row]],
) -> VehicleContext:
    """The context from the rows of `_about_devices`, without what packs hold."""
    near = known.near(asked)
    meters, vehicles = sorted(near.meters), sorted(near.vehicles)
    links, dirty, _, *waiting = rows
    dirty_hours: dict[str, set[datetime]] = {METER.name: set(), VEHICLE.name: set()}
    for row in dirty:
        dirty_hours[row["stream"]].add(row["hour"])
    outbox = {
        stream.name: pa.Table.from_pylist(found, stream.arrow_schema) if found else nothing
        for (stream, nothing), found in zip(_NOTHING_WAITS, waiting, strict=True)
    }
    classes = known.charger_classes
    return VehicleContext(
        asked,
        period,
        vehicles,
        meters,
        [*links],
        pairs,
        {meter: known.linked_to.get(meter, set()) for meter in meters},
        {meter: classes[meter] for meter in meters if meter in classes},
        known.cadences,
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
