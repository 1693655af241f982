"""Reading heartbeats: the compacted history, or everything up to this moment."""

from collections.abc import Collection, Sequence
from datetime import datetime

import polars as pl
import pyarrow as pa

from lake.delta.raw_files import RawSnapshot
from lake.delta.replace import scan_window
from lake.delta.storage import Lake
from lake.history.deduplication import merge_heartbeats
from lake.schema.history import decode_history, history_table
from lake.schema.partitions import HOUR, hour_of, hours_between, in_raw_partitions, in_window
from lake.schema.streams import Stream


def scan_history(
    lake: Lake,
    stream: Stream,
    start: datetime,
    end: datetime,
    devices: Sequence[str] | None = None,
    without: Collection[str] = (),
) -> pl.LazyFrame:
    """Scan the compacted heartbeats of [start, end), but not the files of `without`.

    The columns of the stream and COPIES; sorted by the stream's key within each hour.
    """
    table = lake.open(stream.history_table)
    if without:
        rows = scan_window(lake, table, history_table(stream), start, end, without)
    else:
        spec = history_table(stream)
        rows = _with_columns(lake.scan(table), spec.schema).filter(in_window(start, end))
    return decode_history(_of_devices(rows, stream, devices), stream)


def scan_heartbeats(
    lake: Lake,
    stream: Stream,
    start: datetime,
    end: datetime,
    devices: Sequence[str] | None = None,
    dirty_hours: Collection[datetime] = (),
    outbox: pa.Table | None = None,
    without: Collection[str] = (),
) -> pl.LazyFrame:
    """Scan the heartbeats of [start, end), exact up to the moment of the caller's snapshot.

    The caller reads `dirty_hours` and the `outbox` rows of these devices in one Postgres snapshot
    *before* this call opens the lake: a heartbeat leaves the outbox only after the lake has it,
    so none can slip through. One that is seen in both is one heartbeat; its flush is no duplicate.
    Files with a path of `without`, of the history or raw, are left out; let their hours be dirty.
    """
    history = scan_history(lake, stream, start, end, devices, without)
    received = []
    dirty = set(dirty_hours)
    if outbox is not None and outbox.num_rows:
        waiting = pl.DataFrame(outbox).filter(
            pl.col("timestamp") >= start, pl.col("timestamp") < end
        )
        received.append(_of_devices(waiting.lazy(), stream, devices))
        dirty |= {hour_of(moment) for moment in waiting["timestamp"]}
    dirty &= set(hours_between(start, end))
    if dirty:
        raw = _raw(lake, stream, sorted(dirty), without).filter(
            pl.col("timestamp") >= start, pl.col("timestamp") < end
        )
        received.append(_of_devices(raw, stream, devices))
    if not received:
        return history
    columns = [column.name for column in stream.columns]
    # A heartbeat on its way is in the outbox and in the raw table: the same row twice.
    once = pl.concat([frame.select(columns) for frame in received]).unique()
    return merge_heartbeats(stream, history, [once])


def _raw(
    lake: Lake, stream: Stream, hours: Sequence[datetime], without: Collection[str]
) -> pl.LazyFrame:
    """The raw heartbeats of some hours, in order."""
    table = lake.open(stream.raw_table)
    if without:
        raw = RawSnapshot(lake, stream, table)
        return pl.concat([raw.scan([hour], without) for hour in hours])
    return (
        _with_columns(lake.scan(table), stream.arrow_schema)
        .filter(
            in_raw_partitions(hours[0], hours[-1] + HOUR),
            pl.col("timestamp").dt.truncate("1h").is_in(hours),
        )
        .drop("date", "hour")
    )


def _with_columns(rows: pl.LazyFrame, schema: pa.Schema) -> pl.LazyFrame:
    """Add the columns that a table of an older version does not have yet."""
    there = rows.collect_schema()
    known = pl.DataFrame(schema.empty_table()).schema
    missing = {name: kind for name, kind in known.items() if name not in there}
    return rows.with_columns(pl.lit(None, kind).alias(name) for name, kind in missing.items())


def _of_devices(rows: pl.LazyFrame, stream: Stream, devices: Sequence[str] | None) -> pl.LazyFrame:
    if devices is None:
        return rows
    if len(devices) == 1:  # equality prunes row groups, membership does not in every version
        return rows.filter(pl.col(stream.device) == devices[0])
    return rows.filter(pl.col(stream.device).is_in(list(devices)))
