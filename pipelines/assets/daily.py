"""Assets of the daily tables, computed again whenever an hour of the day was."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, NamedTuple

import dagster as dg
import polars as pl
import psycopg

from lake import DAY, VEHICLE, EnergySettings, hours_between
from lake.delta import replace_if_changed
from lake.rollups import Tables
from lake.schema import (
    BATTERY_HEALTH_DAILY,
    CHARGER_EFFICIENCY_DAILY,
    CHARGER_EFFICIENCY_HOURLY,
    DAILY_TABLES,
    FLEET_EFFICIENCY_DAILY,
    FLEET_EFFICIENCY_HOURLY,
    HOURLY_EFFICIENCY,
    VEHICLE_EFFICIENCY_DAILY,
    VEHICLE_EFFICIENCY_HOURLY,
    TableSpec,
    contiguous_ranges,
)
from pipelines.assets.external import DEVICE_REGISTRY, TARIFFS
from pipelines.assets.history import vehicle_telemetry_history
from pipelines.assets.hourly import CHARGERS, FLEET, VEHICLES
from pipelines.assets.lineage import (
    Sources,
    battery_sources,
    daily_sources,
    fleet_cost_sources,
    fleet_sources,
    lineage_metadata,
)
from pipelines.assets.metadata import FRESH_EACH_DAY, OWNERS, RETRIES, delta_metadata
from pipelines.assets.read_failures import fail_on_unreadable
from pipelines.checks.results import latched_result, selected_results
from pipelines.checks.rules import days_unlike_hours, differing_sums, fleet_unlike_vehicles
from pipelines.compute.hour_chart import hour_chart
from pipelines.compute.inputs import day_inputs, day_tables
from pipelines.compute.pricing import mark_priced, read_pricing, repriced_days
from pipelines.ledger import reopen_hours
from pipelines.partitions import DAILY, days_of_run
from pipelines.resources import LakeResource, WarehouseResource

_DAYS_A_COMMIT = 31
_READ = (VEHICLE.history_table, *(table.name for table in (*HOURLY_EFFICIENCY, *DAILY_TABLES)))
_SHOWN = ("efficiency_percent", "energy_ac_kwh", "energy_dc_kwh", "loss_kwh", "vehicles", "hours")


@dataclass(frozen=True)
class DailyTable:
    """A table of days and what its page in Dagster says of it."""

    table: TableSpec
    deps: Sequence[dg.AssetKey]
    sources: Sources
    how: str
    caveats: str

    @property
    def key(self) -> dg.AssetKey:
        """The table in the asset graph."""
        return dg.AssetKey(self.table.name)

    def spec(self) -> dg.AssetSpec:
        """The asset."""
        said = self.table.description
        return dg.AssetSpec(
            self.key,
            deps=self.deps,
            group_name="daily",
            kinds={"deltalake", "polars"},
            owners=OWNERS,
            tags={"layer": "daily"},
            code_version="3",
            metadata={**delta_metadata(self.table), **lineage_metadata(self.sources)},
            freshness_policy=FRESH_EACH_DAY,
            description=(
                f"{said[0].upper()}{said[1:]}.\n\n"
                f"**How it is computed.** {self.how}\n\n**Caveats.** {self.caveats}"
            ),
        )


_SO_FAR = (
    "The running day is in here as far as its hours are computed; it is computed again after each."
)
_HOW = (
    "All facts are those of the hours in `{hours}`, added up; efficiency, status, coverage, "
    "matched shares and the longest gap follow from the sums, as those of one window. Costs are "
    "those of the hours, each by the price of its time in the tariff of the charger's depot."
)
_PRICES = (DEVICE_REGISTRY.key, TARIFFS.key)
VEHICLE_DAYS = DailyTable(
    VEHICLE_EFFICIENCY_DAILY,
    [VEHICLES.key, CHARGERS.key, *_PRICES],
    daily_sources(VEHICLE_EFFICIENCY_DAILY, VEHICLE_EFFICIENCY_HOURLY),
    _HOW.format(hours=VEHICLE_EFFICIENCY_HOURLY.name),
    "The status of a day is not that of most of its hours: a car that is rated in one hour and "
    f"idle in the others is rated. {_SO_FAR}",
)
CHARGER_DAYS = DailyTable(
    CHARGER_EFFICIENCY_DAILY,
    [CHARGERS.key, *_PRICES],
    daily_sources(CHARGER_EFFICIENCY_DAILY, CHARGER_EFFICIENCY_HOURLY),
    _HOW.format(hours=CHARGER_EFFICIENCY_HOURLY.name),
    f"Where several meters feed a vehicle at once, each hour shares its energy anew. {_SO_FAR}",
)
FLEET_DAYS = DailyTable(
    FLEET_EFFICIENCY_DAILY,
    [VEHICLE_DAYS.key, CHARGER_DAYS.key, FLEET.key, VEHICLES.key, CHARGERS.key, *_PRICES],
    fleet_sources(
        VEHICLE_EFFICIENCY_DAILY,
        CHARGER_EFFICIENCY_DAILY,
        FLEET_EFFICIENCY_DAILY,
        {
            "hours": [(FLEET_EFFICIENCY_HOURLY.name, "hour_start")],
            **fleet_cost_sources(),
        },
    ),
    "Sums over `vehicle_efficiency_daily`; efficiency and loss over the matched energies of the "
    "vehicles with a believable ratio only. Costs are those of the vehicles' hours, and of what "
    "meters gave nobody.",
    "Vehicles are rated by their day here: the loss is not the sum of the hours' losses, and "
    "`cost_of_losses` is the cost of these. Where there are several currencies there is no cost. "
    + _SO_FAR,
)
BATTERY_DAYS = DailyTable(
    BATTERY_HEALTH_DAILY,
    [VEHICLES.key, vehicle_telemetry_history.key],
    battery_sources(BATTERY_HEALTH_DAILY),
    "Temperatures and states of charge of the day's heartbeats; each stands for the time since the "
    "one before it, at most the largest gap. The DC energy is that of the vehicle's hours.",
    f"What a battery did while its vehicle was silent is not in here. {_SO_FAR}",
)
TABLES = (VEHICLE_DAYS, CHARGER_DAYS, FLEET_DAYS, BATTERY_DAYS)


class _Check(NamedTuple):
    """The check of a table of days; `what` are its offenders."""

    name: str
    what: str
    description: str


_LIKE_HOURS = (
    "The energies, data points and counts of a day are the sums over the hours that it was "
    "computed from, to the microwatt-hour."
)
_CHECKS = {
    VEHICLE_DAYS.key: _Check("agrees_with_hours", "vehicle days unlike their hours", _LIKE_HOURS),
    CHARGER_DAYS.key: _Check("agrees_with_hours", "charger days unlike their hours", _LIKE_HOURS),
    FLEET_DAYS.key: _Check(
        "agrees_with_vehicles",
        "days in which fleet and vehicles differ",
        "The energies of the fleet are those of its linked vehicles, and their number is that of "
        "the rows of `vehicle_efficiency_daily`.",
    ),
    BATTERY_DAYS.key: _Check(
        "agrees_with_vehicles",
        "batteries with another energy than their vehicle",
        "The DC energy of a battery is that of its vehicle in `vehicle_efficiency_daily`.",
    ),
}


@dg.multi_asset(
    name="daily_tables",
    specs=[daily.spec() for daily in TABLES],
    check_specs=[
        dg.AssetCheckSpec(check.name, asset=key, description=check.description)
        for key, check in _CHECKS.items()
    ],
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=VEHICLE_EFFICIENCY_DAILY.name,
    retry_policy=RETRIES,
    can_subset=True,
)
def daily_tables(
    context: dg.AssetExecutionContext, lake: LakeResource, warehouse: WarehouseResource
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Compute the days of the run, all tables of a day together, each of a month in one commit.

    A day with hours that an older version computed waits until these are computed again.
    """
    tables, settings, now = lake.lake(), EnergySettings(), datetime.now(UTC)
    versions = {}
    checked: list[dict[dg.AssetKey, pl.DataFrame]] = []
    judged: list[date] = []
    with warehouse.autocommit() as connection:
        # In this order: whoever changes prices from now on has the day priced once more.
        noted = repriced_days(connection)
        pricing = read_pricing(connection, settings)
        for days in contiguous_ranges(days_of_run(context), DAY, _DAYS_A_COMMIT):
            window = _midnight(days[0]), _midnight(days[-1]) + DAY
            with fail_on_unreadable(tables, _READ, *window):
                computed: dict[date, Tables] = {}
                again: set[datetime] = set()
                for day in days:
                    inputs = day_inputs(tables, day, settings, now, pricing)
                    of_day, to_compute = day_tables(inputs, settings)
                    again |= to_compute
                    if of_day is not None:
                        computed[day] = of_day
                        checked.append(_offenders(of_day, inputs.hours))
                # A day that must wait for its hours keeps the rows that it has.
                for part in contiguous_ranges(list(computed), DAY, _DAYS_A_COMMIT):
                    window = _midnight(part[0]), _midnight(part[-1]) + DAY
                    for spec in (daily.table for daily in TABLES):
                        rows = pl.concat([computed[day][spec.name] for day in part])
                        versions[spec.name] = replace_if_changed(
                            tables, spec, rows.sort(spec.key), *window
                        )
            judged += computed
            reopen_hours(connection, dict.fromkeys(again, False))
            mark_priced(connection, {day: noted[day] for day in computed if day in noted})
            for day, of_day in computed.items():
                _report_day(context, day, of_day)
        checks = _check_results(connection, checked, judged) if judged else []
    for daily in TABLES:
        if daily.key in context.selected_asset_keys:
            version = versions.get(daily.table.name)
            yield dg.MaterializeResult(
                asset_key=daily.key,
                metadata={} if version is None else {"delta_version": version},
            )
    yield from selected_results(context, checks)


