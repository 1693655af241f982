"""The lake: Delta tables of heartbeats and the mathematics of energy."""

from lake.delta.append import Delivered, append_once, delivered, rows_by_hour
from lake.delta.bulk_append import Imported, append_files, imported, write_hour
from lake.delta.replace import replace_hours
from lake.delta.storage import Lake
from lake.errors import (
    LakeDamaged,
    LakeError,
    OldTable,
    StaleRead,
    TableMissing,
    UnusableFile,
    WrongLake,
)
from lake.history.compaction import Compaction, compact_hour, compact_hours
from lake.history.scans import scan_context, scan_heartbeats, scan_history
from lake.schema.partitions import DAY, HOUR, hour_of, hours_between
from lake.schema.streams import INTERVAL, METER, REGISTER, STREAMS, VEHICLE, Column, Stream
from lake.settings import EnergySettings, LakeSettings

__all__ = [
    "DAY",
    "HOUR",
    "INTERVAL",
    "METER",
    "REGISTER",
    "STREAMS",
    "VEHICLE",
    "Column",
    "Compaction",
    "Delivered",
    "EnergySettings",
    "Imported",
    "Lake",
    "LakeDamaged",
    "LakeError",
    "LakeSettings",
    "OldTable",
    "StaleRead",
    "Stream",
    "TableMissing",
    "UnusableFile",
    "WrongLake",
    "append_files",
    "append_once",
    "compact_hour",
    "compact_hours",
    "delivered",
    "hour_of",
    "hours_between",
    "imported",
    "replace_hours",
    "rows_by_hour",
    "scan_context",
    "scan_heartbeats",
    "scan_history",
    "write_hour",
]
