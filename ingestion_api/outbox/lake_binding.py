"""Binding of a database to its lake, checked before every append to the raw tables."""

from typing import Any

import psycopg
from deltalake import DeltaTable
from psycopg.rows import scalar_row

from lake import STREAMS, Lake, Stream, WrongLake, rows_by_hour
from lake.delta import require_table_id
from warehouse_sql.named_queries import query


def outbox_identity(conn: psycopg.Connection[Any]) -> str:
    """Names the database and the timeline that give out transaction ids."""
    with conn.cursor(row_factory=scalar_row) as cursor:
        return str(cursor.execute(query("outbox_identity")).fetchone())


def create_tables(conn: psycopg.Connection, lake: Lake) -> None:
    """Create what is missing, but no empty lake where the one of this database is away.

    Readers would take it for the whole truth. Raises TableMissing.
    """
    bound = [stream for stream in STREAMS.values() if _bound_table(conn, stream) is not None]
    lake.create_tables(existing=[stream.raw_table for stream in bound])


def require_same_lake(conn: psycopg.Connection, lake: Lake, stream: Stream) -> DeltaTable:
    """Raise WrongLake where rows would go to another lake than those before them.

    Returns the stream's raw table.
    """
    bound = _bound_table(conn, stream)
    # Before the table is opened: it may grow while we look, by another who appends to it.
    row = conn.execute(query("newest_delivered_version"), {"stream": stream.name}).fetchone()
    assert row is not None, "an aggregate has one row"
    table = lake.open(stream.raw_table)
    if bound is None:
        table_id = str(table.metadata().id)
        conn.execute(query("deliver_to_table"), {"stream": stream.name, "table": table_id})
    else:
        require_table_id(lake, table, stream.raw_table, bound)
    if row[0] > table.version():
        known = f"it is at version {table.version()}, version {row[0]} was delivered before"
        raise older_copy(lake, stream, known)
    return table


def older_copy(lake: Lake, stream: Stream, reason: str) -> WrongLake:
    """The error that the lake has lost what it had."""
    return WrongLake(
        f"{stream.raw_table} at {lake.uri} is an older copy, {reason}: bring the newer one back, "
        "or the database from a backup that was made before that of the lake"
    )


def restore_ledger(conn: psycopg.Connection, lake: Lake, stream: Stream, version: int) -> None:
    """Let the ledger know what `version` of the raw table holds, whoever has delivered it.

    What this database has delivered itself up to there must be in the ledger already.
    """
    hours = rows_by_hour(lake, stream, version)
    conn.execute(
        query("restore_ledger"),
        {
            "stream": stream.name,
            "version": version,
            "hours": list(hours),
            "rows": list(hours.values()),
        },
    )


def _bound_table(conn: psycopg.Connection, stream: Stream) -> str | None:
    row = conn.execute(query("outbox_delivery"), {"stream": stream.name}).fetchone()
    assert row is not None, "every stream has a row from its migration on"
    table: str | None = row[3]
    return table
