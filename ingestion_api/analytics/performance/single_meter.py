"""Fast path to the performance of vehicles with one meter, or none.

So it is with nearly all of them, in nearly all windows. The others go the way of the tables of a
fleet, which says the same of these and takes many times as long for one.
"""

from dataclasses import dataclass
from typing import Any

import polars as pl

from ingestion_api.analytics.performance.vehicle_context import VehicleContext
from lake import METER, VEHICLE, EnergySettings, Stream
from lake.energy import HEARTBEAT, LINK, RULE, vehicle_efficiency_rows
from lake.energy.single_vehicle import (
    LinkedMeter,
    Range,
    Readings,
    SeveralMeters,
    facts_of_pair,
    facts_table,
    named_meter,
)
from lake.engine import IN_MEMORY, NO_OPTIMIZATIONS
from lake.reads import LakeSnapshot


@dataclass(frozen=True)
class PerformanceRows:
    """Rows of `vehicle_efficiency`, and the links of each vehicle that was looked at."""

    rows: pl.DataFrame
    links: dict[str, list[dict[str, Any]]]


def single_meter_performance(
    view: LakeSnapshot, context: VehicleContext, energy: EnergySettings
) -> PerformanceRows:
    """Compute the vehicles that the fast path can answer; blocks, so not for the event loop."""
    start, end = context.period.start, context.period.end

    def readings(stream: Stream, device: str) -> Readings:
        dirty, outbox = context.dirty_hours[stream.name], context.outbox[stream.name]
        return view.readings_of_device(stream, device, start, end, energy, dirty, outbox)

    links, rows = dict[str, list[dict[str, Any]]](), []
    for vehicle in context.asked:
        dc = readings(VEHICLE, vehicle)
        try:
            link = single_link(context, vehicle, dc, energy)
        except SeveralMeters:
            continue
        if link is None:
            links[vehicle] = []
            if dc.in_window(start, end).at.size:
                rows.append({"vehicle_id": vehicle, **facts_of_pair(None, dc, start, end, energy)})
            continue
        meter, source, ranges = link
        links[vehicle] = [
            {"meter_id": meter, "valid_from": since, "valid_to": until, "source": source}
            for since, until in ranges
        ]
        charger_class = context.charger_classes.get(meter)
        fed = LinkedMeter(readings(METER, meter), ranges, energy.register_size(charger_class))
        rows.append(
            {
                "vehicle_id": vehicle,
                "link_source": source,
                "meter_ids": [meter],
                "charger_class": charger_class,
                **facts_of_pair(fed, dc, start, end, energy),
            }
        )
    table = vehicle_efficiency_rows(facts_table(rows).lazy(), start, end, energy)
    return PerformanceRows(table.collect(engine=IN_MEMORY, optimizations=NO_OPTIMIZATIONS), links)


def single_link(
    context: VehicleContext, vehicle: str, readings: Readings, energy: EnergySettings
) -> tuple[str, str, list[Range]] | None:
    """The meter that feeds a vehicle, the source of the link, and when in the window.

    None: nothing feeds it. `readings` are the vehicle's. What `resolve_links` says wherever there
    is one claim alone; else SeveralMeters.
    """
    start, end = context.period.start, context.period.end
    explicit = [
        link
        for link in context.links
        if link["vehicle_id"] == vehicle and (link["valid_to"] or end) > start
    ]
    if explicit:
        # A meter has no other explicit link at the same time, and names and the rule give way.
        first, *more = explicit
        since, until = max(first["valid_from"], start), min(first["valid_to"] or end, end)
        is_whole = since == start and until == end
        if more or not (is_whole or named_meter(readings, start, end, energy) is None):
            raise SeveralMeters
        return first["meter_id"], LINK, [(since, until)]
    if named := named_meter(readings, start, end, energy):
        meter, ranges = named
        source = HEARTBEAT
    elif vehicle in context.pairs:
        meter, source, ranges = context.pairs[vehicle], RULE, [(start, end)]
    else:
        return None
    # Not known: the vehicle's first name of it came after the context.
    others = context.linked_to.get(meter)
    is_linked = any(link["meter_id"] == meter for link in context.links)
    if is_linked or others is None or not others <= {vehicle}:
        raise SeveralMeters
    return meter, source, ranges
