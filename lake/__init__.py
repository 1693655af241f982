"""The lake: Delta tables of heartbeats and the mathematics of energy."""

from lake.delta.append import (
    BEGUN,
    DeliveredHorizon,
    append_once,
    begin_outbox,
    follow_horizon,
    read_delivered_horizon,
)
from lake.delta.bulk_append import (
    ImportProgress,
    append_files,
    read_import_progress,
    write_hour_file,
)
from lake.delta.raw_files import rows_by_hour
from lake.delta.replace import replace_hours
from lake.delta.storage import Lake
from lake.errors import (
    LakeDamaged,
    LakeError,
    LogGone,
    OldTable,
    StaleRead,
    TableMissing,
    UnusableFile,
    WrongLake,
)
from lake.history.compaction import Compaction, compact_hour, compact_hours
from lake.history.scans import scan_heartbeats, scan_history
from lake.schema.partitions import DAY, HOUR, hour_of, hours_between
from lake.schema.streams import INTERVAL, METER, REGISTER, STREAMS, VEHICLE, Column, Stream
from lake.settings import EnergySettings, LakeSettings

__all__ = [
    "BEGUN",
    "DAY",
    "HOUR",
    "INTERVAL",
    "METER",
    "REGISTER",
    "STREAMS",
    "VEHICLE",
    "Column",
    "Compaction",
    "DeliveredHorizon",
    "EnergySettings",
    "ImportProgress",
    "Lake",
    "LakeDamaged",
    "LakeError",
    "LakeSettings",
    "LogGone",
    "OldTable",
    "StaleRead",
    "Stream",
    "TableMissing",
    "UnusableFile",
    "WrongLake",
    "append_files",
    "append_once",
    "begin_outbox",
    "compact_hour",
    "compact_hours",
    "follow_horizon",
    "hour_of",
    "hours_between",
    "read_delivered_horizon",
    "read_import_progress",
    "replace_hours",
    "rows_by_hour",
    "scan_heartbeats",
    "scan_history",
    "write_hour_file",
]
