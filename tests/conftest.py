"""Real parts for every test: one PostgreSQL server a session, a database and a lake a test."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from hypothesis import settings

from lake import Lake
from local_stack.embedded_postgres import EmbeddedPostgres
from warehouse_sql.migrate import migrate

# A slow machine fails no test: what takes how long is for `make bench`.
settings.register_profile("wattlake", deadline=None)
settings.load_profile("wattlake")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a server with an account that may create databases."""
    # Not pytest's temporary folder: as root, the server's own account could not reach it.
    folder = Path(tempfile.mkdtemp(prefix="wattlake-postgres-"))
    folder.chmod(0o711)
    server = EmbeddedPostgres(folder)
    try:
        yield server.start()
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def migrated_template(postgres: str) -> str:
    """Name of a migrated database to copy."""
    name = "migrated_template"
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}".encode())
    migrate(_url(postgres, name))
    return name


@pytest.fixture
def database_url(postgres: str, migrated_template: str) -> Iterator[str]:
    """URL of a fresh, migrated database of this test alone."""
    with _database(postgres, migrated_template) as url:
        yield url


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    """URL of a fresh database without any table, of this test alone."""
    with _database(postgres, "template1") as url:
        yield url


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake on the local disk with its tables, of this test alone."""
    lake = Lake(uri=str(tmp_path / "lake"), storage_options={})
    lake.create_tables()
    return lake


@contextmanager
def _database(server: str, template: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        yield _url(server, name)
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _url(server: str, database: str) -> str:
    return server.rsplit("/", 1)[0] + "/" + database
