"""Values as PostgreSQL parameters in the binary wire format, mostly columns as arrays.

The layout is that of `array_recv` in PostgreSQL: number of dimensions, a flag for nulls, the
element type's oid, then length and lower bound of the dimension, then each element as an int32
length (-1 for null) and its bytes, all big-endian. psycopg would adapt a list value by value,
which costs far more.
"""

import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_EPOCH_2000_US: Final = 946_684_800_000_000  # PostgreSQL counts microseconds from 2000-01-01
_EPOCH_2000: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_TEXT, _INT8, _FLOAT8, _TIMESTAMPTZ = 25, 20, 701, 1184
_NULL: Final = struct.pack("!i", -1)
_DOUBLE: Final = struct.Struct("!id").pack
_LONG: Final = struct.Struct("!iq").pack
_FEW: Final = 32  # for fewer values Python is faster than what it takes to call NumPy
_LENGTHS: Final = [struct.pack("!i", length) for length in range(256)]


def text_array(values: Sequence[str | None]) -> bytes:
    """A text[]; each value has at most 255 bytes in UTF-8."""
    has_nulls = None in values
    elements = [
        _NULL if value is None else _LENGTHS[len(wire := value.encode())] + wire for value in values
    ]
    return _header(_TEXT, len(values), has_nulls=has_nulls) + b"".join(elements)


def float8_array(values: npt.NDArray[np.float64]) -> bytes:
    """A double precision[]; NaN is sent as null."""
    nulls = np.isnan(values)
    has_nulls = bool(nulls.any())
    head = _header(_FLOAT8, len(values), has_nulls=has_nulls)
    if len(values) < _FEW:
        elements = [_NULL if v != v else _DOUBLE(8, v) for v in values.tolist()]  # noqa: PLR0124
        return head + b"".join(elements)
    wire = _elements(values, ">f8")
    if not has_nulls:
        return head + wire.tobytes()
    wire["length"][nulls] = -1
    cells = wire.view(np.uint8).reshape(len(values), 12)
    sent = np.ones(cells.shape, dtype=bool)
    sent[nulls, 4:] = False
    return head + cells[sent].tobytes()


def int8_array(values: npt.NDArray[np.int64]) -> bytes:
    """A bigint[]."""
    return _int64_array(values, _INT8)


def timestamp_array(micros: npt.NDArray[np.int64]) -> bytes:
    """A timestamptz[] of microseconds since 1970-01-01T00:00:00Z."""
    return _int64_array(micros - _EPOCH_2000_US, _TIMESTAMPTZ)


def timestamp(moment: datetime) -> bytes:
    """A single timestamptz."""
    return struct.pack("!q", (moment - _EPOCH_2000) // _MICROSECOND)


def _int64_array(values: npt.NDArray[np.int64], element_oid: int) -> bytes:
    head = _header(element_oid, len(values), has_nulls=False)
    if len(values) < _FEW:
        return head + b"".join([_LONG(8, value) for value in values.tolist()])
    return head + _elements(values, ">i8").tobytes()


def _elements(values: npt.NDArray[Any], code: str) -> npt.NDArray[Any]:
    """Eight bytes a value, each after its length."""
    wire = np.empty(len(values), dtype=[("length", ">i4"), ("value", code)])
    wire["length"], wire["value"] = 8, values
    return wire


def _header(element_oid: int, count: int, *, has_nulls: bool) -> bytes:
    if count == 0:
        return struct.pack("!iiI", 0, 0, element_oid)
    return struct.pack("!iiIii", 1, int(has_nulls), element_oid, count, 1)
