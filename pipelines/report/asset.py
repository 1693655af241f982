"""Reports as assets: by day, week and month, of the fleet and of each depot."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from lake import EnergySettings
from lake.reports import Kind
from pipelines.assets.condition import VISITS
from pipelines.assets.daily import CHARGER_DAYS, FLEET_DAYS, VEHICLE_DAYS
from pipelines.assets.hourly import CHARGERS, FLEET, VEHICLES
from pipelines.assets.metadata import FRESH_EACH_DAY, OWNERS, RETRIES
from pipelines.compute.condition import judged_days
from pipelines.compute.places import read_places
from pipelines.compute.pricing import read_pricing
from pipelines.partitions import DAILY, MONTHLY, WEEKLY, period_of_key
from pipelines.report.content import key_figures
from pipelines.report.figures import FigureReader, Figures
from pipelines.report.window import PinnedTables
from pipelines.resources import LakeResource, WarehouseResource
from pipelines.settings import PipelineSettings

if TYPE_CHECKING:
    from pipelines.report.store import StoredReport

_WHEN = {
    "day": "Made for the day that has ended, and again whenever one of its hours was recomputed. "
    "The running day says *so far*.",
    "week": "Of Monday to Sunday. Made once each of its days has ended, and again whenever one was "
    "recomputed; until it is over it says *so far*.",
    "month": "Made once each of its days has ended, and again whenever one was recomputed; until "
    "it is over it says *so far*.",
}


@dataclass(frozen=True)
class _Kind:
    kind: Kind
    adverb: str
    partitions: dg.TimeWindowPartitionsDefinition


def report_asset(of: _Kind) -> dg.AssetsDefinition:
    """The asset of the reports of a kind of period."""
    name = f"{of.adverb}_efficiency_report"
    mapping = (
        None
        if of.kind == "day"
        else dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)
    )
    read = [VEHICLE_DAYS.key, CHARGER_DAYS.key, FLEET_DAYS.key, VISITS.key]
    read += [VEHICLES.key, CHARGERS.key, FLEET.key] if of.kind == "day" else []

    @dg.asset(
        name=name,
        deps=[dg.AssetDep(key, partition_mapping=mapping) for key in read],
        partitions_def=of.partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name="reports",
        kinds={"html", "pdf", "xlsx", "csv", "parquet"},
        owners=OWNERS,
        tags={"layer": "report"},
        pool=name,
        retry_policy=RETRIES,
        freshness_policy=FRESH_EACH_DAY,
        code_version="2",
        description=(
            f"What the fleet and each depot bought, delivered and lost in a {of.kind}, what it "
            "cost, and whom to visit: as a page, PDF, workbook, CSV and Parquet.\n\n"
            "**How it is computed.** From the rows of the tables of days and hours, whose facts "
            f"add up. Days are those of each depot's time zone. {_WHEN[of.kind]} A version that "
            "differs says in its first line what changed, and the one before is kept.\n\n"
            "**Caveats.** The status of a longer time is not that of most of its hours: a car that "
            "is rated in one hour and idle in the others is rated. Figures are of whole UTC hours."
        ),
    )
    def report(
        context: dg.AssetExecutionContext, lake: LakeResource, warehouse: WarehouseResource
    ) -> dg.MaterializeResult[None]:
        # What renders loads slowly; a run of the hourly job has no use for it.
        from pipelines.report.store import store_report  # noqa: PLC0415

        tables, settings, ours = lake.lake(), EnergySettings(), PipelineSettings()
        with warehouse.autocommit() as connection:
            places = read_places(connection, ours.report_time_zone)
            pricing = read_pricing(connection, settings)
            judged = judged_days(connection)
        for key in context.partition_keys:
            period = period_of_key(of.kind, key)
            now = datetime.now(UTC)
            reader = FigureReader(PinnedTables(tables), places, settings, pricing, judged, now)
            found = []
            for scope in places.scopes:
                if period.window(places.zone(scope))[0] >= now:
                    continue
                figures = reader.figures(period, scope)
                stored = store_report(
                    tables, figures, settings, ours.public_url, ours.report_versions
                )
                found.append((figures, stored))
            context.add_asset_metadata(_metadata(found, tables.uri), partition_key=key)
        return dg.MaterializeResult()

    return report


KINDS = (
    _Kind("day", "daily", DAILY),
    _Kind("week", "weekly", WEEKLY),
    _Kind("month", "monthly", MONTHLY),
)
REPORTS = [report_asset(kind) for kind in KINDS]


def _metadata(found: "Sequence[tuple[Figures, StoredReport]]", uri: str) -> dict[str, Any]:
    """Links, a preview, and the figures of the first report, which is that of the fleet."""
    if not found:
        return {}
    figures, stored = found[0]
    totals = figures.totals
    shown: dict[str, float | None] = {
        "efficiency_percent": totals.efficiency_percent,
        "loss_kwh": totals.lost_kwh,
        "energy_ac_kwh": totals.linked_kwh,
        "energy_dc_kwh": totals.delivered_kwh,
        "vehicles": totals.devices,
    }
    return {
        "dagster/uri": f"{uri}/{stored.folder.file(stored.number, 'html')}",
        "so_far": figures.is_partial,
        "version": stored.number,
        "preview": dg.MetadataValue.md(_preview(found)),
        **{name: value for name, value in shown.items() if value is not None},
    }


def _preview(found: "Sequence[tuple[Figures, StoredReport]]") -> str:
    """The first figures of each report, as a table."""
    names = list(key_figures(found[0][0].totals))
    lines = [
        f"| | {' | '.join(names)} | version |",
        f"|---|{'---:|' * (len(names) + 1)}",
    ]
    for figures, stored in found:
        told = key_figures(figures.totals)
        name = figures.name.replace("|", "\\|")
        version = "so far" if figures.is_partial else str(stored.number)
        lines.append(f"| {name} | {' | '.join(told[name] for name in names)} | {version} |")
    changed = [
        f"{figures.name}: {' '.join(stored.changed)}" for figures, stored in found if stored.changed
    ]
    return "\n".join([*lines, *(f"\n{line}" for line in changed)])
