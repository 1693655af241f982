"""Vehicles and chargers with the links between them, and their facts in a window.

Explained in docs/energy.md.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from lake.energy.attribution import (
    attribute,
    attribute_heartbeats,
    feeds_of,
    in_order,
    joined,
    own_pieces,
    share,
    spans_of,
)
from lake.energy.facts import Facts, WindowEnergy
from lake.energy.intervals import HOUR, Flags, Integers, Intervals
from lake.energy.measured_side import MeasuredSide, near_window
from lake.energy.pieces import INACTIVE, Heartbeats, Pieces, SideReadings, Spans, Windows
from lake.energy.readings import Side
from lake.energy.windows import RunningFacts, energy_in, total_in
from lake.schema.partitions import microseconds

# A phase that was silent for so long before a window is no part of its meter any more.
_DAY: Final = 24 * HOUR


class Link(NamedTuple):
    """A meter feeds a vehicle in [valid_from, valid_to)."""

    meter_id: str
    vehicle_id: str
    valid_from: datetime
    valid_to: datetime
    source: str


class Network(NamedTuple):
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


class VehicleSides(NamedTuple):
    """Both sides of all vehicles around a window, of which shorter ones have their facts."""

    ac: SideReadings
    """By the number of the vehicle; owners beyond the vehicles are chargers."""
    dc: SideReadings
    temperature: tuple[Integers, Integers, Integers]


class NetworkFacts(NamedTuple):
    """Facts of all vehicles and chargers in a window."""

    sides: VehicleSides
    running: RunningFacts
    """Of the owners of the facts, in the window."""
    facts: Facts
    """Of the vehicles, then of the chargers that are not one with a vehicle."""
    charger_row: Integers
    """Where in them the facts of each charger are."""
    unlinked: WindowEnergy
    """Of each charger, while it fed no vehicle."""
    given: Integers
    """What the meter of each pair gave its vehicle in the window."""


def network_of(ac: Side, dc: Side, links: pl.DataFrame) -> Network:
    """Return the devices of both sides, and of links with the columns LINK_COLUMNS."""
    meters, meter_of_device, link_meter = _numbered(ac.devices, links["meter_id"])
    vehicles, vehicle_of_device, link_vehicle = _numbered(dc.devices, links["vehicle_id"])
    pair, link_pair = np.unique(link_vehicle * (len(meters) + 1) + link_meter, return_inverse=True)
    return Network(
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


def network_of_few(ac: Side, dc: Side, links: Sequence[Link]) -> Network:
    """Return what `network_of` does, faster for few devices."""
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
    return Network(
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


def linked_sides(
    ac: MeasuredSide, dc: MeasuredSide, links: Sequence[Link], start: datetime, end: datetime
) -> tuple[SideReadings, SideReadings]:
    """Return both sides of vehicles for a window, numbered in the order of their ids."""
    network, nobody = network_of_few(ac.side, dc.side, links), np.zeros(0, np.int64)
    found = _sides(ac, dc, network, nobody, microseconds(start), microseconds(end))
    return found.ac, found.dc


class _Sides(NamedTuple):
    ac: SideReadings
    dc: SideReadings
    owners: int
    unlinked: Pieces
    unlinked_spans: Spans
    given: Pieces
    """By pair."""


def network_facts(
    ac: MeasuredSide, dc: MeasuredSide, network: Network, start: int, end: int
) -> NetworkFacts:
    """Compute the facts of all vehicles and chargers in a window, microseconds."""
    # A charger that feeds one vehicle all the time, and nobody else does, has its facts.
    charger_row = _vehicles_at_one_meter(network, ac, dc, start, end)
    others = np.flatnonzero(charger_row < 0)
    charger_row[others] = len(network.vehicles) + np.arange(len(others))
    sides = _sides(ac, dc, network, others, start, end)
    temperature = _temperature(dc.side, network)
    within = Windows.alike(sides.owners, start, end)
    running = RunningFacts.of(sides.ac, sides.dc, within, temperature)
    return NetworkFacts(
        VehicleSides(sides.ac, sides.dc, temperature),
        running,
        running.between(within),
        charger_row,
        energy_in(
            sides.unlinked, Windows.alike(len(network.meters), start, end), sides.unlinked_spans
        ),
        total_in(sides.given, Windows.alike(len(network.pair_meter), start, end)),
    )


def running_vehicles(
    ac: MeasuredSide, dc: MeasuredSide, network: Network, start: int, end: int
) -> tuple[RunningFacts, Pieces]:
    """Return what tells the facts of all vehicles in any window within [start, end), microseconds.

    And the energy that the meter of each pair gave its vehicle. Which phases of a meter count is
    decided for all of the time.
    """
    sides = _sides(ac, dc, network, np.zeros(0, np.int64), start, end)
    within = Windows.alike(sides.owners, start, end)
    facts = RunningFacts.of(sides.ac, sides.dc, within, _temperature(dc.side, network))
    return facts, sides.given


def _temperature(side: Side, network: Network) -> tuple[Integers, Integers, Integers]:
    owner = network.vehicle_of_device[side.temperature_device]
    return owner, side.temperature_time, side.temperature


def _sides(
    ac: MeasuredSide, dc: MeasuredSide, network: Network, others: Integers, start: int, end: int
) -> _Sides:
    vehicles, meters = len(network.vehicles), len(network.meters)
    ac = ac._replace(intervals=near_window(ac.intervals, start, end))
    dc = dc._replace(intervals=near_window(dc.intervals, start, end))
    meter_of_channel = network.meter_of_device[ac.side.channel_device]
    vehicle_of_channel = network.vehicle_of_device[dc.side.channel_device]
    links = network.link_pair, network.link_start, network.link_end
    by_meter = feeds_of(network.link_meter, *links)
    given, unlinked = attribute(ac.intervals, meter_of_channel, by_meter)

    owner = np.full(meters, -1)
    owner[others] = vehicles + np.arange(len(others))
    charger_of_pair = owner[network.pair_meter]

    heard_ac = _heard(ac.side, network.meter_of_device, start, end)
    heard_dc = _heard(dc.side, network.vehicle_of_device, start, end)
    own_dc = own_pieces(dc.intervals, vehicle_of_channel)
    all_dc, all_heard_dc = own_dc, in_order(heard_dc, heard_dc.owner, heard_dc.time)
    if len(others):
        weight = total_in(given, Windows.alike(len(network.pair_meter), start, end))
        by_vehicle = share(feeds_of(network.link_vehicle, *links), weight)
        fed = network.pair_vehicle[charger_of_pair >= 0]
        received, _ = attribute(
            _of_devices(dc.intervals, vehicle_of_channel, fed), vehicle_of_channel, by_vehicle
        )
        all_dc = joined(own_dc, _with_owner(received, charger_of_pair))
        received_heard = attribute_heartbeats(heard_dc, by_vehicle)
        all_heard_dc = joined(all_heard_dc, _heard_by(received_heard, charger_of_pair))
    active = _active_channels(ac, meter_of_channel, meters, start, end)
    channels = np.bincount(meter_of_channel[active], minlength=meters)
    of_link = channels[network.link_meter]
    active_given, unlinked = _only_active(given, active), _only_active(unlinked, active)
    side_ac = SideReadings(
        joined(
            _with_owner(active_given, network.pair_vehicle),
            _with_owner(active_given, charger_of_pair),
        ),
        _joined_spans(
            spans_of(network.link_vehicle, network.link_start, network.link_end, of_link),
            spans_of(owner[network.link_meter], network.link_start, network.link_end, of_link),
        ),
        joined(
            _heard_by(attribute_heartbeats(heard_ac, by_meter), network.pair_vehicle),
            _heard_by(heard_ac, owner),
        ),
    )
    side_dc = SideReadings(all_dc, None, all_heard_dc)
    of_phases = np.flatnonzero(channels > 1)
    always = np.full(len(of_phases), start - _DAY), np.full(len(of_phases), end + _DAY)
    spans = spans_of(of_phases, *always, channels[of_phases])
    return _Sides(side_ac, side_dc, vehicles + len(others), unlinked, spans, given)


def _active_channels(
    side: MeasuredSide, device: Integers, devices: int, start: int, end: int
) -> Flags:
    """Tell the channels that must be known for their device to be known.

    Of several those with a reading in the window or in the day before; if none has one, all.
    """
    active = np.ones(len(device), np.bool_)
    if not (np.bincount(device) > 1).any():
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


def _vehicles_at_one_meter(
    network: Network, ac: MeasuredSide, dc: MeasuredSide, start: int, end: int
) -> Integers:
    """Return for each meter the vehicle that it feeds, and nobody else does; -1: there is none.

    So it is in all that a window takes: the window, the energies that cross its edges, and what
    the other side says of these.
    """
    meters, vehicles = len(network.meters), len(network.vehicles)
    meter, vehicle = network.link_meter, network.link_vehicle
    first, last = np.full(vehicles, start), np.full(vehicles, end)
    sides = (
        (ac.intervals, network.meter_of_device[ac.side.channel_device], meters, meter),
        (dc.intervals, network.vehicle_of_device[dc.side.channel_device], vehicles, vehicle),
    )
    for _ in range(2):
        ranges = first, last
        first, last = first.copy(), last.copy()
        for intervals, device_of_channel, devices, of_link in sides:
            begins, ends = np.full(devices, start), np.full(devices, end)
            np.minimum.at(begins, of_link, ranges[0][vehicle])
            np.maximum.at(ends, of_link, ranges[1][vehicle])
            device = device_of_channel[intervals.channel]
            near = np.flatnonzero(
                (intervals.end > begins[device]) & (intervals.start < ends[device])
            )
            device = device[near]
            np.minimum.at(begins, device, intervals.start[near])
            np.maximum.at(ends, device, intervals.end[near])
            np.minimum.at(first, vehicle, begins[of_link])
            np.maximum.at(last, vehicle, ends[of_link])
    begins, ends = first[vehicle], last[vehicle]
    overlaps = (network.link_start < ends) & (network.link_end > begins)
    links = np.bincount(vehicle[overlaps], minlength=vehicles)
    is_alone = (network.link_start < begins) & (network.link_end >= ends) & (links[vehicle] == 1)
    found = np.full(meters, -1)
    found[meter[is_alone]] = vehicle[is_alone]
    return found


def _of_devices(intervals: Intervals, device: Integers, wanted: Integers) -> Intervals:
    return intervals.of(np.isin(device[intervals.channel], wanted))


def _with_owner(pieces: Pieces, owner: Integers) -> Pieces:
    """Return the pieces with another owner for each; where that is negative, they are left out."""
    owners = owner[pieces.owner]
    stay = np.flatnonzero(owners >= 0)
    if len(stay) == len(owners):
        moved = pieces._replace(owner=owners)
    else:
        moved = Pieces(owners[stay], *(column[stay] for column in pieces[1:]))
    return in_order(moved, moved.owner, moved.end)


def _heard(side: Side, number: Integers, start: int, end: int) -> Heartbeats:
    """The heartbeats of a window by the number of their devices."""
    here = (side.time >= start) & (side.time < end)
    return Heartbeats(number[side.device[here]], side.time[here], side.duplicates[here])


def _joined_spans(one: Spans, other: Spans) -> Spans:
    stay = other.owner >= 0
    return Spans(*(np.concatenate((a, b[stay])) for a, b in zip(one, other, strict=True)))


def _heard_by(heard: Heartbeats, owner: Integers) -> Heartbeats:
    owners = owner[heard.owner]
    stay = np.flatnonzero(owners >= 0)
    mine, time = owners[stay], heard.time[stay]
    return in_order(Heartbeats(mine, time, heard.duplicates[stay]), mine, time)
