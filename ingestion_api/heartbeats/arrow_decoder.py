"""Arrow IPC streams of heartbeats, whose columns are named as the JSON fields."""

import re
import struct
from collections.abc import Collection
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic.alias_generators import to_camel

from ingestion_api.heartbeats.batch import HeartbeatBatch, Limits, invalid_mask
from ingestion_api.heartbeats.contract import ID_LENGTH, PHASE_PATTERN, RANGES
from ingestion_api.heartbeats.fast_decoder import are_valid_ids
from ingestion_api.heartbeats.strict_decoder import (
    KNOWN_FIELDS,
    NAMES_TOLD,
    TELEMETRY,
    UNKNOWN_FIELD,
    DecodedBatch,
    Notice,
    UnreadableBody,
    WrongShape,
    check_record_count,
    decode_values_strict,
    describe_unknown,
)
from lake import INTERVAL, REGISTER, STREAMS, Stream
from lake.schema import TIMESTAMP

MEDIA_TYPE: Final = "application/vnd.apache.arrow.stream"
_SCHEMA, _RECORD_BATCH = 1, 3  # kinds of a message
_COARSE: Final = {"s": 1_000_000, "ms": 1_000}  # units, in microseconds
_IDS: Final = ("meterId", "vehicleId", "phase")
_TEXTS: Final = (*_IDS, "readingType", "type")
_TIMES: Final = ("timestamp", "intervalStart")
_NUMBERS: Final = tuple(to_camel(name) for name in RANGES)
_PHASE: Final = re.compile(PHASE_PATTERN)


def decode_arrow_fast(body: bytes, kind: str, limits: Limits) -> DecodedBatch | None:
    """Decode an Arrow IPC stream of valid heartbeats; None where the strict decoder is needed.

    Ids and phase are strings or integers, readingType and type strings, times are timestamps with a
    zone, numbers floats or integers. Other columns are ignored, with a warning. Raises
    UnreadableBody, WrongShape or BatchTooLarge.
    """
    if kind == TELEMETRY:
        return None
    rows, warnings = _read(body, kind, limits)
    heartbeats = _usual(rows, STREAMS[kind])
    if heartbeats is None or invalid_mask(heartbeats, limits).any():
        return None
    return DecodedBatch({kind: heartbeats}, warnings=warnings)


def decode_arrow_strict(body: bytes, kind: str, limits: Limits) -> DecodedBatch:
    """Decode an Arrow IPC stream; each record is taken or refused."""
    rows, warnings = _read(body, kind, limits)
    for at, name in enumerate(rows.column_names):
        if name in _TIMES:
            # Without the zone, which is UTC: naming it would need a time zone database.
            times: Any = rows[name].cast(pa.timestamp("us"))
            rows = rows.set_column(at, name, pc.strftime(times, format="%Y-%m-%dT%H:%M:%SZ"))
    intake = decode_values_strict(rows.to_pylist(), kind, limits)
    intake.warnings[:0] = warnings
    return intake


def to_utc_micros(values: Any) -> Any:
    """Timestamps as UTC microseconds, further digits cut off; what is beyond becomes the end."""
    if values.type.unit in _COARSE:
        most = (2**63 - 1) // _COARSE[values.type.unit]
        ticks = pc.min_element_wise(values.view(pa.int64()), most, skip_nulls=False)
        ticks = pc.max_element_wise(ticks, -most, skip_nulls=False)
        values = ticks.view(values.type)
    return pc.cast(values, TIMESTAMP, safe=False)


def _read(body: bytes, kind: str, limits: Limits) -> tuple[pa.Table, list[Notice]]:
    """The known columns as string, float64 and UTC microseconds; at least one row.

    A warning of each other column.
    """
    try:
        _require_plain(body, limits)
        with pa.ipc.open_stream(body) as reader:
            table = reader.read_all()
        table.validate(full=True)
        warnings = _unknown_columns(table, kind)
        if warnings and limits.refuse_unknown:
            raise WrongShape(f"the column {warnings[0].field} {warnings[0].reason}")
        return _known_columns(table, KNOWN_FIELDS[kind]), warnings
    except (pa.ArrowException, OSError, UnicodeDecodeError, struct.error) as error:
        raise UnreadableBody(f"the body is not an Arrow IPC stream: {error}") from None


def _unknown_columns(table: pa.Table, kind: str) -> list[Notice]:
    """A warning for each column that no contract knows, some at most, at its first value."""
    known = KNOWN_FIELDS[kind]
    first: dict[str, int] = {}
    for at, name in enumerate(table.column_names):
        if name not in known and name not in first and len(first) < NAMES_TOLD:
            is_there: Any = pc.is_valid(table.column(at))
            index = pc.index(is_there, True).as_py()
            if index >= 0:  # a column of nulls says nothing
                first[name] = index
    return [
        Notice(index, name, describe_unknown(name, known), UNKNOWN_FIELD, None, None)
        for index, name in sorted((index, name) for name, index in first.items())
    ]


