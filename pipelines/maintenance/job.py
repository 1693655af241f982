"""The nightly job, which keeps the lake small and its tables fast to open."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from lake import STREAMS, Stream, hour_of
from lake.schema import DERIVED_TABLES
from lake.upkeep import checkpoint_if_due, clean_log, vacuum
from pipelines.assets.metadata import RETRIES
from pipelines.assets.read_failures import require_lake_of_ledger
from pipelines.maintenance.archive import archive_ops
from pipelines.maintenance.mart_retention import marts_retention
from pipelines.maintenance.raw_retention import Retention, drop_old_hours
from pipelines.maintenance.run_retention import runs_retention
from pipelines.resources import LakeResource, WarehouseResource
from pipelines.settings import PipelineSettings

_SHOWN = 20


def upkeep_op(table: str) -> dg.OpDefinition:
    """The step that keeps one table of the lake small."""

    @dg.op(
        name=f"{table}_upkeep",
        # The pool of the table's one writer, where it has one.
        pool=table,
        retry_policy=RETRIES,
        description=(
            f"Upkeep of `{table}`.\n\n"
            "**How it works.** A checkpoint if the newest is old; log entries older than 30 days "
            "go; data files that no version of the last 7 days holds go, those of failed commits "
            "too. Runs beside appends and compactions.\n\n"
            "**Caveats.** Rewrites no row. Versions older than 30 days can't be opened, and of "
            "versions older than 7 days files may be missing."
        ),
    )
    def upkeep(context: dg.OpExecutionContext, lake: LakeResource) -> None:
        tables, started = lake.lake(), time.monotonic()
        made = checkpoint_if_due(tables, table)
        log = clean_log(tables, table)
        dead = vacuum(tables, table)
        newest = {} if made.version is None else {"checkpoint_version": made.version}
        context.add_output_metadata(
            {
                "files_removed": dead.files,
                "bytes_freed": dead.bytes,
                "log_files_removed": log.files,
                "log_bytes_freed": log.bytes,
                "checkpoint_made": made.made,
                **newest,
                "seconds": round(time.monotonic() - started, 3),
            }
        )

    return upkeep


def retention_op(stream: Stream) -> dg.OpDefinition:
    """The step that drops old hours of a raw table."""

    @dg.op(
        name=f"{stream.raw_table}_retention",
        pool=stream.raw_table,
        retry_policy=RETRIES,
        description=(
            f"Drops hours of `{stream.raw_table}` that are older than `RAW_RETENTION_DAYS`.\n\n"
            "**How it works.** By the clock and the hour of the event. An hour goes only if the "
            "ledger says that the history has taken it in, and the history is found to account "
            "for every raw heartbeat of it. The disk is free once the upkeep of the table has "
            "run a week later.\n\n"
            "**Caveats.** Without a retention nothing is dropped. What is dropped can't be "
            "recomputed from raw. A heartbeat that arrives for a dropped hour is taken in as any "
            "other; if it is a copy, `duplicates` may count it too little."
        ),
    )
    def retention(
        context: dg.OpExecutionContext, lake: LakeResource, warehouse: WarehouseResource
    ) -> None:
        tables, started = lake.lake(), time.monotonic()
        days = PipelineSettings().raw_retention_days
        if days is None:
            context.add_output_metadata({"retention": "raw heartbeats are kept for ever"})
            return
        before = hour_of(datetime.now(UTC)) - timedelta(days=days)
        with warehouse.autocommit() as connection:
            require_lake_of_ledger(connection, tables, stream)
            done = drop_old_hours(tables, connection, stream, before)
        context.add_output_metadata(
            {
                "retention": f"{days} days: hours before {before:%Y-%m-%d %H:00} UTC",
                **_metadata(done),
                "seconds": round(time.monotonic() - started, 3),
            }
        )

    return retention


def _metadata(done: Retention) -> dict[str, int | str]:
    kept = [f"{hour:%Y-%m-%d %H:00}: {why}" for hour, why in sorted(done.kept.items())]
    return {
        "hours_dropped": len(done.dropped),
        "rows_dropped": sum(hour.rows for hour in done.dropped.values()),
        "files_dropped": sum(hour.files for hour in done.dropped.values()),
        "bytes_for_a_later_vacuum": sum(hour.bytes for hour in done.dropped.values()),
        "hours_kept": len(kept),
        **({"first_kept": "\n".join(kept[:_SHOWN])} if kept else {}),
    }


_TABLES = (
    *(stream.raw_table for stream in STREAMS.values()),
    *(stream.history_table for stream in STREAMS.values()),
    *(spec.name for spec in DERIVED_TABLES),
)


def _group(name: str, steps: Sequence[dg.OpDefinition], description: str) -> dg.GraphDefinition:
    return dg.GraphDefinition(name=name, node_defs=steps, description=description)


_GROUPS = (
    _group(
        "retention",
        [*map(retention_op, STREAMS.values()), marts_retention, runs_retention],
        "What is older than its retention goes.",
    ),
    _group("archive", archive_ops, "The small files of old days and hours become large ones."),
    _group("upkeep", [*map(upkeep_op, _TABLES)], "What no reader needs any more goes."),
)

# Steps and no assets: they make no data, and in the asset graph they would hide what does. None
# hangs on another, each waits for the pool of its table alone.
maintenance = dg.GraphDefinition(
    name="maintenance",
    node_defs=_GROUPS,
    description="Drops hours past their retention, and frees what no reader needs.",
).to_job(executor_def=dg.in_process_executor)

every_night = dg.ScheduleDefinition(
    name="every_night",
    job=maintenance,
    cron_schedule="41 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Maintains every table of the lake, away from the full hour and its compaction.",
)
