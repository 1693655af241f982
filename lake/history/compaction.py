"""Compaction: the raw files of an hour become one sorted, de-duplicated file of the history."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from typing import Final

import polars as pl

from lake.delta.damage import DataFile
from lake.delta.raw_files import RawSnapshot
from lake.delta.replace import live_files, replace_window_in_parts, scan_window
from lake.delta.storage import Lake, retry_stale
from lake.errors import LakeDamaged
from lake.history.deduplication import Deduplicated, merge_in_parts
from lake.prefetch import prefetch
from lake.schema.history import DUPLICATES, decode_history, encode_history, history_table
from lake.schema.partitions import HOUR, hours_between
from lake.schema.streams import Stream

# Hours of a small fleet are compacted together: a commit takes as long for one as for many.
_ROWS_TOGETHER: Final = 500_000


@dataclass(frozen=True)
class Compaction:
    """The result of one compaction.

    `raw_rows` lay in the raw table at `raw_version`; `rows` are distinct heartbeats in the history
    at `history_version`; `changed` tells whether this compaction had to write. `changes` has the
    keys of the heartbeats that are new or different in it; None: all may be, because the history
    had none, or has taken them in before.
    """

    stream: str
    hour: datetime
    rows: int
    duplicates_removed: int
    raw_rows: int
    raw_version: int
    history_version: int
    changed: bool
    changes: pl.DataFrame | None = field(default=None, compare=False)


def compact_hour(lake: Lake, stream: Stream, hour: datetime) -> Compaction:
    """Compact one hour; see `compact_hours`."""
    (done,) = compact_hours(lake, stream, [hour])
    return done


def compact_hours(lake: Lake, stream: Stream, hours: Sequence[datetime]) -> list[Compaction]:
    """Compact the raw heartbeats of contiguous hours into the history.

    Idempotent: hours that hold everything already are not written again. A compaction of the
    same hours by somebody else at the same time is noticed, and this one starts over. Hours of one
    day with few heartbeats become one file in one commit.
    """
    # Not for one hour, which is one part: in a store to open a table takes many requests.
    rows = _raw_hours(lake, stream).rows_by_hour() if len(hours) > 1 else {}
    parts = _together(hours, rows)
    done = (retry_stale(partial(_compact, lake, stream, part)) for part in parts)
    return [compaction for of_part in done for compaction in of_part]


def rebuild_hour(lake: Lake, stream: Stream, hour: datetime) -> Compaction:
    """Replace an hour of the history by what its raw heartbeats alone give.

    For a history that was damaged. Where raw lacks a heartbeat that the history has, because it
    was dropped after its retention for one, this is `compact_hour`: nothing is ever forgotten.
    """
    (done,) = retry_stale(lambda: _compact(lake, stream, [hour], from_raw_alone=True))
    return done


def _together(hours: Sequence[datetime], rows: dict[datetime, int]) -> list[list[datetime]]:
    """The hours in parts of one day each, with few heartbeats or of one hour."""
    parts: list[list[datetime]] = []
    total = 0
    for hour in hours:
        total += rows.get(hour, 0)
        if not parts or hour.date() != parts[-1][-1].date() or total > _ROWS_TOGETHER:
            parts.append([])
            total = rows.get(hour, 0)
        parts[-1].append(hour)
    return parts


def rebuild_files(lake: Lake, stream: Stream, files: Sequence[DataFile]) -> None:
    """Replace unreadable files of the history by what raw holds of them, in one commit.

    For all such files of a stretch of time, whose hours are whole in raw, which the caller has
    found out. Raises LakeDamaged, with nothing changed, where raw gives fewer heartbeats than the
    files had. Nothing happens where the history does not hold them any more.
    """
    retry_stale(lambda: _rebuild(lake, stream, files))


def _rebuild(lake: Lake, stream: Stream, files: Sequence[DataFile]) -> None:
    spec = history_table(stream)
    raw, history = _raw_hours(lake, stream), lake.open(stream.history_table)
    within = min(file.hours[0] for file in files), max(file.hours[-1] for file in files) + HOUR
    live = {file.path for file in live_files(lake, history, spec, *within)}
    lost = [file for file in files if file.path in live]
    if not lost:
        return
    window = min(file.hours[0] for file in lost), max(file.hours[-1] for file in lost) + HOUR
    without = [file.path for file in lost]

    def by_hour() -> Iterator[tuple[date, Iterator[pl.DataFrame]]]:
        found = 0
        for hour in hours_between(*window):
            there = scan_window(lake, history, spec, hour, hour + HOUR, without=without)
            known = decode_history(there, stream).collect()
            merged = merge_in_parts(stream, known, raw.scan([hour]).collect())
            found += merged.height - known.height
            if merged.height:
                parts = merged.parts(spec.rows_a_group)
                yield hour.date(), (encode_history(part).select(spec.names) for part in parts)
        if any(file.rows is None for file in lost) or found < sum(file.rows or 0 for file in lost):
            raise LakeDamaged(
                f"{', '.join(file.description for file in lost)} can't be read, and raw has fewer "
                "heartbeats than were in it: restore from a backup"
            )

    read = {"raw_version": str(raw.version)}
    replace_window_in_parts(lake, history, spec, by_hour(), *window, read)


def _compact(
    lake: Lake, stream: Stream, hours: Sequence[datetime], *, from_raw_alone: bool = False
) -> list[Compaction]:
    spec, start, end = history_table(stream), hours[0], hours[-1] + HOUR
    raw, history = _raw_hours(lake, stream), lake.open(stream.history_table)
    received = raw.scan(hours).collect()
    stored = scan_window(lake, history, spec, start, end)
    compacted = decode_history(stored, stream).collect()
    known = compacted.clear() if from_raw_alone else compacted
    merged = merge_in_parts(stream, known, received)
    key = list(stream.key)
    if from_raw_alone and _missing(compacted, merged.all_rows(), key):
        return _compact(lake, stream, hours)
    changed = not (merged.equals(compacted) or _is_in_order_of_hours(compacted, merged, stream))
    history_version = history.version()
    if changed:
        # One thread can encode, and meanwhile another puts the next rows together.
        parts = (
            encode_history(part).select(spec.names) for part in merged.parts(spec.rows_a_group)
        )
        day = start.date(), prefetch(parts)
        read = {"raw_version": str(raw.version)}
        history_version = replace_window_in_parts(lake, history, spec, [day], start, end, read)
    changes = _changes(stream, compacted, merged) if changed else {}
    raw_rows = _by_hour(received.select("timestamp"), pl.len())
    rows = _by_hour(merged.times(), pl.len())
    duplicates = _by_hour(merged.times(), pl.col(DUPLICATES.name).sum())
    return [
        Compaction(
            stream=stream.name,
            hour=hour,
            rows=rows.get(hour, 0),
            duplicates_removed=duplicates.get(hour, 0),
            raw_rows=raw_rows.get(hour, 0),
            raw_version=raw.version,
            history_version=history_version,
            changed=changed,
            changes=changes.get(hour),
        )
        for hour in hours
    ]


def _changes(
    stream: Stream, compacted: pl.DataFrame, merged: Deduplicated
) -> dict[datetime, pl.DataFrame]:
    """The keys of what is new or different, of each hour that the history had heartbeats of."""
    if compacted.is_empty():
        return {}
    hour = pl.col("timestamp").dt.truncate("1h").alias("_hour")
    hours = compacted.select(hour.unique()).to_series()
    rows = merged.all_rows().filter(hour.is_in(hours.implode()))
    sent = [column.name for column in stream.columns if column.name != "received_at"]
    new = rows.join(compacted, on=sent, how="anti", nulls_equal=True).select(*stream.key, hour)
    none = new.drop("_hour").clear()
    parts = new.partition_by("_hour", as_dict=True, include_key=False)
    by_hour = {found[0].astimezone(UTC): rows for found, rows in parts.items()}
    return {of.astimezone(UTC): by_hour.get(of.astimezone(UTC), none) for of in hours}


def _missing(rows: pl.DataFrame, among: pl.DataFrame, key: Sequence[str]) -> bool:
    return rows.join(among, on=key, how="anti", nulls_equal=True).height > 0


def _is_in_order_of_hours(compacted: pl.DataFrame, merged: Deduplicated, stream: Stream) -> bool:
    """Whether all rows are there, each hour in order: of hours that are files of their own."""
    if merged.height != compacted.height:
        return False
    hour, key = pl.col("timestamp").dt.truncate("1h"), list(stream.key)
    by_hour = compacted.sort(hour, maintain_order=True)
    return by_hour.equals(compacted.sort(hour, *key)) and merged.equals(compacted.sort(key))


def _raw_hours(lake: Lake, stream: Stream) -> RawSnapshot:
    return RawSnapshot(lake, stream, lake.open(stream.raw_table))


def _by_hour(rows: pl.DataFrame, figure: pl.Expr) -> dict[datetime, int]:
    hour = pl.col("timestamp").dt.truncate("1h")
    return dict(rows.group_by(hour).agg(figure.cast(pl.Int64)).iter_rows())
