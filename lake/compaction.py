"""Compaction: the raw files of an hour become one sorted, de-duplicated file of the history."""

from dataclasses import dataclass
from datetime import datetime

from lake.ahead import one_ahead
from lake.history import as_received, as_stored, history_table
from lake.hours import HOUR
from lake.merge import merge_in_parts
from lake.raw_files import scan_raw_hour
from lake.replace import replace_by_parts, scan_window
from lake.storage import Lake, retry_stale
from lake.streams import Stream


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


def compact_anew(lake: Lake, stream: Stream, hour: datetime) -> Compaction:
    """Let the history of one hour be what its raw heartbeats alone say, whatever it held.

    For a history that was damaged. Where raw lacks a heartbeat that the history has, because it
    was dropped after its retention for one, this is `compact_hour`: nothing is ever forgotten.
    """
    return retry_stale(lambda: _compact(lake, stream, hour, from_raw_alone=True))


def _compact(
    lake: Lake, stream: Stream, hour: datetime, *, from_raw_alone: bool = False
) -> Compaction:
    spec = history_table(stream)
    raw, history = lake.open(stream.raw_table), lake.open(stream.history_table)
    received = scan_raw_hour(lake, stream, raw, hour).collect()
    stored = scan_window(lake, history, spec, hour, hour + HOUR)
    compacted = as_received(stored, stream).collect()
    known = compacted.clear() if from_raw_alone else compacted
    merged = merge_in_parts(stream, known, received)
    key = list(stream.key)
    if from_raw_alone and compacted.join(merged.whole(), on=key, how="anti").height:
        return _compact(lake, stream, hour)
    changed = not merged.equals(compacted)
    raw_version, history_version = raw.version(), history.version()
    if changed:
        # One thread can encode, and meanwhile another puts the next rows together.
        parts = (as_stored(part).select(spec.names) for part in merged.parts(spec.rows_a_group))
        day = hour.date(), one_ahead(parts)
        read = {"raw_version": str(raw_version)}
        history_version = replace_by_parts(lake, history, spec, [day], hour, hour + HOUR, read)
    return Compaction(
        stream=stream.name,
        hour=hour,
        rows=merged.height,
        duplicates_removed=int(merged.duplicates.sum()),
        raw_rows=received.height,
        raw_version=raw_version,
        history_version=history_version,
        changed=changed,
    )
