"""Decoding of file rows to heartbeats, by the rules of the collector.

Whole columns are validated first, and take the rows that are surely valid. Any other row is decoded
as if it had been posted (heartbeats/strict_decoder.py), which takes it or refuses it with its
reasons; so the fast path only has to be right when it takes something.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic.alias_generators import to_camel

from ingestion_api.bulk_import.encoded_batch import (
    BAD_ID,
    NO_ID,
    READING_TYPES,
    EncodedBatch,
    IdEncoder,
)
from ingestion_api.bulk_import.part_columns import (
    PartColumns,
    as_ids,
    as_texts,
    one_array,
    read_columns,
)
from ingestion_api.bulk_import.source import Part
from ingestion_api.heartbeats.arrow_decoder import to_utc_micros
from ingestion_api.heartbeats.batch import (
    NULL_TIME,
    HeartbeatBatch,
    Limits,
    Mask,
    invalid_mask,
)
from ingestion_api.heartbeats.contract import OPTIONAL
from ingestion_api.heartbeats.strict_decoder import (
    TELEMETRY,
    Refusal,
    decode_values_strict,
    detect_stream,
)
from lake import METER, STREAMS, VEHICLE, Stream
from lake.recordings import (
    ENERGIES,
    NUMBERS,
    TEXTS,
    ColumnMapping,
    UnitCheck,
    parse_number,
    to_kwh,
)

STRICT_ROWS: Final = 10_000
_TIMES: Final = ("timestamp", "intervalStart")
_METER_ONLY: Final = tuple(to_camel(name) for name in METER.number_measurements)


@dataclass(frozen=True)
class RefusedRow:
    """A row of the file that is not taken; `record` is what would have been posted."""

    row: int
    stream: str | None
    refusals: Sequence[Refusal]
    record: object


@dataclass(frozen=True)
class DecodedPart:
    """HeartbeatBatch and refused rows of a part, in file order. `rows` are numbers in the file."""

    blocks: dict[str, EncodedBatch]
    rows: dict[str, npt.NDArray[np.int64]]
    refused: list[RefusedRow]
    left_out: Counter[str]
    """How many rows that are taken have a value that an optional field can't have."""


def decode_part(
    part: Part, meaning: ColumnMapping, ids: IdEncoder, limits: Limits, check: UnitCheck
) -> DecodedPart:
    """Decode every row of a part; new ids are added to `ids`, its energies to `check`.

    Raises UnusableFile where a whole column has a type that it can't have.
    """
    columns = read_columns(part.rows, meaning, ids)
    columns.check_unit(check)
    sure = {
        name: _valid_rows(columns, mine, STREAMS[name], limits)
        for name, mine in _rows_by_stream(columns, part.rows, meaning).items()
    }
    doubtful = np.ones(columns.size, np.bool_)
    for rows in sure.values():
        doubtful &= ~rows
    refused = [
        RefusedRow(
            row.number, meaning.stream, [Refusal(0, row.field, row.reason, row.code)], row.record
        )
        for row in part.broken
    ]
    left_out = _left_out(columns, sure)
    if doubtful.any():
        at = np.flatnonzero(doubtful)
        for start in range(0, len(at), STRICT_ROWS):
            some = at[start : start + STRICT_ROWS]
            refused += _decode_strict(part, some, columns, sure, meaning, ids, limits, left_out)
    refused.sort(key=lambda one: one.row)
    blocks, numbers = {}, {}
    for name, rows in sure.items():
        stream = STREAMS[name]
        if not rows.any():
            continue
        if rows.all():
            blocks[name], numbers[name] = (
                EncodedBatch(stream, columns.columns_for(stream)),
                part.numbers,
            )
        else:
            places = np.flatnonzero(rows)
            blocks[name] = EncodedBatch(stream, columns.columns_for(stream)).take(places)
            numbers[name] = part.numbers[places]
    return DecodedPart(blocks, numbers, refused, left_out)


def _left_out(columns: PartColumns, sure: Mapping[str, Mask]) -> Counter[str]:
    found = Counter[str]()
    for name, wrong in columns.left_out.items():
        for stream, rows in sure.items():
            if name in OPTIONAL[stream]:
                found[name] += int((wrong & rows).sum())
    return +found


def _rows_by_stream(
    columns: PartColumns, rows: pa.Table, meaning: ColumnMapping
) -> dict[str, Mask]:
    """Return the rows that surely belong to each stream, as the collector tells it."""
    if meaning.stream:
        return {meaning.stream: np.ones(columns.size, np.bool_)}
    of_vehicle = columns.codes["vehicleId"] != NO_ID
    of_meter = (columns.codes["meterId"] != NO_ID) & ~of_vehicle
    for name in _METER_ONLY:
        of_vehicle &= ~columns.sent[name]
    if "type" in rows.column_names:
        told = as_texts("type", one_array(rows["type"]))
        untold = pc.is_null(told).to_numpy(zero_copy_only=False)
        of_vehicle = (of_vehicle & untold) | _equal(told, VEHICLE.name)
        of_meter = (of_meter & untold) | _equal(told, METER.name)
    return {METER.name: of_meter, VEHICLE.name: of_vehicle}


