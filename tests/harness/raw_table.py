"""Appends to a raw table as of an outbox that opens the table each time."""

import pyarrow as pa

from lake import DeliveredHorizon, Lake, StaleRead, Stream, append_once, read_delivered_horizon


def append_from(
    lake: Lake, stream: Stream, rows: pa.Table, app_id: str, horizon: int, expected: int
) -> DeliveredHorizon:
    """Append rows to the newest version; StaleRead unless `expected` was delivered before."""
    before = read_delivered_horizon(lake, stream, app_id)
    if before.horizon != expected:
        raise StaleRead(f"expected horizon {expected}, the table is at {before.horizon}")
    return append_once(lake, stream, rows, app_id, horizon, before)
