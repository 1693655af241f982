"""Energy and efficiency of vehicles, exact up to what was acknowledged a moment ago.

First the facts of one Postgres snapshot (links, hours that wait for a compaction, heartbeats still
in the outbox), only then the lake: a heartbeat leaves the outbox after the lake has it, so in this
order none is missed.
"""

from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from ingestion_api.analytics.performance.single_meter import (
    PerformanceRows,
    single_meter_performance,
)
from ingestion_api.analytics.performance.vehicle_context import VehicleContext
from ingestion_api.rest.parameters import Period
from lake import METER, VEHICLE, EnergySettings, Stream
from lake.energy import (
    links_by_rule,
    measured_energy,
    named_links,
    resolve_links,
    vehicle_efficiency,
)
from lake.engine import IN_MEMORY, NO_OPTIMIZATIONS
from lake.reads import LakeSnapshot


@dataclass(frozen=True)
class Performance:
    """The row of `vehicle_efficiency`, None if the window holds nothing, and its links."""

    period: Period
    row: dict[str, Any] | None
    links: list[dict[str, Any]]


@dataclass(frozen=True)
class MeasuredEnergy:
    """Both sides of a window as `measured_energy` has them, and the links of those asked for."""

    meters: pl.LazyFrame
    vehicles: pl.LazyFrame
    links: pl.DataFrame


def measure(view: LakeSnapshot, facts: VehicleContext, energy: EnergySettings) -> MeasuredEnergy:
    """Read the lake for all vehicles asked for; blocks, so not for the event loop."""
    start, end = facts.period.start, facts.period.end

    def readings(stream: Stream, devices: list[str]) -> pl.DataFrame:
        dirty, outbox = facts.dirty_hours[stream.name], facts.outbox[stream.name]
        return view.readings(stream, devices, start, end, energy, dirty, outbox)

    is_asked = pl.col("vehicle_id").is_in(facts.asked)
    found = readings(VEHICLE, facts.vehicles)
    vehicles, by_rule = found.lazy(), facts.pair_table.lazy()
    if not facts.links and found["meter_id"].null_count() == found.height:
        resolved = links_by_rule(by_rule, start, end)
    else:
        resolved = resolve_links(
            facts.link_table.lazy(), named_links(vehicles, energy), by_rule, start, end
        )
    links = _collected(resolved.filter(is_asked).sort("vehicle_id", "valid_from", "meter_id"))
    meters = readings(METER, sorted(set(links["meter_id"]))).lazy()
    return MeasuredEnergy(
        measured_energy(meters, METER, start, end, energy, facts.class_table.lazy()),
        measured_energy(vehicles.filter(is_asked), VEHICLE, start, end, energy),
        links,
    )


def compute_performances(
    view: LakeSnapshot, facts: VehicleContext, energy: EnergySettings
) -> dict[str, Performance]:
    """Read the lake and compute for all vehicles asked for; blocks, so not for the event loop.

    What comes out for a vehicle is the same beside any others.
    """
    found = single_meter_performance(view, facts, energy)
    told = _told(facts, found)
    others = [vehicle for vehicle in facts.asked if vehicle not in found.links]
    if others:
        facts = replace(facts, asked=others)
        told |= _told(facts, _of_any(view, facts, energy))
    return told


def _told(facts: VehicleContext, found: PerformanceRows) -> dict[str, Performance]:
    rows = {row["vehicle_id"]: row for row in found.rows.iter_rows(named=True)}
    return {
        vehicle: Performance(facts.period, rows.get(vehicle), links)
        for vehicle, links in found.links.items()
    }


def _of_any(view: LakeSnapshot, facts: VehicleContext, energy: EnergySettings) -> PerformanceRows:
    """Compute the performance of vehicles with any links."""
    both, window = measure(view, facts, energy), (facts.period.start, facts.period.end)
    rows = vehicle_efficiency(
        both.meters,
        both.vehicles,
        both.links.lazy(),
        facts.class_table.lazy(),
        *window,
        energy,
    )
    links: dict[str, list[dict[str, Any]]] = {vehicle: [] for vehicle in facts.asked}
    for link in both.links.iter_rows(named=True):
        links[link["vehicle_id"]].append(link)
    return PerformanceRows(_collected(rows), links)


def _collected(plan: pl.LazyFrame) -> pl.DataFrame:
    """For few devices an optimizer takes longer than it saves."""
    return plan.collect(engine=IN_MEMORY, optimizations=NO_OPTIMIZATIONS)
