"""The history tables: each heartbeat once, and its time of receipt as a delay."""

from functools import cache
from typing import Final

import polars as pl
import pyarrow as pa

from lake.schema.streams import Column, Stream
from lake.schema.table_spec import TableSpec, count_column

DUPLICATES: Final = count_column(
    "duplicates", "received copies of this heartbeat that were removed"
)
CONFLICTS: Final = Column(
    "conflicts",
    pa.int64(),
    "of these copies, those with a known energy other than the one that counts; what an import "
    "replaced is none; null: not counted by the version that wrote the row",
)
CONFLICTING_ENERGY: Final = Column(
    "conflicting_energy",
    pa.float64(),
    "energy of the last received conflicting copy, kWh; null: there is none",
)
COPIES: Final = (DUPLICATES, CONFLICTS, CONFLICTING_ENERGY)
"""What the history tells of the copies of a heartbeat."""

# A receipt time is all noise to the microsecond; its distance from the event time packs into half.
RECEIPT_DELAY: Final = Column(
    "received_after_us",
    pa.int64(),
    "microseconds from the event time to the receipt, by the collector's clock: the receipt was at "
    "timestamp + received_after_us",
    nullable=False,
)


@cache
def history_table(stream: Stream) -> TableSpec:
    """Return the table of a stream's sorted, de-duplicated heartbeats."""
    sent = (column for column in stream.columns if column.name != "received_at")
    return TableSpec(
        stream.history_table,
        f"{stream.name} heartbeats, one row for each {', '.join(stream.key)}, sorted by them",
        stream.key,
        (*sent, RECEIPT_DELAY, *COPIES),
        # Values of many devices share a dictionary: in an archive energies are half as large as in
        # groups of 10,000. In larger groups they would be smaller still, but one device would take
        # longer to find. Two pages, see `data_files`. The hours of the last days, which are asked
        # for all the time, are a sixth larger and found in half the time.
        rows_a_group=32_768,
        archived_rows_a_group=131_072,
    )


def encode_history(rows: pl.DataFrame) -> pl.DataFrame:
    """Encode `received_at` of heartbeats as the history keeps it, RECEIPT_DELAY."""
    delay = pl.col("received_at") - pl.col("timestamp")
    return rows.with_columns(delay.dt.total_microseconds().alias(RECEIPT_DELAY.name)).drop(
        "received_at"
    )


def decode_history(stored: pl.LazyFrame, stream: Stream) -> pl.LazyFrame:
    """Decode rows of the history to the columns of the stream and COPIES."""
    received_at = pl.col("timestamp") + pl.duration(microseconds=RECEIPT_DELAY.name)
    return stored.with_columns(received_at=received_at).select(
        *(column.name for column in (*stream.columns, *COPIES))
    )
