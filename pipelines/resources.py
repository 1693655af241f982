"""Resources of the assets: the lake and the warehouse, where the settings say they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import dagster as dg
import psycopg
from adbc_driver_postgresql import dbapi
from pydantic import ValidationError

from lake import Lake, LakeSettings
from pipelines.database import connect
from pipelines.run_session import session, session_of_run
from warehouse_sql.settings import DatabaseSettings, settings_fault


class LakeResource(dg.ConfigurableResource["LakeResource"]):
    """The Delta tables below one folder or URL."""

    uri: str = ""
    """Folder or URL; empty: `LAKE_URI`."""

    def lake(self) -> Lake:
        """The lake, its options from `LAKE_STORAGE_OPTIONS`."""
        settings = LakeSettings()
        if self.uri:
            settings = settings.model_copy(update={"lake_uri": self.uri})
        return Lake.from_settings(settings)


class WarehouseResource(dg.ConfigurableResource["WarehouseResource"]):
    """The Postgres database: ledger, links and marts.

    A run holds one session open under its own name for as long as it lives, so that a run whose
    process was killed can be told from one that is at work.
    """

    database_url: str = ""
    """`postgresql://` URL; empty: `DATABASE_URL`."""

    @property
    def dsn(self) -> str:
        """The URL; read when it is needed, so that definitions load without a database."""
        try:
            # The environment or .env provides the field.
            return self.database_url or DatabaseSettings().dsn
        except ValidationError as error:
            raise dg.Failure(
                f"{settings_fault(error)}; set it in the environment or in .env",
                allow_retries=False,
            ) from None

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Self]:
        """Hold the session of the run; sensors and schedules have none."""
        if context.run is None:
            yield self
            return
        name = session_of_run(context.run.run_id)
        with session(lambda: connect(self.dsn, application_name=name)):
            yield self

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection]:
        """A connection whose one transaction is committed unless the block raises."""
        with connect(self.dsn, autocommit=False) as connection:
            yield connection

    @contextmanager
    def autocommit(self) -> Iterator[psycopg.Connection]:
        """A connection that holds no transaction open between two statements."""
        with connect(self.dsn) as connection:
            yield connection

    @contextmanager
    def arrow(self) -> Iterator[dbapi.Connection]:
        """An ADBC connection, for results as Arrow tables; each statement is a transaction.

        To open one takes longer than a statement: it asks for all types of the database.
        """
        with dbapi.connect(self.dsn, autocommit=True) as connection:
            yield connection