def _known_columns(table: pa.Table, known: Collection[str]) -> pa.Table:
    for name in {*table.column_names} & {*_TIMES, *_TEXTS, *_NUMBERS}:
        if table.column_names.count(name) > 1:
            raise WrongShape(f"the stream has the column {name} twice")
    if "timestamp" not in table.column_names:
        raise WrongShape("the stream has no column timestamp")
    return pa.table(
        {
            name: _cast(name, table[name])
            for name in (*_TIMES, *_TEXTS, *_NUMBERS)
            if name in known and name in table.column_names
        }
    )


def _cast(name: str, values: Any) -> Any:
    kind = values.type
    if name in _TIMES:
        if pa.types.is_timestamp(kind) and kind.tz is not None:
            return to_utc_micros(values.combine_chunks())
        raise WrongShape(f"the column {name} must be a timestamp with a zone, not {kind}")
    if name in _TEXTS:
        if name in _IDS and pa.types.is_integer(kind):
            return pc.cast(values.combine_chunks(), pa.large_string())
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
            return pc.cast(values.combine_chunks(), pa.large_string())
        or_number = " or a whole number" if name in _IDS else ""
        raise WrongShape(f"the column {name} must be a string{or_number}, not {kind}")
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind):
        return pc.cast(values.combine_chunks(), pa.float64(), safe=False)
    raise WrongShape(f"the column {name} must be a number, not {kind}")


def _usual(rows: pa.Table, stream: Stream) -> HeartbeatBatch | None:
    """Rows that are all as they should be; None where the strict decoder is needed."""
    if {"type", "intervalStart"} & {*rows.column_names} or rows["timestamp"].null_count:
        return None
    texts = {
        name: rows[key].to_pylist() if key in rows.column_names else [None] * rows.num_rows
        for name in (stream.device, *stream.text_columns, "reading_type")
        for key in [to_camel(name)]
    }
    if None in texts[stream.device] or set(texts["reading_type"]) - {None, INTERVAL, REGISTER}:
        return None
    columns = [texts[name] for name in texts if name != "reading_type"]
    ids = [text for column in columns for text in column if text is not None]
    if not (all(0 < len(text) <= ID_LENGTH for text in ids) and are_valid_ids(ids)):
        return None
    if not all(map(_PHASE.match, filter(None, texts.get("phase", ())))):
        return None
    texts["reading_type"] = [kind or INTERVAL for kind in texts["reading_type"]]
    numbers = {}
    for name in stream.number_columns:
        values = np.full(rows.num_rows, np.nan)
        if (key := to_camel(name)) in rows.column_names:
            sent = rows[key].drop_null().to_numpy()
            lowest, highest = RANGES[name]
            if not ((sent >= lowest) & (sent <= highest)).all():  # a NaN is neither
                return None
            values = rows[key].to_numpy()  # with NaN for null
        numbers[name] = values
    times = rows["timestamp"].combine_chunks().view(pa.int64()).to_numpy()
    return HeartbeatBatch(stream, texts, times, numbers)


def _require_plain(body: bytes, limits: Limits) -> None:
    """Refuse what would unpack to far more than it shows, before anything is unpacked."""
    rows = 0
    with pa.BufferReader(body) as source:
        for message in pa.ipc.MessageReader.open_stream(source):
            rows += _rows(message.metadata.to_pybytes())
        if source.read(1):
            raise WrongShape("there is something after the end of the stream; send one stream")
    check_record_count(rows, limits)  # a row of nulls takes no byte of the body


def _rows(metadata: bytes) -> int:
    """Return a message's number of rows; WrongShape for dictionaries and compressed buffers.

    Looks into the message's FlatBuffer (format/Message.fbs of Arrow): field 1 of a message is the
    kind of its header, field 2 the header; field 0 of a record batch is its length, field 3 its
    compression.
    """
    (message,) = struct.unpack_from("<I", metadata, 0)
    (kind,) = struct.unpack_from("<B", metadata, _field(metadata, message, 1))
    if kind == _SCHEMA:
        return 0
    if kind != _RECORD_BATCH:
        raise WrongShape("dictionaries are not taken; send plain strings")
    at = _field(metadata, message, 2)
    batch = at + struct.unpack_from("<I", metadata, at)[0]
    if _field(metadata, batch, 3):
        raise WrongShape("compressed buffers are not taken; compress the body: Content-Encoding")
    length = _field(metadata, batch, 0)
    rows: int = struct.unpack_from("<q", metadata, length)[0] if length else 0
    return abs(rows)  # Arrow refuses one that is negative


def _field(buffer: bytes, table: int, number: int) -> int:
    """Return the position of a field of a FlatBuffers table; 0 if it is left out."""
    (back,) = struct.unpack_from("<i", buffer, table)
    slot = 4 + 2 * number
    (size,) = struct.unpack_from("<H", buffer, table - back)
    if slot >= size:
        return 0
    (offset,) = struct.unpack_from("<H", buffer, table - back + slot)
    return table + offset if offset else 0
