"""Efficiency: what each vehicle and the fleet made of their energy, hour by hour, in the lake."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

import dagster as dg
import polars as pl

from lake import HOUR, EnergySettings, replace_hours
from lake.derived import FLEET_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_HOURLY
from lake.table_spec import TableSpec
from pipelines.check_results import check_result
from pipelines.checks import COVERED, gaining_vehicles, implausible_vehicles, uncovered_vehicles
from pipelines.describe import FRESH_EACH_HOUR, OWNERS, RETRIES, delta_metadata
from pipelines.efficiency_of_hour import efficiency_of_hour
from pipelines.following import following_hours
from pipelines.history import meter_telemetry_history, vehicle_telemetry_history
from pipelines.hour_chart import hour_chart
from pipelines.ledger import mark_computed, state_of_history
from pipelines.lineage import VEHICLE_SOURCES, Sources, fleet_sources, lineage_metadata
from pipelines.partitions import HOURLY, contiguous, hour_key, hours_of_run
from pipelines.resources import LakeResource, WarehouseResource
from pipelines.settings import PipelineSettings

PLAUSIBLE, GAINING, COVERAGE = "efficiency_plausible", "dc_not_above_ac", "hours_covered"
_UNCOVERED_PERCENT = PipelineSettings().uncovered_vehicles_percent
_HOURS_A_COMMIT = 24


def _spec(
    table: TableSpec, deps: list[dg.AssetKey], sources: Sources, how: str, caveats: str
) -> dg.AssetSpec:
    return dg.AssetSpec(
        table.name,
        deps=deps,
        group_name="efficiency",
        kinds={"deltalake", "polars"},
        owners=OWNERS,
        tags={"layer": "efficiency"},
        code_version="1",
        metadata={**delta_metadata(table), **lineage_metadata(sources)},
        freshness_policy=FRESH_EACH_HOUR,
        description=(
            f"{table.description[0].upper()}{table.description[1:]}.\n\n"
            f"**How it is computed.** {how}\n\n**Caveats.** {caveats}"
        ),
    )


VEHICLES = _spec(
    VEHICLE_EFFICIENCY_HOURLY,
    [meter_telemetry_history.key, vehicle_telemetry_history.key],
    VEHICLE_SOURCES,
    "The AC energy of the meters that fed the vehicle in this hour, and the DC energy that reached "
    "its battery; `efficiency_percent` is 100 DC / AC and is never clamped. Links come from "
    "`charging_link`, else from the meter that the vehicle's heartbeats name, else from equal "
    "trailing numbers (`link_source` says which).",
    "Look at `status` before the ratio: only excellent, good, warning and critical are believable. "
    "An hour is recomputed when a link or late heartbeats change it or the reading before it. "
    "For a longer time add up the energies; a mean of ratios is wrong.",
)
FLEET = _spec(
    FLEET_EFFICIENCY_HOURLY,
    [VEHICLES.key, meter_telemetry_history.key],
    fleet_sources(VEHICLE_EFFICIENCY_HOURLY, FLEET_EFFICIENCY_HOURLY),
    "Sums over `vehicle_efficiency_hourly`; efficiency and loss over the vehicles with a "
    "believable ratio only.",
    "`energy_ac_kwh - energy_dc_kwh` is not the loss: it holds vehicles whose ratio nobody should "
    "believe. Energy of meters without a vehicle is in `unlinked_energy_ac_kwh` only.",
)

# Warnings, because the numbers are what was measured: a sensor or a link is to be mended, and an
# hour that stopped here would keep the figures of every other vehicle from the reader.
_CHECKS = [
    dg.AssetCheckSpec(
        PLAUSIBLE,
        asset=VEHICLES.key,
        description="No vehicle gained energy or has it on one side only; where one does, a "
        "sensor or a link is wrong.",
    ),
    dg.AssetCheckSpec(
        GAINING,
        asset=VEHICLES.key,
        description="No linked vehicle has more DC than AC energy, also where its status says that "
        "too little is known for a ratio. Energy does not come from nowhere: look for a wrong "
        "link, a frozen register or a faulty sensor.",
    ),
    dg.AssetCheckSpec(
        COVERAGE,
        asset=VEHICLES.key,
        description=f"At most {_UNCOVERED_PERCENT:g} % of the linked vehicles of an hour have "
        f"less than {COVERED:.0%} of it covered by heartbeats, on either side. More than that is "
        "an outage of a network or a site rather than of single devices.",
    ),
]


@dg.multi_asset(
    name="hourly_efficiency",
    specs=[VEHICLES, FLEET],
    check_specs=_CHECKS,
    partitions_def=HOURLY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=VEHICLE_EFFICIENCY_HOURLY.name,
    retry_policy=RETRIES,
)
def hourly_efficiency(
    context: dg.AssetExecutionContext, lake: LakeResource, warehouse: WarehouseResource
) -> Iterator[dg.MaterializeResult[None]]:
    """Compute the hours of the run, and the hours whose energy is counted from within them."""
    tables, hours, settings = lake.lake(), hours_of_run(context), EnergySettings()
    found: dict[str, list[pl.DataFrame]] = defaultdict(list)
    versions = {}
    with warehouse.autocommit() as connection:
        states = state_of_history(connection, hours)
        later = following_hours(tables, connection, hours, settings)
        for stretch in contiguous([*hours, *later], _HOURS_A_COMMIT):
            computed = [efficiency_of_hour(tables, connection, h, settings) for h in stretch]
            vehicles = pl.concat([of_hour for of_hour, _ in computed])
            fleet = pl.concat([of_hour for _, of_hour in computed])
            for spec, rows in (
                (VEHICLE_EFFICIENCY_HOURLY, vehicles),
                (FLEET_EFFICIENCY_HOURLY, fleet),
            ):
                window = stretch[0], stretch[-1] + HOUR
                versions[spec.name] = replace_hours(tables, spec, rows, *window)
            for name, offenders in _offenders(vehicles.lazy()).items():
                found[name].append(offenders.collect())
            for hour, (of_vehicles, of_fleet) in zip(stretch, computed, strict=True):
                _report_hour(context, hour, hour in later, of_vehicles, of_fleet)
        # Not before the hours that follow are written, and not for them: what follows from those
        # may lie further on, and is computed when their own turn comes.
        mark_computed(connection, states)
    yield dg.MaterializeResult(
        asset_key=VEHICLES.key,
        metadata={"delta_version": versions[VEHICLE_EFFICIENCY_HOURLY.name]},
        check_results=[
            check_result(
                name,
                pl.concat(offenders),
                hours,
                what=_WHAT[name],
                asset_key=VEHICLES.key,
                severity=dg.AssetCheckSeverity.WARN,
            )
            for name, offenders in found.items()
        ],
    )
    yield dg.MaterializeResult(
        asset_key=FLEET.key,
        metadata={"delta_version": versions[FLEET_EFFICIENCY_HOURLY.name]},
    )


_WHAT = {
    PLAUSIBLE: "implausible vehicle hours",
    GAINING: "vehicle hours with more DC than AC energy",
    COVERAGE: "vehicle hours that are poorly covered",
}


def _offenders(vehicles: pl.LazyFrame) -> dict[str, pl.LazyFrame]:
    """For each check the vehicle hours that break it."""
    return {
        PLAUSIBLE: implausible_vehicles(vehicles),
        GAINING: gaining_vehicles(vehicles),
        COVERAGE: uncovered_vehicles(vehicles, _UNCOVERED_PERCENT),
    }


def _report_hour(
    context: dg.AssetExecutionContext,
    hour: datetime,
    follows: bool,
    vehicles: pl.DataFrame,
    fleet: pl.DataFrame,
) -> None:
    """Metadata of one hour: numbers that the asset's page plots over the partitions."""
    figures = {} if fleet.is_empty() else fleet.row(0, named=True)
    shown = ("efficiency_percent", "energy_ac_kwh", "energy_dc_kwh", "loss_kwh", "vehicles")
    picture = hour_chart(vehicles)
    metadata = {
        VEHICLES.key: {
            "dagster/partition_row_count": vehicles.height,
            **dict(vehicles["status"].value_counts().iter_rows()),
            "plot": picture,
        },
        FLEET.key: {
            "dagster/partition_row_count": fleet.height,
            **{name: figures[name] for name in shown if figures.get(name) is not None},
            "plot": picture,
        },
    }
    for key, of_hour in metadata.items():
        if follows:
            # Not a partition of this run, and recomputed all the same: its page should say so.
            context.log_event(
                dg.AssetMaterialization(key, partition=hour_key(hour), metadata=of_hour)
            )
        else:
            context.add_asset_metadata(of_hour, asset_key=key, partition_key=hour_key(hour))
