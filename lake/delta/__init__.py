"""Reading and writing Delta tables; beside `lake.upkeep` the only writers."""

from lake.delta.append import logged_rows
from lake.delta.damage import (
    UNREADABLE,
    DamagedFile,
    DataFile,
    damage_of,
    damaged_files,
    data_files,
    empty_commits,
    naming_damage,
)
from lake.delta.raw_files import RawHours
from lake.delta.replace import live_files, remove_file, replace_changed, scan_window
from lake.delta.sql import run_sql

__all__ = [
    "UNREADABLE",
    "DamagedFile",
    "DataFile",
    "RawHours",
    "damage_of",
    "damaged_files",
    "data_files",
    "empty_commits",
    "live_files",
    "logged_rows",
    "naming_damage",
    "remove_file",
    "replace_changed",
    "run_sql",
    "scan_window",
]