def _equal(texts: Any, wanted: str) -> Mask:
    equal: Any = pc.equal(texts, pa.scalar(wanted, texts.type))
    found: Mask = pc.fill_null(equal, False).to_numpy(zero_copy_only=False)
    return found


def _valid_rows(columns: PartColumns, mine: Mask, stream: Stream, limits: Limits) -> Mask:
    device = to_camel(stream.device)
    right = mine & (columns.codes[device] >= 0) & (columns.times != NULL_TIME)
    right &= ~columns.suspect["readingType"]
    for name in stream.text_columns:
        right &= columns.codes[to_camel(name)] != BAD_ID
    for name in (*stream.number_columns, *([] if stream.part is None else [stream.part.name])):
        right &= ~columns.suspect[to_camel(name)]
    places = np.flatnonzero(right)
    if len(places):
        every = len(places) == columns.size
        of = {
            name: values if every else values[places]
            for name, values in columns.columns_for(stream).items()
        }
        kinds = np.array(READING_TYPES, object)[of["reading_type"]].tolist()
        numbers = {name: of[name] for name in stream.number_columns}
        rows = HeartbeatBatch(stream, {"reading_type": kinds}, of["timestamp"], numbers)
        right[places] = ~invalid_mask(rows, limits)
    held: Mask = right
    return held


def _decode_strict(
    part: Part,
    at: npt.NDArray[np.intp],
    columns: PartColumns,
    sure: Mapping[str, Mask],
    meaning: ColumnMapping,
    ids: IdEncoder,
    limits: Limits,
    left_out: Counter[str],
) -> list[RefusedRow]:
    """Decode the rows at these places one by one; valid ones go into the columns."""
    records = _records(part.rows.take(at), meaning)
    intake = decode_values_strict(records, meaning.stream or TELEMETRY, limits)
    left_out.update(one.field for one in intake.warnings if one.stream is not None)
    taken: dict[str, list[int]] = {}
    for index, record in enumerate(records):
        if index not in intake.refused:
            found = meaning.stream or detect_stream(record)
            assert isinstance(found, str), "a record of no kind is refused"
            taken.setdefault(found, []).append(index)
    for name, heartbeats in intake.rows.items():
        _put(columns, STREAMS[name], at[taken[name]], heartbeats, ids)
        sure[name][at[taken[name]]] = True
    reasons: dict[int, list[Refusal]] = {}
    for refusal in intake.refusals:
        reasons.setdefault(refusal.index, []).append(refusal)
    return [
        RefusedRow(int(part.numbers[at[index]]), stream, reasons[index], record)
        for index, (stream, record) in intake.refused.items()
    ]


def _put(
    columns: PartColumns,
    stream: Stream,
    at: npt.NDArray[np.intp],
    heartbeats: HeartbeatBatch,
    ids: IdEncoder,
) -> None:
    for name, texts in heartbeats.texts.items():
        if name == "reading_type":
            columns.kinds[at] = [READING_TYPES.index(text) for text in texts]
        else:
            columns.codes[to_camel(name)][at] = [ids.encode_one(text) for text in texts]
    columns.times = columns.times.copy()  # what was read is read-only
    columns.times[at] = heartbeats.times
    for name, values in heartbeats.numbers.items():
        changed = columns.numbers[to_camel(name)].copy()
        changed[at] = values
        columns.numbers[to_camel(name)] = changed


def _records(rows: pa.Table, meaning: ColumnMapping) -> list[dict[str, Any]]:
    """Rows as they would be posted."""
    columns = {}
    for name in rows.column_names:
        values = one_array(rows[name])
        if name in _TIMES and pa.types.is_timestamp(values.type):
            # Without the zone, which is UTC: naming it would need a time zone database. A start
            # without a zone stays so, and is left out.
            zone = "Z" if name == "timestamp" or values.type.tz is not None else ""
            values = pc.strftime(
                to_utc_micros(values).cast(pa.timestamp("us")), format=f"%Y-%m-%dT%H:%M:%S{zone}"
            )
        elif name in TEXTS:
            values = as_ids(name, values)
        columns[name] = values.to_pylist()
    records = []
    for values in zip(*columns.values(), strict=True):
        record = dict(zip(columns, values, strict=True))
        if record.get("readingType") is None:
            record["readingType"] = meaning.reading_type
        records.append(
            {
                name: _value(name, value, meaning)
                for name, value in record.items()
                if value is not None
            }
        )
    return records


def _value(name: str, value: Any, meaning: ColumnMapping) -> Any:
    """Parse a number that a file holds as text; other text stays, and is refused."""
    if name not in NUMBERS:
        return value
    number = parse_number(value) if isinstance(value, str) else float(value)
    if number is None:
        return value
    return to_kwh(number, meaning.unit) if name in ENERGIES else number
