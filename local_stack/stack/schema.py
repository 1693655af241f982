"""Schema of the database: migrations, and comments from the tables of the lake."""

from lake.schema import DERIVED_TABLES
from warehouse_sql.comments import comment_on_columns
from warehouse_sql.migrate import migrate


def prepare_schema(dsn: str) -> list[str]:
    """Apply what is missing and return the names of it; raises WarehouseError.

    The columns of the lake's tables have their descriptions in Postgres, too.
    """
    applied = migrate(dsn)
    described = {
        spec.name: {column.name: column.description for column in spec.columns}
        for spec in DERIVED_TABLES
    }
    comment_on_columns(dsn, described)
    return applied
