"""Conversion of a part's local times, those without a zone, to UTC."""

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ingestion_api.heartbeats.arrow_decoder import to_utc_micros
from ingestion_api.heartbeats.batch import NULL_TIME, Mask, Micros, parse_timestamp_array
from lake.recordings import LOCAL_TIME, LocalTimes
from lake.schema import TIMESTAMP

Numbers = npt.NDArray[np.int64]


def first_local_time(times: Any) -> str | None:
    """The first time if it has no zone; None if it has one, or is no time."""
    known = times.drop_null().slice(0, 1)
    if pa.types.is_timestamp(times.type):
        if times.type.tz is not None:
            return None
        return str(known[0] if len(known) else times.type).replace(" ", "T")
    local, _ = _local(_one_array(known))
    return str(known[0]) if local.any() else None


def to_utc(times: Any, numbers: Numbers, clock: LocalTimes) -> tuple[Any, dict[int, str]]:
    """The column with moments in the place of local times; and by place why one has none."""
    times = _one_array(times)
    local, micros = _local(times)
    if not local.any():
        return times, {}
    places = np.flatnonzero(local)
    found, faults = clock.moments(numbers[places], micros[places])
    moments = np.full(len(local), NULL_TIME, np.int64)
    moments[places] = found
    at_fault = {int(places[place]): reason for place, reason in faults.items()}
    if pa.types.is_timestamp(times.type):
        return pa.array(moments, mask=~local).view(TIMESTAMP), at_fault
    # Without the zone, which is UTC: naming it would need a time zone database.
    known: Any = pa.array(moments, mask=~local).view(pa.timestamp("us"))
    texts: Any = pc.strftime(known, format="%Y-%m-%dT%H:%M:%SZ")
    return pc.if_else(pa.array(local), texts.cast(times.type), times), at_fault


def record_repeated_hours(
    rows: pa.Table, numbers: Numbers, stream: str | None, clock: LocalTimes
) -> None:
    """Tell the clock of each row near an hour that comes twice."""
    local, micros = _local(_one_array(rows["timestamp"]))
    places = np.flatnonzero(local)
    places = places[clock.near_repeated(micros[places])]
    if not len(places):
        return
    taken: Any = pa.array(places)
    ids = {
        name: rows[f"{name}Id"].take(taken).to_pylist()
        for name in ("vehicle", "meter")
        if f"{name}Id" in rows.column_names and stream in {None, name}
    }
    for at, place in enumerate(places.tolist()):
        device = next(
            ((name, some[at]) for name, some in ids.items() if some[at] is not None), None
        )
        clock.add_row(int(numbers[place]), device, int(micros[place]))


def _local(times: Any) -> tuple[Mask, Micros]:
    """Return which times have no zone, and their local time in microseconds since 1970."""
    if pa.types.is_timestamp(times.type):
        micros = to_utc_micros(times).view(pa.int64()).fill_null(NULL_TIME).to_numpy()
        has_none = times.is_valid().to_numpy(zero_copy_only=False)
        return has_none & (times.type.tz is None), micros
    if pa.types.is_dictionary(times.type):
        times = times.dictionary_decode()
    if not (pa.types.is_string(times.type) or pa.types.is_large_string(times.type)):
        return np.zeros(len(times), np.bool_), np.full(len(times), NULL_TIME, np.int64)
    texts = pl.Series(times)
    local = texts.str.contains(LOCAL_TIME).fill_null(value=False)
    zoned: Any = pl.select(pl.when(local).then(texts + "Z")).to_series().to_arrow()
    micros = parse_timestamp_array(zoned.cast(pa.large_string()))
    return local.to_numpy() & (micros != NULL_TIME), micros


def _one_array(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
