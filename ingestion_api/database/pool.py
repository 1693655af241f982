"""Connection pool for reading requests, connection timeouts, and the check of the database."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any, Final

import psycopg
import psycopg_pool
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row

from warehouse_sql.migrate import migrations
from warehouse_sql.named_queries import query

_STATEMENT_SECONDS: Final = 30  # as long as clients wait; what takes longer blocks the others

ReadPool = psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection[DictRow]]


class DatabaseNotReady(Exception):
    """The database can't serve a collector; the text says what to do."""


def read_pool(dsn: str, connections: int) -> ReadPool:
    """Connections for reading, autocommit, rows as dicts; to be opened by the caller."""
    return psycopg_pool.AsyncConnectionPool(
        with_keepalives(dsn),
        min_size=1,
        max_size=connections,
        timeout=2,
        reconnect_timeout=10,
        open=False,
        configure=_configure,
        check=psycopg_pool.AsyncConnectionPool.check_connection,
        kwargs={
            "autocommit": True,
            "row_factory": dict_row,
            "connect_timeout": 5,
            "application_name": "wattlake collector, reading",
        },
    )


async def _configure(conn: psycopg.AsyncConnection[DictRow]) -> None:
    # Times come in the session's zone, and another name of UTC is another type in the lake.
    await conn.execute(query("session_in_utc"))
    await conn.execute(query("session_with_timeout"), {"milliseconds": 1_000 * _STATEMENT_SECONDS})


@contextlib.contextmanager
def abort_after(seconds: float, conn: psycopg.AsyncConnection[Any]) -> Iterator[None]:
    """Cut a connection if the block takes too long: a server that takes connections may hang."""
    watchdog = asyncio.get_running_loop().call_later(seconds, abort, conn)
    try:
        yield
    finally:
        watchdog.cancel()


def abort(conn: psycopg.AsyncConnection[Any]) -> None:
    """Cut a connection at its socket: a server that hangs would keep `close` waiting."""
    if not conn.closed:
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(conn.fileno())) as wire:
            wire.shutdown(socket.SHUT_RDWR)


def with_keepalives(dsn: str) -> str:
    """The DSN of connections that find out within some 20 seconds that the server has vanished."""
    return make_conninfo(
        dsn,
        keepalives_idle=5,
        keepalives_interval=5,
        keepalives_count=3,
        tcp_user_timeout=20_000,  # milliseconds
    )


def check_database(dsn: str) -> None:
    """Raise DatabaseNotReady if the database does not answer or lacks a migration."""
    try:
        with psycopg.connect(dsn, connect_timeout=5) as conn:
            missing = missing_migrations(
                [name for (name,) in conn.execute(query("applied_migrations"))]
            )
    except psycopg.errors.UndefinedTable:
        missing = list(migrations())
    except psycopg.OperationalError as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[-1]
        raise DatabaseNotReady(f"the database at DATABASE_URL does not answer: {reason}") from error
    if missing:
        raise DatabaseNotReady(f"the database lacks migration {missing[0]}; run: wattlake migrate")


def missing_migrations(applied: list[str]) -> list[str]:
    """Names of the migrations that this code needs and the database has not."""
    return [name for name in migrations() if name not in set(applied)]
