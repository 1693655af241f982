"""Embedded database under supervision."""

import psycopg

from local_stack.stack.embedded_postgres import EmbeddedPostgres
from local_stack.stack.supervision import Supervised


class DatabaseService(Supervised):
    """Database that is started again as often as needed, until its disk has room."""

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        super().__init__("the database", lambda: _responds(postgres))
        self._postgres = postgres

    def start(self) -> str:
        """Start the server and wait until it takes connections; returns its URL.

        Raises what EmbeddedPostgres.start does.
        """
        url = self._postgres.start()
        self._note_start()
        return url

    @property
    def pid(self) -> int | None:
        return self._postgres.pid if self._postgres.running else None

    @property
    def running(self) -> bool:
        return self._postgres.running

    def stop(self) -> None:
        """Shut the server down cleanly."""
        self._postgres.stop()

    def kill(self) -> None:
        self._postgres.kill()

    def exit_reason(self) -> str:
        # Its restart, a second later, moves the log there.
        return f"{self._postgres.exit_reason()}; see {self._postgres.log_before}"

    def _launch(self) -> None:
        self._postgres.launch()


def _responds(postgres: EmbeddedPostgres) -> bool:
    """True if the server says anything, be it that it is starting, recovering or full."""
    try:
        psycopg.connect(postgres.url(), connect_timeout=5).close()
    except psycopg.errors.ConnectionTimeout:
        return False
    except (psycopg.OperationalError, OSError):
        return True
    return True
