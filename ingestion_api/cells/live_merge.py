"""Merge of a cell's live state and named links into those of this database."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg
import structlog

from ingestion_api.alerts.store import Connection
from ingestion_api.commit.transaction import LOST_RACES, committer_settings
from ingestion_api.database.pool import abort, with_keepalives
from ingestion_api.outbox.lake_binding import outbox_identity
from warehouse_sql.binary_parameters import timestamp
from warehouse_sql.named_queries import query
from warehouse_sql.statement_pipeline import Statement, execute

log = structlog.get_logger(__name__)

_ROWS: Final = 5_000  # in one statement
_STATEMENT_MILLISECONDS: Final = 30_000
_PATIENCE_SECONDS: Final = 40.0
_COUNTED: Final = 2**30  # transactions; of those farther apart age() can't tell the order
_ATTEMPTS: Final = 5

_STREAMS: Final = {
    "meter": ("changed_meters", "merge_meter_live_state", "forget_removed_meters"),
    "vehicle": ("changed_vehicles", "merge_vehicle_live_state", "forget_removed_vehicles"),
}

Columns = Sequence[bytes | None]


class NoCell(Exception):
    """The URL of a cell leads to this database, or to a copy of it."""


@dataclass(frozen=True)
class _Changes:
    """A snapshot of a cell, and the statements that bring it here, those of a list together."""

    identity: str
    horizon: int
    since: datetime
    seen_at: datetime
    statements: list[list[Statement]]


class LiveMerge:
    """Takes in what has changed in the database of one cell since it was last asked.

    Each step may be repeated: the newest heartbeat of a device counts, whoever brought it. So how
    far it came is noted last, and a cell whose transaction ids are counted anew is read from the
    beginning. What a cell does not answer is no error here: the devices keep the state they had.
    """

    def __init__(self, cell: str, dsn: str, future_tolerance_seconds: float) -> None:
        self.cell, self._dsn = cell, with_keepalives(dsn)
        self._tolerance = timedelta(seconds=future_tolerance_seconds)
        self._there: psycopg.Connection | None = None
        self._error: str | None = None

    def begin(self, conn: Connection) -> None:
        """Prepare a new connection to this database."""
        execute(conn, committer_settings(is_local=False))

    def merge(self, conn: Connection) -> None:
        """Merge what has changed; raises psycopg.Error for `conn` alone, which is in autocommit."""
        progress = conn.execute(query("cell_progress"), {"cell": self.cell}).fetchone()
        if progress is None:
            return  # a setting of a newer process does not name it any more
        try:
            changes = self._read(outbox_identity(conn), progress["identity"], progress["horizon"])
        except (psycopg.Error, OSError, NoCell) as error:
            self.close()
            self._report(error)
            return
        for statements in changes.statements:
            _store(conn, statements)
        noted = {"cell": self.cell, "identity": changes.identity, "horizon": changes.horizon}
        noted |= {"since": changes.since, "seen_at": changes.seen_at}
        conn.execute(query("note_cell"), noted)
        if self._error is not None:
            log.info("the cell is back", cell=self.cell)
        self._error = None

    def close(self) -> None:
        """Close the connection to the cell."""
        if self._there is not None:
            with suppress(psycopg.Error, OSError):
                self._there.close()
        self._there = None

    def _read(
        self, own_identity: str, known_identity: str | None, known_horizon: int | None
    ) -> _Changes:
        there = self._connected()
        # A server that hangs would hold this for ever, and what is between may go on to answer.
        watchdog = threading.Timer(_PATIENCE_SECONDS, abort, [there])
        watchdog.start()
        try:
            there.execute(query("begin_snapshot"))
            identity = outbox_identity(there)
            if identity == own_identity:
                raise NoCell("it is this database or a copy of it: give the cell one of its own")
            row = there.execute(query("cell_horizon")).fetchone()
            assert row is not None, "the table has one row"
            horizon, since, seen_at = row
            changed_since = known_horizon
            is_counted_on = known_horizon is not None and 0 <= horizon - known_horizon < _COUNTED
            if identity != known_identity or not is_counted_on:
                changed_since = None
            statements = list(self._changes(there, changed_since))
            there.execute(query("end_snapshot"))
        finally:
            watchdog.cancel()
        return _Changes(identity, horizon, since, seen_at, statements)

    def _changes(self, there: psycopg.Connection, since: int | None) -> Iterator[list[Statement]]:
        believed_until = timestamp(datetime.now(UTC) + self._tolerance)
        parameters = [_bigint(since), _bigint(_ROWS)]
        for stream, (changed, merge, forget) in _STREAMS.items():
            for columns in _columns(there, (changed, parameters)):
                devices = columns[0]
                yield [(merge, [*columns, believed_until]), (forget, [devices])]
                yield [("note_cell_devices", [stream.encode(), self.cell.encode(), devices])]
        for columns in _columns(there, ("changed_pairs", parameters)):
            yield [("insert_named_links", columns)]

    def _connected(self) -> psycopg.Connection:
        if self._there is None:
            self._there = psycopg.connect(
                self._dsn,
                autocommit=True,
                connect_timeout=5,
                application_name="wattlake home",
            )
            self._there.execute(
                query("session_with_timeout"), {"milliseconds": _STATEMENT_MILLISECONDS}
            )
        return self._there

    def _report(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        if text != self._error:
            log.warning("a cell does not answer", cell=self.cell, error=text)
        self._error = text


def _columns(conn: psycopg.Connection, statement: Statement) -> Iterator[Columns]:
    """Rows of arrays in binary, which are parameters of the next statement as they are."""
    result = execute(conn, statement)
    for row in range(result.ntuples):
        yield [result.get_value(row, column) for column in range(result.nfields)]


def _store(conn: Connection, statements: Sequence[Statement]) -> None:
    """Run statements as one transaction, until no other transaction comes first."""
    for _ in range(_ATTEMPTS - 1):
        with suppress(*LOST_RACES):
            _execute_together(conn, statements)
            return
    _execute_together(conn, statements)


def _execute_together(conn: Connection, statements: Sequence[Statement]) -> None:
    with conn.transaction():
        for statement in statements:
            execute(conn, statement)


def _bigint(value: int | None) -> bytes | None:
    return None if value is None else value.to_bytes(8, "big", signed=True)
