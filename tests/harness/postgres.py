"""Database servers and databases that are gone after use."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg

from local_stack.stack.embedded_postgres import EmbeddedPostgres


@contextmanager
def server_folder(below: Path | None = None) -> Iterator[Path]:
    """Temporary folder that every account reaches.

    Where this process is root, the server's own account could not reach one of pytest's.
    """
    folder = Path(tempfile.mkdtemp(prefix="wattlake-", dir=below)).absolute()
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def running_postgres(
    folder: Path, port: int | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[EmbeddedPostgres]:
    """Server with its data in `folder`; the block may stop, kill and start it.

    `settings` are those of postgresql.conf.
    """
    server = EmbeddedPostgres(folder, port, settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def copied_database(postgres: str, template: str) -> Iterator[str]:
    """URL of a copy of a database, dropped at the end."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as conn:
        # Its files as they are: a copy through the log takes three times as long.
        copy = f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"
        conn.execute(copy.encode())
        yield postgres.rsplit("/", 1)[0] + "/" + name
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def accepts_connections(url: str) -> bool:
    """Tell whether a server, or what stands before it, lets a client in."""
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def someone_waits(url: str) -> bool:
    """Tell whether a session of this database waits for an advisory lock."""
    waiting = """
        SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database
        WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()
    """
    with psycopg.connect(url) as conn:
        return conn.execute(waiting).fetchone() is not None