def _check_results(
    connection: psycopg.Connection,
    checked: Sequence[Mapping[dg.AssetKey, pl.DataFrame]],
    days: Sequence[date],
) -> list[dg.AssetCheckResult]:
    hours = [hour for day in days for hour in hours_between(_midnight(day), _midnight(day) + DAY)]
    return [
        latched_result(
            connection,
            check.name,
            pl.concat([offenders[key] for offenders in checked]),
            hours,
            what=check.what,
            asset_key=key,
        )
        for key, check in _CHECKS.items()
    ]


def _offenders(day: Tables, hours: Mapping[str, pl.DataFrame]) -> dict[dg.AssetKey, pl.DataFrame]:
    """Rows that break the check of each table, with `hour_start`, the midnight of their day."""
    vehicles, chargers, fleet, batteries = (day[daily.table.name].lazy() for daily in TABLES)
    vehicle_hours = hours[VEHICLE_EFFICIENCY_HOURLY.name].lazy()
    charger_hours = hours[CHARGER_EFFICIENCY_HOURLY.name].lazy()
    found = {
        VEHICLE_DAYS.key: days_unlike_hours(vehicles, vehicle_hours, "vehicle_id"),
        CHARGER_DAYS.key: days_unlike_hours(chargers, charger_hours, "meter_id"),
        FLEET_DAYS.key: fleet_unlike_vehicles(fleet, vehicles, "date"),
        BATTERY_DAYS.key: differing_sums(
            batteries, vehicles, ["date", "vehicle_id"], ["energy_dc_kwh"]
        ),
    }
    midnight = pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return {key: rows.with_columns(hour_start=midnight) for key, rows in found.items()}


