"""Connections to Postgres, all with the same session settings."""

import psycopg


def connect(
    url: str, *, autocommit: bool = True, application_name: str = "wattlake-pipelines"
) -> psycopg.Connection:
    """Open a connection whose times are in UTC; raises psycopg.OperationalError."""
    return psycopg.connect(
        url,
        autocommit=autocommit,
        connect_timeout=10,
        application_name=application_name,
        # Times arrive in the zone of the session.
        options="-c TimeZone=UTC",
    )
