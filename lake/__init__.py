"""The lake: Delta tables of heartbeats and the mathematics of energy."""

from lake.append import Delivered, append_once, delivered, rows_by_hour
from lake.bulk_append import Imported, append_files, imported, write_hour
from lake.compaction import Compaction, compact_hour, compact_hours
from lake.errors import (
    LakeDamaged,
    LakeError,
    OldTable,
    StaleRead,
    TableMissing,
    UnusableFile,
    WrongLake,
)
from lake.hours import HOUR, hour_of, hours_between
from lake.reading import scan_context, scan_heartbeats, scan_history
from lake.replace import replace_hours
from lake.settings import EnergySettings, LakeSettings
from lake.storage import Lake
from lake.streams import INTERVAL, METER, REGISTER, STREAMS, VEHICLE, Column, Stream

__all__ = [
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
