"""DATABASE_URL as other tools write it: taken as it is meant, or refused in one clear line."""

from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import ValidationError
from sqlalchemy.engine import make_url

from local_stack.errors import UsageError
from local_stack.settings import LocalStackSettings, settings_with
from warehouse_sql.database_url import dagster_url, libpq_url
from warehouse_sql.settings import DatabaseSettings, settings_fault

PLAIN = "postgresql://u:p@h:5432/db"


@pytest.fixture(autouse=True)
def no_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (PLAIN, PLAIN),
        (f"{PLAIN}?schema=public", PLAIN),
        (f"{PLAIN}?schema=public&connection_limit=5&pool_timeout=10&pgbouncer=false", PLAIN),
        (f"{PLAIN}?schema=public&sslmode=require", f"{PLAIN}?sslmode=require"),
        (f"{PLAIN}?ssl=true", f"{PLAIN}?sslmode=require"),
        (f"{PLAIN}?sslmode=prefer&ssl=false", f"{PLAIN}?sslmode=prefer"),
        ("postgresql://u:p@h:5432,h2:5433/db", "postgresql://u:p@h:5432,h2:5433/db"),
        (f"{PLAIN}?options=-cjit%3Doff", f"{PLAIN}?options=-cjit%3Doff"),
        (f" {PLAIN}\n", PLAIN),
        (f'"{PLAIN}?schema=public"', PLAIN),
        (f"'{PLAIN}'", PLAIN),
        ("postgres://u:p%40ss@h/db", "postgresql://u:p%40ss@h/db"),
        ("postgresql+psycopg2://u:p@h:5432/db", PLAIN),
        ("postgresql+asyncpg://u:p@h:5432/db", PLAIN),
        ("postgresql://u:p@[::1]:5432/db", "postgresql://u:p@[::1]:5432/db"),
        ("postgresql:///db?host=/var/run/postgresql", "postgresql:///db?host=/var/run/postgresql"),
        ("postgresql://u:p@%2Frun%2Fpg:5433/db", "postgresql://u:p@%2Frun%2Fpg:5433/db"),
    ],
)
def test_a_url_is_taken_as_it_is_meant_by_all_who_read_it(
    monkeypatch: pytest.MonkeyPatch, written: str, meant: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", written)
    assert DatabaseSettings().dsn == LocalStackSettings().database_url == meant
    assert settings_with({}).database_url == meant
    assert libpq_url(meant) == meant
    assert conninfo_to_dict(meant)["dbname"] == "db"


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (f"{PLAIN}?schema=app", "schema app: Wattlake keeps its tables in public"),
        (f"{PLAIN}?pgbouncer=true", "name the address of the server itself as DIRECT_DATABASE_URL"),
        (f"{PLAIN}?sslaccept=strict", "use sslmode=verify-full"),
        (f"{PLAIN}?nonsense=1", 'invalid URI query parameter: "nonsense"'),
        ("postgresql://u:p@h:5432", "names no database: postgresql://user:password@host:port/"),
        ("postgresql://u:p@h:5432/?sslmode=require", "names no database"),
        ("postgresql://u:p#ss@h/db", "has '#' in it: write it as %23"),
        ("postgresql://u:p ss@h/db", "has ' ' in it: write it as %20"),
        ("postgresql://u:p@h:port/db", "has a host or port that is none"),
        ("postgresql://u:s3cr3t/x@h/db", "write / in a password as %2F"),
        ("postgresql://u:s3cr3t?x@h/db", "? as %3F"),
        ("postgresql://u:s3cr3t?schema=app@h/db", "? as %3F"),
        ("postgresql://u:12/s3cr3t?x=1@h/db", "write / in a password as %2F"),
        ("postgresql://u:12?s3cr3t&ssl=x@h/db", "? as %3F"),
        ("postgresql://u:s3cr3t@x@h/db", "has @ twice: write @ in a user or password as %40"),
        ("postgresql://u:s3cr3t/db", "has a host or port that is none"),
        ("postgresql://u:s3cr3t]@[h/db", "has a host or port that is none"),
        ("postgresql://u:p%zz@h/db", "can't be read: postgresql://user:password@"),
        ("mysql://u:p@h/db", "is no URL of a PostgreSQL database: postgresql://user"),
        ("host=h dbname=db", "is no URL of a PostgreSQL database"),
    ],
)
def test_a_url_that_cannot_be_used_says_what_to_write(
    monkeypatch: pytest.MonkeyPatch, written: str, told: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", written)
    with pytest.raises(ValidationError) as error:
        DatabaseSettings()
    (fault,) = error.value.errors()
    assert told in fault["msg"]
    for secret in ("%zz", "s3cr3t"):
        assert secret not in fault["msg"]
        assert secret not in str(error.value)
    assert "\n" not in fault["msg"]
    with pytest.raises(UsageError) as refused:
        settings_with({})
    assert str(refused.value) == f"DATABASE_URL: {fault['msg']}"


def test_a_url_of_quotes_alone_in_the_env_file_is_one_clear_fault(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL='\"\"'\n", encoding="utf-8")
    with pytest.raises(ValidationError, match="is no URL of a PostgreSQL database"):
        DatabaseSettings()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (PLAIN, "postgresql+psycopg2://u:p@h:5432/db?options=-csearch_path%3Ddagster"),
        (
            f"{PLAIN}?sslmode=require&options=-cjit%3Doff",
            "postgresql+psycopg2://u:p@h:5432/db"
            "?sslmode=require&options=-cjit%3Doff%20-csearch_path%3Ddagster",
        ),
        (
            "postgresql:///db?host=/tmp",
            "postgresql+psycopg2:///db?host=/tmp&options=-csearch_path%3Ddagster",
        ),
        (
            "postgresql://u:p@%2Frun%2Fpg:5433/db",
            "postgresql+psycopg2://u:p@/db?host=/run/pg&port=5433&options=-csearch_path%3Ddagster",
        ),
        (
            "postgresql://u:p@h:5432,[::1]/db?sslmode=require",
            "postgresql+psycopg2://u:p@/db?sslmode=require&host=h,::1&port=5432,"
            "&options=-csearch_path%3Ddagster",
        ),
    ],
)
def test_dagster_has_its_own_schema_in_the_same_database(url: str, told: str) -> None:
    assert dagster_url(url) == told
    made = make_url(told)
    _, given = made.get_dialect()().create_connect_args(made)
    wanted = conninfo_to_dict(url)
    assert {name: str(given.get(name)) for name in wanted if name != "options"} == {
        name: value for name, value in wanted.items() if name != "options"
    }


def test_cells_are_names_and_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", PLAIN)
    monkeypatch.setenv("CELL_DATABASE_URLS", f"west={PLAIN}?ssl=true, east-2=postgres://h/db")
    assert DatabaseSettings().cell_database_urls == {
        "west": f"{PLAIN}?sslmode=require",
        "east-2": "postgresql://h/db",
    }


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        (PLAIN, "must be name=URL"),
        (f"{PLAIN}?ssl=true", "must be name=URL"),
        (f"west={PLAIN} west={PLAIN}", "names a cell twice"),
        ("west=mysql://h/db", "no URL of a PostgreSQL database"),
        (f"The West={PLAIN}", "must be name=URL"),
    ],
)
def test_cells_that_can_not_be_are_one_clear_fault(
    monkeypatch: pytest.MonkeyPatch, written: str, fault: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", PLAIN)
    monkeypatch.setenv("CELL_DATABASE_URLS", written)
    with pytest.raises(ValidationError) as refused:
        DatabaseSettings()
    told = settings_fault(refused.value)
    assert told.startswith("CELL_DATABASE_URLS: ")
    assert fault in told
    assert ":p@" not in told
