"""Arrow IPC streams of heartbeats, whose columns are named as the JSON fields."""

import struct
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic.alias_generators import to_camel

from ingestion_api.heartbeats.batch import HeartbeatBatch, Limits, invalid_mask
from ingestion_api.heartbeats.contract import ID_LENGTH, RANGES
from ingestion_api.heartbeats.fast_decoder import are_valid_ids
from ingestion_api.heartbeats.strict_decoder import (
    TELEMETRY,
    DecodedBatch,
    UnreadableBody,
    WrongShape,
    check_record_count,
    decode_values_strict,
)
from lake import INTERVAL, REGISTER, STREAMS, Stream
from lake.schema import TIMESTAMP

MEDIA_TYPE: Final = "application/vnd.apache.arrow.stream"
_SCHEMA, _RECORD_BATCH = 1, 3  # kinds of a message
_COARSE: Final = {"s": 1_000_000, "ms": 1_000}  # units, in microseconds
_TEXTS: Final = ("meterId", "vehicleId", "readingType", "type")
_NUMBERS: Final = tuple(to_camel(name) for name in RANGES)


def decode_arrow_fast(body: bytes, kind: str, limits: Limits) -> DecodedBatch | None:
    """Decode an Arrow IPC stream of valid heartbeats; None where the strict decoder is needed.

    Ids, readingType and type are strings, the timestamp is a timestamp with a zone, measurements
    are floats or integers. Other columns are ignored. Raises UnreadableBody, WrongShape or
    BatchTooLarge.
    """
    if kind == TELEMETRY:
        return None
    heartbeats = _usual(_read(body, limits), STREAMS[kind])
    if heartbeats is None or invalid_mask(heartbeats, limits).any():
        return None
    return DecodedBatch({kind: heartbeats})


def decode_arrow_strict(body: bytes, kind: str, limits: Limits) -> DecodedBatch:
    """Decode an Arrow IPC stream; each record is taken or refused."""
    rows = _read(body, limits)
    at = rows.column_names.index("timestamp")
    # Without the zone, which is UTC: naming it would need a time zone database.
    times: Any = rows["timestamp"].cast(pa.timestamp("us"))
    texts = pc.strftime(times, format="%Y-%m-%dT%H:%M:%SZ")
    return decode_values_strict(rows.set_column(at, "timestamp", texts).to_pylist(), kind, limits)


def to_utc_micros(values: Any) -> Any:
    """Timestamps as UTC microseconds, further digits cut off; what is beyond becomes the end."""
    if values.type.unit in _COARSE:
        most = (2**63 - 1) // _COARSE[values.type.unit]
        ticks = pc.min_element_wise(values.view(pa.int64()), most, skip_nulls=False)
        ticks = pc.max_element_wise(ticks, -most, skip_nulls=False)
        values = ticks.view(values.type)
    return pc.cast(values, TIMESTAMP, safe=False)


def _read(body: bytes, limits: Limits) -> pa.Table:
    """The known columns as string, float64 and UTC microseconds; at least one row."""
    try:
        _require_plain(body, limits)
        with pa.ipc.open_stream(body) as reader:
            table = reader.read_all()
        table.validate(full=True)
        return _known_columns(table)
    except (pa.ArrowException, OSError, UnicodeDecodeError, struct.error) as error:
        raise UnreadableBody(f"the body is not an Arrow IPC stream: {error}") from None


def _known_columns(table: pa.Table) -> pa.Table:
    for name in {*table.column_names} & {"timestamp", *_TEXTS, *_NUMBERS}:
        if table.column_names.count(name) > 1:
            raise WrongShape(f"the stream has the column {name} twice")
    if "timestamp" not in table.column_names:
        raise WrongShape("the stream has no column timestamp")
    return pa.table(
        {
            name: _cast(name, table[name])
            for name in ("timestamp", *_TEXTS, *_NUMBERS)
            if name in table.column_names
        }
    )


def _cast(name: str, values: Any) -> Any:
    kind = values.type
    if name == "timestamp":
        if pa.types.is_timestamp(kind) and kind.tz is not None:
            return to_utc_micros(values.combine_chunks())
        raise WrongShape(f"the column timestamp must be a timestamp with a zone, not {kind}")
    if name in _TEXTS:
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
            return pc.cast(values.combine_chunks(), pa.large_string())
        raise WrongShape(f"the column {name} must be a string, not {kind}")
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind):
        return pc.cast(values.combine_chunks(), pa.float64(), safe=False)
    raise WrongShape(f"the column {name} must be a number, not {kind}")


def _usual(rows: pa.Table, stream: Stream) -> HeartbeatBatch | None:
    """Rows that are all as they should be; None where the strict decoder is needed."""
    if "type" in rows.column_names or rows["timestamp"].null_count:
        return None
    texts = {
        name: rows[key].to_pylist() if key in rows.column_names else [None] * rows.num_rows
        for name in (stream.device, *stream.text_measurements, "reading_type")
        for key in [to_camel(name)]
    }
    if None in texts[stream.device] or set(texts["reading_type"]) - {None, INTERVAL, REGISTER}:
        return None
    columns = [texts[name] for name in texts if name != "reading_type"]
    ids = [text for column in columns for text in column if text is not None]
    if not (all(0 < len(text) <= ID_LENGTH for text in ids) and are_valid_ids(ids)):
        return None
    texts["reading_type"] = [kind or INTERVAL for kind in texts["reading_type"]]
    numbers = {}
    for name in stream.number_measurements:
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
