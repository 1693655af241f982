"""How many of the heartbeats that a fleet should send have arrived, and who is silent."""

from datetime import datetime
from typing import Final

import polars as pl
import pyarrow as pa

from lake.energy import utc_window
from lake.settings import EnergySettings
from lake.streams import TIMESTAMP, Column, Stream
from lake.table_spec import HOUR_START, TableSpec, count, number, text

SILENT_DEVICES_NAMED: Final = 100
_LATE_BELOW: Final = 0.5

HEARTBEAT_COMPLETENESS_HOURLY: Final = TableSpec(
    "heartbeat_completeness_hourly",
    "heartbeats expected and received of each stream for each UTC hour",
    ("stream", "hour_start"),
    (
        HOUR_START,
        text("stream", "meter or vehicle"),
        count(
            "devices_expected",
            "devices heard in the hour or in the seven UTC days before, and not retired",
        ),
        number(
            "heartbeats_expected",
            "one of each expected device in each nominal interval, heartbeats",
            nullable=False,
        ),
        count("heartbeats_received", "distinct heartbeats of all devices, expected or not"),
        number(
            "completeness_percent",
            "100 * heartbeats_received / heartbeats_expected, never clamped, percent; over 100: "
            "devices send more often than the nominal interval, or were not expected; null: none "
            "was expected",
        ),
        count("duplicates", "received copies of heartbeats that were removed"),
        count("devices_heard", "devices with a heartbeat, expected or not"),
        count("devices_silent", "expected devices without a heartbeat"),
        Column(
            "silent_devices",
            pa.list_(pa.large_string()),
            f"ids of the silent devices, sorted; the first {SILENT_DEVICES_NAMED}",
            nullable=False,
        ),
        count(
            "devices_late",
            "expected devices with a heartbeat, but with less than half of those expected of one",
        ),
        Column(
            "last_received_at",
            TIMESTAMP,
            "last time of receipt of a heartbeat of this hour, UTC; null: none was received",
        ),
    ),
)


def heartbeat_completeness(
    readings: pl.LazyFrame,
    expected: pl.LazyFrame,
    stream: Stream,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> pl.LazyFrame:
    """The row of HEARTBEAT_COMPLETENESS_HOURLY of one stream for the window [start, end).

    `readings` have the stream's columns and `duplicates`, one row for each device and timestamp;
    `expected` has the device column: the devices that should send.
    """
    start, end = utc_window(start, end)
    of_one = (end - start).total_seconds() / settings.nominal_interval_seconds
    received = pl.col("_received")
    heard = (
        readings.filter(pl.col("timestamp") >= start, pl.col("timestamp") < end)
        .group_by(stream.device)
        .agg(pl.col("duplicates").sum(), pl.col("received_at").max(), _received=pl.len())
    )
    devices = expected.select(stream.device, _is_expected=pl.lit(True)).unique()
    is_expected = pl.col("_is_expected").fill_null(False)
    is_heard = received.is_not_null()
    is_silent = is_expected & ~is_heard
    return (
        devices.join(heard, on=stream.device, how="full", coalesce=True)
        .select(
            hour_start=pl.lit(start, pl.Datetime("us", "UTC")),
            stream=pl.lit(stream.name),
            devices_expected=_count(is_expected),
            heartbeats_expected=_count(is_expected) * of_one,
            heartbeats_received=received.sum().cast(pl.Int64),
            duplicates=pl.col("duplicates").sum().cast(pl.Int64),
            devices_heard=_count(is_heard),
            devices_silent=_count(is_silent),
            silent_devices=pl.col(stream.device)
            .filter(is_silent)
            .sort()
            .head(SILENT_DEVICES_NAMED)
            .implode(),
            devices_late=_count(is_expected & (received < of_one * _LATE_BELOW)),
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
