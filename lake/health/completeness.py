"""Completeness: the part of the expected heartbeats that arrived, and the silent devices."""

from datetime import datetime, timedelta
from typing import Final

import polars as pl

from lake.schema.completeness import HEARTBEAT_COMPLETENESS_HOURLY, SILENT_DEVICES_NAMED
from lake.schema.partitions import utc_window
from lake.schema.streams import Stream
from lake.settings import EnergySettings

_LATE_BELOW: Final = 0.5
_REACH: Final = 1.5  # cadences, that a heartbeat may be away from the one before
_PARTS: Final = 1_000_000  # of a heartbeat: whole numbers add up alike in any order


def heartbeat_completeness(
    readings: pl.LazyFrame,
    expected: pl.LazyFrame,
    cadences: pl.LazyFrame,
    stream: Stream,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> pl.LazyFrame:
    """Return a stream's row of HEARTBEAT_COMPLETENESS_HOURLY for [start, end).

    `readings` have the stream's columns and `duplicates`, one row for each heartbeat;
    `expected` has the device column: the devices that should send. `cadences` are those of
    `device_cadences`; a device without one has the nominal cadence.
    """
    start, end = utc_window(start, end)
    cadence = pl.col("cadence").fill_null(round(settings.nominal_interval_seconds * 1_000_000))
    window = (end - start) // timedelta(microseconds=1)
    of_one = (_PARTS * window / cadence).round().cast(pl.Int64)
    received = pl.col("_received")
    # Heartbeats of several phases at one moment are one of the meter.
    moments = pl.len() if stream.part is None else pl.col("timestamp").n_unique()
    heard = (
        readings.filter(pl.col("timestamp") >= start, pl.col("timestamp") < end)
        .group_by(stream.device)
        .agg(pl.col("duplicates").sum(), pl.col("received_at").max(), _received=moments)
    )
    devices = expected.select(stream.device, _is_expected=pl.lit(True)).unique()
    is_expected = pl.col("_is_expected").fill_null(False)
    is_heard = received.is_not_null()
    is_due = (pl.lit(end) - pl.col("last")).dt.total_microseconds() > _REACH * cadence
    is_silent = is_expected & ~is_heard & is_due.fill_null(True)
    return (
        devices.join(heard, on=stream.device, how="full", coalesce=True)
        .join(cadences, on=stream.device, how="left")
        .select(
            hour_start=pl.lit(start, pl.Datetime("us", "UTC")),
            stream=pl.lit(stream.name),
            devices_expected=_count(is_expected),
            heartbeats_expected=of_one.filter(is_expected).sum() / _PARTS,
            heartbeats_received=received.sum().cast(pl.Int64),
            duplicates=pl.col("duplicates").sum().cast(pl.Int64),
            devices_heard=_count(is_heard),
            devices_silent=_count(is_silent),
            silent_devices=pl.col(stream.device)
            .filter(is_silent)
            .sort()
            .head(SILENT_DEVICES_NAMED)
            .implode(),
            devices_late=_count(is_expected & (received * _PARTS < of_one * _LATE_BELOW)),
            last_received_at=pl.col("received_at").max(),
        )
        .with_columns(
            completeness_percent=pl.when(pl.col("heartbeats_expected") > 0).then(
                100 * pl.col("heartbeats_received") / pl.col("heartbeats_expected")
            )
        )
        .select(HEARTBEAT_COMPLETENESS_HOURLY.names)
    )


def _count(condition: pl.Expr) -> pl.Expr:
    return condition.sum().cast(pl.Int64)
