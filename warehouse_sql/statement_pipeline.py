"""Statement pipeline: several statements as one transaction in one round trip.

libpq's pipeline mode sends all of them before it waits for an answer. Without BEGIN, everything up
to the pipeline's sync is one implicit transaction: an error in any statement rolls all of it back.
A commit of one heartbeat spends most of its time on its round trips, of which this is the only one.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import errors, generators, pq

from warehouse_sql.named_queries import query

# The name of a query whose parameters are written $1, $2 ..., each of them in binary; None: null.
Statement = tuple[str, Sequence[bytes | None]]


def execute(conn: psycopg.Connection[Any], statement: Statement) -> "pq.abc.PGresult":
    """Run a statement in the transaction of the connection, or in one of its own.

    Returns its result in binary; raises psycopg.Error.
    """
    name, parameters = statement
    result = conn.pgconn.exec_params(
        query(name), parameters, None, [pq.Format.BINARY] * len(parameters), pq.Format.BINARY
    )
    if result.status == pq.ExecStatus.FATAL_ERROR:
        raise errors.error_from_result(result)
    return result


class StatementPipeline:
    """The statements of one connection in autocommit, which nothing else uses.

    They are prepared unless its `prepare_threshold` is None, as psycopg's own are: behind a pooler
    of transactions the next one may be in another session.
    """

    def __init__(self, conn: psycopg.AsyncConnection) -> None:
        self._conn = conn
        self._prepared: set[str] = set()

    async def commit(self, statements: Sequence[Statement]) -> "list[pq.abc.PGresult]":
        """Run the statements in order and commit them together; their results, in binary.

        Returns after the commit; raises psycopg.Error otherwise, and nothing was committed, unless
        it is an OperationalError: then the connection broke, and the outcome is unknown.
        """
        wire, is_prepared = self._conn.pgconn, self._conn.prepare_threshold is not None
        for name, _ in statements if is_prepared else ():
            if name not in self._prepared:
                await self._prepare(name)
        wire.enter_pipeline_mode()
        for name, parameters in statements:
            formats = [1] * len(parameters)
            if is_prepared:
                wire.send_query_prepared(name.encode(), parameters, formats, 1)
            else:
                wire.send_query_params(query(name), parameters, None, formats, 1)
        wire.pipeline_sync()
        if wire.flush():
            await self._conn.wait(generators.send(wire))
        results = []
        while (result := await self._result()).status != pq.ExecStatus.PIPELINE_SYNC:
            results.append(result)
        wire.exit_pipeline_mode()
        for result in results:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise errors.error_from_result(result)
        return results

    async def _prepare(self, name: str) -> None:
        wire = self._conn.pgconn
        wire.send_prepare(name.encode(), query(name))
        (result,) = await self._conn.wait(generators.execute(wire))
        if result.status != pq.ExecStatus.COMMAND_OK:
            raise errors.error_from_result(result)
        self._prepared.add(name)

    async def _result(self) -> "pq.abc.PGresult":
        """The next result; between those of two statements libpq gives none."""
        wire = self._conn.pgconn
        while True:
            # Mostly all results come at once; only the first one is worth a turn of the event loop.
            while wire.is_busy():
                await _readable(wire.socket)
                wire.consume_input()
            result: pq.abc.PGresult | None = wire.get_result()
            if result is not None:
                return result
            if wire.status != pq.ConnStatus.OK:
                raise psycopg.OperationalError("the connection was lost")


async def _readable(socket: int) -> None:
    """Return when there is something to read; psycopg's own way takes twice as long."""
    loop = asyncio.get_running_loop()
    came = loop.create_future()
    loop.add_reader(socket, _note, came)
    try:
        await came
    finally:
        loop.remove_reader(socket)


def _note(came: "asyncio.Future[None]") -> None:
    if not came.done():
        came.set_result(None)
