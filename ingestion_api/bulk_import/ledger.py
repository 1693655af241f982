"""The database's side of an import: the ledger, the live state and the named links."""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import psycopg

from ingestion_api.bulk_import.spill import Hours
from ingestion_api.commit.transaction import (
    LOST_RACES,
    NamedPairs,
    committer_settings,
    insert_pairs,
    merge_live_state,
)
from ingestion_api.heartbeats.batch import HeartbeatBatch
from ingestion_api.outbox.lake_binding import (
    create_tables,
    outbox_identity,
    require_same_lake,
)
from lake import STREAMS, Lake, Stream
from warehouse_sql.named_queries import query
from warehouse_sql.outbox import transaction_outcome
from warehouse_sql.statement_pipeline import execute

_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STATEMENT_ROWS: Final = 5_000
_ATTEMPTS: Final = 10


class Ledger:
    """Two connections: one for the transaction that an append records, one for all else.

    Whoever has the first also holds the lock of the file that is imported.
    """

    def __init__(self, dsn: str, lake: Lake) -> None:
        self._dsn, self._lake = dsn, lake

    def __enter__(self) -> Self:
        """Raises psycopg.Error, or LakeError where the lake is not the one of the database."""
        with ExitStack() as stack:
            self._own = stack.enter_context(self._connected("wattlake import"))
            self._other = stack.enter_context(self._connected("wattlake import, live state"))
            self._own.execute(query("commit_durably"))
            execute(self._other, committer_settings(is_local=False))
            create_tables(self._own, self._lake)
            for stream in STREAMS.values():
                require_same_lake(self._own, self._lake, stream)
            self.identity = outbox_identity(self._own)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def _connected(self, name: str) -> psycopg.Connection:
        return psycopg.connect(
            self._dsn, autocommit=True, connect_timeout=10, application_name=name
        )

    def take_lock(self, identity: str) -> bool:
        """Lock the file against other imports until the end; False where another one has it."""
        key = int(identity[:8], 16) - 2**31
        return bool(self._one("try_import_lock", key=key))

    def outcome(self, transaction: int | None) -> str | None:
        """committed, aborted or in progress; None if nobody knows any more."""
        return None if transaction is None else transaction_outcome(self._own, transaction)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """The transaction whose id an append records and that then settles it."""
        with self._own.transaction():
            self._own.execute(query("hold_off_counts"))
            yield

    def transaction_id(self) -> int:
        """Its id."""
        return int(self._one("import_transaction"))

    def settle(
        self, stream: Stream, version: int, hours: Hours, rows: Sequence[int], received_at: int
    ) -> None:
        """Count rows that version `version` of the raw table has brought; in the transaction."""
        of_rows = [_1970 + timedelta(hours=hour) for hour in np.asarray(hours).tolist()]
        self._own.execute(
            query("settle_import"),
            {
                "stream": stream.name,
                "version": version,
                "received_at": _1970 + timedelta(microseconds=received_at),
                "hours": of_rows,
                "rows": list(rows),
            },
        )
        self._lower_first_partition(hours)

    def _lower_first_partition(self, hours: Hours) -> None:
        if len(hours):
            first = _1970 + timedelta(hours=int(np.min(hours)))
            self._own.execute(query("lower_first_partition"), {"day": first.date()})

    def first_partition(self) -> tuple[date, date | None]:
        """Return the first partition by the data, and the one that a setting names."""
        ((day, set_to),) = self._own.execute(query("first_partition")).fetchall()
        return day, set_to

    def count_anew(self, stream: Stream, hours: Hours) -> None:
        """Let the lake writer count the raw table, of which the ledger may lack these hours."""
        self._own.execute(query("count_anew"), {"stream": stream.name})
        self._lower_first_partition(hours)

    def merge(self, newest: HeartbeatBatch, pairs: NamedPairs, believed_until: datetime) -> None:
        """Write live state and named links; a repetition changes nothing.

        Each statement is a transaction of its own: who holds rows of these tables while it waits
        for rows of the ledger could block the collector, and the collector it.
        """
        live = merge_live_state(newest, _STATEMENT_ROWS, believed_until)
        for statement in (*live, *insert_pairs(pairs)):
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    execute(self._other, statement)
                    break
                except LOST_RACES:
                    if attempt == _ATTEMPTS:
                        raise
                    time.sleep(random.uniform(0, 0.02) * attempt)

    def _one(self, name: str, **parameters: Any) -> Any:
        row = self._own.execute(query(name), parameters).fetchone()
        assert row is not None, f"{name} always has one row"
        return row[0]
