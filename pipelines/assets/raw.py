"""Assets of the raw tables that the collector appends to, and their waiting hours."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from lake import METER, STREAMS, VEHICLE, Stream
from lake.schema import contiguous_hours
from pipelines.assets.metadata import OWNERS, raw_metadata
from pipelines.ledger import WaitingHour, raw_totals, waiting_hours
from pipelines.partitions import FIRST_HOUR, HOURLY, hour_key
from pipelines.resources import LakeResource, WarehouseResource

_HOURS_A_RANGE = 24 * 366


def raw_spec(stream: Stream) -> dg.AssetSpec:
    """The raw table of a stream in the asset graph."""
    return dg.AssetSpec(
        stream.raw_table,
        partitions_def=HOURLY,
        group_name="raw",
        kinds={"deltalake"},
        owners=OWNERS,
        tags={"layer": "raw", "stream": stream.name},
        metadata=raw_metadata(stream),
        description=(
            f"Every {stream.name} heartbeat as it was received, duplicates included. A row "
            "never changes; hours older than `RAW_RETENTION_DAYS` are dropped, without that "
            "setting none.\n\n"
            "**How it comes about.** The collector acknowledges a heartbeat once Postgres has it "
            "and moves the outbox here every minute, each row exactly once; "
            "`wattlake import` appends here, too. Partitioned by the UTC date and hour of the "
            "*event* time, so late heartbeats land in their own hour.\n\n"
            f"**Caveats.** Count distinct `({stream.device}, timestamp)`, not rows. A null was "
            f"not sent; it is no zero. `{stream.energy}` is an interval or a register: see "
            "`reading_type`."
        ),
    )


RAW_SPECS = {stream.name: raw_spec(stream) for stream in STREAMS.values()}


def _observe(
    context: dg.AssetExecutionContext, lake: LakeResource, warehouse: WarehouseResource
) -> Iterator[dg.ObserveResult]:
    """Report the size of the raw tables, and the hours that wait for their computation."""
    streams = [s for s in STREAMS.values() if RAW_SPECS[s.name].key in context.selected_asset_keys]
    with warehouse.autocommit() as connection:
        waiting = waiting_hours(connection, FIRST_HOUR, datetime.now(UTC))
        totals = {stream.name: raw_totals(connection, stream) for stream in streams}
    for stream in streams:
        of_stream = [entry for entry in waiting if entry.stream == stream.name]
        for hours in contiguous_hours((entry.hour for entry in of_stream), _HOURS_A_RANGE):
            for observation in observations(of_stream, hours):
                context.log_event(observation)
        total = totals[stream.name]
        version = lake.lake().open(stream.raw_table).version()
        yield dg.ObserveResult(
            asset_key=RAW_SPECS[stream.name].key,
            data_version=dg.DataVersion(str(version)),
            metadata={
                "dagster/row_count": total.rows,
                "hours": total.hours,
                "hours_waiting": total.hours_waiting,
                "delta_version": version,
                **_moment("first_hour", total.first_hour),
                **_moment("last_hour", total.last_hour),
                **_moment("last_arrival", total.last_arrival),
            },
        )


# Called rather than written with @, because the decorator has no types.
raw_heartbeats: dg.AssetsDefinition = dg.multi_observable_source_asset(
    name="raw_heartbeats", specs=[RAW_SPECS[METER.name], RAW_SPECS[VEHICLE.name]], can_subset=True
)(_observe)


def observations(
    waiting: Iterable[WaitingHour], hours: Sequence[datetime]
) -> list[dg.AssetObservation]:
    """Hours of the raw tables with heartbeats that nothing downstream has taken in.

    One for each stream of a contiguous range, however long: each is a transaction of Dagster's.
    That of a single hour stands at its partition.
    """
    found: dict[str, list[WaitingHour]] = defaultdict(list)
    for entry in waiting:
        if hours[0] <= entry.hour <= hours[-1]:
            found[entry.stream].append(entry)
    return [_observation(RAW_SPECS[stream].key, of_range) for stream, of_range in found.items()]


def _observation(key: dg.AssetKey, waiting: Sequence[WaitingHour]) -> dg.AssetObservation:
    first, last = waiting[0].hour, waiting[-1].hour
    rows = sum(entry.raw_rows for entry in waiting)
    version = max(entry.raw_version for entry in waiting)
    arrival = max(entry.last_arrival for entry in waiting)
    metadata: dict[str, Any] = {
        "delta_version": version,
        "last_arrival": dg.MetadataValue.timestamp(arrival),
    }
    if first == last:
        return dg.AssetObservation(
            key,
            partition=hour_key(first),
            metadata={"dagster/partition_row_count": rows, **metadata},
            tags={"dagster/data_version": str(version)},
        )
    return dg.AssetObservation(
        key,
        metadata={
            "hours_waiting": len(waiting),
            "rows_waiting": rows,
            **_moment("first_hour", first),
            **_moment("last_hour", last),
            **metadata,
        },
    )


def _moment(name: str, moment: datetime | None) -> dict[str, dg.TimestampMetadataValue]:
    return {} if moment is None else {name: dg.MetadataValue.timestamp(moment)}
