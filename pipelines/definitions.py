"""Definitions that Dagster loads.

`dagster definitions validate -m pipelines.definitions` needs neither a database nor a lake.
"""

import dagster as dg

from pipelines.assets.daily import daily_tables
from pipelines.assets.history import meter_telemetry_history, vehicle_telemetry_history
from pipelines.assets.hourly import hourly_tables
from pipelines.assets.marts import efficiency_marts
from pipelines.assets.raw import raw_heartbeats
from pipelines.automation.failure_webhook import failed_runs
from pipelines.automation.jobs import REPORT_JOBS, daily, hourly, observe_raw, watch
from pipelines.automation.report_sensor import changed_reports
from pipelines.automation.schedules import every_day, every_hour, watch_every_hour
from pipelines.automation.sensors import changed_days, late_hours
from pipelines.automation.watch import WATCHED
from pipelines.maintenance.assets import every_night, maintenance, maintenance_assets
from pipelines.report.asset import REPORTS
from pipelines.resources import LakeResource, WarehouseResource

definitions = dg.Definitions(
    assets=[
        raw_heartbeats,
        meter_telemetry_history,
        vehicle_telemetry_history,
        hourly_tables,
        efficiency_marts,
        daily_tables,
        *REPORTS,
        *maintenance_assets,
    ],
    asset_checks=WATCHED,
    jobs=[hourly, daily, *REPORT_JOBS.values(), observe_raw, watch, maintenance],
    schedules=[every_hour, every_day, every_night, watch_every_hour],
    sensors=[late_hours, changed_days, changed_reports, failed_runs],
    resources={"lake": LakeResource(), "warehouse": WarehouseResource()},
    # A process for each step would take longer to start than an hour takes to compute.
    executor=dg.in_process_executor,
)
