"""One commit: live state, outbox and named pairs of a group of heartbeats in one transaction."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

import numpy as np
from psycopg import errors

from ingestion_api.heartbeats.batch import HeartbeatBatch
from ingestion_api.outbox.pack import insert_pack
from lake import METER, VEHICLE
from warehouse_sql.binary_parameters import text_array, timestamp, timestamp_array
from warehouse_sql.statement_pipeline import Statement

# Of each vehicle and meter the earliest time at which a heartbeat of the vehicle named the meter,
# in microseconds since 1970.
NamedPairs = dict[tuple[str, str], int]

_HOUR: Final = 3_600_000_000  # microseconds
_HOURS_A_TRANSACTION: Final = 500  # as many as a flush takes at once: `*_flush_horizon`

_MERGE_LIVE_STATE: Final = {
    METER.name: "merge_meter_live_state",
    VEHICLE.name: "merge_vehicle_live_state",
}
_INSERT_OUTBOX: Final = {
    METER.name: "insert_meter_outbox",
    VEHICLE.name: "insert_vehicle_outbox",
}

LOST_RACES: Final = (
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.UniqueViolation,  # two transactions inserted the same new device
)
"""Errors of a transaction that another one came before; it can be tried again."""

# From here on a pack costs less than rows of their own, which reading requests find faster.
PACKED_FROM: Final = 256


def committer_settings(*, is_local: bool) -> Statement:
    """Return the statement that sets what commits rest on: for a session, or its transaction."""
    return "committer_settings", [b"\1" if is_local else b"\0"]


def statements(
    rows: Mapping[str, HeartbeatBatch],
    pairs: NamedPairs,
    statement_rows: int,
    believed_until: datetime,
) -> list[Statement]:
    """Return the statements that store stamped rows, in order of arrival, and newly named pairs.

    `believed_until` is the latest event time that is believed now.

    Every collector locks in the same order (meters, vehicles, pairs, each sorted by id), so that
    two of them can't block each other for ever.
    """
    return [*_rows(rows, statement_rows, believed_until), *insert_pairs(pairs)]


def transactions(rows: Mapping[str, HeartbeatBatch]) -> list[Mapping[str, HeartbeatBatch]]:
    """The rows of each transaction: one, but for hours that are too many for one flush.

    The newest hours come first. A flush ends between two transactions, and each hour is a file:
    the newest heartbeats of the other stream would wait for thousands of old hours.
    """
    parts = {name: _by_hours(some) for name, some in rows.items()}
    return [
        {name: some[n] for name, some in parts.items() if n < len(some)}
        for n in range(max(map(len, parts.values()), default=0))
    ]


def _by_hours(rows: HeartbeatBatch) -> list[HeartbeatBatch]:
    if len(rows) < _HOURS_A_TRANSACTION or np.ptp(rows.times) < _HOURS_A_TRANSACTION * _HOUR:
        return [rows]
    hours, of_row = np.unique(-(rows.times // _HOUR), return_inverse=True)
    part = of_row // _HOURS_A_TRANSACTION
    count = -(-len(hours) // _HOURS_A_TRANSACTION)
    return [rows.take(np.flatnonzero(part == n)) for n in range(count)]


def merge_live_state(
    newest: HeartbeatBatch, statement_rows: int, believed_until: datetime
) -> Iterator[Statement]:
    """Return the statements that merge one row a device, sorted by id, into the live state."""
    bound = timestamp(believed_until)
    for start in range(0, len(newest), statement_rows):
        part = newest.slice(start, start + statement_rows)
        yield _MERGE_LIVE_STATE[newest.stream.name], [*part.parameters(), bound]


def insert_pairs(pairs: NamedPairs) -> Iterator[Statement]:
    """Return the statement that stores new pairs, or earlier times of known ones."""
    if pairs:
        vehicles, meters = zip(*pairs, strict=True)
        times = np.array(list(pairs.values()), np.int64)
        yield (
            "insert_named_links",
            [text_array(vehicles), text_array(meters), timestamp_array(times)],
        )


def unknown_pairs(vehicles: HeartbeatBatch | None, known: NamedPairs) -> NamedPairs:
    """Pairs that these heartbeats name beyond those that are known, or for an earlier time."""
    found: NamedPairs = {}
    if vehicles is None or not any(vehicles.texts[METER.device]):
        return found
    named = zip(
        vehicles.devices, vehicles.texts[METER.device], vehicles.times.tolist(), strict=True
    )
    for vehicle, meter, time in named:
        if meter is None:
            continue
        before = found.get((vehicle, meter), known.get((vehicle, meter)))
        if before is None or time < before:
            found[vehicle, meter] = time
    return found


def newest_of_each_device(rows: HeartbeatBatch) -> HeartbeatBatch:
    """One row a device, sorted by id: the newest by event time, of equal ones the last in order."""
    if len(rows) == 1:
        return rows
    newest: dict[str, int] = dict(zip(rows.devices, range(len(rows)), strict=True))
    if len(newest) < len(rows):
        times = rows.times.tolist()
        for row, device in enumerate(rows.devices):
            if times[row] > times[newest[device]] or (
                times[row] == times[newest[device]] and row > newest[device]
            ):
                newest[device] = row
    return rows.take(np.array([newest[device] for device in sorted(newest)]))


def _rows(
    rows: Mapping[str, HeartbeatBatch], statement_rows: int, believed_until: datetime
) -> Iterator[Statement]:
    for stream in (METER, VEHICLE):
        heartbeats = rows.get(stream.name)
        if heartbeats is None:
            continue
        newest = newest_of_each_device(heartbeats)
        yield from merge_live_state(newest, statement_rows, believed_until)
        if len(heartbeats) >= PACKED_FROM:
            yield insert_pack(heartbeats)
        else:
            yield _INSERT_OUTBOX[stream.name], heartbeats.parameters()
