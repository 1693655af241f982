"""Delta tables kept open, with the files of their newest version."""

import os
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from threading import Lock
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
from deltalake import DeltaTable

from lake.delta.file_statistics import times_of_files
from lake.delta.storage import Lake
from lake.schema.partitions import EPOCH, HOUR, microseconds

# Each look at a handle replays the commits since it was opened. And a table that somebody has put
# in the place of another is noticed.
_VERSIONS_A_HANDLE: Final = 20
_SECONDS_A_HANDLE: Final = 60.0

_TIME: Final = pl.Datetime("us", "UTC")
_TICK: Final = timedelta(microseconds=1)
_LOG: Final = pl.Schema([("path", pl.String()), ("first", _TIME), ("last", _TIME)])


@dataclass(frozen=True)
class LiveFiles:
    """The files that one version of a table holds, with the times that may be in each."""

    version: int
    log: pl.DataFrame
    """path, first, last (included)."""
    paths: frozenset[str] = field(repr=False)

    def paths_between(self, start: datetime, end: datetime) -> list[str]:
        """Return the files that may hold rows with start <= time < end, in order of time."""
        first, last, paths = self._arrays
        found = (first < microseconds(end)) & (last >= microseconds(start))
        return list(paths[found])

    @cached_property
    def span(self) -> tuple[datetime, datetime]:
        """The first and the last time that files may hold; without files first is after last."""
        first, last, _ = self._arrays
        if not first.size:
            return datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)
        return EPOCH + int(first.min()) * _TICK, EPOCH + int(last.max()) * _TICK

    def hour_paths_since(self, start: datetime) -> list[str]:
        """Return the files of an hour at most, from `start` on, in order of time."""
        first, last, paths = self._arrays
        found = (first >= microseconds(start)) & (last - first <= HOUR // _TICK)
        return list(paths[found])

    def paths_of_hours(self, hours: Sequence[datetime]) -> list[str]:
        """Return the files that begin with one of these hours; for a table by hours."""
        return [path for hour in hours for path in self._by_first.get(microseconds(hour), ())]

    @cached_property
    def _by_first(self) -> Mapping[int, list[str]]:
        found: dict[int, list[str]] = defaultdict(list)
        for first, path in zip(self.log["first"].to_physical(), self.log["path"], strict=True):
            found[first].append(path)
        return found

    @cached_property
    def _arrays(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """The columns of the log: read so often that a plan for each would take too long."""
        first, last = (self.log[name].to_physical().to_numpy() for name in ("first", "last"))
        return first, last, np.array(self.log["path"].to_list(), object)


@dataclass
class _Opened:
    handle: DeltaTable
    at: float
    version: int
    files: LiveFiles


class OpenTables:
    """Cache of open tables and their newest files; safe between threads."""

    def __init__(self, lake: Lake) -> None:
        self._lake, self._folder = lake, lake.local_folder
        self._opened: dict[str, _Opened] = {}
        self._locks: dict[str, Lock] = {}
        self._lock = Lock()

    def files(self, table: str, time_column: str) -> LiveFiles:
        """Return the files of the newest version now; raises TableMissing and DeltaError.

        A file may hold the times between the least and the greatest `time_column` that the log has
        of it, those of its hour in a table by hours, else those of its date.
        """
        with self._lock:
            lock = self._locks.setdefault(table, Lock())
        with lock:
            opened = self._opened.pop(table, None)  # put back once it has been looked at
            if opened is None or _is_worn(opened):
                handle = self._lake.open(table)
                files = _files(handle, time_column)
                opened = _Opened(handle, time.monotonic(), files.version, files)
            elif self._has_more(table, opened.handle.version()):
                opened.handle.update_incremental()
                if opened.handle.version() != opened.files.version:
                    opened.files = _files(opened.handle, time_column)
            self._opened[table] = opened
            return opened.files

    def _has_more(self, table: str, version: int) -> bool:
        """Tell whether the table may have a later version; versions have no gaps."""
        if self._folder is None:
            return True  # to ask the store for one is as much as to ask for all
        # As texts: to join paths takes longer than to look.
        log = f"{self._folder}/{table}/_delta_log"
        return os.path.exists(f"{log}/{version + 1:020}.json") or not os.path.isdir(log)


def _is_worn(opened: _Opened) -> bool:
    return (
        opened.files.version - opened.version >= _VERSIONS_A_HANDLE
        or time.monotonic() - opened.at > _SECONDS_A_HANDLE
    )


def _files(handle: DeltaTable, time_column: str) -> LiveFiles:
    version, found = handle.version(), pl.DataFrame(handle.get_add_actions(flatten=True))
    if found.is_empty():
        return LiveFiles(version, pl.DataFrame(schema=_LOG), frozenset())
    first, last = times_of_files(found.columns, time_column)
    log = found.select("path", first=first, last=last).sort("first")
    return LiveFiles(version, log, frozenset(log["path"]))
