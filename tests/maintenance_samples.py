"""Visits of maintenance for tests, as a run would have stored them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from lake.schema.device_condition import MAINTENANCE_VISIT
from tests.table_samples import table_rows
from warehouse_sql.named_queries import query

DAY = datetime(2026, 11, 19, tzinfo=UTC)
END = DAY + timedelta(days=1)
USUAL = {
    "date": DAY.date(),
    "device_kind": "meter",
    "kind": "slow_drift",
    "since": DAY - timedelta(days=60),
    "confidence": 0.9,
    "size_percent": 6.1,
    "sessions": 30,
    "at_stake_kwh_a_year": 300.0,
    "mending_saves_kwh_a_year": 300.0,
    "reason": "It drifts.",
    "state": "open",
    "first_seen": DAY - timedelta(days=30),
    "last_seen": END,
    "opened_at": DAY - timedelta(days=20),
}


def store_visits(database_url: str, *rows: Mapping[str, Any]) -> None:
    """Let Postgres hold exactly these visits, of `DAY` unless they say so."""
    table = table_rows(MAINTENANCE_VISIT, *({**USUAL, **row} for row in rows))
    with psycopg.connect(database_url) as connection:
        connection.execute(query("delete_maintenance_visits"))
        with connection.cursor().copy(query("copy_maintenance_visits")) as copy:
            for row in table.iter_rows():
                copy.write_row(row)
        connection.execute(
            query("mark_condition"),
            {"day": DAY.date(), "computed_at": END, "sessions": 12_000, "first_session_at": DAY},
        )
