"""The efficiency of vehicles and chargers in a window, from their heartbeats.

Terms, formulas and limits are explained in docs/energy.md; the columns in lake/schema.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl

from lake.energy.attribution import (
    Feeds,
    attribute,
    attribute_heartbeats,
    feeds_of,
    in_order,
    own_pieces,
    share,
    spans_of,
)
from lake.energy.fact_columns import (
    charger_rows,
    known_vehicles,
    shown_of_vehicles,
    vehicle_rows,
)
from lake.energy.facts import (
    INACTIVE,
    Facts,
    Heartbeats,
    Pieces,
    SideReadings,
    Spans,
    WindowEnergy,
    Windows,
    energy_in,
    window_facts,
)
from lake.energy.intervals import (
    HOUR,
    KNOWN,
    KWH,
    SECOND,
    Flags,
    Integers,
    Intervals,
    energy_intervals,
)
from lake.energy.links import STRONGEST_FIRST, clip_links
from lake.energy.readings import Side, read_side
from lake.schema.partitions import EPOCH, microseconds, utc_window
from lake.schema.streams import METER, VEHICLE, Stream
from lake.settings import EnergySettings

_MICROSECOND: Final = timedelta(microseconds=1)
# A phase that was silent for so long before a window is no part of its meter any more.
_DAY: Final = 24 * HOUR
_LONGEST_INTERVAL: Final = 8 * _DAY
_SOURCES: Final = pl.Enum(STRONGEST_FIRST)
_LINK_SUMMARY: Final = {
    "vehicle_id": pl.String(),
    "link_source": pl.String(),
    "meter_ids": pl.List(pl.String()),
    "charger_class": pl.String(),
}


class EfficiencyTables(NamedTuple):
    """Rows of VEHICLE_EFFICIENCY_HOURLY and CHARGER_EFFICIENCY_HOURLY, sorted by device."""

    vehicles: pl.DataFrame
    chargers: pl.DataFrame


class Link(NamedTuple):
    """A meter feeds a vehicle in [valid_from, valid_to)."""

    meter_id: str
    vehicle_id: str
    valid_from: datetime
    valid_to: datetime
    source: str


class MeasuredSide(NamedTuple):
    """Heartbeats of a stream, and what their energies mean."""

    side: Side
    intervals: Intervals


def efficiency_tables(
    meters: pl.DataFrame,
    vehicles: pl.DataFrame,
    links: pl.DataFrame,
    charger_classes: pl.DataFrame,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> EfficiencyTables:
    """Compute the rows of all vehicles and chargers for the window [start, end).

    Best of an hour: rows of a longer time are merged from those of its hours. One row for each that
    has a heartbeat, a link or energy in the window. `meters` and `vehicles` have the columns of the
    history, one row for each device, time and phase; what lies outside of the window is context.
    `links` are what `resolve_links` returns for the window and its context. `charger_classes` has
    meter_id and charger_class, one row for each meter that has a class.

    Raises ValueError for a window without time zone or of no length.
    """
    start, end = utc_window(start, end)
    ac = measure_side(meters, METER, settings, charger_classes)
    dc = measure_side(vehicles, VEHICLE, settings)
    network = _network(ac.side, dc.side, links)
    window = microseconds(start), microseconds(end)
    # A charger that feeds one vehicle all the time, and nobody else does, has the vehicle's facts.
    is_one = _is_one_with_vehicle(network, ac.intervals, dc.intervals, *window)
    found = _facts(ac, dc, network, np.flatnonzero(~is_one), *window)
    within = clip_links(links.lazy(), start, end).collect()
    of_vehicles = vehicle_rows(
        found.facts.of(np.arange(len(network.vehicles))),
        network.vehicles,
        _link_summary(within, network, found.given, charger_classes),
        settings,
    )
    of_chargers = charger_rows(
        found.facts.of(found.charger_row),
        found.unlinked,
        network.meters,
        _charger_summary(within, network, charger_classes),
        settings,
    )
    return EfficiencyTables(of_vehicles, of_chargers)


def vehicle_efficiency(
    meters: pl.DataFrame,
    vehicles: pl.DataFrame,
    links: pl.DataFrame,
    charger_classes: pl.DataFrame,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> pl.DataFrame:
    """Compute the rows of vehicles alone; arguments and errors of `efficiency_tables`."""
    start, end = utc_window(start, end)
    ac = measure_side(meters, METER, settings, charger_classes)
    dc = measure_side(vehicles, VEHICLE, settings)
    network = _network(ac.side, dc.side, links)
    nobody = np.zeros(0, np.int64)
    found = _facts(ac, dc, network, nobody, microseconds(start), microseconds(end))
    within = clip_links(links.lazy(), start, end).collect()
    summary = _link_summary(within, network, found.given, charger_classes)
    return vehicle_rows(found.facts, network.vehicles, summary, settings)


def efficiency_of_few(
    ac: MeasuredSide,
    dc: MeasuredSide,
    links: Sequence[Link],
    charger_classes: Mapping[str, str],
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> dict[str, dict[str, Any]]:
    """Compute the rows of `vehicle_efficiency` by vehicle, without the cost of frames.

    `charger_classes` has the class of each meter that has one.
    """
    start, end = utc_window(start, end)
    network = _network_of_few(ac.side, dc.side, links)
    nobody = np.zeros(0, np.int64)
    found = _facts(ac, dc, network, nobody, microseconds(start), microseconds(end))
    vehicles, meters = network.vehicles.to_list(), network.meters.to_list()
    within = [link for link in links if link.valid_from < end and link.valid_to > start]
    given: dict[str, list[tuple[int, str]]] = {vehicle: [] for vehicle in vehicles}
    for link in within:
        given[link.vehicle_id].append((0, link.meter_id))
    for vehicle, meter, energy in zip(
        network.pair_vehicle.tolist(),
        network.pair_meter.tolist(),
        found.given.tolist(),
        strict=True,
    ):
        if (0, meters[meter]) in (of_vehicle := given[vehicles[vehicle]]):
            of_vehicle.append((-energy, meters[meter]))
    is_linked = np.array([bool(given[vehicle]) for vehicle in vehicles], np.bool_)
    stays = known_vehicles(found.facts, is_linked)
    rows = {}
    classes = [
        charger_classes.get(min(given[name])[1]) if given[name] else None
        for name in (vehicles[number] for number in stays.tolist())
    ]
    shown = shown_of_vehicles(found.facts.of(stays), is_linked[stays], classes, settings)
    for row, number in enumerate(stays.tolist()):
        vehicle = vehicles[number]
        sources = {link.source for link in within if link.vehicle_id == vehicle}
        rows[vehicle] = {
            "vehicle_id": vehicle,
            "link_source": "+".join(sorted(sources, key=STRONGEST_FIRST.index)) or None,
            "meter_ids": sorted({meter for _, meter in given[vehicle]}),
            "charger_class": classes[row],
            **{name: column.at(row) for name, column in shown.items()},
        }
    return rows


def linked_sides(
    ac: MeasuredSide, dc: MeasuredSide, links: Sequence[Link], start: datetime, end: datetime
) -> tuple[SideReadings, SideReadings]:
    """Return both sides of vehicles for a window, numbered in the order of their ids."""
    network, nobody = _network_of_few(ac.side, dc.side, links), np.zeros(0, np.int64)
    found = _sides(ac, dc, network, nobody, microseconds(start), microseconds(end))
    return found.ac, found.dc


def measure_side(
    rows: pl.DataFrame,
    stream: Stream,
    settings: EnergySettings,
    charger_classes: pl.DataFrame | None = None,
) -> MeasuredSide:
    """Return what the energies of heartbeats mean; the arguments of `efficiency_tables`."""
    return measured(read_side(rows, stream, settings, charger_classes), settings)


def measured(side: Side, settings: EnergySettings) -> MeasuredSide:
    """Return a side with what its energies mean."""
    intervals = energy_intervals(
        side.readings,
        side.channels,
        round(settings.nominal_interval_seconds * SECOND),
        round(settings.register_noise_kwh * KWH),
    )
    return MeasuredSide(side, intervals)


def reach_of_crossing(
    ac: MeasuredSide, dc: MeasuredSide, start: datetime, end: datetime
) -> tuple[datetime, datetime]:
    """Return the time of a window and of all energy that crosses an edge of it."""
    since, until = microseconds(start), microseconds(end)
    first, last = since, until
    for _, intervals in (ac, dc):
        flows = (intervals.kind == KNOWN) & (intervals.energy != 0)
        begins, ends = intervals.start[flows], intervals.end[flows]
        first = min(first, int(begins[(begins < since) & (ends > since)].min(initial=first)))
        last = max(last, int(ends[(begins < until) & (ends > until)].max(initial=last)))
    return EPOCH + first * _MICROSECOND, EPOCH + last * _MICROSECOND


def devices_with_energy(
    rows: pl.DataFrame,
    stream: Stream,
    settings: EnergySettings,
    charger_classes: pl.DataFrame,
    start: datetime,
    end: datetime,
) -> list[str]:
    """Return the devices of which energy flowed in [start, end); arguments of `measure_side`."""
    if rows.is_empty():
        return []
    side, energy = _energy_of_devices(rows, stream, settings, charger_classes, start, end)
    return side.devices.filter(pl.Series(energy != 0)).to_list()


def measured_energy_kwh(
    rows: pl.DataFrame,
    stream: Stream,
    settings: EnergySettings,
    charger_classes: pl.DataFrame,
    start: datetime,
    end: datetime,
) -> float:
    """Return all that the devices have measured in [start, end); arguments of `measure_side`."""
    _, energy = _energy_of_devices(rows, stream, settings, charger_classes, start, end)
    return round(int(energy.sum()) / KWH, 9)


def _energy_of_devices(
    rows: pl.DataFrame,
    stream: Stream,
    settings: EnergySettings,
    charger_classes: pl.DataFrame,
    start: datetime,
    end: datetime,
) -> tuple[Side, Integers]:
    start, end = utc_window(start, end)
    side, intervals = measure_side(rows, stream, settings, charger_classes)
    windows = _windows(len(side.devices), microseconds(start), microseconds(end))
    return side, energy_in(own_pieces(intervals, side.channel_device), windows).total


class _Network(NamedTuple):
    """All devices, numbered in the order of their ids, and the links between them.

    A pair is a meter and a vehicle that some link joins; pairs are sorted by vehicle, then meter.
    """

    meters: pl.Series
    vehicles: pl.Series
    meter_of_device: Integers
    """The number of each device of the AC side's heartbeats."""
    vehicle_of_device: Integers
    link_meter: Integers
    link_vehicle: Integers
    link_pair: Integers
    link_start: Integers
    link_end: Integers
    pair_meter: Integers
    pair_vehicle: Integers


