"""Definitions that Dagster loads.

`dagster definitions validate -m pipelines.definitions` needs neither a database nor a lake.
"""

import dagster as dg

from pipelines.assets.condition import device_condition
from pipelines.assets.daily import daily_tables
from pipelines.assets.external import alerts_spec, registry
from pipelines.assets.history import meter_telemetry_history, vehicle_telemetry_history
from pipelines.assets.hourly import hourly_tables
from pipelines.assets.marts import HOUR_MARTS, efficiency_day_marts, efficiency_marts
from pipelines.assets.raw import raw_heartbeats
from pipelines.automation.failure_webhook import failed_runs
from pipelines.automation.jobs import REPORT_JOBS, condition, daily, hourly, observe_raw, watch
from pipelines.automation.report_sensor import changed_reports
from pipelines.automation.schedules import every_day, every_hour, watch_every_hour
from pipelines.automation.sensors import changed_days, late_hours, outdated_condition
from pipelines.automation.watch import WATCHED
from pipelines.maintenance.job import every_night, maintenance
from pipelines.partitions import newest_partition
from pipelines.report.asset import REPORTS
from pipelines.resources import LakeResource, WarehouseResource

definitions = dg.Definitions(
    assets=[
        registry,
        raw_heartbeats,
        meter_telemetry_history,
        vehicle_telemetry_history,
        hourly_tables,
        efficiency_marts,
        daily_tables,
        efficiency_day_marts,
        device_condition,
        *REPORTS,
        alerts_spec(newest_partition(HOUR_MARTS[0].asset_key)),
    ],
    asset_checks=WATCHED,
    jobs=[
        hourly,
        daily,
        condition,
        *REPORT_JOBS.values(),
        observe_raw,
        watch,
        maintenance,
    ],
    schedules=[every_hour, every_day, every_night, watch_every_hour],
    sensors=[late_hours, changed_days, changed_reports, outdated_condition, failed_runs],
    resources={"lake": LakeResource(), "warehouse": WarehouseResource()},
    # A process for each step would take longer to start than an hour takes to compute.
    executor=dg.in_process_executor,
)
