"""The daily report as an asset: an HTML page and a CSV file below the lake's URL."""

from datetime import UTC, datetime

import dagster as dg
from pyarrow.fs import FileSystem

from lake import EnergySettings
from pipelines.assets.daily import CHARGER_DAYS, FLEET_DAYS, VEHICLE_DAYS
from pipelines.assets.hourly import FLEET
from pipelines.assets.metadata import FRESH_EACH_DAY, OWNERS, RETRIES
from pipelines.partitions import DAILY, days_of_run
from pipelines.report.figures import day_figures
from pipelines.resources import LakeResource, WarehouseResource
from warehouse_sql.named_queries import query


@dg.asset(
    deps=[VEHICLE_DAYS.key, FLEET_DAYS.key, CHARGER_DAYS.key, FLEET],
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="reports",
    kinds={"html", "csv"},
    owners=OWNERS,
    tags={"layer": "report"},
    pool="daily_efficiency_report",
    retry_policy=RETRIES,
    freshness_policy=FRESH_EACH_DAY,
    code_version="1",
    description=(
        "The fleet's efficiency of one UTC day as a page to read, print or send, and the same "
        "numbers as CSV.\n\n"
        "**How it is computed.** Not at all: the figures are those of `vehicle_efficiency_daily` "
        "and `fleet_efficiency_daily`, in the same run, and of the hours; those of depots are rows "
        "of `charger_efficiency_daily`, added up. Made for the day that has ended, and again "
        "whenever one of its hours was recomputed.\n\n"
        "**Caveats.** The status of a day is not that of most of its hours: a car that is "
        "rated in one hour and idle in the others is rated. The running day says *so far*."
    ),
)
def daily_efficiency_report(
    context: dg.AssetExecutionContext, lake: LakeResource, warehouse: WarehouseResource
) -> dg.MaterializeResult[None]:
    """Render every day of the run."""
    # The renderer loads slowly; a run of the hourly job has no use for it.
    from pipelines.report.page import csv_table, html_page  # noqa: PLC0415

    tables, settings = lake.lake(), EnergySettings()
    with warehouse.autocommit() as connection:
        depots = dict(connection.execute(query("depots_of_meters")).fetchall())
    for day in days_of_run(context):
        figures = day_figures(tables, day, datetime.now(UTC), depots)
        folder = f"reports/date={day:%Y-%m-%d}"
        page = html_page(figures, tables.uri, settings)
        write_file(tables.file_system(), f"{folder}/efficiency.csv", csv_table(figures).encode())
        write_file(tables.file_system(), f"{folder}/efficiency.html", page.encode())
        totals = next(figures.fleet.iter_rows(named=True), {})
        shown = ("efficiency_percent", "loss_kwh", "energy_ac_kwh", "energy_dc_kwh", "vehicles")
        context.add_asset_metadata(
            {
                "dagster/uri": f"{tables.uri}/{folder}/efficiency.html",
                "hours": figures.hours_with_data,
                "so_far": figures.is_partial,
                **{name: totals[name] for name in shown if totals.get(name) is not None},
            },
            partition_key=f"{day:%Y-%m-%d}",
        )
    return dg.MaterializeResult()


def write_file(files: FileSystem, path: str, content: bytes) -> None:
    """Write a file in one step, so that a reader sees the old or the new content."""
    files.create_dir(path.rsplit("/", 1)[0], recursive=True)
    with files.open_output_stream(f"{path}.part") as stream:
        stream.write(content)
    files.move(f"{path}.part", path)
