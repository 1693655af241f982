"""Dedicated connection: a connection for one kind of query alone.

A pool would ask the server whether the connection is alive each time, and psycopg would adapt the
parameters: together that takes several times as long as a small question.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer

from ingestion_api.database.pool import abort, abort_after, prepare_threshold, with_keepalives
from warehouse_sql.named_queries import query
from warehouse_sql.statement_pipeline import Statement, StatementPipeline

Row = dict[str, Any]

_PATIENCE_SECONDS: Final = 5
_T = TypeVar("_T")


class PipelinedQueries:
    """The queries of a connection, pipelined, one batch after the other."""

    def __init__(self, conn: psycopg.AsyncConnection) -> None:
        self.conn = conn
        self._pipeline = StatementPipeline(conn)

    async def fetch(self, *statements: Statement) -> list[list[Row]]:
        """The rows of each statement: one way to the server and back, of 5 seconds at most."""
        with abort_after(_PATIENCE_SECONDS, self.conn):
            return [self._rows(result) for result in await self._pipeline.commit(statements)]

    def _rows(self, result: "pq.abc.PGresult") -> list[Row]:
        if not result.ntuples:
            return []
        names = [(result.fname(column) or b"").decode() for column in range(result.nfields)]
        reader = Transformer(self.conn)
        reader.set_pgresult(result, set_loaders=True, format=pq.Format.BINARY)
        return reader.load_rows(
            0, result.ntuples, lambda values: dict(zip(names, values, strict=True))
        )


class DedicatedConnection:
    """Made when it is needed, and again when it was lost."""

    def __init__(self, dsn: str, name: str, *, is_pooled: bool = False) -> None:
        """`name` says in Postgres what it is for."""
        self._dsn, self._name, self._is_pooled = with_keepalives(dsn), name, is_pooled
        self._queries: PipelinedQueries | None = None
        self._lock = asyncio.Lock()

    async def run(self, work: Callable[[PipelinedQueries], Awaitable[_T]]) -> _T:
        """Return the result of `work`, which only reads; retried once if the connection was lost.

        One at a time. Raises psycopg.Error where the database does not answer.
        """
        async with self._lock:
            if self._queries is not None:
                try:
                    return await self._done(work, self._queries)
                except psycopg.OperationalError:
                    pass  # perhaps only this connection is gone, as after a restart of the server
            conn = await psycopg.AsyncConnection.connect(
                self._dsn,
                autocommit=True,
                connect_timeout=_PATIENCE_SECONDS,
                prepare_threshold=prepare_threshold(self._is_pooled),
                application_name=f"wattlake collector, {self._name}",
            )
            self._queries = PipelinedQueries(conn)
            return await self._done(work, self._queries, is_new=True)

    async def stop(self) -> None:
        """End the connection."""
        if self._queries is not None:
            await self._queries.conn.close()
        self._queries = None

    async def _done(
        self,
        work: Callable[[PipelinedQueries], Awaitable[_T]],
        queries: PipelinedQueries,
        *,
        is_new: bool = False,
    ) -> _T:
        is_done = False
        try:
            if is_new:
                with abort_after(_PATIENCE_SECONDS, queries.conn):
                    await queries.conn.execute(query("session_in_utc"))
                    if not self._is_pooled:
                        await queries.conn.execute(query("session_of_generic_plans"))
            result = await work(queries)
            is_done = True
            return result
        finally:
            if not is_done:  # it may be in the middle of something
                abort(queries.conn)
                await self.stop()
