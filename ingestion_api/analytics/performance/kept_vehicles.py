"""Facts of vehicles asked for lately, in a form that tells those of any window of some hours.

They hold until something that they rest on is another: the files and heartbeats in which their
readings lie, links and classes. Any window of the same hours rests on the same readings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from ingestion_api.analytics.performance.readings import VehicleReadings, known_links, read_vehicles
from ingestion_api.analytics.performance.sources import Device, Source, Waiting
from ingestion_api.analytics.performance.vehicle_context import Told, VehicleContext, hours_of
from ingestion_api.database.dedicated_connection import Row
from lake import METER, VEHICLE, EnergySettings
from lake.energy import FactsOfFew, Link, RunningFew, facts_of_few, joined_few, running_few
from lake.reads import LakeSnapshot, LruCache, Reach

_BYTES_BESIDE: Final = 5_000


class _Basis(NamedTuple):
    """What the facts of a vehicle rest on."""

    links: Sequence[Link]
    """Those that are known without its heartbeats."""
    rows: Sequence[Row]
    vehicles: Sequence[str]
    told: Told
    sources: Mapping[Device, Source]


@dataclass(frozen=True)
class _Kept:
    facts: RunningFew
    links: Sequence[Link]
    reach: Mapping[Device, Reach]
    basis: _Basis

    @property
    def bytes(self) -> int:
        """About the memory that it takes."""
        return _BYTES_BESIDE + self.facts.bytes


class KeptVehicles:
    """Facts of vehicles in windows; safe between threads. Keeps about `max_bytes` of them."""

    def __init__(self, energy: EnergySettings, max_bytes: int) -> None:
        self._energy = energy
        self._kept: LruCache[tuple[str, datetime, datetime], _Kept] = LruCache(max_bytes)

    def facts_of(
        self, view: LakeSnapshot, context: VehicleContext
    ) -> tuple[FactsOfFew, list[Link]]:
        """Return the facts of the vehicles asked for, and their links; reads what is not kept."""
        window, waiting = (context.period.start, context.period.end), Waiting(context)
        hours = hours_of(context.period)
        parts: list[FactsOfFew] = []
        links: list[Link] = []
        missing = []
        for vehicle in context.asked:
            kept = self._kept.get((vehicle, hours.start, hours.end))
            alone = context.only([vehicle])
            if kept is None or kept.basis != _basis(view, alone, waiting, kept.reach, kept.links):
                missing.append(vehicle)
                continue
            parts.append(kept.facts.between(*window))
            links += kept.links
        if missing:
            context = context.only(missing)
            found = read_vehicles(view, context, self._energy)
            links += found.links
            sides = found.ac, found.dc, found.links
            if found.lasting:
                running = running_few(*sides, hours.start, hours.end)
                self._keep(view, context, waiting, found, running)
            if len(found.lasting) == len(missing):
                parts.append(running.between(*window))
            else:
                parts.append(facts_of_few(*sides, *window))
        return joined_few(parts), links

    def _keep(
        self,
        view: LakeSnapshot,
        context: VehicleContext,
        waiting: Waiting,
        found: VehicleReadings,
        running: RunningFew,
    ) -> None:
        hours = hours_of(context.period)
        for number, vehicle in enumerate(running.vehicles):
            if vehicle not in found.lasting:
                continue
            alone = context.only([vehicle])
            links = [link for link in found.links if link.vehicle_id == vehicle]
            meters = {link.meter_id for link in links}
            vehicles = alone.vehicles if found.names_any else [vehicle]
            devices = [(METER.name, name) for name in meters]
            devices += [(VEHICLE.name, name) for name in vehicles]
            reach = {device: found.reach[device] for device in devices}
            kept = _Kept(
                running.of_vehicle(number),
                links,
                reach,
                _basis(view, alone, waiting, reach, links),
            )
            self._kept.put((vehicle, hours.start, hours.end), kept)


def _basis(
    view: LakeSnapshot,
    context: VehicleContext,
    waiting: Waiting,
    reach: Mapping[Device, Reach],
    links: Sequence[Link],
) -> _Basis:
    """What the facts of the one vehicle asked for rest on now."""
    return _Basis(
        known_links(context),
        context.links,
        context.vehicles,
        context.told_of(reach),
        {device: waiting.source_of(view, device, time) for device, time in reach.items()},
    )
