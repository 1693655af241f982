"""Making a Delta commit survive a power cut: delta-rs itself syncs nothing on a local disk."""

import json
import os
from pathlib import Path
from urllib.parse import unquote

from deltalake import DeltaTable

from lake.errors import LakeDamaged


def sync_commit(lake_folder: Path | None, table: DeltaTable, started_ns: int) -> None:
    """Sync the data files, log entries and folders that were written since `started_ns`.

    `table` is the handle that has committed. An object store acknowledges only what is durable,
    so without a local folder there is nothing to do.
    """
    if lake_folder is None:
        return
    folder = _table_folder(table)
    log = folder / "_delta_log"
    added = _added(folder, table.version())
    for file in added:
        _sync(folder / file)
    for entry in os.scandir(log):
        if entry.is_file() and entry.stat().st_mtime_ns >= started_ns - _CLOCK_GRAIN_NS:
            _sync(Path(entry.path))
    folders = {parent for file in added for parent in (folder / file).parents}
    for parent in sorted(p for p in folders if p == folder or folder in p.parents):
        _sync(parent)
    _sync(log)


def verify_commit(lake_folder: Path | None, table: DeltaTable) -> None:
    """Raise LakeDamaged where data of the table's newest commit is missing or cut short.

    Run after a crash, before anything is forgotten because the lake has it: a power cut between a
    commit and its sync may leave a log entry whose data never reached the disk. Older commits
    were synced before the next one was made.
    """
    if lake_folder is None:
        return
    folder = _table_folder(table)
    if not _entry(folder, table.version()).exists():
        return  # old enough that its entry has gone into a checkpoint
    for path, size in _added(folder, table.version()).items():
        file = folder / path
        if not file.is_file() or file.stat().st_size != size:
            raise LakeDamaged(
                f"{file} is missing or not {size} bytes long: the disk lost a write. The outbox "
                f"still holds its rows; remove version {table.version()} from the table's "
                "_delta_log and they are written anew"
            )


def _table_folder(table: DeltaTable) -> Path:
    """The folder of a table on the local disk."""
    return Path(unquote(table.table_uri.removeprefix("file://")))


def _added(folder: Path, version: int) -> dict[str, int]:
    """Data files that one commit has added: path relative to the table, and size in bytes."""
    lines = _entry(folder, version).read_text(encoding="utf-8").splitlines()
    actions = (json.loads(line) for line in lines)
    added = (action["add"] for action in actions if "add" in action)
    return {unquote(add["path"]): int(add["size"]) for add in added}


def _entry(folder: Path, version: int) -> Path:
    return folder / "_delta_log" / f"{version:020}.json"


# File times come from the kernel's tick, which may lag behind the clock.
_CLOCK_GRAIN_NS = 20_000_000


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
