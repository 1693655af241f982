"""The readings of vehicles and their meters, and the links between them, from one look at the lake.

Nearly all vehicles are linked by a row of `charging_link` or by the rule alone: their links are
known without a plan. Where heartbeats name meters, the readings of all who did are held together.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from ingestion_api.analytics.performance.vehicle_context import VehicleContext, hours_of
from ingestion_api.rest.parameters import Period
from lake import DAY, HOUR, INTERVAL, METER, REGISTER, VEHICLE, EnergySettings, Stream
from lake.energy import (
    HEARTBEAT,
    LINK,
    RULE,
    Link,
    MeasuredSide,
    links_around,
    measured,
    named_links,
    reach_of_crossing,
    time_of_unbroken_name,
    uncontested_links,
)
from lake.engine import IN_MEMORY, NO_OPTIMIZATIONS
from lake.reads import ALWAYS, Heard, LakeSnapshot, Reach, Readings, side_of_devices

_TIME: Final = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class VehicleReadings:
    """Both sides of the vehicles asked for, with their context, and their links."""

    ac: MeasuredSide
    dc: MeasuredSide
    links: list[Link]
    """Those of the window and its context, as `links_around` returns them."""
    reach: Mapping[tuple[str, str], Reach]
    """By kind and id: the time in which heartbeats of a device may change them."""
    names_any: bool
    """True where a vehicle names a meter."""
    lasting: Collection[str]
    """The vehicles of which they are the same for any window of these hours: others contest no
    meter that one names, and none of its meters measures phases.
    """


def read_vehicles(
    view: LakeSnapshot,
    context: VehicleContext,
    energy: EnergySettings,
    part: Period | None = None,
    links: list[Link] | None = None,
) -> VehicleReadings:
    """Read the lake for all vehicles asked for; blocks, so not for the event loop.

    All of the hours that the window lies in, with their context. Of a part of the window, if that
    is told, and with these links instead of those of heartbeats.
    """
    period = part or context.period
    hours = hours_of(period)
    start, end = hours.start, hours.end
    # Within a window all is known, however much later.
    looks_ahead = DAY if period.end == context.period.end else timedelta.max
    found = _read(view, context, energy, start, end, links, looks_ahead)
    since, until = reach_of_crossing(found.ac, found.dc, start, end)
    if since < start - HOUR or until > end + HOUR:
        # What crosses an edge is divided by the other side in all of its time.
        found = _read(view, context, energy, min(start, since), max(end, until), links, looks_ahead)
    return found


def read_ahead(
    view: LakeSnapshot, context: VehicleContext, period: Period, links: Sequence[Link]
) -> None:
    """Read all of a time at once, so that what is read of its parts is in memory."""
    read = _Reader(view, context, period.start, period.end)
    for vehicle in context.asked:
        read(VEHICLE, vehicle)
    for meter in {link.meter_id for link in links}:
        read(METER, meter)


class _Reader:
    """Reader of the devices of a context in a window; notes how far it has looked."""

    def __init__(
        self,
        view: LakeSnapshot,
        context: VehicleContext,
        start: datetime,
        end: datetime,
        looks_ahead: timedelta = DAY,
    ) -> None:
        self._view, self._context, self._window = view, context, (start, end)
        self._looks_ahead = looks_ahead
        self.reach: dict[tuple[str, str], Reach] = {}

    def __call__(self, stream: Stream, device: str, unheard: Heard = ALWAYS) -> Readings:
        context = self._context
        dirty, outbox = context.dirty_hours[stream.name], context.outbox[stream.name]
        key = stream.name, device
        heard = context.heard.get(key, unheard)
        found, self.reach[key] = self._view.readings_of_device(
            stream, device, *self._window, dirty, outbox, heard, self._looks_ahead
        )
        return found


def _read(
    view: LakeSnapshot,
    context: VehicleContext,
    energy: EnergySettings,
    start: datetime,
    end: datetime,
    links: list[Link] | None,
    looks_ahead: timedelta,
) -> VehicleReadings:
    read = _Reader(view, context, start, end, looks_ahead)
    vehicles = {vehicle: read(VEHICLE, vehicle) for vehicle in context.asked}
    names_any = any(readings.names is not None for readings in vehicles.values())
    contested: Collection[str] = ()
    if links is None:
        links = known_links(context)
        if names_any:
            # Of others only the names in this time matter: how far back is not looked up.
            others = {
                name: read(VEHICLE, name, Heard(end, start))
                for name in set(context.vehicles) - vehicles.keys()
            }
            links, contested = _named_links(context, {**vehicles, **others}, energy)
    meters = {meter: read(METER, meter) for meter in {link.meter_id for link in links}}
    phased = {link.vehicle_id for link in links if meters[link.meter_id].phases}
    classes = context.class_table if energy.charger_classes else None
    ac = side_of_devices(meters, METER, energy, classes, context.cadences_of(METER))
    dc = side_of_devices(vehicles, VEHICLE, energy, classes, context.cadences_of(VEHICLE))
    return VehicleReadings(
        measured(ac, energy),
        measured(dc, energy),
        links,
        read.reach,
        names_any,
        set(context.asked).difference(phased, contested),
    )


def known_links(context: VehicleContext) -> list[Link]:
    """Return what `links_around` does where no heartbeat names a meter."""
    (since, until), period = context.around, context.period
    explicit = [
        (link["meter_id"], link["vehicle_id"], link["valid_from"], link["valid_to"] or until)
        for link in context.links
    ]
    inside = [link for link in explicit if link[2] < period.end and link[3] > period.start]
    linked = {device for link in inside for device in link[:2]}
    found = [
        Link(meter, vehicle, max(begins, since), min(ends, until), LINK)
        for meter, vehicle, begins, ends in explicit
        if vehicle in context.asked
    ]
    for vehicle, meter in context.pairs.items():
        if vehicle not in linked and meter not in linked:
            others = [link for link in explicit if link[0] == meter]
            begins = max((link[3] for link in others if link[3] <= period.start), default=since)
            ends = min((link[2] for link in others if link[2] >= period.end), default=until)
            found.append(Link(meter, vehicle, begins, ends, RULE))
    return found


def _named_links(
    context: VehicleContext, vehicles: Mapping[str, Readings], energy: EnergySettings
) -> tuple[list[Link], Collection[str]]:
    """The links where heartbeats name meters, and the vehicles asked for that others contest.

    `vehicles` are all that may name those meters.
    """
    named = {
        name: set(readings.names.drop_nulls().unique())
        for name, readings in vehicles.items()
        if readings.names is not None
    }
    claims = Counter(meter for meters in named.values() for meter in meters)
    linked = {device for link in context.links for device in (link["meter_id"], link["vehicle_id"])}
    linked.update(*context.pairs.items())
    # Nearly all name one meter that nobody else claims: no plan of many steps is needed for them.
    alone = [
        name
        for name in context.asked
        if len(meters := named.get(name, set())) == 1
        and linked.isdisjoint([name, *meters])
        and all(claims[meter] == 1 for meter in meters)
    ]
    others = {name: readings for name, readings in vehicles.items() if name not in alone}
    is_contested = bool(named.keys() & others.keys() & set(context.asked))
    found = _resolved_links(context, others, energy) if is_contested else known_links(context)
    since, until = context.around
    rest = []
    for name in sorted(alone):
        readings, (meter,) = vehicles[name], named[name]
        names_always = readings.meter_names.null_count() == 0
        linked_in = time_of_unbroken_name(readings.at, energy) if names_always else None
        if linked_in is None:
            rest.append(name)
        elif linked_in[0] < until and linked_in[1] > since:
            begins, ends = max(linked_in[0], since), min(linked_in[1], until)
            found.append(Link(meter, name, begins, ends, HEARTBEAT))
    if rest:
        names = pl.concat([_names(name, vehicles[name]) for name in rest])
        hours = hours_of(context.period)
        found += _collected(uncontested_links(names.lazy(), hours.start, hours.end, energy))
    return found, others if is_contested else ()


def _resolved_links(
    context: VehicleContext, vehicles: Mapping[str, Readings], energy: EnergySettings
) -> list[Link]:
    heartbeats = pl.concat([_naming(name, readings) for name, readings in vehicles.items()])
    links = links_around(
        context.link_table.lazy(),
        named_links(heartbeats.lazy(), energy),
        context.pair_table.lazy(),
        context.period.start,
        context.period.end,
    )
    return _collected(links.filter(pl.col("vehicle_id").is_in(context.asked)))


def _collected(links: pl.LazyFrame) -> list[Link]:
    rows = links.select(Link._fields).collect(engine=IN_MEMORY, optimizations=NO_OPTIMIZATIONS)
    return [Link(*row) for row in rows.iter_rows()]


def _names(vehicle: str, readings: Readings) -> pl.DataFrame:
    """The meter that each heartbeat of a vehicle names, with what `uncontested_links` looks at."""
    return pl.DataFrame(
        {"timestamp": pl.Series(readings.at).cast(_TIME), "meter_id": readings.meter_names}
    ).with_columns(vehicle_id=pl.lit(vehicle))


def _naming(vehicle: str, readings: Readings) -> pl.DataFrame:
    """The heartbeats of a vehicle, with what `named_links` looks at."""
    types = pl.Series(readings.is_register).replace_strict({True: REGISTER, False: INTERVAL})
    return _names(vehicle, readings).with_columns(
        pl.Series(VEHICLE.energy, readings.value).fill_nan(None),
        pl.Series("reading_type", types.cast(pl.String)),
    )
