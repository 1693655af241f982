"""The efficiency of vehicles and chargers in a window, from their heartbeats.

Terms, formulas and limits are explained in docs/energy.md; the columns in lake/schema.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl

from lake.energy.fact_columns import (
    charger_rows,
    known_vehicles,
    shown_of_vehicles,
    vehicle_rows,
)
from lake.energy.facts import merge_facts, packed_facts, unpacked_facts
from lake.energy.intervals import Integers
from lake.energy.links import STRONGEST_FIRST, clip_links
from lake.energy.measured_side import MeasuredSide, measure_side
from lake.energy.network import (
    Link,
    Network,
    NetworkFacts,
    network_facts,
    network_of,
    network_of_few,
    running_vehicles,
)
from lake.energy.pieces import Pieces, Windows
from lake.energy.windows import RunningFacts, total_in
from lake.schema.partitions import microseconds, utc_window
from lake.schema.streams import METER, VEHICLE
from lake.settings import EnergySettings

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


class WindowEfficiency(NamedTuple):
    """The efficiency of all devices in a window, with the facts that it was computed from."""

    tables: EfficiencyTables
    network: Network
    found: NetworkFacts


def efficiency_of_window(
    meters: pl.DataFrame,
    vehicles: pl.DataFrame,
    links: pl.DataFrame,
    charger_classes: pl.DataFrame,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> WindowEfficiency:
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
    network = network_of(ac.side, dc.side, links)
    window = microseconds(start), microseconds(end)
    found = network_facts(ac, dc, network, *window)
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
    return WindowEfficiency(EfficiencyTables(of_vehicles, of_chargers), network, found)


class FactsOfFew(NamedTuple):
    """Facts of vehicles in a window."""

    vehicles: list[str]
    """In order; the facts have a column of each."""
    packed: Integers
    """As `packed_facts` returns them: small to keep, fast to merge."""
    given: Mapping[tuple[str, str], int]
    """By vehicle and meter: what the meter gave the vehicle, whole microwatt-hours."""


def facts_of_few(
    ac: MeasuredSide, dc: MeasuredSide, links: Sequence[Link], start: datetime, end: datetime
) -> FactsOfFew:
    """Compute the facts of vehicles in a window, without the cost of frames."""
    return running_few(ac, dc, links, start, end).between(start, end)


class RunningFew(NamedTuple):
    """Sums along the time of vehicles, that tell the facts of any window within it."""

    vehicles: list[str]
    facts: RunningFacts
    pairs: list[tuple[str, str]]
    """Vehicles and meters that a link joins."""
    given: Pieces | None
    """What the meter of each pair gave; None: each vehicle has one meter, which gave it all."""

    def between(self, start: datetime, end: datetime) -> FactsOfFew:
        """Return the facts of a window."""
        first, last = microseconds(start), microseconds(end)
        facts = self.facts.between(Windows.alike(len(self.vehicles), first, last))
        if self.given is None:
            of_vehicle = dict(
                zip(self.vehicles, (facts.ac.placed + facts.ac.unplaced).tolist(), strict=True)
            )
            given = {pair: of_vehicle[pair[0]] for pair in self.pairs}
        else:
            energy = total_in(self.given, Windows.alike(len(self.pairs), first, last))
            given = dict(zip(self.pairs, energy.tolist(), strict=True))
        return FactsOfFew(self.vehicles, packed_facts(facts), given)

    def of_vehicle(self, number: int) -> "RunningFew":
        """Return those of one vehicle, by its place, without those of others."""
        if len(self.vehicles) == 1:
            return self
        vehicle = self.vehicles[number]
        places = [place for place, pair in enumerate(self.pairs) if pair[0] == vehicle]
        given = None
        if self.given is not None and len(places) > 1:
            mine = np.isin(self.given.owner, places)
            given = Pieces(*(column[mine] for column in self.given))
            given = given._replace(owner=given.owner - places[0])
        pairs = [self.pairs[place] for place in places]
        return RunningFew([vehicle], self.facts.of_owner(number), pairs, given)

    @property
    def bytes(self) -> int:
        """About the memory that they take."""
        return self.facts.bytes + sum(column.nbytes for column in self.given or ())


def running_few(
    ac: MeasuredSide, dc: MeasuredSide, links: Sequence[Link], start: datetime, end: datetime
) -> RunningFew:
    """Return what tells the facts of any window within [start, end).

    They are those of `facts_of_few`, but where phases of a meter come and go in that time.
    """
    network = network_of_few(ac.side, dc.side, links)
    facts, given = running_vehicles(ac, dc, network, microseconds(start), microseconds(end))
    vehicles, meters = network.vehicles.to_list(), network.meters.to_list()
    pairs = [
        (vehicles[vehicle], meters[meter])
        for vehicle, meter in zip(
            network.pair_vehicle.tolist(), network.pair_meter.tolist(), strict=True
        )
    ]
    has_one = len({vehicle for vehicle, _ in pairs}) == len(pairs)
    return RunningFew(vehicles, facts, pairs, None if has_one else given)


def joined_few(parts: Sequence[FactsOfFew]) -> FactsOfFew:
    """Join the facts of different vehicles in one window."""
    if len(parts) == 1:
        return parts[0]
    names = [name for part in parts for name in part.vehicles]
    order = sorted(range(len(names)), key=names.__getitem__)
    packed = np.concatenate([part.packed for part in parts], axis=1)[:, order]
    given = {pair: energy for part in parts for pair, energy in part.given.items()}
    return FactsOfFew([names[place] for place in order], packed, given)


def merged_few(parts: Sequence[FactsOfFew], start: datetime, end: datetime) -> FactsOfFew:
    """Merge the facts of windows that follow one another to those of [start, end)."""
    vehicles = sorted({name for part in parts for name in part.vehicles})
    number = {name: place for place, name in enumerate(vehicles)}
    owner = np.array([number[name] for part in parts for name in part.vehicles], np.int64)
    order = np.argsort(owner, kind="stable")
    packed = np.concatenate([part.packed for part in parts], axis=1)[:, order]
    given: Counter[tuple[str, str]] = Counter()
    for part in parts:
        given.update(part.given)
    if vehicles:
        window = microseconds(start), microseconds(end)
        packed = packed_facts(merge_facts(unpacked_facts(packed), owner[order], *window))
    return FactsOfFew(vehicles, packed, given)


def rows_of_few(
    few: FactsOfFew,
    links: Sequence[Link],
    charger_classes: Mapping[str, str],
    settings: EnergySettings,
) -> dict[str, dict[str, Any]]:
    """Return the rows of `efficiency_of_window` by vehicle.

    `links` are those of the window, or more; `charger_classes` has the class of each meter that has
    one.
    """
    vehicles, facts = few.vehicles, unpacked_facts(few.packed)
    if not vehicles:
        return {}
    start, end = int(facts.start[0]), int(facts.end[0])
    within = [
        link
        for link in links
        if microseconds(link.valid_from) < end and microseconds(link.valid_to) > start
    ]
    linked = {(link.vehicle_id, link.meter_id) for link in within}
    # The meters of each vehicle by what they gave it, the greatest first.
    given: dict[str, list[tuple[int, str]]] = {vehicle: [] for vehicle in vehicles}
    for (vehicle, meter), energy in few.given.items():
        if (vehicle, meter) in linked:
            given[vehicle].append((-energy, meter))
    is_linked = np.array([bool(given[vehicle]) for vehicle in vehicles], np.bool_)
    stays = known_vehicles(facts, is_linked)
    rows = {}
    classes = [
        charger_classes.get(min(given[name])[1]) if given[name] else None
        for name in (vehicles[number] for number in stays.tolist())
    ]
    if len(stays) < len(vehicles):
        facts, is_linked = facts.of(stays), is_linked[stays]
    shown = shown_of_vehicles(facts, is_linked, classes, settings)
    for row, number in enumerate(stays.tolist()):
        vehicle = vehicles[number]
        sources = {link.source for link in within if link.vehicle_id == vehicle}
        rows[vehicle] = {
            "vehicle_id": vehicle,
            "link_source": "+".join(sorted(sources, key=STRONGEST_FIRST.index)) or None,
            "meter_ids": sorted(meter for _, meter in given[vehicle]),
            "charger_class": classes[row],
            **{name: column.at(row) for name, column in shown.items()},
        }
    return rows


def _link_summary(
    within: pl.DataFrame, network: Network, given: Integers, classes: pl.DataFrame
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


def _charger_summary(within: pl.DataFrame, network: Network, classes: pl.DataFrame) -> pl.DataFrame:
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
