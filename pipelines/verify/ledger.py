"""Raw rows counted anew from the Delta log, while the lake writer goes on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import psycopg

from lake import Lake, Stream
from lake.delta import appends_of_others, count_rows_by_hour, require_table_id
from warehouse_sql.named_queries import query
from warehouse_sql.outbox import is_for_the_writer, outbox_app_id

_HOURS_AT_ONCE: Final = 500
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Counted:
    """Raw rows of an hour that the ledger should know, and those that it knows.

    `pending` are further ones that a flush has yet to add; `version` is that of the raw table.
    """

    rows: int
    in_ledger: int
    pending: int
    version: int


def count_raw(
    connection: psycopg.Connection,
    lake: Lake,
    stream: Stream,
    arrivals: Mapping[datetime, datetime | None],
) -> dict[datetime, Counted]:
    """Count the raw rows of these hours as the ledger must; call it in a transaction.

    A flush writes the Delta commit first, and then in one transaction forgets the outbox and adds
    to the ledger, with what other databases have appended. From here to the end of this transaction
    it can't add to these hours, because their rows are locked. So what lies in the lake and in the
    outbox, too, and what others have appended since, is what it has yet to add, and is not counted
    here. `arrivals` are receipt times that the hours are known to have.
    Imports and retention wait until then, too. Raises WrongLake, TableMissing and LakeError.
    """
    hours = sorted(arrivals)
    connection.execute(query("begin_count"))
    held = connection.execute(
        query("hold_ledger_hours"),
        {
            "stream": stream.name,
            "hours": hours,
            "arrivals": [arrivals[hour] or _NEVER for hour in hours],
        },
    ).fetchall()
    table = lake.open(stream.raw_table)
    in_log = count_rows_by_hour(table)
    delivery = connection.execute(query("outbox_delivery"), {"stream": stream.name}).fetchone()
    identity = connection.execute(query("outbox_identity")).fetchone()
    assert delivery is not None, "every stream has a row from its migration on"
    assert identity is not None, "a select without a table has one row"
    known_identity, epoch, announced, table_id, counted_version, _ = delivery
    if table_id is not None:
        require_table_id(lake, table, stream.raw_table, table_id)
    pending = Counter[datetime]()
    horizon = 0
    if known_identity is not None:
        own = outbox_app_id(known_identity, epoch)
        horizon = table.transaction_version(own) or 0
        if counted_version is not None:
            new = range(counted_version + 1, table.version() + 1)
            for append in appends_of_others(lake, stream, new, own, known_identity):
                if is_for_the_writer(connection, append.import_transaction):
                    pending.update(append.rows)
    # Otherwise the database has gone back in time: the lake writer delivers its outbox once more,
    # and then adds it to what is in the lake already.
    if known_identity == identity[0] and 0 < horizon <= announced:
        rows = connection.execute(
            query("delivered_outbox_hours"),
            {"stream": stream.name, "horizon": horizon, "hours": hours},
        )
        pending.update({hour.astimezone(UTC): count for hour, count in rows})
    counted = {}
    for hour, in_ledger in ((hour.astimezone(UTC), rows) for hour, rows in held):
        waits = pending[hour]
        counted[hour] = Counted(in_log.get(hour, 0) - waits, in_ledger, waits, table.version())
    return counted


def rebuild_ledger(
    connection: psycopg.Connection,
    lake: Lake,
    stream: Stream,
    arrivals: Mapping[datetime, datetime | None],
) -> None:
    """Set the ledger's rows of these hours to the counts of the Delta log.

    Their raw version becomes the one that was counted, so they wait for their compaction.
    """
    hours = sorted(arrivals)
    for first in range(0, len(hours), _HOURS_AT_ONCE):
        part: Sequence[datetime] = hours[first : first + _HOURS_AT_ONCE]
        with connection.transaction():
            counted = count_raw(connection, lake, stream, {hour: arrivals[hour] for hour in part})
            connection.execute(
                query("set_ledger_rows"),
                {
                    "stream": stream.name,
                    "hours": list(counted),
                    "rows": [count.rows for count in counted.values()],
                    "version": max(count.version for count in counted.values()),
                },
            )
