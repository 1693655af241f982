"""De-duplication: of all received copies of a heartbeat the latest with a known energy counts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Final

import polars as pl

from lake.schema.history import CONFLICTING_ENERGY, CONFLICTS, COPIES, DUPLICATES
from lake.schema.streams import IMPORTED_AT, INTERVAL_SECONDS, Stream

_PLACE: Final = "place"
_NUMBER: Final = "number"
_COPIES: Final = [column.name for column in COPIES]
_INT64_END: Final = 2**63
_ROWS_COMPARED: Final = 100_000  # at once, so that they take little memory


@dataclass(frozen=True)
class Deduplicated:
    """The heartbeats of one merge, once each, sorted by device, time and part.

    Only their order is worked out; each part is gathered when it is read.
    """

    _rows: pl.DataFrame
    _stay: pl.Series
    """The numbers of the rows that count, in order."""

    _copies: pl.DataFrame
    """COPIES of each of them."""

    @property
    def height(self) -> int:
        """The number of rows."""
        return len(self._stay)

    @property
    def duplicates(self) -> pl.Series:
        """The `duplicates` of all rows."""
        return self._copies[DUPLICATES.name]

    def equals(self, rows: pl.DataFrame) -> bool:
        """Tell whether `rows` are the same."""
        return self.height == rows.height and all(
            part.equals(rows.slice(number * _ROWS_COMPARED, _ROWS_COMPARED))
            for number, part in enumerate(self.parts(_ROWS_COMPARED))
        )

    def times(self) -> pl.DataFrame:
        """Return `timestamp` and `duplicates` of all rows."""
        return self._rows.select("timestamp")[self._stay].with_columns(self.duplicates)

    def all_rows(self) -> pl.DataFrame:
        """Return all rows."""
        return self._part(0, self.height)

    def parts(self, rows: int) -> Iterator[pl.DataFrame]:
        """Return all rows, so many at a time."""
        return (self._part(first, rows) for first in range(0, self.height, rows))

    def _part(self, first: int, rows: int) -> pl.DataFrame:
        stay = self._stay.slice(first, rows)
        return self._rows[stay].with_columns(self._copies.slice(first, rows).get_columns())


def merge_heartbeats(
    stream: Stream, compacted: pl.LazyFrame, received: Sequence[pl.LazyFrame]
) -> pl.LazyFrame:
    """Merge history and received copies to one row an identity, sorted by it.

    `compacted` has the columns of the history, `received` those of the stream, in any order and
    with any number of copies. Of the copies with a known energy, or of all where it is not known,
    the last received stays; `duplicates` counts the others, `conflicts` those of another energy.
    What an import brings replaces what was received before it, without a conflict.

    A copy that an earlier compaction has counted already is not counted again: its raw rows are
    still among `received`, or, once the raw partition was dropped, only counted in the history.
    """
    return _all_copies(stream, compacted, received).map_batches(partial(_merge_whole, stream))


def merge_in_parts(stream: Stream, compacted: pl.DataFrame, received: pl.DataFrame) -> Deduplicated:
    """Merge as `merge_heartbeats` does, for reading the rows part by part."""
    return _merge(stream, _all_copies(stream, compacted.lazy(), [received.lazy()]).collect())


@cache
def no_heartbeats(stream: Stream) -> pl.DataFrame:
    """Return no rows, with the columns of the stream and COPIES."""
    return as_history(pl.DataFrame(stream.arrow_schema.empty_table()).lazy()).collect()


def as_history(received: pl.LazyFrame) -> pl.LazyFrame:
    """Add COPIES to received heartbeats of which there is one each."""
    return received.with_columns(
        pl.lit(0, pl.Int64).alias(DUPLICATES.name),
        pl.lit(0, pl.Int64).alias(CONFLICTS.name),
        pl.lit(None, pl.Float64).alias(CONFLICTING_ENERGY.name),
    )


def _all_copies(
    stream: Stream, compacted: pl.LazyFrame, received: Sequence[pl.LazyFrame]
) -> pl.LazyFrame:
    """Every copy; the received ones have a null in `duplicates`."""
    columns = [column.name for column in stream.columns]
    uncounted = pl.lit(None, pl.Int64).alias(DUPLICATES.name)
    return pl.concat(
        [
            compacted.select(*columns, *_COPIES),
            *(
                as_history(frame.select(columns)).with_columns(uncounted).select(*columns, *_COPIES)
                for frame in received
            ),
        ]
    )


def _merge_whole(stream: Stream, rows: pl.DataFrame) -> pl.DataFrame:
    return _merge(stream, rows).all_rows()


def _merge(stream: Stream, rows: pl.DataFrame) -> Deduplicated:
    if rows.is_empty():
        return Deduplicated(rows, pl.Series(dtype=pl.UInt32), rows.select(_COPIES))
    rows = rows.rechunk()
    place = _place(stream, rows)
    order = place.arg_sort()
    at = pl.col(_PLACE)
    ordered = pl.DataFrame([place[order], order.alias(_NUMBER)]).with_columns(
        again=(at == at.shift(1)).fill_null(value=False),
        last=(at != at.shift(-1)).fill_null(value=True),
    )
    stay = order.filter(ordered["last"])
    copies = rows.select(_COPIES)[stay].with_columns(pl.col(DUPLICATES.name).fill_null(0))
    if ordered["again"].any():
        where = ordered["again"].filter(ordered["last"]).arg_true()
        counted = _counted(
            stream, rows, ordered.filter(pl.col("again") | ~pl.col("last")).drop("last")
        )
        stay = stay.scatter(where, counted[_NUMBER])
        copies = copies.with_columns(copies[name].scatter(where, counted[name]) for name in _COPIES)
    return Deduplicated(rows, stay, copies)


def _place(stream: Stream, rows: pl.DataFrame) -> pl.Series:
    """A number for each row: the same for the same identity, growing with device, time and part.

    To sort by one number takes a fraction of the time that a text and a time take.
    """
    time = rows["timestamp"].to_physical()
    first, last = time.to_frame().select(first=pl.all().min(), last=pl.all().max()).row(0)
    parts, of_part = 1, None
    if stream.part is not None and (part := rows[stream.part.name]).null_count() < rows.height:
        names, code = _codes(part)
        parts, of_part = len(names) + 1, (names.arg_sort().arg_sort()[code] + 1).fill_null(0)
    span = (last - first + 1) * parts
    devices, code = _codes(rows[stream.device])
    number = pl.Int64 if len(devices) * span < _INT64_END else pl.Int128
    rank = devices.arg_sort().arg_sort()[code].cast(number)
    moment = (time - first).cast(number) * pl.Series([parts], dtype=number)
    place: pl.Series = rank * pl.Series([span], dtype=number) + moment
    if of_part is not None:
        place += of_part.cast(number)
    return place.alias(_PLACE)


def _codes(texts: pl.Series) -> tuple[pl.Series, pl.Series]:
    """The distinct texts, and of each row the place of its text among them; null for a null."""
    found = texts.to_arrow().dictionary_encode()
    return pl.Series(found.dictionary), pl.Series(found.indices)


def _counted(stream: Stream, rows: pl.DataFrame, copies: pl.DataFrame) -> pl.DataFrame:
    """Of each place the number of the copy that counts, and COPIES; in the order of place.

    `copies` are in the order of place; `again` tells those that are not the first of theirs.
    Most places have copies that are the same in all: an hour whose raw heartbeats came back is.
    """
    values = [
        "received_at",
        *(column.name for column in stream.measurements),
        *("reading_type", INTERVAL_SECONDS.name, IMPORTED_AT.name),
    ]
    number, again = copies[_NUMBER], copies["again"]
    # Compared without a copy of their rows.
    next_one = pl.lit(number.filter(again))
    one = pl.lit(number.filter(again.shift(-1, fill_value=False)))
    differs = [
        pl.col(name).gather(one).ne_missing(pl.col(name).gather(next_one)) for name in values
    ]
    is_contested = rows.select(pl.any_horizontal(differs)).to_series()
    contested = copies[_PLACE].filter(again).filter(is_contested).unique()
    found = copies.hstack(rows.select(_COPIES)[number])
    if contested.is_empty():
        return _alike(found)
    in_dispute = found[_PLACE].is_in(contested.implode())
    disputed = found.filter(in_dispute).drop("again")
    every = disputed.hstack(rows.select(values)[disputed[_NUMBER]]).sort(
        # By every column, so that the choice does not depend on the order in which the copies are
        # found, even where two collectors have received some in the same microsecond.
        [_PLACE, *values],
        nulls_last=False,
    )
    settled = _settled(every, stream.energy, values)
    return pl.concat([_alike(found.filter(~in_dispute)), settled]).sort(_PLACE)


def _alike(copies: pl.DataFrame) -> pl.DataFrame:
    """Do as `_counted` for places whose copies are the same in all, in order of place."""

    def of_place(values: pl.Expr) -> pl.Expr:
        until = values.cum_sum().filter(pl.col("last"))
        return until - until.shift(1, fill_value=0)

    duplicates, conflicts = pl.col(DUPLICATES.name), pl.col(CONFLICTS.name).fill_null(0)
    known, received = duplicates.fill_null(0), duplicates.is_null().cast(pl.Int64)
    ordered = copies.with_columns(last=~pl.col("again").shift(-1, fill_value=False))
    told = ordered.filter(pl.col(CONFLICTING_ENERGY.name).is_not_null())
    return (
        ordered.select(
            pl.col(_PLACE, _NUMBER).filter(pl.col("last")),
            pl.max_horizontal(of_place(known), of_place(received) - 1).alias(DUPLICATES.name),
            of_place(conflicts).alias(CONFLICTS.name),
        )
        .join(told.select(_PLACE, CONFLICTING_ENERGY.name), on=_PLACE, how="left")
        .sort(_PLACE)
    )


def _settled(copies: pl.DataFrame, energy_column: str, values: Sequence[str]) -> pl.DataFrame:
    """Do as `_counted` for copies that differ, sorted by place, receipt and values."""
    place, energy, imported = pl.col(_PLACE), pl.col(energy_column), pl.col(IMPORTED_AT.name)
    duplicates, of_history = pl.col(DUPLICATES.name), pl.col("_of_history")
    same = [pl.col(name).eq_missing(pl.col(name).shift(1)) for name in (_PLACE, *values)]
    above = pl.all_horizontal(same)
    twin = (above & (of_history != of_history.shift(1))) | (
        above.shift(-1) & (of_history != of_history.shift(-1))
    )
    every = copies.with_columns(_of_history=duplicates.is_not_null()).with_columns(
        # Where raw has been dropped since, the copy of the history is not among the received ones.
        _is_raw=~of_history | ~twin.fill_null(value=False),
        _known=energy.is_not_null() | ~energy.is_not_null().any().over(place),
    )
    # A part of the raw copies may be gone: then the history knows more.
    totals = every.group_by(_PLACE).agg(
        _before=duplicates.max().fill_null(-1),
        _received=(~of_history).sum().cast(pl.Int64),
        _raw=pl.col("_is_raw").sum().cast(pl.Int64),
    )
    is_whole = (pl.col("_raw") == pl.col("_received")) & (
        pl.col("_received") - 1 >= pl.col("_before")
    )
    known = every.filter("_known").with_columns(
        _import=imported.drop_nulls().last().over(place),
    )
    is_of_import = (imported == pl.col("_import")).fill_null(value=False)
    standing = known.filter(
        pl.col("_import").is_null()
        | is_of_import.cast(pl.Int8).cum_max().over(place).cast(pl.Boolean)
    )
    other = pl.col("_is_raw") & (energy != energy.last())
    conflicts, conflicting = pl.col(CONFLICTS.name), pl.col(CONFLICTING_ENERGY.name)
    return (
        standing.group_by(_PLACE, maintain_order=True)
        .agg(
            pl.col(_NUMBER).last(),
            _other=other.sum().cast(pl.Int64),
            _other_energy=energy.filter(other).last(),
            _carried=conflicts.filter(of_history).max().fill_null(0),
            _carried_energy=conflicting.filter(of_history).max(),
        )
        .join(totals, on=_PLACE, how="left", maintain_order="left")
        .with_columns(_carried=pl.when(is_whole).then(0).otherwise("_carried"))
        .select(
            _PLACE,
            _NUMBER,
            pl.max_horizontal("_before", pl.col("_raw") - 1).alias(DUPLICATES.name),
            pl.max_horizontal("_other", "_carried").alias(CONFLICTS.name),
            pl.coalesce(
                "_other_energy", pl.when(pl.col("_carried") > 0).then("_carried_energy")
            ).alias(CONFLICTING_ENERGY.name),
        )
    )
