"""Columns of a part as numbers, and the rows that look suspect."""

import re
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from pydantic.alias_generators import to_camel

from ingestion_api.bulk_import.encoded_batch import BAD_ID, NO_ID, READING_TYPES, IdEncoder
from ingestion_api.heartbeats.arrow_decoder import to_utc_micros
from ingestion_api.heartbeats.batch import (
    NULL_TIME,
    Mask,
    Micros,
    parse_timestamp_array,
)
from ingestion_api.heartbeats.contract import (
    LONGEST_INTERVAL_SECONDS,
    OPTIONAL,
    PHASE_PATTERN,
    RANGES,
    TIME_PATTERN,
)
from lake import INTERVAL, Stream, UnusableFile
from lake.recordings import (
    ENERGIES,
    IDS,
    NUMBERS,
    TEXTS,
    ColumnMapping,
    EnergyRows,
    UnitCheck,
    to_kwh,
)

_OPTIONAL: Final = frozenset[str]().union(*OPTIONAL.values())
_PHASE: Final = re.compile(PHASE_PATTERN)
_RANGE_OF: Final = {to_camel(name): limits for name, limits in RANGES.items()}


@dataclass
class PartColumns:
    """All rows of a part as numbers, by JSON field, and the rows that need the strict decoder."""

    size: int
    codes: dict[str, npt.NDArray[np.int32]] = field(default_factory=dict)
    numbers: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    sent: dict[str, Mask] = field(default_factory=dict)
    suspect: dict[str, Mask] = field(default_factory=dict)
    left_out: dict[str, Mask] = field(default_factory=dict)
    """Where an optional number has a value that it can't have, which is not among `numbers`."""

    times: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    kinds: npt.NDArray[np.int8] = field(default_factory=lambda: np.empty(0, np.int8))

    def check_unit(self, check: UnitCheck) -> None:
        """Add the energies of intervals."""
        of_interval: Any = self.kinds == READING_TYPES.index(INTERVAL)
        if of_interval.all():
            of_interval = slice(None)
        for energy, device in zip(ENERGIES, IDS, strict=True):
            if self.sent[energy].any():
                rows = EnergyRows(
                    self.numbers[energy],
                    self.codes[device],
                    self.codes["phase"],
                    self.times,
                    self.numbers["intervalSeconds"],
                )
                check.add(energy, EnergyRows._make(values[of_interval] for values in rows))

    def columns_for(self, stream: Stream) -> dict[str, npt.NDArray[Any]]:
        """The columns of a stream's block."""
        return {
            stream.device: self.codes[to_camel(stream.device)],
            "timestamp": self.times,
            **{name: self.numbers[to_camel(name)] for name in stream.number_columns},
            **{name: self.codes[to_camel(name)] for name in stream.text_columns},
            "reading_type": self.kinds,
        }


def read_columns(rows: pa.Table, meaning: ColumnMapping, ids: IdEncoder) -> PartColumns:
    """Read the columns, by JSON name; raises UnusableFile where one has a type it can't have."""
    found, size = PartColumns(rows.num_rows), rows.num_rows
    arrays = {name: one_array(rows[name]) for name in rows.column_names}
    for name in TEXTS:
        found.codes[name] = np.full(size, NO_ID, np.int32)
        if name in arrays:
            found.codes[name] = ids.encode(as_ids(name, arrays[name]))
    _read_phases(found, arrays, ids)
    for name in NUMBERS:
        found.numbers[name] = np.full(size, np.nan)
        found.sent[name] = found.suspect[name] = np.zeros(size, np.bool_)
        if name in arrays:
            values, sent = _numbers(name, arrays[name])
            if name in ENERGIES:
                values = to_kwh(values, meaning.unit)
            lowest, highest = _RANGE_OF[name]
            found.numbers[name], found.sent[name] = values, sent
            wrong = sent & ~((values >= lowest) & (values <= highest))
            if name not in _OPTIONAL:
                found.suspect[name] = wrong
            elif wrong.any():
                found.left_out[name] = wrong
                found.numbers[name] = np.where(wrong, np.nan, values)
    found.times = _times(arrays["timestamp"])
    if "intervalStart" in arrays:
        _read_starts(found, arrays["intervalStart"], "intervalSeconds" in arrays)
    usual = READING_TYPES.index(meaning.reading_type or INTERVAL)
    found.kinds = np.full(size, usual, np.int8)
    found.suspect["readingType"] = np.zeros(size, np.bool_)
    if "readingType" in arrays:
        texts = as_texts("readingType", arrays["readingType"])
        places = pc.index_in(texts, value_set=pa.array(READING_TYPES, pa.large_string()))
        unknown = pc.and_(pc.is_null(places), pc.is_valid(texts))
        found.kinds = pc.fill_null(places, usual).to_numpy().astype(np.int8)
        found.suspect["readingType"] = unknown.to_numpy(zero_copy_only=False)
    return found


