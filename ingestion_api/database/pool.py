"""Connection pool for reading requests, connection timeouts, and the check of the database."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import psycopg
import psycopg_pool
from psycopg import pq
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row

from warehouse_sql.errors import one_line
from warehouse_sql.migrate import migrations
from warehouse_sql.named_queries import query

_PREPARED_AFTER: Final = 5  # psycopg's default
_CANCEL_SECONDS: Final = 5
_CHECK_SECONDS: Final = 2
_STATEMENT_SECONDS: Final = 30  # as long as clients wait; what takes longer blocks the others

ReadPool = psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection[DictRow]]


class DatabaseNotReady(Exception):
    """The database can't serve a collector; the text says what to do."""


class _SharedSessions(ReadPool):
    """A pool whose sessions are lent for a transaction: they can keep no statement_timeout."""

    @contextlib.asynccontextmanager
    async def connection(
        self,
        timeout: float | None = None,  # noqa: ASYNC109  # of psycopg_pool
    ) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
        async with super().connection(timeout) as conn:
            over = asyncio.Event()
            watchdog = asyncio.create_task(_cancel_long_statements(conn, over))
            try:
                yield conn
            finally:
                over.set()
                await watchdog


def read_pool(dsn: str, connections: int, *, is_pooled: bool = False) -> ReadPool:
    """Connections for reading, autocommit, rows as dicts; to be opened by the caller.

    `is_pooled`: they lead to a pooler of transactions.
    """
    return (_SharedSessions if is_pooled else ReadPool)(
        with_keepalives(dsn),
        min_size=1,
        max_size=connections,
        timeout=2,
        reconnect_timeout=10,
        open=False,
        configure=_set_time_zone if is_pooled else _configure,
        check=_check,
        kwargs={
            "autocommit": True,
            "row_factory": dict_row,
            "connect_timeout": 5,
            "prepare_threshold": prepare_threshold(is_pooled),
            "application_name": "wattlake collector, reading",
        },
    )


def prepare_threshold(is_pooled: bool) -> int | None:
    """Return when psycopg prepares a statement: never, where the next is in another session."""
    return None if is_pooled else _PREPARED_AFTER


async def _set_time_zone(conn: psycopg.AsyncConnection[DictRow]) -> None:
    # Times come in the session's zone, and another name of UTC is another type in the lake. A
    # pooler keeps the zone of its clients apart.
    await conn.execute(query("session_in_utc"))


async def _cancel_long_statements(
    conn: psycopg.AsyncConnection[DictRow], over: asyncio.Event
) -> None:
    while not await _is_set_within(_STATEMENT_SECONDS, over):
        # To its end, though the statement ends before: the next one would be cancelled, and
        # PgBouncer before 1.21 may crash where a cancellation is cut off.
        with contextlib.suppress(psycopg.Error):
            await conn.cancel_safe(timeout=_CANCEL_SECONDS)
        is_over = await _is_set_within(_CANCEL_SECONDS, over)
        if not is_over and conn.pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
            abort(conn)  # it waits for a session, and a pooler hears of no cancellation then


async def _is_set_within(seconds: float, event: asyncio.Event) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


async def _check(conn: psycopg.AsyncConnection[DictRow]) -> None:
    """Raise psycopg.Error unless the connection leads to a server that answers.

    A pooler lets its clients wait for a server that is away.
    """
    with abort_after(_CHECK_SECONDS, conn):
        await ReadPool.check_connection(conn)


async def _configure(conn: psycopg.AsyncConnection[DictRow]) -> None:
    await _set_time_zone(conn)
    await conn.execute(query("session_with_timeout"), {"milliseconds": 1_000 * _STATEMENT_SECONDS})


@contextlib.contextmanager
def abort_after(seconds: float, conn: psycopg.AsyncConnection[Any]) -> Iterator[None]:
    """Cut a connection if the block takes too long: a server that takes connections may hang."""
    watchdog = asyncio.get_running_loop().call_later(seconds, abort, conn)
    try:
        yield
    finally:
        watchdog.cancel()


def abort(conn: psycopg.AsyncConnection[Any] | psycopg.Connection[Any]) -> None:
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


def check_database(dsn: str, setting: str = "DATABASE_URL") -> None:
    """Raise DatabaseNotReady if the database does not answer or lacks a migration.

    `setting` is the variable that names it.
    """
    try:
        with psycopg.connect(dsn, connect_timeout=5) as conn:
            missing = missing_migrations(
                [name for (name,) in conn.execute(query("applied_migrations"))]
            )
    except psycopg.errors.UndefinedTable:
        missing = list(migrations())
    except psycopg.OperationalError as error:
        raise DatabaseNotReady(
            f"the database at {setting} does not answer: {one_line(error)}"
        ) from error
    if missing:
        raise DatabaseNotReady(f"the database lacks migration {missing[0]}; run: wattlake migrate")


def missing_migrations(applied: list[str]) -> list[str]:
    """Names of the migrations that this code needs and the database has not."""
    return [name for name in migrations() if name not in set(applied)]
