"""Two cells: a database server and a collector each, one lake, and one of them the home."""

from contextlib import ExitStack
from datetime import datetime
from typing import Any, Self

from lake import STREAMS, rows_by_hour
from local_stack.stack.embedded_postgres import EmbeddedPostgres
from tests.faults.faulty_collector import FaultyCollector
from tests.faults.stack import StackUnderTest
from tests.harness.postgres import running_postgres, server_folder
from tests.harness.processes import free_port
from warehouse_sql.migrate import migrate


class TwoCells(StackUnderTest):
    """Clients send to either; the first collector is the home's, and answers for both.

    A fault of the database is one of either server, by chance.
    """

    lake_writers = 2
    # There another collector of the same database has to take over.
    left_out = ("writer's lock moved", "writer's lock lost", "store: lock lost in a commit")

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            folder = undo.enter_context(server_folder())
            self._open_lake(undo, folder)
            self.servers: list[EmbeddedPostgres] = []
            for name in ("home", "west"):
                port = free_port(self.chance)
                server = undo.enter_context(running_postgres(folder / f"postgres-{name}", port))
                migrate(server.url())
                self.servers.append(server)
            home, west = self.servers
            self.postgres = home
            roles = {
                "home": (home, {"CELL_DATABASE_URLS": f"west={west.url()}", "CELL_SECONDS": "0.2"}),
                "west": (west, {"HOME_URL": "https://home.example"}),
            }
            for name, (server, role) in roles.items():
                port = free_port(self.chance)
                collector = FaultyCollector(
                    folder, name, server.url(), self.lake, port=port, role=role
                )
                undo.callback(collector.close)
                self.collectors.append(collector)
                collector.start()
            self.wait_until("the start", self._all_healthy)
            self._undo = undo.pop_all()
        return self

    @property
    def database_url(self) -> str:
        """URL of the home's database, whose ledger counts what both deliver."""
        return self.servers[0].url()

    def next_fault(self) -> None:
        """Choose the server that the next fault hits, if it hits one."""
        self.postgres = self.chance.choice(self.servers)

    def writer(self) -> FaultyCollector:
        """A collector that writes the lake: each does, for its own database."""
        return self.chance.choice(self.wait_until("lake writers", self._writers))

    def wait_until_drained(self) -> dict[str, Any]:
        """Wait until the home has taken in everything of both; returns its /v1/status."""

        def drained() -> dict[str, Any] | None:
            status = self.ask_any("/v1/status")
            outboxes = [(one.ask("/readyz") or {}).get("outboxRows") for one in self.collectors]
            in_lake = sum(sum(rows_by_hour(self.lake, one).values()) for one in STREAMS.values())
            is_whole = outboxes == [0, 0] and status["rowsInLake"] == in_lake
            return status if is_whole and self._all_healthy() else None

        status = self.wait_until("the home has everything", drained)
        seen = self._seen_at()
        self.wait_until("the cell is seen once more", lambda: self._seen_at() > seen)
        seen = self._seen_at()
        self.wait_until("and all that it had then", lambda: self._seen_at() > seen)
        return status

    def _seen_at(self) -> datetime:
        (cell,) = self.ask_any("/v1/status")["cells"]
        return datetime.fromisoformat(cell["seenAt"])
