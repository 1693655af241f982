"""Comments of columns in Postgres, taken from the tables of the lake that they are copies of."""

from collections.abc import Mapping

from psycopg.sql import SQL, Identifier, Literal

from warehouse_sql.migrate import MIGRATION_LOCK
from warehouse_sql.named_queries import query
from warehouse_sql.session import transaction


def comment_on_columns(dsn: str, described: Mapping[str, Mapping[str, str]]) -> None:
    """Let columns have these descriptions, by table and column, also in views of the schema `mart`.

    What has its comment already, or is no table or column of Postgres, is left alone. Raises
    DatabaseUnreachable or WarehouseError.
    """
    with transaction(dsn) as conn:
        conn.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
        for row in conn.execute(query("mart_columns"), {"tables": list(described)}).fetchall():
            description = described[row["table"]].get(row["column"])
            if description is not None and description != row["comment"]:
                column = Identifier(row["schema"], row["relation"], row["column"])
                conn.execute(SQL("COMMENT ON COLUMN {} IS {}").format(column, Literal(description)))
