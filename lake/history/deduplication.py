"""De-duplication: of all received copies of a heartbeat the latest counts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import polars as pl

from lake.schema.history import DUPLICATES
from lake.schema.streams import Stream

_PLACE: Final = "place"
_NUMBER: Final = "number"
_INT64_END: Final = 2**63
_ROWS_COMPARED: Final = 100_000  # at once, so that they take little memory


@dataclass(frozen=True)
class Deduplicated:
    """The heartbeats of one merge, once each, sorted by device and time.

    Only their order is worked out; each part is gathered when it is read.
    """

    _copies: pl.DataFrame
    _stay: pl.Series
    """The numbers of the copies that count, in order."""

    duplicates: pl.Series

    @property
    def height(self) -> int:
        """The number of rows."""
        return len(self._stay)

    def equals(self, rows: pl.DataFrame) -> bool:
        """Tell whether `rows` are the same."""
        return self.height == rows.height and all(
            part.equals(rows.slice(number * _ROWS_COMPARED, _ROWS_COMPARED))
            for number, part in enumerate(self.parts(_ROWS_COMPARED))
        )

    def times(self) -> pl.DataFrame:
        """Return `timestamp` and `duplicates` of all rows."""
        return self._copies.select("timestamp")[self._stay].with_columns(self.duplicates)

    def all_rows(self) -> pl.DataFrame:
        """Return all rows."""
        return self._part(0, self.height)

    def parts(self, rows: int) -> Iterator[pl.DataFrame]:
        """Return all rows, so many at a time."""
        return (self._part(first, rows) for first in range(0, self.height, rows))

    def _part(self, first: int, rows: int) -> pl.DataFrame:
        stay = self._stay.slice(first, rows)
        return self._copies[stay].with_columns(self.duplicates.slice(first, rows))


def merge_heartbeats(
    stream: Stream, compacted: pl.LazyFrame, received: Sequence[pl.LazyFrame]
) -> pl.LazyFrame:
    """Merge history and received copies to one row an identity, sorted by device and time.

    `compacted` has the columns of the history, `received` those of the stream, in any order and
    with any number of copies. Of the copies the last received stays; `duplicates` counts the
    others. A copy that an earlier compaction has counted already is not counted again: its raw
    rows are still among `received`, or, once the raw partition was dropped, only in `duplicates`.
    """
    return _all_copies(stream, compacted, received).map_batches(partial(_merge_whole, stream))


def merge_in_parts(stream: Stream, compacted: pl.DataFrame, received: pl.DataFrame) -> Deduplicated:
    """Merge as `merge_heartbeats` does, for reading the rows part by part."""
    return _merge(stream, _all_copies(stream, compacted.lazy(), [received.lazy()]).collect())


def _all_copies(
    stream: Stream, compacted: pl.LazyFrame, received: Sequence[pl.LazyFrame]
) -> pl.LazyFrame:
    """Every copy; the received ones have a null in `duplicates`."""
    columns, uncounted = [column.name for column in stream.columns], pl.lit(None, pl.Int64)
    return pl.concat(
        [
            compacted.select(*columns, DUPLICATES.name),
            *(frame.select(*columns, uncounted.alias(DUPLICATES.name)) for frame in received),
        ]
    )


def _merge_whole(stream: Stream, rows: pl.DataFrame) -> pl.DataFrame:
    return _merge(stream, rows).all_rows()


def _merge(stream: Stream, rows: pl.DataFrame) -> Deduplicated:
    if rows.is_empty():
        return Deduplicated(rows, pl.Series(dtype=pl.UInt32), rows[DUPLICATES.name])
    rows = rows.rechunk()
    place = _place(stream, rows)
    order = place.arg_sort()
    at = pl.col(_PLACE)
    ordered = pl.DataFrame([place[order], order.alias(_NUMBER)]).with_columns(
        again=(at == at.shift(1)).fill_null(value=False),
        last=(at != at.shift(-1)).fill_null(value=True),
    )
    stay = order.filter(ordered["last"])
    duplicates = rows[DUPLICATES.name][stay].fill_null(0)
    if ordered["again"].any():
        copies = ordered.filter(pl.col("again") | ~pl.col("last"))
        where = ordered["again"].filter(ordered["last"]).arg_true()
        stay = stay.scatter(where, _latest(stream, rows, copies))
        duplicates = duplicates.scatter(where, _others(rows, copies))
    return Deduplicated(rows, stay, duplicates)


def _place(stream: Stream, rows: pl.DataFrame) -> pl.Series:
    """A number for each row: the same for the same identity, growing with device and time.

    To sort by one number takes a fraction of the time that a text and a time take.
    """
    time = rows["timestamp"].to_physical()
    first, last = time.to_frame().select(first=pl.all().min(), last=pl.all().max()).row(0)
    span = last - first + 1
    found = rows[stream.device].to_arrow().dictionary_encode()
    devices, code = pl.Series(found.dictionary), pl.Series(found.indices)
    number = pl.Int64 if len(devices) * span < _INT64_END else pl.Int128
    rank = devices.arg_sort().arg_sort()[code].cast(number)
    place: pl.Series = rank * pl.Series([span], dtype=number) + (time - first).cast(number)
    return place.alias(_PLACE)


def _latest(stream: Stream, rows: pl.DataFrame, copies: pl.DataFrame) -> pl.Series:
    """Of each place the number of the copy that counts.

    `copies` are in the order of place; `again` tells those that are not the first, `last` the last.
    Copies are sorted by every column, so that the choice does not depend on the order in which
    they are found, even where two collectors have received copies in the same microsecond.
    """
    order = ["received_at", *(c.name for c in stream.measurements), "reading_type"]
    number, is_again = copies[_NUMBER], copies["again"]
    # Compared without a copy of their rows: an hour whose raw heartbeats came back is all copies.
    one, next_one = pl.lit(number.filter(~copies["last"])), pl.lit(number.filter(is_again))
    differs = [pl.col(name).gather(one).ne_missing(pl.col(name).gather(next_one)) for name in order]
    is_contested = rows.select(pl.any_horizontal(differs)).to_series()
    if is_contested.any():
        contested = copies[_PLACE].filter(is_again).filter(is_contested).unique()
        where = copies[_PLACE].is_in(contested.implode()).arg_true()
        found = copies[where]
        in_order = found.hstack(rows[found[_NUMBER]]).sort([_PLACE, *order], nulls_last=False)
        number = number.scatter(where, in_order[_NUMBER])
    return number.filter(copies["last"])


def _others(rows: pl.DataFrame, copies: pl.DataFrame) -> pl.Series:
    """Of each place how many copies there were but for the one that counts."""

    def of_place(values: pl.Expr) -> pl.Expr:
        until = values.cum_sum().filter(pl.col("last"))
        return until - until.shift(1, fill_value=0)

    counted = pl.col(DUPLICATES.name)
    before, received = of_place(counted.fill_null(0)), of_place(counted.is_null().cast(pl.Int64))
    found = copies.hstack([rows[DUPLICATES.name][copies[_NUMBER]]])
    return found.select(pl.max_horizontal(before, received - 1)).to_series()