class _Found(NamedTuple):
    facts: Facts
    """Of the vehicles, then of the chargers that are not one with a vehicle."""
    charger_row: Integers
    """Where in them the facts of each charger are."""
    unlinked: WindowEnergy
    """Of each charger, while it fed no vehicle."""
    given: Integers
    """What the meter of each pair gave its vehicle in the window."""


def _network(ac: Side, dc: Side, links: pl.DataFrame) -> _Network:
    meters, meter_of_device, link_meter = _numbered(ac.devices, links["meter_id"])
    vehicles, vehicle_of_device, link_vehicle = _numbered(dc.devices, links["vehicle_id"])
    pair, link_pair = np.unique(link_vehicle * (len(meters) + 1) + link_meter, return_inverse=True)
    return _Network(
        meters,
        vehicles,
        meter_of_device,
        vehicle_of_device,
        link_meter,
        link_vehicle,
        link_pair,
        links["valid_from"].to_physical().to_numpy(),
        links["valid_to"].to_physical().to_numpy(),
        pair % (len(meters) + 1),
        pair // (len(meters) + 1),
    )


def _network_of_few(ac: Side, dc: Side, links: Sequence[Link]) -> _Network:
    """The same as `_network`, faster for few devices."""
    meters = sorted({*ac.devices, *(link.meter_id for link in links)})
    vehicles = sorted({*dc.devices, *(link.vehicle_id for link in links)})
    meter_number = {name: number for number, name in enumerate(meters)}
    vehicle_number = {name: number for number, name in enumerate(vehicles)}
    ends = [(vehicle_number[link.vehicle_id], meter_number[link.meter_id]) for link in links]
    pairs = sorted(set(ends))
    columns = [
        np.array(column, np.int64)
        for column in (
            [meter_number[name] for name in ac.devices],
            [vehicle_number[name] for name in dc.devices],
            [meter for _, meter in ends],
            [vehicle for vehicle, _ in ends],
            [pairs.index(pair) for pair in ends],
            [microseconds(link.valid_from) for link in links],
            [microseconds(link.valid_to) for link in links],
            [meter for _, meter in pairs],
            [vehicle for vehicle, _ in pairs],
        )
    ]
    return _Network(
        pl.Series("meter_id", meters, pl.String),
        pl.Series("vehicle_id", vehicles, pl.String),
        *columns,
    )


