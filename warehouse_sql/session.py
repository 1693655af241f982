"""Transaction of a command, with errors that a person can act on."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.rows import DictRow, dict_row

from warehouse_sql.errors import DatabaseUnreachable, WarehouseError, one_line


@contextmanager
def transaction(dsn: str) -> Iterator[psycopg.Connection[DictRow]]:
    """A connection whose one transaction is committed unless the block raises; times are UTC.

    Raises DatabaseUnreachable or WarehouseError.
    """
    try:
        with psycopg.connect(
            dsn, connect_timeout=10, row_factory=dict_row, options="-c TimeZone=UTC"
        ) as conn:
            yield conn
    except psycopg.errors.UndefinedTable as error:
        raise WarehouseError("the database lacks a table; run: wattlake migrate") from error
    except psycopg.OperationalError as error:
        raise DatabaseUnreachable(f"the database does not answer: {one_line(error)}") from error
    except psycopg.Error as error:
        raise WarehouseError(f"the database refused: {one_line(error)}") from error
