"""Arrow columns as PostgreSQL array parameters in the binary wire format.

No Python object is made for a value, which is some fifty times faster than lists. The layout is
that of `array_recv` in PostgreSQL: number of dimensions, a flag for nulls, the element type's
oid, then length and lower bound of the dimension, then each element as an int32 length (-1 for
null) and its bytes, all big-endian.
"""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper
from psycopg.pq import Format

_EPOCH_2000_US = 946_684_800_000_000  # PostgreSQL counts microseconds from 2000-01-01
_TEXT, _FLOAT8, _TIMESTAMPTZ = 25, 701, 1184


class _Array:
    """Bytes of an array that are ready for the wire."""

    oid: int

    def __init__(self, wire: bytes) -> None:
        self.wire = wire


class TextArray(_Array):
    """A text[] parameter."""

    oid = 1009


class Float8Array(_Array):
    """A double precision[] parameter."""

    oid = 1022


class TimestampArray(_Array):
    """A timestamptz[] parameter."""

    oid = 1185


def register_arrays(context: AdaptContext) -> None:
    """Let this connection send the arrays of `array_parameters`."""
    for kind in (TextArray, Float8Array, TimestampArray):
        context.adapters.register_dumper(kind, _dumper(kind))


def array_parameters(rows: pa.Table, columns: Sequence[str]) -> list[_Array]:
    """The named columns of `rows` as array parameters.

    Strings, float64 and timestamps are known; any other type raises TypeError.
    """
    return [_encode(rows.column(name).combine_chunks()) for name in columns]


def _encode(values: Any) -> _Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.chunk(0) if values.num_chunks else pa.array([], values.type)
    kind = values.type
    if pa.types.is_timestamp(kind):
        micros, valid = _numpy(values.cast(pa.timestamp("us", kind.tz)).view(pa.int64()))
        return TimestampArray(_fixed(micros - _EPOCH_2000_US, valid, ">i8", _TIMESTAMPTZ))
    if pa.types.is_float64(kind):
        return Float8Array(_fixed(*_numpy(values), ">f8", _FLOAT8))
    if pa.types.is_large_string(kind) or pa.types.is_string(kind):
        return TextArray(_text(values.cast(pa.large_string())))
    raise TypeError(f"no array parameter for Arrow type {kind}")


def _numpy(values: Any) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
    if values.null_count == 0:
        return values.to_numpy(zero_copy_only=False), None
    valid = values.is_valid().to_numpy(zero_copy_only=False)
    return values.fill_null(0).to_numpy(zero_copy_only=False), valid


def _fixed(
    values: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None, code: str, element_oid: int
) -> bytes:
    count, size = len(values), 8
    wire = np.empty(count, dtype=[("length", ">i4"), ("value", code)])
    wire["length"], wire["value"] = size, values
    if valid is None:
        return _header(element_oid, count, has_nulls=False) + wire.tobytes()
    wire["length"][~valid] = -1
    cells = wire.view(np.uint8).reshape(count, 4 + size)
    sent = np.ones(cells.shape, dtype=bool)
    sent[~valid, 4:] = False
    return _header(element_oid, count, has_nulls=True) + cells[sent].tobytes()


def _text(values: Any) -> bytes:
    count = len(values)
    _, offset_buffer, data_buffer = values.buffers()
    if count == 0:
        return _header(_TEXT, 0, has_nulls=False)
    offsets = np.frombuffer(offset_buffer, np.int64)[values.offset : values.offset + count + 1]
    data = (
        np.frombuffer(data_buffer, np.uint8)[offsets[0] : offsets[-1]]
        if data_buffer is not None
        else np.empty(0, np.uint8)
    )
    lengths = np.diff(offsets).astype(">i4")
    has_nulls = values.null_count > 0
    if has_nulls:
        lengths[~values.is_valid().to_numpy(zero_copy_only=False)] = -1
    length_at = offsets[:-1] - offsets[0] + 4 * np.arange(count, dtype=np.int64)
    length_bytes = (length_at[:, None] + np.arange(4)).ravel()
    wire = np.empty(4 * count + len(data), np.uint8)
    is_data = np.ones(len(wire), dtype=bool)
    is_data[length_bytes] = False
    wire[length_bytes] = lengths.view(np.uint8)
    wire[is_data] = data
    return _header(_TEXT, count, has_nulls=has_nulls) + wire.tobytes()


def _header(element_oid: int, count: int, *, has_nulls: bool) -> bytes:
    if count == 0:
        return struct.pack("!iiI", 0, 0, element_oid)
    return struct.pack("!iiIii", 1, int(has_nulls), element_oid, count, 1)


def _dumper(kind: type[_Array]) -> type[Dumper]:
    class ArrayDumper(Dumper):
        format, oid = Format.BINARY, kind.oid

        def dump(self, obj: _Array) -> bytes:
            return obj.wire

    return ArrayDumper


__all__ = ["array_parameters", "register_arrays"]