def _numbered(heard: pl.Series, linked: pl.Series) -> tuple[pl.Series, Integers, Integers]:
    """Return all ids in order, and the numbers of those heard and of those of links."""
    if linked.is_empty():
        return heard, np.arange(len(heard)), np.zeros(0, np.int64)
    ids = pl.concat([heard.cast(pl.String), linked.cast(pl.String)]).unique().sort()

    def number(names: pl.Series) -> Integers:
        return ids.search_sorted(names.cast(pl.String)).cast(pl.Int64).to_numpy()

    return ids, number(heard), number(linked)


class _Sides(NamedTuple):
    ac: SideReadings
    dc: SideReadings
    owners: int
    charger_row: Integers
    unlinked: Pieces
    unlinked_spans: Spans
    given: Integers


def _facts(
    ac: MeasuredSide, dc: MeasuredSide, network: _Network, others: Integers, start: int, end: int
) -> _Found:
    """Compute the facts of all vehicles, and of the chargers `others` by number."""
    sides = _sides(ac, dc, network, others, start, end)
    temperature = (
        network.vehicle_of_device[dc.side.temperature_device],
        dc.side.temperature_time,
        dc.side.temperature,
    )
    return _Found(
        window_facts(sides.ac, sides.dc, _windows(sides.owners, start, end), temperature),
        sides.charger_row,
        energy_in(sides.unlinked, _windows(len(network.meters), start, end), sides.unlinked_spans),
        sides.given,
    )


