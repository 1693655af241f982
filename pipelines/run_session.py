"""Database session of a run, whose name shows that the process of the run lives."""

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import psycopg

_SECONDS_BETWEEN_ATTEMPTS = 0.5


def session_of_run(run_id: str) -> str:
    """Application name of the session of a run."""
    return f"wattlake-run-{run_id}"


@contextmanager
def session(connect: Callable[[], psycopg.Connection]) -> Iterator[None]:
    """Hold a session that `connect` opens, and open it anew whenever the database ends it.

    A run that outlives a restart of the database would otherwise be taken for one whose process
    is gone. Raises psycopg.OperationalError if there is no database at the start.
    """
    reading, writing = os.pipe()
    first = connect()
    keeper = threading.Thread(target=_keep, args=(first, connect, reading), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        os.close(writing)
        keeper.join()
        os.close(reading)


def _keep(
    connection: psycopg.Connection, connect: Callable[[], psycopg.Connection], ended: int
) -> None:
    while True:
        with closing(connection):
            if not _is_lost(connection, ended):
                return
        while True:
            if select.select([ended], [], [], _SECONDS_BETWEEN_ATTEMPTS)[0]:
                return
            try:
                connection = connect()
            except psycopg.OperationalError:
                continue
            break


def _is_lost(connection: psycopg.Connection, ended: int) -> bool:
    """Wait; True once the database has ended the session, False once `ended` is closed."""
    while True:
        ready, _, _ = select.select([ended, connection.fileno()], [], [])
        if ended in ready:
            return False
        try:
            connection.pgconn.consume_input()
        except psycopg.OperationalError:
            return True
