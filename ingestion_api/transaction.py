"""One commit: live state, outbox and named pairs of a group of heartbeats in one transaction."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from lake import METER, STREAMS, VEHICLE, Stream
from warehouse_sql.arrays import array_parameters
from warehouse_sql.queries import query

# Of each vehicle and meter the earliest time at which a heartbeat of the vehicle named the meter.
NamedPairs = dict[tuple[str, str], datetime]


async def write_heartbeats(
    conn: psycopg.AsyncConnection,
    rows: Mapping[str, pa.Table],
    statement_rows: int,
    pairs_known: NamedPairs,
) -> NamedPairs:
    """Write the rows of each stream, in order of arrival, and commit.

    Returns the pairs of vehicle and meter that heartbeats named beyond `pairs_known`, or for an
    earlier time. Every collector locks in the same order (meters, vehicles, pairs, each sorted by
    id), so that two of them can't block each other for ever.
    """
    pairs = {
        pair: named_at
        for pair, named_at in _named_pairs(rows.get(VEHICLE.name)).items()
        if pair not in pairs_known or named_at < pairs_known[pair]
    }
    async with conn.transaction():
        for stream in STREAMS.values():
            heartbeats = rows.get(stream.name)
            if heartbeats is None or not heartbeats.num_rows:
                continue
            columns = heartbeats.column_names
            for name, table in (
                (f"upsert_{stream.name}_live_state", newest_of_each_device(stream, heartbeats)),
                (f"insert_{stream.name}_outbox", heartbeats),
            ):
                for start in range(0, table.num_rows, statement_rows):
                    chunk = table.slice(start, statement_rows)
                    await conn.execute(query(name), array_parameters(chunk, columns), prepare=True)
        if pairs:
            vehicles, meters = zip(*pairs, strict=True)
            parameters = list(vehicles), list(meters), list(pairs.values())
            await conn.execute(query("insert_named_links"), parameters)
    return pairs


def newest_of_each_device(stream: Stream, rows: pa.Table) -> pa.Table:
    """One row a device, sorted by id: the newest by event time, of equal ones the last in order."""
    if rows.num_rows == 1:
        return rows
    devices = rows[stream.device].combine_chunks().dictionary_encode()
    codes = devices.indices.to_numpy()
    times = rows["timestamp"].combine_chunks().view(pa.int64()).to_numpy()
    order = np.lexsort((times, codes))  # stable: rows of one device and time stay in order
    last_of_device = np.append(np.flatnonzero(np.diff(codes[order])), len(order) - 1)
    newest = order[last_of_device]  # by code, that is in order of first appearance
    by_id = pc.sort_indices(devices.dictionary).to_numpy()
    return rows.take(pa.array(newest[by_id]))


def _named_pairs(vehicles: pa.Table | None) -> NamedPairs:
    if vehicles is None:
        return {}
    named = vehicles.select(["vehicle_id", METER.device, "timestamp"]).drop_null()
    if not named.num_rows:
        return {}
    pair = ["vehicle_id", METER.device]
    first = named.group_by(pair).aggregate([("timestamp", "min")])
    vehicle_ids: list[Any] = first["vehicle_id"].to_pylist()
    meter_ids: list[Any] = first[METER.device].to_pylist()
    times: list[Any] = first["timestamp_min"].to_pylist()
    return dict(zip(zip(vehicle_ids, meter_ids, strict=True), times, strict=True))
