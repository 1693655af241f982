"""De-duplication: of all received copies of a heartbeat the latest counts."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import polars as pl

from lake.streams import Stream

_PLACE: Final = "place"
_INT64_END: Final = 2**63


def merge_heartbeats(
    stream: Stream, compacted: pl.LazyFrame, received: Sequence[pl.LazyFrame]
) -> pl.LazyFrame:
    """One row for each identity, sorted by device and time.

    `compacted` has the columns of the history, `received` those of the stream, in any order and
    with any number of copies. Of the copies the last received stays; `duplicates` counts the
    others. A copy that an earlier compaction has counted already is not counted again: its raw
    rows are still among `received`, or, once the raw partition was dropped, only in `duplicates`.
    """
    columns = [column.name for column in stream.columns]
    rows = pl.concat(
        [
            compacted.select(*columns, "duplicates", copies=pl.lit(0, pl.Int64)),
            *(
                frame.select(*columns, duplicates=pl.lit(0, pl.Int64), copies=pl.lit(1, pl.Int64))
                for frame in received
            ),
        ]
    )
    return rows.map_batches(partial(_merge, stream)).select(*columns, "duplicates")


def _merge(stream: Stream, rows: pl.DataFrame) -> pl.DataFrame:
    if rows.is_empty():
        return rows
    rows = rows.rechunk().with_columns(_place(stream, rows))
    rows = rows[rows[_PLACE].arg_sort()]
    is_last = (rows[_PLACE] != rows[_PLACE].shift(-1)).fill_null(value=True)
    counted, copies = (_sums(rows[name], is_last) for name in ("duplicates", "copies"))
    duplicates = pl.select(duplicates=pl.max_horizontal(counted, copies - 1)).to_series()
    stays = _latest_last(stream, rows).filter(is_last)
    return rows.drop(_PLACE)[stays].with_columns(duplicates)


def _place(stream: Stream, rows: pl.DataFrame) -> pl.Series:
    """A number for each row: the same for the same identity, growing with device and time.

    To sort by one number takes a fraction of the time that a text and a time take.
    """
    device, time = rows[stream.device], rows["timestamp"].to_physical()
    devices = device.unique().sort()
    first, last = time.to_frame().select(first=pl.all().min(), last=pl.all().max()).row(0)
    span = last - first + 1
    number = pl.Int64 if len(devices) * span < _INT64_END else pl.Int128
    rank = device.cast(pl.Enum(devices)).to_physical().cast(number)
    place: pl.Series = rank * pl.Series([span], dtype=number) + (time - first).cast(number)
    return place.alias(_PLACE)


def _latest_last(stream: Stream, rows: pl.DataFrame) -> pl.Series:
    """Row numbers in the order of place in which the copy that counts is the last of its place.

    Copies are sorted by every column, so that the choice does not depend on the order in which
    they are found, even where two collectors have received copies in the same microsecond.
    """
    order = ["received_at", *(c.name for c in stream.measurements), "reading_type"]
    differs = pl.any_horizontal([pl.col(name).ne_missing(pl.col(name).shift(1)) for name in order])
    place = pl.col(_PLACE)
    contested = rows.select(place.filter((place == place.shift(1)) & differs).unique()).to_series()
    numbers = pl.int_range(rows.height, eager=True).alias("number")
    if contested.is_empty():
        return numbers
    copies = rows.select(_PLACE, *order, numbers).filter(place.is_in(contested.implode()))
    in_order = copies.sort([_PLACE, *order], nulls_last=False)
    return numbers.scatter(copies["number"], in_order["number"])


def _sums(values: pl.Series, is_last: pl.Series) -> pl.Series:
    """The sum of each identity's values."""
    until = values.cum_sum().filter(is_last)
    return until - until.shift(1, fill_value=0)
