"""Flush of the outbox: its rows become one Delta commit, and are then deleted."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from uuid import uuid4

import adbc_driver_postgresql.dbapi as adbc
import psycopg
import pyarrow as pa
import structlog

from ingestion_api.observability.metrics import DELTA_COMMIT_SECONDS
from ingestion_api.outbox.lake_binding import (
    older_copy,
    outbox_identity,
    require_same_lake,
    restore_ledger,
)
from ingestion_api.outbox.pack import unpack
from lake import (
    BEGUN,
    METER,
    STREAMS,
    VEHICLE,
    DeliveredHorizon,
    Lake,
    LakeError,
    LogGone,
    StaleRead,
    Stream,
    append_once,
    begin_outbox,
    follow_horizon,
    read_delivered_horizon,
)
from lake.delta import Append, appends_of_others
from warehouse_sql.named_queries import query
from warehouse_sql.outbox import is_for_the_writer, outbox_app_id

log = structlog.get_logger(__name__)

# Where a flush can die, in order; tests stop it at each of them.
STEPS: Final = ("before_read", "before_announce", "before_append", "before_settle", "after_settle")


# Of the log are read one by one, a request each; of more, counting the table anew is faster.
_ENTRIES_AT_MOST: Final = 1_000


class _Queries(NamedTuple):
    """Names of the queries of one stream's outbox."""

    restamp: str
    horizon: str
    read: str
    settle: str


_QUERIES: Final = {
    METER.name: _Queries(
        "restamp_foreign_meter_outbox",
        "meter_flush_horizon",
        "read_meter_outbox",
        "settle_meter_outbox",
    ),
    VEHICLE.name: _Queries(
        "restamp_foreign_vehicle_outbox",
        "vehicle_flush_horizon",
        "read_vehicle_outbox",
        "settle_vehicle_outbox",
    ),
}


