"""Compaction: the raw files of an hour become one sorted, de-duplicated file of the history."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from lake.hours import HOUR, in_hours, with_partition
from lake.merge import merge_heartbeats
from lake.storage import Lake, overwrite_hours, retry_stale
from lake.streams import Stream

# Readers of one device skip the other row groups; smaller ones cost more than they save.
ROWS_A_GROUP: Final = 10_000


@dataclass(frozen=True)
class Compaction:
    """What one compaction found and left.

    `raw_rows` lay in the raw table at `raw_version`; `rows` are distinct heartbeats in the history
    at `history_version`; `changed` tells whether this compaction had to write.
    """

    stream: str
    hour: datetime
    rows: int
    duplicates_removed: int
    raw_rows: int
    raw_version: int
    history_version: int
    changed: bool


def compact_hour(lake: Lake, stream: Stream, hour: datetime) -> Compaction:
    """Take the raw heartbeats of one hour into the history.

    Idempotent: an hour that holds everything already is not written again. A compaction of the
    same hour by somebody else at the same time is noticed, and this one starts over.
    """
    return retry_stale(lambda: _compact(lake, stream, hour))


def _compact(lake: Lake, stream: Stream, hour: datetime) -> Compaction:
    raw, history = lake.open(stream.raw_table), lake.open(stream.history_table)
    window = in_hours(hour, hour + HOUR)
    received = lake.scan(raw).filter(window)
    compacted = lake.scan(history).filter(window).drop("date", "hour").collect()
    raw_rows = received.select(pl.len()).collect().item()
    merged = merge_heartbeats(stream, compacted.lazy(), [received]).collect()
    changed = not merged.equals(compacted)
    raw_version, history_version = raw.version(), history.version()
    if changed:
        history_version = overwrite_hours(
            lake,
            history,
            with_partition(merged, "timestamp"),
            hour,
            hour + HOUR,
            metadata={"raw_version": str(raw_version)},
            row_group=ROWS_A_GROUP,
        )
    return Compaction(
        stream=stream.name,
        hour=hour,
        rows=merged.height,
        duplicates_removed=int(merged["duplicates"].sum()),
        raw_rows=raw_rows,
        raw_version=raw_version,
        history_version=history_version,
        changed=changed,
    )
