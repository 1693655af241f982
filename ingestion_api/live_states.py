"""The newest heartbeats of single devices, read for all requests that wait at the same time."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from psycopg.rows import DictRow

from ingestion_api.database import ReadPool
from ingestion_api.together import Together
from lake import STREAMS
from warehouse_sql.queries import query

_MOST_DEVICES: Final = 200


class LiveStates:
    """Live state by kind and id. Raises what Postgres fails with."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool
        self._kinds = {kind: Together(partial(self._read, kind), _MOST_DEVICES) for kind in STREAMS}

    async def of(self, kind: str, device: str) -> DictRow | None:
        """The row of a device; None if no heartbeat of it was ever received."""
        return await self._kinds[kind].ask(device)

    async def _read(self, kind: str, devices: set[str]) -> Mapping[str, DictRow | None]:
        async with self._pool.connection() as conn:
            rows = await conn.execute(
                query(f"live_{kind}"), {"devices": list(devices)}, prepare=True
            )
            found = {row["device_id"]: row for row in await rows.fetchall()}
        return {device: found.get(device) for device in devices}
