"""Upkeep of tables: vacuum, archive, merging and retention of raw files."""

from lake.upkeep.archive import ArchiveResult, archive_day, days_to_archive
from lake.upkeep.cleanup import checkpoint_if_due, clean_log, vacuum
from lake.upkeep.raw_merge import merge_raw_hours
from lake.upkeep.raw_retention import RawHourSize, drop_raw_partitions, raw_hour_sizes

__all__ = [
    "ArchiveResult",
    "RawHourSize",
    "archive_day",
    "checkpoint_if_due",
    "clean_log",
    "days_to_archive",
    "drop_raw_partitions",
    "merge_raw_hours",
    "raw_hour_sizes",
    "vacuum",
]