def _windows(owners: int, start: int, end: int) -> Windows:
    return Windows(np.full(owners, start), np.full(owners, end))


def _sides(
    ac: MeasuredSide, dc: MeasuredSide, network: _Network, others: Integers, start: int, end: int
) -> _Sides:
    cars, boxes, pairs = len(network.vehicles), len(network.meters), len(network.pair_meter)
    ac = ac._replace(intervals=_near(ac.intervals, start, end))
    dc = dc._replace(intervals=_near(dc.intervals, start, end))
    meter_of_channel = network.meter_of_device[ac.side.channel_device]
    vehicle_of_channel = network.vehicle_of_device[dc.side.channel_device]
    links = network.link_pair, network.link_start, network.link_end
    by_meter = feeds_of(network.link_meter, *links)
    given, unlinked = attribute(ac.intervals, meter_of_channel, by_meter)
    given_energy = energy_in(given, _windows(pairs, start, end)).total
    by_vehicle = share(feeds_of(network.link_vehicle, *links), given_energy)

    owner = np.full(boxes, -1)
    owner[others] = cars + np.arange(len(others))
    charger_of_pair = owner[network.pair_meter]
    row = owner.copy()
    row[network.pair_meter[charger_of_pair < 0]] = network.pair_vehicle[charger_of_pair < 0]

    received, _ = attribute(
        _of_devices(dc.intervals, vehicle_of_channel, network.pair_vehicle[charger_of_pair >= 0]),
        vehicle_of_channel,
        by_vehicle,
    )
    heard_ac = network.meter_of_device[ac.side.device], ac.side.time, ac.side.duplicates
    heard_dc = network.vehicle_of_device[dc.side.device], dc.side.time, dc.side.duplicates
    active = _active_channels(ac, meter_of_channel, boxes, start, end)
    channels = np.bincount(meter_of_channel[active], minlength=boxes)
    of_link = channels[network.link_meter]
    given, unlinked = _only_active(given, active), _only_active(unlinked, active)
    side_ac = SideReadings(
        _joined_pieces(
            _with_owner(given, network.pair_vehicle), _with_owner(given, charger_of_pair)
        ),
        _joined_spans(
            spans_of(network.link_vehicle, network.link_start, network.link_end, of_link),
            spans_of(owner[network.link_meter], network.link_start, network.link_end, of_link),
        ),
        _joined_heartbeats(
            _heard_by(attribute_heartbeats(*heard_ac, by_meter), network.pair_vehicle),
            _heard_by(Heartbeats(*heard_ac), owner),
        ),
    )
    side_dc = SideReadings(
        _joined_pieces(
            own_pieces(dc.intervals, vehicle_of_channel), _with_owner(received, charger_of_pair)
        ),
        None,
        _joined_heartbeats(
            Heartbeats(*heard_dc),
            _heard_by(_received_by(heard_dc, by_vehicle, others), charger_of_pair),
        ),
    )
    of_phases = np.flatnonzero(channels > 1)
    always = np.full(len(of_phases), start - _DAY), np.full(len(of_phases), end + _DAY)
    spans = spans_of(of_phases, *always, channels[of_phases])
    return _Sides(side_ac, side_dc, cars + len(others), row, unlinked, spans, given_energy)


