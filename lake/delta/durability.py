"""Syncs that make a Delta commit survive a power cut: delta-rs syncs nothing on a local disk."""

import ctypes
import json
import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

from deltalake import DeltaTable

from lake.errors import LakeDamaged


def sync_newest_commit(lake_folder: Path | None, table: DeltaTable) -> None:
    """Bring the newest commit of a handle to the disk: data files, log entry, folders.

    For the one who has committed, and for the one who starts after a crash, before anything is
    forgotten because the lake has it: the commit may be in memory only, or a power cut may have
    kept a log entry whose data never reached the disk. That raises LakeDamaged. An object store
    acknowledges only what is durable, so without a local folder there is nothing to do.
    """
    if lake_folder is None:
        return
    folder = Path(unquote(table.table_uri.removeprefix("file://")))
    log = folder / "_delta_log"
    entry = log / f"{table.version():020}.json"
    if not entry.exists():
        return  # old enough that it has gone into a checkpoint
    added = _added(entry)
    for path, size in added.items():
        file = folder / path
        if not file.is_file() or file.stat().st_size != size:
            raise LakeDamaged(
                f"{file} is missing or not {size} bytes long: the disk lost a write. The outbox "
                f"still holds its rows; remove {entry} and they are written anew"
            )
        sync_path(file)
    for written in (*log.glob(f"{table.version():020}.*"), *log.glob("_last_checkpoint")):
        sync_path(written)
    sync_folders(folder, added)
    for inner_first in (log, lake_folder, lake_folder.parent):
        sync_path(inner_first)


def sync_folders(table_folder: Path, paths: Iterable[str]) -> None:
    """Bring the entries of a table's folders to the disk in which new data files lie."""
    parents = {parent for path in paths for parent in (table_folder / path).parents}
    for folder in parents:
        if folder == table_folder or table_folder in folder.parents:
            sync_path(folder)


def sync_log(lake_folder: Path | None, table: DeltaTable, after: int) -> None:
    """Bring the log entries newer than version `after`, and the newest checkpoints, to the disk.

    For who has committed, or starts after a crash: where others have committed in between, theirs
    go along. A lost entry would leave a gap that hides every later one.
    """
    if lake_folder is None:
        return
    log = Path(unquote(table.table_uri.removeprefix("file://"))) / "_delta_log"
    # By their names alone: a month of flushes is tens of thousands of them.
    files, known = os.listdir(log), f"{after:020}"
    checkpoints = [name for name in files if name[:1].isdigit() and ".checkpoint" in name]
    newest = max((name[:20] for name in checkpoints), default=known)
    names = [name for name in checkpoints if name[:20] >= min(known, newest)]
    names += [name for name in files if name.endswith(".json") and name[:20] > known]
    for written in (*names, "_last_checkpoint"):
        if (log / written).exists():
            sync_path(log / written)
    sync_path(log)


def sync_file_system(folder: Path) -> None:
    """Bring everything below a folder to the disk, with all else on its file system.

    For thousands of new files and folders, of which each would wait for the disk on its own.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs"):  # which only Linux has
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if libc.syncfs(descriptor):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    finally:
        os.close(descriptor)


def sync_path(path: Path) -> None:
    """Bring a file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _added(entry: Path) -> dict[str, int]:
    """Data files that a log entry adds: path relative to the table, and size in bytes."""
    actions = (json.loads(line) for line in entry.read_text(encoding="utf-8").splitlines())
    added = (action["add"] for action in actions if "add" in action)
    return {unquote(add["path"]): int(add["size"]) for add in added}
