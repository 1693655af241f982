"""Packs: many heartbeats as one row of the outbox, a compressed Arrow IPC stream."""

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingestion_api.heartbeats.batch import HeartbeatBatch, Micros
from lake import Stream
from warehouse_sql.binary_parameters import int8_array, timestamp_array
from warehouse_sql.statement_pipeline import Statement

_HOUR: Final = 3_600_000_000  # microseconds
# One thread: handing a few columns to others costs more than compressing them.
_OPTIONS: Final = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)


def insert_pack(rows: HeartbeatBatch) -> Statement:
    """The statement that puts stamped rows into the outbox as one."""
    hours, counts = _rows_by_hour(rows.times)
    assert rows.received is not None, "rows are stored only after their receipt is stamped"
    return "insert_heartbeat_pack", [
        rows.stream.name.encode(),
        _packed(rows.to_arrow()),
        timestamp_array(hours),
        int8_array(counts),
        timestamp_array(rows.received.max(keepdims=True)),
    ]


def unpack(pack: bytes, stream: Stream) -> pa.Table:
    """The heartbeats of a pack, maybe of an earlier version, with the stream's columns."""
    with pa.ipc.open_stream(pack) as reader:
        return stream.with_all_columns(reader.read_all())


def _packed(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=_OPTIONS) as writer:
        writer.write_table(rows)
    return sink.getvalue().to_pybytes()


def _rows_by_hour(times: Micros) -> tuple[Micros, npt.NDArray[np.int64]]:
    hours, counts = np.unique(times // _HOUR, return_counts=True)
    return hours * _HOUR, counts.astype(np.int64)
