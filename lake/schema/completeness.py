"""The table of the completeness of heartbeats."""

from typing import Final

import pyarrow as pa

from lake.schema.streams import TIMESTAMP, Column
from lake.schema.table_spec import HOUR_START, TableSpec, count_column, number_column, text_column

SILENT_DEVICES_NAMED: Final = 100

HEARTBEAT_COMPLETENESS_HOURLY: Final = TableSpec(
    "heartbeat_completeness_hourly",
    "heartbeats expected and received of each stream for each UTC hour",
    ("stream", "hour_start"),
    (
        HOUR_START,
        text_column("stream", "meter or vehicle"),
        count_column(
            "devices_expected",
            "devices heard in the hour or in the seven UTC days before, and not retired",
        ),
        number_column(
            "heartbeats_expected",
            "one of each expected device in each of its cadences, heartbeats",
            nullable=False,
        ),
        count_column("heartbeats_received", "distinct heartbeats of all devices, expected or not"),
        number_column(
            "completeness_percent",
            "100 * heartbeats_received / heartbeats_expected, never clamped, percent; over 100: "
            "devices send more often than they did, or were not expected; null: none was expected",
        ),
        count_column("duplicates", "received copies of heartbeats that were removed"),
        count_column("devices_heard", "devices with a heartbeat, expected or not"),
        count_column("devices_silent", "expected devices without a heartbeat when one was due"),
        Column(
            "silent_devices",
            pa.list_(pa.large_string()),
            f"ids of the silent devices, sorted; the first {SILENT_DEVICES_NAMED}",
            nullable=False,
        ),
        count_column(
            "devices_late",
            "expected devices with a heartbeat, but with less than half of those expected of it",
        ),
        Column(
            "last_received_at",
            TIMESTAMP,
            "last time of receipt of a heartbeat of this hour, UTC; null: none was received",
        ),
    ),
)
