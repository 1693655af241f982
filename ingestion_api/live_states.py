"""The newest heartbeats of single devices, read for all requests that wait at the same time."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer

from ingestion_api.database import cut_after, noticing_loss
from ingestion_api.together import Together
from warehouse_sql.arrays import text_array
from warehouse_sql.one_trip import OneTrip, Statement
from warehouse_sql.queries import query

LiveRow = dict[str, Any]
_Device = tuple[str, str]  # kind and id

_MOST_DEVICES: Final = 200
_PATIENCE_SECONDS: Final = 5


class LiveStates:
    """Live state by kind and id, over a connection of its own, which is made when it is needed.

    A pool would ask the server whether the connection is alive each time, and psycopg would adapt
    the parameters: together that takes several times as long as the question.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = noticing_loss(dsn)
        self._conn: psycopg.AsyncConnection | None = None
        self._trip: OneTrip | None = None
        self._together = Together(self._read, _MOST_DEVICES)

    async def of(self, kind: str, device: str) -> LiveRow | None:
        """The row of a device; None if no heartbeat of it was ever received.

        Raises psycopg.Error where the database does not answer.
        """
        return await self._together.ask((kind, device))

    async def stop(self) -> None:
        """End the connection."""
        if self._conn is not None:
            await self._conn.close()
        self._conn = self._trip = None

    async def _read(self, devices: set[_Device]) -> Mapping[_Device, LiveRow | None]:
        by_kind: dict[str, list[str]] = defaultdict(list)
        for kind, device in devices:
            by_kind[kind].append(device)
        statements = [(f"live_{kind}", [text_array(ids)]) for kind, ids in by_kind.items()]
        found: dict[_Device, LiveRow | None] = dict.fromkeys(devices)
        for result in await self._results(statements):
            for row in _rows(result, self._conn):
                found[row["kind"], row["device_id"]] = row
        return found

    async def _results(self, statements: Sequence[Statement]) -> "list[pq.abc.PGresult]":
        if self._conn is not None:
            try:
                return await self._ask(self._conn, statements)
            except psycopg.OperationalError:
                # Perhaps only this connection is gone, as after a restart of the server.
                await self.stop()
        self._conn = await psycopg.AsyncConnection.connect(
            self._dsn,
            autocommit=True,
            connect_timeout=_PATIENCE_SECONDS,
            application_name="wattlake collector, live state",
        )
        return await self._ask(self._conn, statements)

    async def _ask(
        self, conn: psycopg.AsyncConnection, statements: Sequence[Statement]
    ) -> "list[pq.abc.PGresult]":
        with cut_after(_PATIENCE_SECONDS, conn):
            if self._trip is None:
                await conn.execute(query("live_session"))
                self._trip = OneTrip(conn)
            return await self._trip.commit(statements)


def _rows(result: "pq.abc.PGresult", conn: psycopg.AsyncConnection | None) -> list[LiveRow]:
    names = [(result.fname(column) or b"").decode() for column in range(result.nfields)]
    reader = Transformer(conn)
    reader.set_pgresult(result, set_loaders=True, format=pq.Format.BINARY)
    return reader.load_rows(0, result.ntuples, lambda values: dict(zip(names, values, strict=True)))
