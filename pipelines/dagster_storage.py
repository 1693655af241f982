"""Dagster's own storage in Postgres, made for runs of hundreds of hours.

A run of a range writes an event for each asset and hour: what it is about to compute, and what it
has computed. Dagster's storage opens several connections for each, 40 ms an event: a run of 168
hours would take minutes to create. Here they are kept open, and an asset's events are one insert.
"""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from dagster import DagsterEventType, EventLogEntry
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._serdes import ConfigurableClassData
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.storage import DagsterPostgresStorage
from dagster_postgres.utils import create_pg_engine, pg_url_from_config
from sqlalchemy.exc import InternalError

_PLANNED: Final = DagsterEventType.ASSET_MATERIALIZATION_PLANNED
_ABORTED_TRANSACTION: Final = "25P02"  # in_failed_sql_transaction
# Of one batch, which Dagster only makes if told so.
_EVENTS_A_BATCH: Final = "2000"


class EventLogStorage(PostgresEventLogStorage):
    """Dagster's event log, with few connections that stay open and events stored together."""

    def __init__(self, postgres_url: str, should_autocreate_tables: bool = True) -> None:
        super().__init__(postgres_url, should_autocreate_tables)
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", _EVENTS_A_BATCH)
        self._engine = create_pg_engine(
            postgres_url,
            isolation_level="AUTOCOMMIT",
            pool_size=2,  # one may be held while another is asked for
            max_overflow=-1,
            pool_pre_ping=True,
        )

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store the events; those of planned partitions in one insert."""
        planned: dict[str, list[EventLogEntry]] = defaultdict(list)
        others = []
        for event in events:
            dagster_event = event.get_dagster_event()
            if dagster_event.event_type == _PLANNED and dagster_event.asset_key:
                planned[dagster_event.asset_key.to_string()].append(event)
            else:
                others.append(event)
        for of_asset in planned.values():
            insert = self.prepare_insert_event_batch(of_asset)
            with self._connect() as connection:
                ids = connection.execute(insert.returning(SqlEventLogStorageTable.c.id))
                newest = max(row[0] for row in ids)
            self.store_asset_event(of_asset[-1], newest)
        if others:
            super().store_event_batch(others)

    def initialize_concurrency_limit_to_default(self, concurrency_key: str) -> bool:
        """Make the limit of a pool, or find it made: two runs may be the first that need it.

        After an insert that is refused, Dagster goes on in a transaction that Postgres has aborted.
        """
        try:
            return super().initialize_concurrency_limit_to_default(concurrency_key)
        except InternalError as error:
            if getattr(error.orig, "pgcode", None) != _ABORTED_TRANSACTION:
                raise
            return True


class PostgresStorage(DagsterPostgresStorage):
    """Dagster's storage for `dagster.yaml`, with this event log."""

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        super().__init__(postgres_url, should_autocreate_tables, inst_data)
        self._event_log_storage = EventLogStorage(postgres_url, should_autocreate_tables)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """The storage that `dagster.yaml` describes."""
        return cls(pg_url_from_config(config_value), inst_data=inst_data)
