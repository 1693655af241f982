"""Energy and efficiency of vehicles, exact up to what was acknowledged a moment ago.

First the context from one Postgres snapshot (links, hours that wait for a compaction, heartbeats
still in the outbox), only then the lake: a heartbeat leaves the outbox after the lake has it, so in
this order none is missed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingestion_api.analytics.performance.kept_vehicles import KeptVehicles
from ingestion_api.analytics.performance.long_windows import LongWindows
from ingestion_api.analytics.performance.vehicle_context import VehicleContext
from ingestion_api.rest.parameters import Period
from lake import EnergySettings
from lake.energy import Link, rows_of_few
from lake.reads import LakeSnapshot


@dataclass(frozen=True)
class Performance:
    """The row of `vehicle_efficiency`, None if the window holds nothing, and its links."""

    period: Period
    row: dict[str, Any] | None
    links: list[dict[str, Any]]


def compute_performances(
    view: LakeSnapshot,
    context: VehicleContext,
    energy: EnergySettings,
    long: LongWindows,
    kept: KeptVehicles,
) -> dict[str, Performance]:
    """Read the lake and compute for all vehicles asked for; blocks, so not for the event loop.

    What comes out for a vehicle is the same beside any others.
    """
    found: dict[str, Performance] = {}
    for vehicle in context.asked:
        whole = long.performance_of(view, context.only([vehicle]))
        if whole is not None:
            row, links = whole
            cut = _links_in(context.period, [vehicle], links)[vehicle]
            found[vehicle] = Performance(context.period, row, cut)
    rest = [vehicle for vehicle in context.asked if vehicle not in found]
    if rest:
        found |= _computed(view, context.only(rest), energy, kept)
    return found


def _computed(
    view: LakeSnapshot, context: VehicleContext, energy: EnergySettings, kept: KeptVehicles
) -> dict[str, Performance]:
    facts, links = kept.facts_of(view, context)
    rows = rows_of_few(facts, links, context.charger_classes, energy)
    cut = _links_in(context.period, context.asked, links)
    return {
        vehicle: Performance(context.period, rows.get(vehicle), cut[vehicle])
        for vehicle in context.asked
    }


def _links_in(
    period: Period, vehicles: Iterable[str], links: Sequence[Link]
) -> Mapping[str, list[dict[str, Any]]]:
    """The links of each vehicle in the window, cut to it, by time."""
    found: dict[str, list[dict[str, Any]]] = {vehicle: [] for vehicle in vehicles}
    for link in sorted(links, key=lambda link: (link.valid_from, link.meter_id)):
        since, until = max(link.valid_from, period.start), min(link.valid_to, period.end)
        if since < until:
            cut = link._replace(valid_from=since, valid_to=until)
            found[link.vehicle_id].append(cut._asdict())
    return found
