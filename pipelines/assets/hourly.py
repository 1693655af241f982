"""Assets of the hourly tables, computed again whenever heartbeats or links of the hour change."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime
from typing import Any, NamedTuple

import dagster as dg
import polars as pl

from lake import HOUR, EnergySettings
from lake.delta import commit_replacement
from lake.schema import (
    CHARGER_EFFICIENCY_HOURLY,
    CHARGING_STRETCH_HOURLY,
    FLEET_EFFICIENCY_HOURLY,
    GRID_HEALTH_HOURLY,
    HEARTBEAT_COMPLETENESS_HOURLY,
    HOURLY_TABLES,
    VEHICLE_EFFICIENCY_HOURLY,
    TableSpec,
)
from pipelines.assets.external import CHARGING_LINKS, DEVICE_REGISTRY
from pipelines.assets.history import meter_telemetry_history, vehicle_telemetry_history
from pipelines.assets.lineage import (
    CHARGER_SOURCES,
    VEHICLE_SOURCES,
    Sources,
    completeness_sources,
    fleet_sources,
    grid_sources,
    lineage_metadata,
    stretch_sources,
)
from pipelines.assets.metadata import FRESH_EACH_HOUR, OWNERS, RETRIES, delta_metadata
from pipelines.assets.read_failures import HISTORIES, fail_on_unreadable
from pipelines.checks.hours import (
    ADDS_UP,
    CONTESTED,
    COVERAGE,
    GAINING,
    HEARD,
    LIKE_CHARGERS,
    LIKE_DEVICES,
    LIKE_FLEET,
    LIKE_VEHICLES,
    PLAUSIBLE,
)
from pipelines.checks.results import latched_result, selected_results
from pipelines.checks.rules import COVERED
from pipelines.compute.awaited import note_context
from pipelines.compute.cadences import note_cadences
from pipelines.compute.hours_beside import without_lost_hours
from pipelines.compute.stretch import Stretch, compute_stretch, day_stretches
from pipelines.engine import run_tasks
from pipelines.ledger import (
    changed_hours,
    count_refinements,
    mark_computed,
    reopen_hours,
    state_of_history,
)
from pipelines.partitions import HOURLY, REFINES, hour_key, hours_of_run
from pipelines.resources import LakeResource, WarehouseResource
from pipelines.settings import PipelineSettings

_SETTINGS = PipelineSettings()
_UNCOVERED_PERCENT = _SETTINGS.uncovered_vehicles_percent
_READ = (*HISTORIES, *(table.name for table in HOURLY_TABLES))


def _spec(
    table: TableSpec,
    deps: list[dg.AssetKey],
    sources: Sources,
    how: str,
    caveats: str,
    group: str = "efficiency",
) -> dg.AssetSpec:
    return dg.AssetSpec(
        table.name,
        deps=deps,
        group_name=group,
        kinds={"deltalake", "polars"},
        owners=OWNERS,
        tags={"layer": group},
        code_version="2",
        metadata={**delta_metadata(table), **lineage_metadata(sources)},
        freshness_policy=FRESH_EACH_HOUR,
        description=(
            f"{table.description[0].upper()}{table.description[1:]}.\n\n"
            f"**How it is computed.** {how}\n\n**Caveats.** {caveats}"
        ),
    )


_HISTORIES = [meter_telemetry_history.key, vehicle_telemetry_history.key]
_LINKED_DEVICES = [*_HISTORIES, CHARGING_LINKS.key, DEVICE_REGISTRY.key]
VEHICLES = _spec(
    VEHICLE_EFFICIENCY_HOURLY,
    _LINKED_DEVICES,
    VEHICLE_SOURCES,
    "The AC energy of the meters that fed the vehicle in this hour, and the DC energy that reached "
    "its battery, each divided by the time in which it flowed; `efficiency_percent` is 100 DC / AC "
    "of the energies that flowed while both were known (`matched_`), and is never clamped. Links "
    "come from `charging_link`, else from the meter that the vehicle's heartbeats name, else from "
    "equal trailing numbers (`link_source` says which).",
    "Look at `status` before the ratio: only excellent, good, warning and critical are believable; "
    "`reason` says what the status rests on. An hour is recomputed when a link or heartbeats "
    "change it or what it knows of the time around it. For a longer time add up the facts; a mean "
    "of ratios is wrong.",
)
CHARGERS = _spec(
    CHARGER_EFFICIENCY_HOURLY,
    _LINKED_DEVICES,
    CHARGER_SOURCES,
    "All AC energy of the meter, and the DC energy of the vehicles while it fed them; where "
    "several meters feed a vehicle at once, each has its part by the AC energy it gave. Links as "
    "for the vehicles.",
    "The ratio and the status are about the energy while a vehicle was linked. A charger that is "
    "low with every vehicle is failing; one that is low with a single one is not.",
)
STRETCHES = _spec(
    CHARGING_STRETCH_HOURLY,
    _LINKED_DEVICES,
    stretch_sources(CHARGING_STRETCH_HOURLY),
    "Where more than `CHARGING_ABOVE_KW` flows on either side, or a state of charge rises and no "
    "DC energy is known; cut where a link begins or ends. Each stretch, and the time between them, "
    "has its own facts, which add up to those of the vehicle's hour.",
    "Only hours in which a vehicle charges have rows. A stretch is no session: sessions are merged "
    "from them, over pauses and hours, in `charging_session`.",
    group="sessions",
)
GRID = _spec(
    GRID_HEALTH_HOURLY,
    [meter_telemetry_history.key, DEVICE_REGISTRY.key],
    grid_sources(GRID_HEALTH_HOURLY),
    "The voltages of the meter against its nominal voltage, by the limits of EN 50160; a voltage "
    "stands for the time since the reading before it, at most the largest gap.",
    "Sampled once a minute: a sag shorter than that is seen by chance. Meters that send no voltage "
    "have no row.",
    group="health",
)
COMPLETENESS = _spec(
    HEARTBEAT_COMPLETENESS_HOURLY,
    [*_HISTORIES, DEVICE_REGISTRY.key],
    completeness_sources(HEARTBEAT_COMPLETENESS_HOURLY),
    "Received heartbeats, each counted once, against one for each cadence of every device that was "
    "heard in the hour or in the seven UTC days before, and is not retired. How often a device "
    "sends is declared, of its charger's class, or learned from its heartbeats up to the hour's "
    "end; else it is the nominal interval.",
    "A device that regularly loses every second heartbeat, and never says its interval, looks like "
    "a slow one. A device that left the fleet is expected for a week, unless `wattlake devices "
    "import` retires it earlier.",
    group="health",
)
FLEET = _spec(
    FLEET_EFFICIENCY_HOURLY,
    [VEHICLES.key, CHARGERS.key],
    fleet_sources(VEHICLE_EFFICIENCY_HOURLY, CHARGER_EFFICIENCY_HOURLY, FLEET_EFFICIENCY_HOURLY),
    "Sums over `vehicle_efficiency_hourly`; efficiency and loss over the matched energies of the "
    "vehicles with a believable ratio only. Energy that chargers gave nobody is that of "
    "`charger_efficiency_hourly`.",
    "`energy_ac_kwh - energy_dc_kwh` is not the loss: it holds vehicles whose ratio nobody should "
    "believe. Energy of meters without a vehicle is in `unlinked_energy_ac_kwh` only.",
)

SPECS = (VEHICLES, CHARGERS, FLEET, STRETCHES, GRID, COMPLETENESS)


class _Check(NamedTuple):
    """A check of an hourly table; `what` are its offenders."""

    asset: dg.AssetKey
    what: str
    description: str
    # Mostly a warning, because the numbers are what was measured: a sensor or a link is to be
    # mended, and an hour that stopped here would keep the figures of all others from the reader.
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN


_ERROR = dg.AssetCheckSeverity.ERROR
_CHECKS = {
    PLAUSIBLE: _Check(
        VEHICLES.key,
        "implausible vehicle hours",
        "No vehicle gained energy, lost so much that something would burn, or has it "
        "on one side only; where one does, a sensor or a link is wrong.",
    ),
    GAINING: _Check(
        VEHICLES.key,
        "vehicle hours with more matched DC than AC energy",
        "No linked vehicle has more DC than AC energy in the time in which both are "
        "known, also where its status says that too little is known for a ratio. Energy does not "
        "come from nowhere: look for a wrong link, a frozen register or a faulty sensor.",
    ),
    COVERAGE: _Check(
        VEHICLES.key,
        "vehicle hours that are poorly covered",
        f"At most {_UNCOVERED_PERCENT:g} % of the linked vehicles of an hour have "
        f"less than {COVERED:.0%} of it covered by heartbeats, on either side. More than that is "
        "an outage of a network or a site rather than of single devices.",
    ),
    CONTESTED: _Check(
        VEHICLES.key,
        "meter hours with several vehicles at a time",
        "No two vehicles name one meter at a time, for longer than the largest gap. "
        "Where they do, the one whose energy moves has it; mostly the other is parked elsewhere "
        "and its cloud still names its last charger. A link that is made in the API decides.",
    ),
    ADDS_UP: _Check(
        STRETCHES.key,
        "vehicle hours whose stretches do not add up",
        "The energies of the stretches of a vehicle's hour, and of the time between them, "
        "add up to those of the hour in `vehicle_efficiency_hourly`, to the microwatt-hour.",
    ),
    LIKE_CHARGERS: _Check(
        VEHICLES.key,
        "hours in which vehicles and chargers differ",
        "The AC energy of all vehicles is what chargers gave while they were linked, by "
        "`charger_efficiency_hourly`, to the microwatt-hour.",
        _ERROR,
    ),
    LIKE_FLEET: _Check(
        CHARGERS.key,
        "hours in which chargers and fleet differ",
        "The AC energy of all chargers is what the fleet has of it, and what it says that nobody "
        "got, by `fleet_efficiency_hourly`, to the microwatt-hour.",
        _ERROR,
    ),
    LIKE_VEHICLES: _Check(
        FLEET.key,
        "hours in which fleet and vehicles differ",
        "The energies of the fleet are those of its linked vehicles, and their number is that of "
        "the rows of `vehicle_efficiency_hourly`.",
        _ERROR,
    ),
    LIKE_DEVICES: _Check(
        COMPLETENESS.key,
        "hours whose heartbeats are miscounted",
        "The heartbeats that were received of each stream are the data points of the rows of "
        "chargers and vehicles.",
        _ERROR,
    ),
    HEARD: _Check(
        GRID.key,
        "meter hours with voltages that were not sent",
        "No meter has more voltages than heartbeats in `charger_efficiency_hourly`, or more time "
        "out of limits than it was measured.",
        _ERROR,
    ),
}


@dg.multi_asset(
    name="hourly_tables",
    specs=SPECS,
    check_specs=[
        dg.AssetCheckSpec(name, asset=check.asset, description=check.description)
        for name, check in _CHECKS.items()
    ],
    partitions_def=HOURLY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=VEHICLE_EFFICIENCY_HOURLY.name,
    retry_policy=RETRIES,
    # Any of them can be asked for, and a backfill may name them beside one history or both.
    can_subset=True,
)
def hourly_tables(
    context: dg.AssetExecutionContext, lake: LakeResource, warehouse: WarehouseResource
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Compute the hours of the run, and the hours beside them that their heartbeats have changed.

    All tables of an hour are computed together, also where only some of them were asked for.
    """
    tables, hours, settings = lake.lake(), hours_of_run(context), EnergySettings()
    found: dict[str, list[pl.DataFrame]] = defaultdict(list)
    versions = {}
    with warehouse.autocommit() as connection:
        beside = changed_hours(connection, hours) - set(hours)
        with fail_on_unreadable(tables, HISTORIES, hours[0], hours[-1] + HOUR):
            beside = set(without_lost_hours(tables, beside))
        every = sorted({*hours, *beside})
        states = state_of_history(connection, every)
        stretches = [
            Stretch(
                tables,
                warehouse.dsn,
                stretch,
                settings,
                _UNCOVERED_PERCENT,
                is_newest=stretch[-1] == every[-1],
            )
            for stretch in day_stretches(every)
        ]
        with (
            fail_on_unreadable(tables, _READ, every[0], every[-1] + HOUR),
            closing(run_tasks(_SETTINGS, compute_stretch, stretches)) as results,
        ):
            for done in results:
                for written in done.written:
                    versions[written.spec.name] = commit_replacement(tables, written)
                # Should they come back after all, what was computed without them follows from them.
                reopen_hours(connection, dict.fromkeys(done.lost, True))
                note_context(connection, done.hours, done.awaited, done.crossing)
                note_cadences(connection, done.hours[-1], done.cadences)
                for name, offenders in done.offenders.items():
                    found[name].append(offenders)
                for hour, figures in zip(done.hours, done.figures, strict=True):
                    _report_hour(context, hour, hour in beside, figures)
        checks = [
            latched_result(
                connection,
                name,
                pl.concat(offenders, how="diagonal"),
                every,
                what=_CHECKS[name].what,
                asset_key=_CHECKS[name].asset,
                severity=_CHECKS[name].severity,
            )
            for name, offenders in found.items()
        ]
        mark_computed(connection, states)  # not before all is written and checked
        if REFINES in context.run.tags:
            count_refinements(connection, len(hours))
    for spec in SPECS:
        if spec.key in context.selected_asset_keys:
            yield dg.MaterializeResult(
                asset_key=spec.key,
                metadata={"delta_version": versions[spec.key.to_user_string()]},
            )
    yield from selected_results(context, checks)


def _report_hour(
    context: dg.AssetExecutionContext,
    hour: datetime,
    follows: bool,
    figures: Mapping[str, Mapping[str, Any]],
) -> None:
    """Metadata of one hour: numbers that the asset's page plots over the partitions."""
    for table, shown in figures.items():
        key, metadata = dg.AssetKey(table), dict(shown)
        metadata["dagster/partition_row_count"] = metadata.pop("rows")
        if "plot" in metadata:
            metadata["plot"] = dg.MetadataValue.md(metadata["plot"])
        if follows or key not in context.selected_asset_keys:
            # Not asked for by this run, and recomputed all the same: its page should say so.
            context.log_event(
                dg.AssetMaterialization(key, partition=hour_key(hour), metadata=metadata)
            )
        else:
            context.add_asset_metadata(metadata, asset_key=key, partition_key=hour_key(hour))