class OutboxFlush:
    """The flush of every stream, by the one who holds the writer's lock on `conn`.

    A flush reads all rows below a transaction horizon, announces the horizon, appends the rows to
    the raw table in a Delta commit that records it, and deletes them while it adds them to the
    partition ledger. Whoever starts after a crash finds in the Delta log how far the last one
    came, and goes on under an app id of its own. A log that is further than any announcement tells
    that the database has gone back in time and will give out the same transaction ids again: then
    its outbox is delivered anew, and de-duplication removes what the lake had already.

    Other databases may append to the same table under their own app ids. Their rows are counted as
    the Delta log tells them, so that the ledger is whole without a word from the others.
    """

    def __init__(
        self,
        dsn: str,
        conn: psycopg.Connection,
        lake: Lake,
        most_rows: int,
        at_step: Callable[[str], None] = lambda step: None,
        own_epochs: set[str] | None = None,
    ) -> None:
        """`conn` is in autocommit; `most_rows` bounds the memory of a flush.

        `own_epochs` are those that this process has begun, for it to add to.
        """
        self._conn, self._lake, self._most_rows, self._at_step = conn, lake, most_rows, at_step
        self._dsn = dsn
        self._own_epochs = set() if own_epochs is None else own_epochs
        self._app_ids: dict[str, str] = {}
        self._delivered: dict[str, DeliveredHorizon] = {}
        self._identity = ""

    def __enter__(self) -> Self:
        self._conn.execute(query("commit_durably"))
        self._conn.execute(query("restamp_foreign_packs"))
        for stream in STREAMS.values():
            self._conn.execute(query(_QUERIES[stream.name].restamp))
            self._resume(stream)
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
        horizon, waiting = self._one(_QUERIES[stream.name].horizon, most_rows=self._most_rows)
        if not waiting:
            self._count_others(stream)
            return 0, False
        self._at_step("before_read")
        rows = self._read(stream, horizon)
        before, app_id = self._delivered[stream.name], self._app_ids[stream.name]
        self._at_step("before_announce")
        self._conn.execute(query("announce_horizon"), {"stream": stream.name, "horizon": horizon})
        self._at_step("before_append")
        try:
            started = time.monotonic()
            done = append_once(self._lake, stream, rows, app_id, horizon, before)
            DELTA_COMMIT_SECONDS.labels(stream.name).observe(time.monotonic() - started)
        except StaleRead as error:
            # Another writer, who has lost the lock by now, came first, and what it took is in; or
            # old hours were dropped meanwhile. Without either, the next refusal is an error.
            self._resume(stream)
            if self._delivered[stream.name] == before:
                raise LakeError(f"the lake refuses the append: {error}") from error
            return 0, True
        self._at_step("before_settle")
        self._settle(stream, done)
        self._at_step("after_settle")
        return rows.num_rows, waiting > rows.num_rows

    def _resume(self, stream: Stream) -> None:
        """Find out how far the outbox was delivered, and forget the rows up to there."""
        table = require_same_lake(self._conn, self._lake, stream)
        before, epoch, announced, *_, settled = self._one("outbox_delivery", stream=stream.name)
        self._identity = outbox_identity(self._conn)
        app_id = self._app_ids[stream.name] = outbox_app_id(self._identity, epoch)
        found = read_delivered_horizon(self._lake, stream, app_id, table)
        if self._identity != before or found.horizon > announced:
            if before is not None:
                log.warning("transaction ids are counted anew", stream=stream.name)
            self._begin_epoch(stream, found, is_known=False)
            return
        if found.horizon < settled:
            raise older_copy(self._lake, stream, "it lacks heartbeats that were delivered before")
        self._settle(stream, found)
        if epoch not in self._own_epochs:
            self._begin_epoch(stream, self._delivered[stream.name], is_known=True)

    def _begin_epoch(self, stream: Stream, last: DeliveredHorizon, *, is_known: bool) -> None:
        """Deliver under an app id that no copy of this database has.

        It would go on from the same transactions, and what it delivers would pass for ours.
        """
        epoch, closed = str(uuid4()), self._app_ids[stream.name] if is_known else None
        app_id = self._app_ids[stream.name] = outbox_app_id(self._identity, epoch)
        begun = begin_outbox(self._lake, stream, last, app_id, closed)
        self._conn.execute(
            query("begin_epoch"),
            {
                "stream": stream.name,
                "identity": self._identity,
                "epoch": epoch,
                "begun": BEGUN,
                "is_known": is_known,
            },
        )
        self._own_epochs.add(epoch)
        self._settle(stream, begun)

    def _read(self, stream: Stream, horizon: int) -> pa.Table:
        with self._reader.cursor() as cursor:
            cursor.execute(query(_QUERIES[stream.name].read).decode(), (horizon,))
            rows: pa.Table = cursor.fetch_arrow_table()
        below = {"stream": stream.name, "horizon": horizon}
        packs = self._conn.execute(query("read_packs"), below, binary=True)
        try:
            return pa.concat_tables(
                [stream.with_all_columns(rows), *(unpack(pack, stream) for (pack,) in packs)]
            )
        except pa.ArrowException as error:
            raise LakeError(f"a row of heartbeat_pack can't be read: {error}") from error

    def _settle(self, stream: Stream, done: DeliveredHorizon) -> None:
        """Forget what the lake has, and count it, with what others have appended up to then."""
        *_, counted, _ = self._one("outbox_delivery", stream=stream.name)
        others: list[Append] = []
        try:
            if counted is not None and done.version - counted > _ENTRIES_AT_MOST:
                counted = None
            elif counted is not None:
                new = range(counted + 1, done.version + 1)
                ids = self._app_ids[stream.name], self._identity
                for one in appends_of_others(self._lake, stream, new, *ids, done.entries):
                    match is_for_the_writer(self._conn, one.import_transaction):
                        case True:
                            others.append(one)
                        case None:
                            self._conn.execute(query("count_anew"), {"stream": stream.name})
                            counted = None
        except LogGone as error:
            log.warning("the lake is counted anew", stream=stream.name, reason=str(error))
            counted = None
        self._conn.execute(
            query(_QUERIES[stream.name].settle),
            {
                "horizon": done.horizon,
                "version": done.version,
                "counted": counted,
                "hours": [hour for one in others for hour in one.rows],
                "rows": [rows for one in others for rows in one.rows.values()],
                "arrivals": [one.committed_at for one in others for _ in one.rows],
            },
        )
        noted = {"stream": stream.name, "horizon": done.horizon}
        self._conn.execute(query("note_settled"), noted)
        self._delivered[stream.name] = done if counted is not None else self._count(stream, done)

    def _count(self, stream: Stream, done: DeliveredHorizon) -> DeliveredHorizon:
        """Count the raw table anew, as it is now, or leave that to the next look at it.

        So it is while somebody has changed it and is yet to note that in the ledger: an import, a
        retention, or a writer who has the lock by now.
        """
        with self._conn.transaction():
            if not self._one("try_begin_count")[0]:
                return done
            newest = follow_horizon(self._lake, stream, done, self._app_ids[stream.name])
            if newest.horizon != done.horizon:
                return done
            restore_ledger(self._conn, self._lake, stream, newest.version)
            return newest

    def _count_others(self, stream: Stream) -> None:
        """Add what other databases have appended since to the ledger; mostly nothing."""
        before, app_id = self._delivered[stream.name], self._app_ids[stream.name]
        *_, counted, _ = self._one("outbox_delivery", stream=stream.name)
        try:
            newest = follow_horizon(self._lake, stream, before, app_id)
        except StaleRead:
            self._resume(stream)
            return
        if newest.version != before.version or counted is None:
            self._settle(stream, newest)

    def _one(self, name: str, **parameters: Any) -> tuple[Any, ...]:
        row = self._conn.execute(query(name), parameters).fetchone()
        assert row is not None, f"{name} always has one row"
        return row
