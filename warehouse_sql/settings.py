"""Settings of the database."""

import re
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from warehouse_sql.database_url import URL_FORM, DatabaseUrl

_NAME: Final = re.compile(r"[a-z0-9-]{1,40}")


def _named(value: object) -> object:
    """The parts name=URL of a text with spaces."""
    if not isinstance(value, str):
        return value
    parts = [part.rstrip(",").partition("=") for part in value.split()]
    if not all(_NAME.fullmatch(name) and url for name, _, url in parts):
        raise PydanticCustomError(
            "cells", "must be name=URL, with spaces between several; a name has a-z, 0-9 and -"
        )
    if len({name for name, *_ in parts}) < len(parts):
        raise PydanticCustomError("cells", "names a cell twice")
    return {name: url for name, _, url in parts}


class DatabaseSettings(BaseSettings):
    """Read from the environment and `.env`; each name in capitals is the variable."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # the URL of the database has a password
    )

    database_url: DatabaseUrl = Field(
        description="PostgreSQL 15 or newer, postgresql://user:password@host:port/database, or "
        "postgresql:///database?host=/folder/of/its/socket"
    )

    direct_database_url: DatabaseUrl | None = Field(
        default=None,
        description="the server itself, where DATABASE_URL is a pooler of transactions such as "
        "PgBouncer: for locks, notifications, commands and pipelines; none: DATABASE_URL",
    )

    read_database_url: DatabaseUrl | None = Field(
        default=None,
        description="a replica for answers about devices and the fleet, which may be a moment "
        "behind; none: DATABASE_URL",
    )

    cell_database_urls: Annotated[dict[str, DatabaseUrl], NoDecode, BeforeValidator(_named)] = (
        Field(
            default_factory=dict,
            description="databases of other cells that deliver to the same lake, as name=URL with "
            "spaces between them: their live state is taken in here; empty: there are none",
        )
    )

    @property
    def dsn(self) -> str:
        """The URL of the server itself, as psycopg and ADBC take it."""
        return self.direct_database_url or self.database_url

    @property
    def replica_url(self) -> str:
        """The URL for what may be a moment behind."""
        return self.read_database_url or self.database_url

    @property
    def is_pooled(self) -> bool:
        """True where each transaction at `database_url` may be in another session."""
        return self.dsn != self.database_url


def settings_fault(error: ValidationError) -> str:
    """Return the first variable at fault and the reason, as one line without its value."""
    first = error.errors(include_url=False, include_input=False)[0]
    name = str(first["loc"][0]).upper() if first["loc"] else "settings"
    if first["type"] == "missing" and len(first["loc"]) == 1:  # the one setting without a default
        return f"{name}: is not set, as in {URL_FORM}"
    return f"{name}: {first['msg']}"