def _read_phases(found: PartColumns, arrays: dict[str, Any], ids: IdEncoder) -> None:
    """Let a phase that is none be suspect, though it may be an id."""
    found.suspect["phase"] = np.zeros(found.size, np.bool_)
    if "phase" in arrays:
        codes = found.codes["phase"]
        names = (ids.texts[code] if code >= 0 else "" for code in np.unique(codes).tolist())
        wrong = [ids.encode_one(name) for name in names if name and not _PHASE.match(name)]
        found.suspect["phase"] = np.isin(codes, [*wrong, BAD_ID])


def _read_starts(found: PartColumns, values: Any, has_seconds: bool) -> None:
    """Declare the intervals that `intervalStart` begins; those that can't be are suspect."""
    sent = values.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_timestamp(values.type) and values.type.tz is None:
        starts = np.full(found.size, NULL_TIME)
    else:
        starts = _times(values)
    seconds = (found.times - starts) / 1e6
    usual = sent & (starts != NULL_TIME) & (found.times != NULL_TIME)
    usual &= (seconds > 0) & (seconds <= LONGEST_INTERVAL_SECONDS)
    if has_seconds:
        usual &= np.isnan(found.numbers["intervalSeconds"])
    found.numbers["intervalSeconds"] = np.where(usual, seconds, found.numbers["intervalSeconds"])
    found.suspect["intervalSeconds"] = sent & ~usual


def one_array(column: Any) -> Any:
    """A column of a table as one array."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def as_ids(name: str, values: Any) -> Any:
    """Ids as texts, or as a dictionary of texts."""
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if _is_text(kind):
        return values
    if pa.types.is_integer(kind) or pa.types.is_null(kind):
        return values.cast(pa.large_string())
    raise UnusableFile(f"must have a text or a whole number in the column for {name}, not {kind}")


def as_texts(name: str, values: Any) -> Any:
    """Texts as large_string."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if _is_text(values.type) or pa.types.is_null(values.type):
        return values.cast(pa.large_string())
    raise UnusableFile(f"must have a text in the column for {name}, not {values.type}")


def _numbers(name: str, values: Any) -> tuple[npt.NDArray[np.float64], Mask]:
    """Numbers, NaN for what is none, and where there is anything."""
    sent = values.is_valid().to_numpy(zero_copy_only=False)
    kind = values.type
    if _is_text(kind):
        numbers = pl.Series(values).cast(pl.Float64, strict=False).to_numpy()
    elif (
        pa.types.is_floating(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
    ):
        numbers = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    else:
        raise UnusableFile(f"must have a number in the column for {name}, not {kind}")
    return numbers, sent


def _times(values: Any) -> Micros:
    """Microseconds since 1970; NULL_TIME for what is no time, or has no zone."""
    if pa.types.is_timestamp(values.type):
        micros = to_utc_micros(values).view(pa.int64())
        times: Micros = (micros.fill_null(NULL_TIME) if micros.null_count else micros).to_numpy()
        return times
    texts = as_texts("timestamp", values)
    usual = pl.Series(texts).str.contains(TIME_PATTERN).fill_null(value=False)
    if not usual.all():
        keep: Any = usual.to_arrow()
        texts = pc.if_else(keep, texts, pa.scalar(None, texts.type))
    return parse_timestamp_array(texts)


def _is_text(kind: pa.DataType) -> bool:
    return (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )
