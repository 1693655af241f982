"""A section of a file: up to some 50 million rows that become one commit of each raw table."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from deltalake.transaction import AddAction

from ingestion_api.bulk_import.encoded_batch import EncodedBatch, IdEncoder, to_arrow
from ingestion_api.bulk_import.latest_readings import LatestReadings
from ingestion_api.bulk_import.spill import HOUR_MICROS, Spill
from lake import Lake, Stream, write_hour_file

_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)
_THREADS: Final = max(2, min(4, (os.cpu_count() or 1) + 1))  # one waits for the disk


@dataclass(frozen=True)
class Written:
    """Data files of a section, without the commit: what it adds, and repeats of an identity."""

    files: list[AddAction]
    duplicates: int


class CommitSection:
    """Heartbeats of one stream from a range of a file's rows."""

    def __init__(self, stream: Stream, folder: Path | None) -> None:
        """`folder` is for the temporary file; None: the system's."""
        self.stream = stream
        self.spill, self.latest = Spill(stream, folder), LatestReadings(stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.spill.__exit__(kind, error, trace)

    @property
    def rows(self) -> int:
        """Number of heartbeats."""
        return self.spill.rows

    def add(self, block: EncodedBatch) -> None:
        """Keep a part that follows those before it."""
        self.spill.add(block)
        self.latest.add(block)

    def write(
        self,
        lake: Lake,
        ids: IdEncoder,
        received_at: int,
        imported_at: int,
        on_rows: Callable[[int], None],
    ) -> Written:
        """Write the data files, an hour in one file unless it has very many rows.

        `received_at` is the receipt of the section, `imported_at` the start of the import.
        `on_rows` is told how many more are written, from several threads.
        """
        texts = ids.to_arrow()

        def write(window: tuple[int, int]) -> list[tuple[AddAction, int]]:
            done, before = [], 0
            for block in self.spill.read(*window):
                received, repeats = _received(block, received_at + before, len(ids))
                before += len(block)
                rows = to_arrow(block, texts, received, imported_at)
                for hour, start, end in _hours(block):
                    part = rows.slice(start, end - start)
                    done.append((write_hour_file(lake, self.stream, hour, part), repeats))
                    repeats = 0  # told once for the block
                on_rows(len(block))
            return done

        written: list[tuple[AddAction, int]] = []
        with ThreadPoolExecutor(_THREADS, "write") as pool:
            tasks: list[Future[Any]] = [pool.submit(write, one) for one in self.spill.windows()]
            try:
                for task in tasks:
                    written += task.result()
            finally:
                # After a failure or Ctrl-C, what has not begun is not worth waiting for.
                pool.shutdown(cancel_futures=True)
        self.spill.close()  # or its pages would go to the disk with the files
        return Written([file for file, _ in written], sum(count for _, count in written))


def _hours(block: EncodedBatch) -> Iterable[tuple[datetime, int, int]]:
    """Each hour of a block that is sorted by hour, with its first row and the end of its rows."""
    hours = block.times // HOUR_MICROS
    changes = np.flatnonzero(hours[1:] != hours[:-1]) + 1
    ends = [*changes.tolist(), len(hours)]
    for start, end in zip([0, *ends], ends, strict=False):
        yield _1970 + timedelta(hours=int(hours[start])), start, end


def _channels(rows: EncodedBatch, ids: int) -> npt.NDArray[np.int64]:
    """A number below `ids` for each device, or for each of its parts."""
    channels = rows.devices.astype(np.int64)
    if rows.stream.part is not None and (parts := rows.columns[rows.stream.part.name] + 1).any():
        _, channels = np.unique(channels * (ids + 1) + parts, return_inverse=True)
    return channels


def _received(rows: EncodedBatch, received_at: int, ids: int) -> tuple[npt.NDArray[np.int64], int]:
    """The times of receipt, and how many rows repeat an identity.

    All share one, except repeats, which are a microsecond apart in the order of the file, as in
    the collector: so the last of them counts. A window of hours times a million ids fits 63 bits;
    with more, two that differ may be taken for repeats, which costs them a microsecond.
    """
    received = np.full(len(rows), received_at, np.int64)
    identities = (rows.times - rows.times.min()) * ids + _channels(rows, ids)
    in_order = np.sort(identities)
    repeats = int((in_order[1:] == in_order[:-1]).sum())
    if repeats:
        order = np.argsort(identities, kind="stable")
        ordered = identities[order]
        place = np.arange(len(rows))
        is_first = np.concatenate(([True], ordered[1:] != ordered[:-1]))
        received[order] += place - np.maximum.accumulate(np.where(is_first, place, 0))
    return received, repeats
