"""The schema `mart`: what BI tools read, and that they read nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

VIEWS = {
    "vehicle_hours",
    "charger_hours",
    "fleet_hours",
    "charging_sessions",
    "alerts",
    "maintenance",
    "vehicles",
    "chargers",
    "depots",
}


@contextmanager
def analyst(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection of a user who is a member of the role and of no other."""
    name = f"analyst_{uuid4().hex}"
    with psycopg.connect(database_url, autocommit=True) as owner:
        role = Identifier(name)
        owner.execute(SQL("CREATE ROLE {} LOGIN PASSWORD 'x' IN ROLE wattlake_read").format(role))
        try:
            with psycopg.connect(database_url, user=name, password="x", autocommit=True) as conn:
                yield conn
        finally:
            owner.execute(SQL("DROP ROLE {}").format(role))


def test_an_analyst_reads_every_view_of_the_mart(database_url: str) -> None:
    with analyst(database_url) as conn:
        rows = conn.execute(
            "SELECT relname, obj_description(oid) FROM pg_class"
            " WHERE relnamespace = 'mart'::regnamespace AND relkind = 'v'"
        ).fetchall()
        described = dict(rows)
        assert described.keys() == VIEWS
        assert all(described.values())
        for view in VIEWS:
            conn.execute(SQL("SELECT * FROM {}").format(Identifier("mart", view)))


def test_an_analyst_reads_nothing_else_and_writes_nothing(database_url: str) -> None:
    with psycopg.connect(database_url) as owner:
        tables = owner.execute(
            "SELECT schemaname, tablename FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
    assert tables
    with analyst(database_url) as conn:
        for table in tables:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(SQL("SELECT FROM {}").format(Identifier(*table)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("DELETE FROM mart.alerts")