def _near(intervals: Intervals, start: int, end: int) -> Intervals:
    """Return the intervals that a window may have to do with, for what crosses its edges as well.

    Readings of clocks that stood years ago are context too, and times of all owners share an axis.
    """
    first, last = start - _LONGEST_INTERVAL, end + _LONGEST_INTERVAL
    near = (intervals.end > first) & (intervals.start < last)
    if not near.all():
        intervals = Intervals(*(column[near] for column in intervals))
    # Only a register that stood still has a longer interval, of no energy.
    return intervals._replace(start=np.maximum(intervals.start, first))


def _active_channels(
    side: MeasuredSide, device: Integers, devices: int, start: int, end: int
) -> Flags:
    """Tell the channels that must be known for their device to be known.

    Of several those with a reading in the window or in the day before; if none has one, all.
    """
    active = np.ones(len(device), np.bool_)
    if len(device) == devices or not (np.bincount(device) > 1).any():
        return active
    readings = side.side.readings
    near = (readings.time >= start - _DAY) & (readings.time <= end)
    heard = np.zeros(len(device), np.bool_)
    heard[readings.channel[near]] = True
    is_heard = np.zeros(devices, np.bool_)
    is_heard[device[heard]] = True
    return np.where(is_heard[device], heard, active)


def _only_active(pieces: Pieces, active: Flags) -> Pieces:
    """Return the pieces with the mark of those that make nothing known."""
    if active.all():
        return pieces
    return pieces._replace(channel=np.where(active[pieces.channel], pieces.channel, INACTIVE))


def _is_one_with_vehicle(
    network: _Network, ac: Intervals, dc: Intervals, start: int, end: int
) -> Flags:
    """Tell meters that feed one vehicle during all that is known of both, and nobody else does."""
    begins = min([start, *(int(side.start.min()) for side in (ac, dc) if len(side.start))])
    ends = max([end, *(int(side.end.max()) for side in (ac, dc) if len(side.end))])
    links_of_meter = np.bincount(network.link_meter, minlength=len(network.meters))
    links_of_vehicle = np.bincount(network.link_vehicle, minlength=len(network.vehicles))
    is_alone = (
        (links_of_meter[network.link_meter] == 1)
        & (links_of_vehicle[network.link_vehicle] == 1)
        & (network.link_start <= begins)
        & (network.link_end >= ends)
    )
    found = np.zeros(len(network.meters), np.bool_)
    found[network.link_meter[is_alone]] = True
    return found


