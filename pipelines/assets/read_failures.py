"""Failures of runs that can't go on with the lake that they find."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import dagster as dg
import psycopg

from lake import STREAMS, Lake, LakeDamaged, Stream
from lake.delta import diagnose_read_errors
from lake.schema import DERIVED_TABLES
from pipelines.ledger import log_lacks

HISTORIES = tuple(stream.history_table for stream in STREAMS.values())


@contextmanager
def fail_on_unreadable(
    lake: Lake, tables: Sequence[str], start: datetime, end: datetime
) -> Iterator[None]:
    """Fail the run, at once and naming file and hour, where the tables can't be read.

    To read it again a few seconds later would find the same.
    """
    time_columns = {spec.name: spec.time_column for spec in DERIVED_TABLES}
    asked = [(name, time_columns.get(name, "timestamp")) for name in tables]
    try:
        with diagnose_read_errors(lake, asked, start, end):
            yield
    except LakeDamaged as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def require_lake_of_ledger(connection: psycopg.Connection, lake: Lake, stream: Stream) -> None:
    """Fail the run where the raw table is older than the ledger: its hours would wait for ever."""
    if lacks := log_lacks(connection, lake, stream):
        raise dg.Failure(
            f"{stream.raw_table} at {lake.uri}: {lacks}; this is another or a restored lake. Point "
            "LAKE_URI at the lake that belongs to DATABASE_URL.",
            allow_retries=False,
        )
