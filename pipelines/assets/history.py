"""Assets of the history: the raw heartbeats of each hour, sorted and without duplicates."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby

import dagster as dg
import polars as pl

from lake import (
    HOUR,
    METER,
    VEHICLE,
    Compaction,
    EnergySettings,
    Lake,
    Stream,
    compact_hours,
    scan_history,
)
from lake.delta import live_files, scan_files
from lake.schema import history_table, in_raw_partitions
from pipelines.assets.lineage import history_sources, lineage_metadata
from pipelines.assets.metadata import FRESH_EACH_HOUR, OWNERS, RETRIES, delta_metadata
from pipelines.assets.raw import RAW_SPECS
from pipelines.assets.read_failures import fail_on_unreadable, require_lake_of_ledger
from pipelines.checks.results import latched_result
from pipelines.checks.rules import lost_heartbeats, repeated_keys, unsorted_rows
from pipelines.compute.devices import register_devices
from pipelines.compute.hours_beside import reopen_hours_beside
from pipelines.ledger import (
    dirty_hours,
    hours_with_dropped_rows,
    mark_compacted,
)
from pipelines.partitions import HOURLY, hour_key, hours_of_run
from pipelines.resources import LakeResource, WarehouseResource

CONSERVED, UNIQUE, SORTED = "rows_conserved", "no_duplicate_key", "sorted_files"
_BLOCKING = (CONSERVED, UNIQUE)
_ROWS_TOGETHER = 500_000


def history_asset(stream: Stream) -> dg.AssetsDefinition:
    """The asset of a stream's history table."""
    key = ", ".join(stream.key)

    @dg.asset(
        name=stream.history_table,
        deps=[RAW_SPECS[stream.name]],
        partitions_def=HOURLY,
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name="history",
        kinds={"deltalake", "polars"},
        owners=OWNERS,
        tags={"layer": "history", "stream": stream.name},
        pool=stream.history_table,
        retry_policy=RETRIES,
        code_version="1",
        metadata={
            **delta_metadata(history_table(stream)),
            **lineage_metadata(history_sources(history_table(stream), stream)),
        },
        freshness_policy=FRESH_EACH_HOUR,
        check_specs=[
            dg.AssetCheckSpec(
                CONSERVED,
                asset=stream.history_table,
                blocking=True,
                description="Each received copy of a heartbeat is its one row of the history or "
                "counted in its `duplicates`. Of an hour whose raw rows were dropped after their "
                "retention: each copy that is still there.",
            ),
            dg.AssetCheckSpec(
                UNIQUE,
                asset=stream.history_table,
                blocking=True,
                description=f"`({key})` occurs once.",
            ),
            dg.AssetCheckSpec(
                SORTED,
                asset=stream.history_table,
                description=f"The rows of each file stand in the order of `({key})`, "
                "which lets a reader of one device skip most of it. Does not block: "
                "the numbers are right all the same, only slower to read.",
            ),
        ],
        description=(
            f"One row for each `{key}`, sorted by them: the table to "
            f"read {stream.name} heartbeats from.\n\n"
            "**How it is computed.** Each hour: history plus the raw rows, de-duplicated by "
            f"`({key})`; of the copies with a known energy the one that was received "
            "last stays, `duplicates` counts the others and `conflicts` those of them with another "
            "energy. A rerun changes nothing, late heartbeats re-open their hour.\n\n"
            "**Caveats.** The running hour is not in here yet. Values are as sent: registers are "
            "still registers, and a null is not a zero."
        ),
    )
    def history(
        context: dg.AssetExecutionContext, lake: LakeResource, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        tables, hours = lake.lake(), hours_of_run(context)
        read = stream.raw_table, stream.history_table
        with warehouse.autocommit() as connection:
            dirty = dirty_hours(connection, stream)
        with fail_on_unreadable(tables, read, hours[0], hours[-1] + HOUR):
            done = compact_hours(tables, stream, hours)
        with warehouse.autocommit() as connection:
            require_lake_of_ledger(connection, tables, stream)
            # Asked after the compaction: a drop is noted before it happens.
            dropped = hours_with_dropped_rows(connection, stream, hours)
            offenders = _offenders(tables, stream, done, dropped)
            results = [
                latched_result(
                    connection, name, found, hours, what=_WHAT[name], asset_key=context.asset_key
                )
                for name, found in offenders.items()
            ]
            # An hour that blocks what follows stays dirty, so that the sensor comes back to it.
            if all(offenders[name].is_empty() for name in _BLOCKING):
                register_devices(connection, tables, stream, hours)
                reopen_hours_beside(tables, connection, stream, done, dirty, EnergySettings())
                for compaction in done:
                    mark_compacted(connection, compaction)
        for compaction in done:
            context.add_asset_metadata(
                _metadata(compaction), partition_key=hour_key(compaction.hour)
            )
        yield dg.MaterializeResult(check_results=results)

    return history


_WHAT = {
    CONSERVED: "heartbeats unaccounted for",
    UNIQUE: "repeated keys",
    SORTED: "rows out of order",
}


def _offenders(
    lake: Lake, stream: Stream, done: list[Compaction], dropped: set[datetime]
) -> dict[str, pl.DataFrame]:
    """For each check the rows that break it."""
    lost, repeated, unsorted = [], [], []
    for part in _alike(done, dropped):
        start, end = part[0].hour, part[-1].hour + HOUR
        # Later appends are no loss: the raw table is read as the compaction has read it.
        table = lake.open(stream.raw_table)
        if table.version() != part[0].raw_version:
            table.load_as_version(part[0].raw_version)
        raw = lake.scan(table).filter(in_raw_partitions(start, end))
        history = scan_history(lake, stream, start, end)
        whole = start not in dropped
        lost.append(lost_heartbeats(raw, history, stream, raw_is_whole=whole).collect())
        repeated.append(repeated_keys(history, stream).collect())
        files = scan_history_files(lake, stream, start, end)
        unsorted.append(unsorted_rows(files, stream).collect())
    return {
        CONSERVED: pl.concat(lost),
        UNIQUE: pl.concat(repeated),
        SORTED: pl.concat(unsorted),
    }


def _alike(done: Sequence[Compaction], dropped: set[datetime]) -> list[list[Compaction]]:
    """Group the compactions that can be read together: of one day, version and kind."""
    parts: list[list[Compaction]] = []
    for _, alike in groupby(done, lambda c: (c.hour.date(), c.raw_version, c.hour in dropped)):
        parts.append([])
        for compaction in alike:
            if sum(c.raw_rows for c in (*parts[-1], compaction)) > _ROWS_TOGETHER and parts[-1]:
                parts.append([])
            parts[-1].append(compaction)
    return parts


def scan_history_files(lake: Lake, stream: Stream, start: datetime, end: datetime) -> pl.LazyFrame:
    """Scan the keys of hours of one day as their files have them: device, timestamp and file."""
    spec = history_table(stream)
    files = live_files(lake, lake.open(spec.name), spec, start, end)
    paths = [file.path for file in files]
    rows = scan_files(lake, spec.name, paths, spec.file_schema, path_column="file")
    timestamp = pl.col("timestamp")
    return rows.select(*stream.key, "file").filter(timestamp >= start, timestamp < end)


def _metadata(done: Compaction) -> dict[str, object]:
    return {
        "dagster/partition_row_count": done.rows,
        "duplicates_removed": done.duplicates_removed,
        "raw_rows": done.raw_rows,
        "raw_version": done.raw_version,
        "delta_version": done.history_version,
        "rewritten": done.changed,
    }


meter_telemetry_history = history_asset(METER)
vehicle_telemetry_history = history_asset(VEHICLE)
