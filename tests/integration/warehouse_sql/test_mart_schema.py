"""The schema `mart`: what BI tools read, and that they read nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_DAILY, CHARGER_EFFICIENCY_HOURLY
from lake.schema.charging_session import CHARGING_SESSION
from lake.schema.vehicle_efficiency import (
    FLEET_EFFICIENCY_DAILY,
    FLEET_EFFICIENCY_HOURLY,
    VEHICLE_EFFICIENCY_DAILY,
    VEHICLE_EFFICIENCY_HOURLY,
)
from local_stack.stack.schema import prepare_schema

VIEWS = {
    "vehicle_hours",
    "charger_hours",
    "fleet_hours",
    "vehicle_days",
    "charger_days",
    "fleet_days",
    "charging_sessions",
    "alerts",
    "maintenance",
    "vehicles",
    "chargers",
    "depots",
}

COPIES = {
    "vehicle_hours": VEHICLE_EFFICIENCY_HOURLY,
    "charger_hours": CHARGER_EFFICIENCY_HOURLY,
    "fleet_hours": FLEET_EFFICIENCY_HOURLY,
    "vehicle_days": VEHICLE_EFFICIENCY_DAILY,
    "charger_days": CHARGER_EFFICIENCY_DAILY,
    "fleet_days": FLEET_EFFICIENCY_DAILY,
    "charging_sessions": CHARGING_SESSION,
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


def test_columns_have_the_descriptions_of_the_lake_and_get_new_ones(database_url: str) -> None:
    prepare_schema(database_url)
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("COMMENT ON COLUMN mart.fleet_days.hours IS 'of an older version'")
    assert prepare_schema(database_url) == []

    with analyst(database_url) as conn:
        for view, spec in COPIES.items():
            rows = conn.execute(
                "SELECT attname, col_description(attrelid, attnum) FROM pg_attribute"
                " WHERE attrelid = %s::regclass AND attnum > 0",
                (f"mart.{view}",),
            ).fetchall()
            assert dict(rows) == {column.name: column.description for column in spec.columns}


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
