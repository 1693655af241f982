"""One flush: rows of the outbox become one Delta commit, and are then forgotten."""

from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import adbc_driver_postgresql.dbapi as adbc
import psycopg
import pyarrow as pa
import structlog

from lake import (
    STREAMS,
    Delivered,
    Lake,
    StaleRead,
    Stream,
    append_once,
    delivered,
    verify_delivered,
)
from warehouse_sql.queries import query

log = structlog.get_logger(__name__)

# Where a flush can die, in order; tests stop it at each of them.
STEPS: Final = ("before_read", "before_append", "before_settle", "after_settle")


class OutboxFlush:
    """The flush of every stream, by the one who holds the writer's lock on `conn`.

    A flush reads all rows below a transaction horizon, appends them to the raw table in a Delta
    commit that records the horizon, and deletes them while it adds them to the partition ledger.
    Whoever starts after a crash finds in the Delta log how far the last one came.
    """

    def __init__(
        self,
        dsn: str,
        conn: psycopg.Connection,
        lake: Lake,
        most_rows: int,
        at_step: Callable[[str], None] = lambda step: None,
    ) -> None:
        """`conn` is in autocommit; `most_rows` bounds the memory of a flush."""
        self._conn, self._lake, self._most_rows, self._at_step = conn, lake, most_rows, at_step
        self.app_id = outbox_identity(conn)
        self._dsn = dsn
        self._delivered: dict[str, Delivered] = {}

    def __enter__(self) -> Self:
        for stream in STREAMS.values():
            verify_delivered(self._lake, stream)
            self._conn.execute(query(f"restamp_foreign_{stream.name}_outbox"))
            self._settle(stream, delivered(self._lake, stream, self.app_id))
        self._reader = adbc.connect(self._dsn, autocommit=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reader.close()

    def flush(self, stream: Stream) -> tuple[int, bool]:
        """Move up to about `most_rows` rows; returns how many, and whether more wait."""
        horizon, waiting = self._horizon(stream)
        if not waiting:
            return 0, False
        self._at_step("before_read")
        rows = self._read(stream, horizon)
        self._at_step("before_append")
        before = self._delivered[stream.name]
        try:
            done = append_once(self._lake, stream, rows, self.app_id, horizon, before.horizon)
        except StaleRead:
            # Another writer, who has lost the lock by now, came first; what it took is in.
            self._settle(stream, delivered(self._lake, stream, self.app_id))
            return 0, True
        self._at_step("before_settle")
        self._settle(stream, done)
        self._at_step("after_settle")
        return rows.num_rows, waiting > rows.num_rows

    def _horizon(self, stream: Stream) -> tuple[int, int]:
        found = self._conn.execute(
            query(f"{stream.name}_flush_horizon"), {"most_rows": self._most_rows}
        ).fetchone()
        assert found is not None, "an aggregate has one row"
        return found[0], found[1]

    def _read(self, stream: Stream, horizon: int) -> pa.Table:
        with self._reader.cursor() as cursor:
            cursor.execute(query(f"read_{stream.name}_outbox").decode(), (horizon,))
            rows: pa.Table = cursor.fetch_arrow_table()
            return rows.cast(stream.arrow_schema)

    def _settle(self, stream: Stream, done: Delivered) -> None:
        self._conn.execute(
            query(f"settle_{stream.name}_outbox"),
            {"horizon": done.horizon, "version": done.version},
        )
        self._delivered[stream.name] = done


def outbox_identity(conn: psycopg.Connection) -> str:
    """The Delta app id of this database's outbox."""
    found = conn.execute(query("outbox_identity")).fetchone()
    assert found is not None, "a select without a table has one row"
    return f"outbox-{found[0]}"
