"""Charging sessions in Postgres, as a run publishes them."""

import polars as pl
import psycopg
from psycopg.sql import SQL, Identifier

from lake.schema.charging_session import CHARGING_SESSION


def store_sessions(database_url: str, sessions: pl.DataFrame) -> None:
    """Add rows of CHARGING_SESSION."""
    columns = SQL(", ").join(map(Identifier, CHARGING_SESSION.names))
    statement = SQL("COPY charging_session ({}) FROM STDIN").format(columns)
    with (
        psycopg.connect(database_url) as connection,
        connection.cursor().copy(statement) as copy,
    ):
        for row in sessions.select(CHARGING_SESSION.names).iter_rows():
            copy.write_row(row)