def _report_day(
    context: dg.AssetExecutionContext, day: date, rows: Mapping[str, pl.DataFrame]
) -> None:
    """Metadata of one day: numbers that the asset's page plots over the partitions."""
    vehicles = rows[VEHICLE_EFFICIENCY_DAILY.name]
    fleet = next(rows[FLEET_EFFICIENCY_DAILY.name].iter_rows(named=True), {})
    figures: dict[str, dict[str, Any]] = {
        VEHICLE_EFFICIENCY_DAILY.name: {
            **dict(vehicles["status"].value_counts().iter_rows()),
            "plot": dg.MetadataValue.md(hour_chart(vehicles)),
        },
        CHARGER_EFFICIENCY_DAILY.name: dict(
            rows[CHARGER_EFFICIENCY_DAILY.name]["status"].value_counts().iter_rows()
        ),
        FLEET_EFFICIENCY_DAILY.name: {
            name: fleet[name] for name in _SHOWN if fleet.get(name) is not None
        },
    }
    for daily in TABLES:
        name, key = daily.table.name, f"{day:%Y-%m-%d}"
        metadata: dict[str, Any] = {
            "dagster/partition_row_count": rows[name].height,
            **figures.get(name, {}),
        }
        if daily.key in context.selected_asset_keys:
            context.add_asset_metadata(metadata, asset_key=daily.key, partition_key=key)
        else:
            # Computed all the same, so its page should say so.
            context.log_event(dg.AssetMaterialization(daily.key, partition=key, metadata=metadata))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
