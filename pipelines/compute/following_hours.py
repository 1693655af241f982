"""Later hours to recompute when an hour changes: their first register reading counts from it."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl
import psycopg

from lake import HOUR, REGISTER, STREAMS, EnergySettings, Lake, Stream, scan_history
from lake.delta import READ_ERRORS, find_damaged_files
from pipelines.ledger import compacted_hours, reopen_hours


def following_hours(
    lake: Lake, connection: psycopg.Connection, hours: Sequence[datetime], settings: EnergySettings
) -> list[datetime]:
    """Compacted hours after `hours` whose energy is counted from a reading within them.

    `hours` are contiguous. The next hour always is one, because the cover of its first readings
    begins before it. Beyond it, the hour of each register's next reading, up to the look-back.
    An hour whose history is lost is left out and opened again, so that it waits for what brings it
    back. Raises LakeDamaged where a history is only out of reach.
    """
    end = hours[-1] + HOUR
    later = compacted_hours(
        connection, end, end + timedelta(hours=settings.register_lookback_hours)
    )
    if not later:
        return []
    found, lost = {hour for hour in later if hour == end}, set[datetime]()
    for stream in STREAMS.values():
        open_ended = _registers(lake, stream, hours[0], end)
        for hour in later:
            if open_ended.is_empty():
                break
            try:
                seen = _registers(lake, stream, hour, hour + HOUR)
            except READ_ERRORS:
                if not _is_lost(lake, hour):
                    raise
                lost.add(hour)
                continue
            closed = open_ended.filter(open_ended.is_in(seen.implode()))
            if not closed.is_empty():
                found.add(hour)
                open_ended = open_ended.filter(~open_ended.is_in(closed.implode()))
    lost |= {hour for hour in found if _is_lost(lake, hour)}
    reopen_hours(connection, dict.fromkeys(lost, False))
    return sorted(found - lost)


def _is_lost(lake: Lake, hour: datetime) -> bool:
    """Whether the history of an hour is damaged for good; raises LakeDamaged where it is not."""
    damaged = [
        one
        for stream in STREAMS.values()
        for one in find_damaged_files(lake, stream.history_table, "timestamp", hour, hour + HOUR)
    ]
    for one in damaged:
        one.require_lost()
    return bool(damaged)


def _registers(lake: Lake, stream: Stream, start: datetime, end: datetime) -> pl.Series:
    """Devices with a register reading in the window."""
    return (
        scan_history(lake, stream, start, end)
        .filter(pl.col("reading_type") == REGISTER, pl.col(stream.energy).is_not_null())
        .select(pl.col(stream.device).unique())
        .collect()
        .to_series()
    )
