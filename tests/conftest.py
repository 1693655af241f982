"""Fixtures of every test: one PostgreSQL server a session, a database and a lake a test."""

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings

from lake import HOUR, Lake, hour_of
from local_stack.stack.embedded_postgres import EmbeddedPostgres
from tests.harness.object_store import SERVERS
from tests.harness.postgres import copied_database, running_postgres, server_folder
from tests.harness.waiting import wait_for
from warehouse_sql.migrate import migrate

# A slow machine fails no test: what takes how long is for `make bench`.
settings.register_profile("wattlake", deadline=None)
settings.load_profile("wattlake")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the object store be another one."""
    parser.addoption("--store", choices=list(SERVERS), default="s3", help="kind of object store")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: a quarter of the time, a test waits for something."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """A server that listens on a Unix socket, too, in the folder of its cluster."""
    # Nothing here has to survive a power cut; who tests that runs a server of its own.
    settings = {"fsync": "off", "full_page_writes": "off", "unix_socket_directories": "."}
    with server_folder() as folder, running_postgres(folder, settings=settings) as server:
        yield server


@pytest.fixture(scope="session")
def postgres(postgres_server: EmbeddedPostgres) -> str:
    """URL of the server with an account that may create databases."""
    return postgres_server.url()


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
    with copied_database(postgres, migrated_template) as url:
        yield url


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    """URL of a fresh database without any table, of this test alone."""
    with copied_database(postgres, "template1") as url:
        yield url


@pytest.fixture(scope="session")
def empty_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a lake with its tables, to copy: that takes a tenth of creating them."""
    folder = tmp_path_factory.mktemp("empty") / "lake"
    Lake(str(folder)).create_tables()
    return folder


@pytest.fixture
def next_hour_is_far() -> None:
    """No hour or day ends while this test runs: the last two minutes of one pass before."""
    hour = hour_of(datetime.now(UTC))
    if hour + HOUR - datetime.now(UTC) < timedelta(minutes=2):
        wait_for(lambda: hour_of(datetime.now(UTC)) > hour, seconds=150)


@pytest.fixture
def lake(empty_lake: Path, tmp_path: Path) -> Lake:
    """A lake on the local disk with its tables, of this test alone."""
    folder = tmp_path / "lake"
    shutil.copytree(empty_lake, folder)
    return Lake(str(folder))


def _url(server: str, database: str) -> str:
    return server.rsplit("/", 1)[0] + "/" + database
