"""The one door for Dagster: everything that it loads, and nothing that computes.

`dagster definitions validate -m pipelines.definitions` needs neither a database nor a lake.
"""

import dagster as dg

from pipelines.days import daily_tables
from pipelines.failure_webhook import failed_runs
from pipelines.history import meter_telemetry_history, vehicle_telemetry_history
from pipelines.hourly import hourly_tables
from pipelines.jobs import daily, hourly, observe_raw, watch
from pipelines.maintenance import every_night, maintenance, maintenance_assets
from pipelines.raw import raw_heartbeats
from pipelines.report.asset import daily_efficiency_report
from pipelines.resources import LakeResource, WarehouseResource
from pipelines.schedules import every_day, every_hour, watch_every_hour
from pipelines.sensors import changed_days, late_hours
from pipelines.serving import efficiency_marts
from pipelines.watch import WATCHED

definitions = dg.Definitions(
    assets=[
        raw_heartbeats,
        meter_telemetry_history,
        vehicle_telemetry_history,
        hourly_tables,
        efficiency_marts,
        daily_tables,
        daily_efficiency_report,
        *maintenance_assets,
    ],
    asset_checks=WATCHED,
    jobs=[hourly, daily, observe_raw, watch, maintenance],
    schedules=[every_hour, every_day, every_night, watch_every_hour],
    sensors=[late_hours, changed_days, failed_runs],
    resources={"lake": LakeResource(), "warehouse": WarehouseResource()},
    # A process for each step would take longer to start than an hour takes to compute.
    executor=dg.in_process_executor,
)
