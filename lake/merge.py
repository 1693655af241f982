"""De-duplication: of all received copies of a heartbeat the latest counts."""

from collections.abc import Sequence

import polars as pl

from lake.streams import Stream


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
    # Sorting by every column makes the choice independent of the order of arrival in this frame,
    # even where two collectors have received copies in the same microsecond.
    order = [*stream.key, "received_at", *(c.name for c in stream.measurements), "reading_type"]
    last_of_key = pl.any_horizontal(
        [pl.col(name) != pl.col(name).shift(-1) for name in stream.key]
    ).fill_null(value=True)
    return (
        rows.sort(order, nulls_last=False)
        .with_columns(
            copies_so_far=pl.col("copies").cum_sum(), counted_so_far=pl.col("duplicates").cum_sum()
        )
        .filter(last_of_key)
        .with_columns(
            copies=pl.col("copies_so_far") - pl.col("copies_so_far").shift(1, fill_value=0),
            counted=pl.col("counted_so_far") - pl.col("counted_so_far").shift(1, fill_value=0),
        )
        .select(*columns, duplicates=pl.max_horizontal("counted", pl.col("copies") - 1))
    )
