"""Upkeep of tables: vacuum, archive, merging and retention of raw files."""

from lake.upkeep.archive import Archived, archive_day, days_to_archive
from lake.upkeep.cleanup import checkpoint, clean_log, vacuum
from lake.upkeep.raw_merge import merge_raw_hours
from lake.upkeep.raw_retention import RawHour, drop_raw_partitions, raw_hours

__all__ = [
    "Archived",
    "RawHour",
    "archive_day",
    "checkpoint",
    "clean_log",
    "days_to_archive",
    "drop_raw_partitions",
    "merge_raw_hours",
    "raw_hours",
    "vacuum",
]
