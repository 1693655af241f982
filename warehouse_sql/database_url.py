"""Validation of DATABASE_URL, and its conversion for libpq and Dagster."""

import re
from typing import Annotated, Final
from urllib.parse import quote, unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

URL_FORM: Final = "postgresql://user:password@host:port/database"
_HOST: Final = re.compile(r"(\[[^\[\]]+\]|[^:\[\]]*)(:\d*)?")
_SCHEME: Final = re.compile(r"postgres(ql)?(\+[a-z0-9]+)?")
# Of Prisma and other pools; the connections of Wattlake have settings of their own.
_OF_A_POOL: Final = ("connection_limit", "pool_timeout", "socket_timeout", "statement_cache_size")
_SSL_MODES: Final = {"true": "require", "1": "require", "false": "disable", "0": "disable"}


def libpq_url(text: str) -> str:
    """The URL for libpq; ValueError, with what to do, for one that is not to be used.

    Its text shows nothing that could be a part of the password. Quotes around it, the driver in its
    scheme, `schema=public` and parameters of connection pools are dropped, `ssl=true` becomes
    `sslmode` where there is none.
    """
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1].strip()
    scheme, is_url, rest = text.partition("://")
    if not (is_url and _SCHEME.fullmatch(scheme.lower())):
        raise ValueError(f"is no URL of a PostgreSQL database: {URL_FORM}")
    if unsafe := re.search(r"[\s#]", rest):
        raise ValueError(f"has {unsafe[0]!r} in it: write it as %{ord(unsafe[0]):02X}")
    place, _, query = rest.partition("?")
    authority, _, path = place.partition("/")
    if "@" in path or "@" in query:
        raise ValueError(
            "has an @ behind a / or ?: write / in a password as %2F, ? as %3F, any other @ as %40"
        )
    if authority.count("@") > 1:
        raise ValueError("has @ twice: write @ in a user or password as %40")
    # From here on nothing behind the / or ? can be of the password, which an @ follows.
    has_mode = any(one.startswith("sslmode=") for one in query.split("&"))
    parameters = [
        kept
        for one in filter(None, query.split("&"))
        if not (has_mode and one.startswith("ssl=")) and (kept := _parameter(one))
    ]
    url = f"postgresql://{place}" + ("?" + "&".join(parameters) if parameters else "")
    for host in authority.rpartition("@")[2].split(","):
        if not _HOST.fullmatch(host):
            raise ValueError(
                f"has a host or port that is none: {URL_FORM}, / in the password as %2F, ? as %3F"
            )
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error as error:
        why = str(error).strip()
        told = f" ({why})" if "query parameter" in why else ""  # not the password
        raise ValueError(
            f"can't be read{told}: {URL_FORM}, special characters of the password as %40 for @"
        ) from None
    if not parts.get("dbname"):
        raise ValueError(f"names no database: {URL_FORM}")
    return url


def dagster_url(database_url: str) -> str:
    """The same database in Dagster's own schema, for SQLAlchemy with psycopg2."""
    place, _, query = database_url.removeprefix("postgresql").partition("?")
    parameters = [one for one in query.split("&") if one and not one.startswith("options=")]
    authority, slash, path = place.removeprefix("://").partition("/")
    user, at, hosts = authority.rpartition("@")
    if "," in hosts or "%" in hosts:  # SQLAlchemy takes several, or a socket, as parameters only
        place = f"://{user}{at}{slash}{path}"
        told_hosts = conninfo_to_dict(database_url)
        parameters += [
            f"{name}={told_hosts[name]}" for name in ("host", "port") if told_hosts.get(name)
        ]
    options = [unquote(one) for one in query.split("&") if one.startswith("options=")]
    told = " ".join([*(one.removeprefix("options=") for one in options), "-csearch_path=dagster"])
    return f"postgresql+psycopg2{place}?" + "&".join([*parameters, f"options={quote(told)}"])


def _parameter(parameter: str) -> str | None:
    """Return a parameter as libpq takes it; None for nothing."""
    name, _, value = parameter.partition("=")
    if name == "schema":
        if value != "public":
            raise ValueError(
                f"asks for the schema {value}: Wattlake keeps its tables in public; give it a "
                "database of its own, without schema="
            )
        return None
    if name == "pgbouncer":
        if value != "false":
            raise ValueError(
                "says pgbouncer: leave that out, and name the address of the server itself as "
                "DIRECT_DATABASE_URL, for what needs a session of its own"
            )
        return None
    if name == "sslaccept":
        raise ValueError("has sslaccept, which PostgreSQL does not know: use sslmode=verify-full")
    if name == "ssl":
        return f"sslmode={_SSL_MODES.get(value, value)}"
    return None if name in _OF_A_POOL else parameter


def _validated(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return libpq_url(value)
    except ValueError as error:
        raise PydanticCustomError("database_url", "{reason}", {"reason": str(error)}) from None


DatabaseUrl = Annotated[str, BeforeValidator(_validated)]
"""A setting that is such a URL."""
