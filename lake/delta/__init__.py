"""Reading and writing Delta tables; beside `lake.upkeep` the only writers."""

from lake.delta.appends import Append, appends_of_others
from lake.delta.damage import (
    READ_ERRORS,
    DamagedFile,
    DataFile,
    data_files,
    diagnose_read_errors,
    empty_commits,
    find_damage,
    find_damaged_files,
)
from lake.delta.parquet_files import scan_files
from lake.delta.raw_files import RawSnapshot, count_rows_by_hour
from lake.delta.replace import (
    Replacement,
    change_window,
    commit_replacement,
    live_files,
    remove_file,
    replace_if_changed,
    scan_window,
    write_replacement,
)
from lake.delta.sql import run_sql
from lake.delta.storage import require_table_id

__all__ = [
    "READ_ERRORS",
    "Append",
    "DamagedFile",
    "DataFile",
    "RawSnapshot",
    "Replacement",
    "appends_of_others",
    "change_window",
    "commit_replacement",
    "count_rows_by_hour",
    "data_files",
    "diagnose_read_errors",
    "empty_commits",
    "find_damage",
    "find_damaged_files",
    "live_files",
    "remove_file",
    "replace_if_changed",
    "require_table_id",
    "run_sql",
    "scan_files",
    "scan_window",
    "write_replacement",
]
