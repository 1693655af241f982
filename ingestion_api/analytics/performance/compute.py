"""Energy and efficiency of vehicles, exact up to what was acknowledged a moment ago.

First the context from one Postgres snapshot (links, hours that wait for a compaction, heartbeats
still in the outbox), only then the lake: a heartbeat leaves the outbox after the lake has it, so in
this order none is missed.
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


def measure(view: LakeSnapshot, context: VehicleContext, energy: EnergySettings) -> MeasuredEnergy:
    """Read the lake for all vehicles asked for; blocks, so not for the event loop."""
    start, end = context.period.start, context.period.end

    def readings(stream: Stream, devices: list[str]) -> pl.DataFrame:
        dirty, outbox = context.dirty_hours[stream.name], context.outbox[stream.name]
        return view.readings(stream, devices, start, end, energy, dirty, outbox)

    is_asked = pl.col("vehicle_id").is_in(context.asked)
    found = readings(VEHICLE, context.vehicles)
    vehicles, by_rule = found.lazy(), context.pair_table.lazy()
    if not context.links and found["meter_id"].null_count() == found.height:
        resolved = links_by_rule(by_rule, start, end)
    else:
        resolved = resolve_links(
            context.link_table.lazy(), named_links(vehicles, energy), by_rule, start, end
        )
    links = _collected(resolved.filter(is_asked).sort("vehicle_id", "valid_from", "meter_id"))
    meters = readings(METER, sorted(set(links["meter_id"]))).lazy()
    return MeasuredEnergy(
        measured_energy(meters, METER, start, end, energy, context.class_table.lazy()),
        measured_energy(vehicles.filter(is_asked), VEHICLE, start, end, energy),
        links,
    )


def compute_performances(
    view: LakeSnapshot, context: VehicleContext, energy: EnergySettings
) -> dict[str, Performance]:
    """Read the lake and compute for all vehicles asked for; blocks, so not for the event loop.

    What comes out for a vehicle is the same beside any others.
    """
    found = single_meter_performance(view, context, energy)
    told = _told(context, found)
    others = [vehicle for vehicle in context.asked if vehicle not in found.links]
    if others:
        context = replace(context, asked=others)
        told |= _told(context, _of_any(view, context, energy))
    return told


def _told(context: VehicleContext, found: PerformanceRows) -> dict[str, Performance]:
    rows = {row["vehicle_id"]: row for row in found.rows.iter_rows(named=True)}
    return {
        vehicle: Performance(context.period, rows.get(vehicle), links)
        for vehicle, links in found.links.items()
    }


def _of_any(view: LakeSnapshot, context: VehicleContext, energy: EnergySettings) -> PerformanceRows:
    """Compute the performance of vehicles with any links."""
    both, window = measure(view, context, energy), (context.period.start, context.period.end)
    rows = vehicle_efficiency(
        both.meters,
        both.vehicles,
        both.links.lazy(),
        context.class_table.lazy(),
        *window,
        energy,
    )
    links: dict[str, list[dict[str, Any]]] = {vehicle: [] for vehicle in context.asked}
    for link in both.links.iter_rows(named=True):
        links[link["vehicle_id"]].append(link)
    return PerformanceRows(_collected(rows), links)


def _collected(plan: pl.LazyFrame) -> pl.DataFrame:
    """For few devices an optimizer takes longer than it saves."""
    return plan.collect(engine=IN_MEMORY, optimizations=NO_OPTIMIZATIONS)
