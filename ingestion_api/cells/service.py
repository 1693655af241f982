"""The service that keeps up with the cells: a thread for each, in one collector at a time."""

from collections.abc import Mapping
from typing import Final

from ingestion_api.alerts.leased_worker import LeasedWorker, stop_all
from ingestion_api.background_tasks import Service
from ingestion_api.cells.live_merge import LiveMerge
from ingestion_api.database.pool import ReadPool
from ingestion_api.settings import CollectorSettings
from warehouse_sql.named_queries import query

_STOP_SECONDS: Final = 10.0


class Cells(Service):
    """Merges the live state of every cell into this database; a lost one holds up no other."""

    def __init__(
        self, dsn: str, pool: ReadPool, cells: Mapping[str, str], settings: CollectorSettings
    ) -> None:
        """`cells` are the URLs of their databases, by name."""
        self._pool, self._names = pool, sorted(cells)
        self._merges = [
            LiveMerge(name, url, settings.future_tolerance_seconds) for name, url in cells.items()
        ]
        self._workers = [
            LeasedWorker(f"cell {merge.cell}", dsn, settings.cell_seconds, merge.merge, merge.begin)
            for merge in self._merges
        ]

    async def start(self) -> None:
        """Start everything; psycopg.Error if the database does not answer."""
        async with self._pool.connection() as conn:
            await conn.execute(query("keep_cells"), {"cells": self._names})
        for worker in self._workers:
            worker.start()

    async def stop(self) -> None:
        """End everything; what is under way is finished, or done again by whoever comes next."""
        await stop_all(self._workers, _STOP_SECONDS)
        for worker, merge in zip(self._workers, self._merges, strict=True):
            if not worker.is_alive:  # or a server that hangs has it, and nobody may touch it
                merge.close()

    @property
    def is_alive(self) -> bool:
        """True while all of it runs."""
        return all(worker.is_alive for worker in self._workers)
