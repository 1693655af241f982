"""Latest readings and first named pairs of an import, for live state and named links."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ingestion_api.bulk_import.encoded_batch import READING_TYPES, EncodedBatch, IdEncoder
from ingestion_api.commit.transaction import NamedPairs
from ingestion_api.heartbeats.batch import HeartbeatBatch
from lake import METER, VEHICLE, Stream

_NEVER = np.iinfo(np.int64).min


class LatestReadings:
    """The newest heartbeat of each device, of equal ones the last, and the first of each pair."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._times: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._rows: dict[str, npt.NDArray[Any]] = {}
        self._pairs: dict[int, int] = {}

    def add(self, block: EncodedBatch) -> None:
        """Add a part that follows those before it."""
        devices, times = block.devices, block.times
        size = max(int(devices.max()) + 1, len(self._times))
        self._grow(size, block)
        best = np.full(size, _NEVER)
        np.maximum.at(best, devices, times)
        at = np.flatnonzero(times == best[devices])
        row_of = np.full(size, -1)
        row_of[devices[at]] = at  # of equal ones the last is assigned last
        newer = np.flatnonzero((row_of >= 0) & (best >= self._times))
        self._times[newer] = best[newer]
        for name, values in block.columns.items():
            self._rows[name][newer] = values[row_of[newer]]
        if self._stream is VEHICLE:
            self._add_pairs(block)

    def heartbeats(self, ids: IdEncoder, received_at: int) -> HeartbeatBatch:
        """One a device, sorted by id."""
        codes = np.flatnonzero(self._times > _NEVER)
        order = sorted(codes.tolist(), key=ids.texts.__getitem__)
        rows = {name: values[order] for name, values in self._rows.items()}
        texts: dict[str, list[Any]] = {
            name: [ids.texts[code] if code >= 0 else None for code in rows[name].tolist()]
            for name in (self._stream.device, *self._stream.text_columns)
        }
        texts["reading_type"] = [READING_TYPES[kind] for kind in rows["reading_type"].tolist()]
        numbers = {name: rows[name] for name in self._stream.number_columns}
        received = np.full(len(order), received_at, np.int64)
        return HeartbeatBatch(self._stream, texts, rows["timestamp"], numbers, received)

    def pairs(self, ids: IdEncoder) -> NamedPairs:
        """When a heartbeat of the vehicle named the meter first."""
        return {
            (ids.texts[pair >> 32], ids.texts[pair & 0xFFFFFFFF]): time
            for pair, time in self._pairs.items()
        }

    def _grow(self, size: int, block: EncodedBatch) -> None:
        more = size - len(self._times)
        if more > 0:
            self._times = np.concatenate((self._times, np.full(more, _NEVER)))
        for name, values in block.columns.items():
            before = self._rows.get(name, values[:0])
            self._rows[name] = np.concatenate((before, np.zeros(size - len(before), values.dtype)))

    def _add_pairs(self, block: EncodedBatch) -> None:
        meters = block.columns[METER.device]
        named = np.flatnonzero(meters >= 0)
        if not len(named):
            return
        pairs = (block.devices[named].astype(np.int64) << 32) | meters[named]
        found, place = np.unique(pairs, return_inverse=True)
        first = np.full(len(found), np.iinfo(np.int64).max)
        np.minimum.at(first, place, block.times[named])
        for pair, time in zip(found.tolist(), first.tolist(), strict=True):
            self._pairs[pair] = min(time, self._pairs.get(pair, time))
