"""Cleanup that keeps a table small and quick to open: checkpoints, old log, dead files.

Nothing here rewrites data, and nothing may: two `optimize` of one partition at once double its
rows in the pinned version of the library.
"""

import errno
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow.fs

from lake.delta.durability import sync_log
from lake.delta.storage import Lake

# What a reader has to replay at most of a table that is seldom written; the library itself makes
# a checkpoint at every `delta.checkpointInterval` commits.
COMMITS_WITHOUT_CHECKPOINT: Final = 10

_CHECKPOINT: Final = re.compile(r"(\d{20})\.checkpoint\b.*\.parquet$")


@dataclass(frozen=True)
class Checkpoint:
    """The newest checkpoint of a table, None: it has none yet; `made` tells whether just now."""

    version: int | None
    made: bool


@dataclass(frozen=True)
class FreedSpace:
    """Removed files, and the bytes they took."""

    files: int
    bytes: int


def checkpoint_if_due(
    lake: Lake, table: str, commits: int = COMMITS_WITHOUT_CHECKPOINT
) -> Checkpoint:
    """Make a checkpoint if the newest one is more than `commits` versions old."""
    handle = lake.open(table)
    newest = max(map(_checkpoint_version, _log_files(lake, table)), default=-1)
    if handle.version() - max(newest, 0) <= commits:
        return Checkpoint(newest if newest >= 0 else None, made=False)
    handle.create_checkpoint()
    sync_log(lake.local_folder, handle, handle.version())
    return Checkpoint(handle.version(), made=True)


def clean_log(lake: Lake, table: str) -> FreedSpace:
    """Remove log files past `delta.logRetentionDuration` that a checkpoint stands for.

    What the table holds, and how far each outbox was delivered, is in the checkpoint; what goes
    is the way there: older versions can't be opened any more.
    """
    handle = lake.open(table)
    # The entries must not go before what replaces them is on the disk.
    sync_log(lake.local_folder, handle, handle.version())
    before = _log_files(lake, table)
    handle.cleanup_metadata()
    return _freed(before, before.keys() - _log_files(lake, table).keys())


def vacuum(lake: Lake, table: str) -> FreedSpace:
    """Remove data files that no version of the last `delta.deletedFileRetentionDuration` has.

    Those of commits that never came about as well. A file that is written for a commit to come
    looks the same, and differs by its age: it was modified within that duration. A commit
    that takes longer than that would find its files gone.
    """
    handle = lake.open(table)
    dead = _paths(table, handle.vacuum(dry_run=True, full=True))
    # The log names those that went before, too, until a checkpoint leaves them out.
    found = lake.file_system().get_file_info(dead)
    sizes = {info.path: info.size for info in found if info.is_file}
    if not sizes:
        return FreedSpace(0, 0)  # and no commit that says so
    before = handle.version()
    removed = _paths(table, handle.vacuum(dry_run=False, full=True))
    sync_log(lake.local_folder, handle, before)
    if lake.local_folder:
        _remove_empty_folders(lake.local_folder, table, removed)
    return _freed(sizes, sizes.keys() & removed)


def _log_files(lake: Lake, table: str) -> dict[str, int]:
    """Every file of the log and its size in bytes."""
    found = lake.file_system().get_file_info(pyarrow.fs.FileSelector(f"{table}/_delta_log"))
    return {info.path: info.size for info in found if info.is_file}


def _checkpoint_version(path: str) -> int:
    """The version that a file of the log is a checkpoint of; -1: it is none."""
    found = _CHECKPOINT.search(path)
    return int(found[1]) if found else -1


def _paths(table: str, files: Iterable[str]) -> list[str]:
    return [f"{table}/{file}" for file in files]


def _freed(sizes: dict[str, int], gone: Iterable[str]) -> FreedSpace:
    taken = [sizes[path] for path in gone]
    return FreedSpace(len(taken), sum(taken))


def _remove_empty_folders(lake_folder: Path, table: str, removed: Iterable[str]) -> None:
    """Remove the partitions' folders that a vacuum has emptied.

    A writer that is about to open a file there misses its folder: it fails with nothing committed,
    and whoever called it tries again, the lake writer as for any OSError, a run by its retries.
    """
    emptied = {(lake_folder / path).parent for path in removed}
    for folder in (*emptied, *{hour.parent for hour in emptied}):
        if lake_folder / table in folder.parents and folder.is_dir():
            try:
                folder.rmdir()
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
