"""Batched reads of the newest heartbeats of single devices."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from ingestion_api.analytics.batching import RequestBatcher
from ingestion_api.database.dedicated_connection import DedicatedConnection, PipelinedQueries, Row
from warehouse_sql.binary_parameters import text_array

_Device = tuple[str, str]  # kind and id

_MOST_DEVICES: Final = 200
_QUERIES: Final = {"meter": "live_meter", "vehicle": "live_vehicle"}


class LiveStateReader:
    """Live state by kind and id."""

    def __init__(self, dsn: str, *, is_pooled: bool) -> None:
        self._connection = DedicatedConnection(dsn, "live state", is_pooled=is_pooled)
        self._batcher = RequestBatcher(self._read, _MOST_DEVICES)

    async def get(self, kind: str, device: str) -> Row | None:
        """The row of a device; None if no heartbeat of it was ever received.

        Raises psycopg.Error where the database does not answer.
        """
        return await self._batcher.submit((kind, device))

    async def stop(self) -> None:
        """End the connection."""
        await self._connection.stop()

    async def _read(self, devices: set[_Device]) -> Mapping[_Device, Row | None]:
        by_kind: dict[str, list[str]] = defaultdict(list)
        for kind, device in devices:
            by_kind[kind].append(device)
        statements = [(_QUERIES[kind], [text_array(ids)]) for kind, ids in by_kind.items()]

        async def read(queries: PipelinedQueries) -> list[list[Row]]:
            return await queries.fetch(*statements)

        found: dict[_Device, Row | None] = dict.fromkeys(devices)
        for rows in await self._connection.run(read):
            for row in rows:
                found[row["kind"], row["device_id"]] = row
        return found
