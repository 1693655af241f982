"""Where the database is."""

from pydantic import Field, PostgresDsn
from pydantic_settings import BaseSettings, SettingsConfigDict


class DatabaseSettings(BaseSettings):
    """Read from the environment and `.env`; each name in capitals is the variable."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    database_url: PostgresDsn = Field(
        description="PostgreSQL 15 or newer, postgresql://user:password@host:port/database"
    )

    @property
    def dsn(self) -> str:
        """The URL as psycopg and ADBC take it."""
        return str(self.database_url)
