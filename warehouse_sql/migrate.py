"""Numbered migrations, each applied once and in order, safe to call from several processes."""

import hashlib
from importlib.resources import files

import psycopg

from warehouse_sql.errors import (
    DatabaseUnreachable,
    MigrationChanged,
    MigrationFailed,
    SchemaNewerThanCode,
    one_line,
)

# One lock per database for all who migrate; any constant would do.
MIGRATION_LOCK = 0x57A77


def migrate(dsn: str) -> list[str]:
    """Apply what is missing, in one transaction; returns the names that were applied.

    Raises DatabaseUnreachable, MigrationFailed, MigrationChanged or SchemaNewerThanCode; then
    nothing is applied.
    """
    try:
        conn = psycopg.connect(dsn, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise DatabaseUnreachable(f"the database does not answer: {one_line(error)}") from error
    try:
        with conn:
            return _migrate(conn)
    except psycopg.Error as error:
        raise MigrationFailed(f"the migration failed: {one_line(error)}") from error


def migrations() -> dict[str, str]:
    """Name and text of every migration in the order of their numbers."""
    folder = files(__package__).joinpath("migrations")
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    return {
        name.removesuffix(".sql"): folder.joinpath(name).read_text(encoding="utf-8")
        for name in names
    }


def _migrate(conn: psycopg.Connection) -> list[str]:
    conn.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
    conn.execute(
        "CREATE TABLE IF NOT EXISTS schema_migration (name text PRIMARY KEY,"
        " sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    applied: dict[str, str] = dict(
        conn.execute("SELECT name, sha256 FROM schema_migration").fetchall()
    )
    pending = _pending(migrations(), applied)
    for name, text in pending:
        conn.execute(text.encode())
        conn.execute(
            "INSERT INTO schema_migration (name, sha256) VALUES (%s, %s)", (name, _sha256(text))
        )
    return [name for name, _ in pending]


def _pending(known: dict[str, str], applied: dict[str, str]) -> list[tuple[str, str]]:
    if newer := sorted(applied.keys() - known.keys()):
        raise SchemaNewerThanCode(
            f"the database knows migration {newer[-1]}, this installation does not; update it"
        )
    for name, sha256 in applied.items():
        if sha256 != _sha256(known[name]):
            raise MigrationChanged(
                f"migration {name} was applied with other text; restore it and add a new one"
            )
    return [(name, text) for name, text in known.items() if name not in applied]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
