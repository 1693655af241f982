"""Archive: each night the small files of days that have passed become large ones."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg

from lake import DAY, STREAMS, Stream
from lake.schema import DERIVED_TABLES, TableSpec, history_table
from lake.upkeep import ArchiveResult, archive_day, days_to_archive, merge_raw_hours
from pipelines.assets.metadata import RETRIES
from pipelines.assets.read_failures import fail_on_unreadable, require_lake_of_ledger
from pipelines.resources import LakeResource, WarehouseResource
from pipelines.settings import PipelineSettings

# A first run that finds years of hours is done in so many nights.
_DAYS_A_NIGHT: Final = 31


def archive_op(spec: TableSpec) -> dg.OpDefinition:
    """The step that makes one file of each old day of a table."""

    @dg.op(
        name=f"{spec.name}_archive",
        # The pool of the table's one writer.
        pool=spec.name,
        retry_policy=RETRIES,
        description=(
            f"Makes one file of each day of `{spec.name}` once it is `ARCHIVE_AFTER_DAYS` old.\n\n"
            "**How it works.** The files of the day's hours are merged in the order of the table "
            f"and packed tighter, at most {_DAYS_A_NIGHT} days a night. The rows stay the same; "
            "the disk is free once the upkeep of the table has run a week later.\n\n"
            "**Caveats.** Late heartbeats still find their hour, and then the file of the day is "
            "written anew."
        ),
    )
    def archive(context: dg.OpExecutionContext, lake: LakeResource) -> None:
        tables, started = lake.lake(), time.monotonic()
        days = days_to_archive(tables, spec, _before().date())[:_DAYS_A_NIGHT]
        done, failed = [], list[str]()
        for day in days:
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
            try:
                with fail_on_unreadable(tables, [spec.name], midnight, midnight + DAY):
                    done.append(archive_day(tables, spec, day))
            except dg.Failure as failure:  # the other days are archived all the same
                failed.append(str(failure.description))
        if failed:
            raise dg.Failure("; ".join(failed), allow_retries=False)
        context.add_output_metadata({"days": len(days), **_metadata(done, started)})

    return archive


def merge_op(stream: Stream) -> dg.OpDefinition:
    """The step that makes one file of each old hour of a raw table."""

    @dg.op(
        name=f"{stream.raw_table}_merge",
        pool=stream.raw_table,
        retry_policy=RETRIES,
        description=(
            f"Makes one file of each hour of `{stream.raw_table}` once it is "
            "`ARCHIVE_AFTER_DAYS` old.\n\n"
            "**How it works.** The collector adds a file a minute; they are merged in order of "
            "receipt, every copy is kept. Runs beside appends.\n\n"
            "**Caveats.** None: the rows stay the same."
        ),
    )
    def merge(
        context: dg.OpExecutionContext, lake: LakeResource, warehouse: WarehouseResource
    ) -> None:
        tables, started = lake.lake(), time.monotonic()
        with warehouse.autocommit() as connection:
            require_lake_of_ledger(connection, tables, stream)
        done = merge_raw_hours(tables, stream, _before())
        context.add_output_metadata({"hours": len(done), **_metadata(done, started)})

    return merge


def _before() -> datetime:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=PipelineSettings().archive_after_days)


def _metadata(done: list[ArchiveResult], started: float) -> dict[str, float]:
    return {
        "files_merged": sum(archived.files_before for archived in done),
        "bytes_before": sum(archived.bytes_before for archived in done),
        "bytes_after": sum(archived.bytes_after for archived in done),
        "seconds": round(time.monotonic() - started, 3),
    }


archive_ops = [
    *map(merge_op, STREAMS.values()),
    *(archive_op(history_table(stream)) for stream in STREAMS.values()),
    *map(archive_op, DERIVED_TABLES),
]
