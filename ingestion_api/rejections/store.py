"""Storage of rejections: short transactions that insert some and prune the rest."""

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import psycopg

from ingestion_api.settings import CollectorSettings
from warehouse_sql.named_queries import query

_STATEMENT_SECONDS: Final = 5
PRUNE_SECONDS: Final = 600
_PRUNE_SHARE: Final = 100


class Row(NamedTuple):
    """A row of the table, in the order of insert_rejections."""

    id: UUID
    received_at: datetime
    stream: str | None
    device: str | None
    field: str | None
    code: str
    reason: str
    record: str
    sender: str
    request_id: str | None


class RejectionStore:
    """Writes over a connection of its own, opened for each write.

    The readers' pool is small, and a write may wait for that of another collector; a connection
    that is kept would idle for hours, since most collectors have little to store.
    """

    def __init__(self, dsn: str, settings: CollectorSettings) -> None:
        self._dsn, self._settings = dsn, settings
        self._last_prune = float("-inf")
        self._written_since = 0

    @property
    def is_prune_due(self) -> bool:
        """True where age and total are to be checked although there is nothing to store."""
        return time.monotonic() - self._last_prune >= PRUNE_SECONDS

    async def write(self, rows: Sequence[Row]) -> None:
        """Store the rows; those that are there already are left alone. Raises psycopg.Error.

        Each origin that got a row is pruned at once; age and total, which cost a walk over the
        table's index, every PRUNE_SECONDS and whenever a hundredth of the total was written.
        """
        settings, written = self._settings, self._written_since + len(rows)
        prune_all = self.is_prune_due or written * _PRUNE_SHARE >= settings.rejections_total
        async with AsyncExitStack() as ending:
            conn = await psycopg.AsyncConnection.connect(
                self._dsn,
                connect_timeout=_STATEMENT_SECONDS,
                application_name="wattlake collector, rejections",
            )
            # Whoever is stopped while it commits leaves its own block without closing.
            ending.push_async_callback(conn.close)
            await ending.enter_async_context(conn)
            await conn.execute(query("begin_rejections"), {"timeout": f"{_STATEMENT_SECONDS}s"})
            await conn.execute(query("lock_rejections"))
            tolerance = {"tolerance": settings.future_tolerance_seconds}
            await conn.execute(query("redate_rejections"), tolerance)
            if rows:
                columns = [list(column) for column in zip(*rows, strict=True)]
                stored = await conn.execute(query("insert_rejections"), columns)
                origins = sorted({origin for (origin,) in await stored.fetchall()})
                await conn.execute(
                    query("prune_rejections_of_origins"),
                    {"origins": origins, "most": settings.rejections_per_device},
                )
            if prune_all:
                seconds = settings.rejections_days * 86_400
                await conn.execute(query("prune_rejections_by_age"), {"seconds": seconds})
                most = settings.rejections_total
                await conn.execute(query("prune_rejections_in_all"), {"most": most})
        self._written_since = 0 if prune_all else written
        if prune_all:
            self._last_prune = time.monotonic()