def _of_devices(intervals: Intervals, device: Integers, wanted: Integers) -> Intervals:
    mask = np.isin(device[intervals.channel], wanted)
    return Intervals(*(column[mask] for column in intervals))


def _with_owner(pieces: Pieces, owner: Integers) -> Pieces:
    """Return the pieces with another owner for each; where that is negative, they are left out."""
    owners = owner[pieces.owner]
    stay = owners >= 0
    if stay.all():
        return pieces._replace(owner=owners)
    return Pieces(owners[stay], *(column[stay] for column in pieces[1:]))


def _received_by(
    heard: tuple[Integers, Integers, Integers], by_vehicle: Feeds, others: Integers
) -> Heartbeats:
    if not len(others):
        return Heartbeats(*(column[:0] for column in heard))
    return attribute_heartbeats(*heard, by_vehicle)


def _joined_pieces(one: Pieces, other: Pieces) -> Pieces:
    if not len(other.owner):
        return in_order(one, one.owner, one.end)
    joined = Pieces(*(np.concatenate(columns) for columns in zip(one, other, strict=True)))
    return in_order(joined, joined.owner, joined.end)


def _joined_spans(one: Spans, other: Spans) -> Spans:
    stay = other.owner >= 0
    return Spans(*(np.concatenate((a, b[stay])) for a, b in zip(one, other, strict=True)))


def _heard_by(heard: Heartbeats, owner: Integers) -> Heartbeats:
    owners = owner[heard.owner]
    stay = owners >= 0
    return Heartbeats(owners[stay], heard.time[stay], heard.duplicates[stay])


def _joined_heartbeats(one: Heartbeats, other: Heartbeats) -> Heartbeats:
    if not len(other.owner):
        return in_order(one, one.owner, one.time)
    joined = Heartbeats(*(np.concatenate(columns) for columns in zip(one, other, strict=True)))
    return in_order(joined, joined.owner, joined.time)


def _link_summary(
    within: pl.DataFrame, network: _Network, given: Integers, classes: pl.DataFrame
) -> pl.DataFrame:
    """vehicle_id, link_source, meter_ids and charger_class of each vehicle with a link.

    The class is that of the meter that gave the most; of equal ones the first by id.
    """
    if within.is_empty():
        return pl.DataFrame(schema=_LINK_SUMMARY)
    pairs = pl.DataFrame(
        {
            "meter_id": network.meters.gather(network.pair_meter),
            "vehicle_id": network.vehicles.gather(network.pair_vehicle),
            "given": given,
        }
    )
    return (
        within.lazy()
        .with_columns(pl.col("source").cast(_SOURCES))
        .join(pairs.lazy(), on=["meter_id", "vehicle_id"], how="left")
        .join(classes.lazy().select("meter_id", "charger_class"), on="meter_id", how="left")
        .sort("vehicle_id", "given", "meter_id", descending=[False, True, False])
        .group_by("vehicle_id", maintain_order=True)
        .agg(
            link_source=pl.col("source").unique().sort().cast(pl.String).str.join("+"),
            meter_ids=pl.col("meter_id").unique().sort(),
            charger_class=pl.col("charger_class").first(),
        )
        .collect()
    )


def _charger_summary(
    within: pl.DataFrame, network: _Network, classes: pl.DataFrame
) -> pl.DataFrame:
    """meter_id, charger_class and vehicle_ids of each meter."""
    vehicles = (
        within.lazy().group_by("meter_id").agg(vehicle_ids=pl.col("vehicle_id").unique().sort())
    )
    return (
        network.meters.to_frame("meter_id")
        .lazy()
        .join(vehicles, on="meter_id", how="left")
        .join(classes.lazy().select("meter_id", "charger_class"), on="meter_id", how="left")
        .collect()
    )
