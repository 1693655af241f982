"""Temporary file that takes parts in file order and returns heartbeats by hour."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from ingestion_api.bulk_import.encoded_batch import EncodedBatch, dtypes
from lake import Stream

HOUR_MICROS: Final = 3_600_000_000
_WINDOW_ROWS: Final = 500_000
_WINDOW_HOURS: Final = 2_000  # between its first and last

Hours = npt.NDArray[np.int64]  # hours since 1970


@dataclass(frozen=True)
class _Run:
    """One part, its rows sorted by hour; where its columns and its hours begin."""

    places: dict[str, int]
    hours: Hours
    starts: npt.NDArray[np.int64]  # of each hour, and the end

    def rows_of(self, first: int, last: int) -> tuple[int, int]:
        """The rows of hours from `first` to before `last`."""
        at = np.searchsorted(self.hours, [first, last])
        return int(self.starts[at[0]]), int(self.starts[at[1]])


class Spill:
    """The heartbeats of one stream and section, in a file that is gone with its process.

    The order of the file is kept within each hour. `read` can be called from threads.
    """

    def __init__(self, stream: Stream, folder: Path | None) -> None:
        self._stream, self._types = stream, dtypes(stream)
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115  # closed by __exit__
        self._runs: list[_Run] = []
        self._end = 0
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up the file; what is counted stays."""
        self._file.close()

    def add(self, block: EncodedBatch) -> None:
        """Keep a part that follows those before it."""
        hours = block.times // HOUR_MICROS
        if (hours[1:] < hours[:-1]).any():
            order = _stable_order(hours)
            block, hours = block.take(order), hours[order]
        changes = np.flatnonzero(hours[1:] != hours[:-1]) + 1
        starts = np.concatenate(([0], changes, [len(hours)]))
        places = {}
        for name, kind in self._types.items():
            places[name] = self._end
            values = np.ascontiguousarray(block.columns[name], kind)
            self._file.write(values.data.cast("B"))
            self._end += values.nbytes
        self._file.flush()
        self._runs.append(_Run(places, hours[starts[:-1]], starts))
        self.rows += len(block)

    def rows_by_hour(self) -> tuple[Hours, npt.NDArray[np.int64]]:
        """The hours in order, and how many heartbeats each has."""
        if not self._runs:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        every = np.concatenate([run.hours for run in self._runs])
        counts = np.concatenate([np.diff(run.starts) for run in self._runs])
        hours, place = np.unique(every, return_inverse=True)
        return hours, np.bincount(place, counts).astype(np.int64)

    def windows(self) -> Iterator[tuple[int, int]]:
        """Ranges of hours, the end exclusive, each with a bounded number of rows if it can be."""
        hours, counts = self.rows_by_hour()
        first, rows = 0, 0
        for at in range(len(hours)):
            if at > first and (
                rows + counts[at] > _WINDOW_ROWS or hours[at] - hours[first] >= _WINDOW_HOURS
            ):
                yield int(hours[first]), int(hours[at - 1]) + 1
                first, rows = at, 0
            rows += counts[at]
        if len(hours):
            yield int(hours[first]), int(hours[-1]) + 1

    def read(self, first: int, last: int) -> Iterator[EncodedBatch]:
        """The heartbeats of these hours, sorted by hour; in several blocks where they are many."""
        parts: list[EncodedBatch] = []
        rows = 0
        for run in self._runs:
            start, end = run.rows_of(first, last)
            if start == end:
                continue
            if parts and rows + end - start > 2 * _WINDOW_ROWS:
                yield self._concat(parts)
                parts, rows = [], 0
            parts.append(self._part(run, start, end))
            rows += end - start
        if parts:
            yield self._concat(parts)

    def _part(self, run: _Run, start: int, end: int) -> EncodedBatch:
        columns = {}
        for name, kind in self._types.items():
            found = os.pread(
                self._file.fileno(),
                (end - start) * kind.itemsize,
                run.places[name] + start * kind.itemsize,
            )
            columns[name] = np.frombuffer(found, kind)
        return EncodedBatch(self._stream, columns)

    def _concat(self, parts: list[EncodedBatch]) -> EncodedBatch:
        if len(parts) == 1:
            return parts[0]
        columns: dict[str, npt.NDArray[Any]] = {
            name: np.concatenate([part.columns[name] for part in parts]) for name in self._types
        }
        block = EncodedBatch(self._stream, columns)
        return block.take(_stable_order(block.times // HOUR_MICROS))


def _stable_order(hours: Hours) -> npt.NDArray[np.intp]:
    lowest = hours.min()
    if hours.max() - lowest < 2**16:  # which NumPy sorts by radix
        return np.argsort((hours - lowest).astype(np.uint16), kind="stable")
    return np.argsort(hours, kind="stable")
