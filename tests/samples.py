"""Rows of heartbeats for tests, as the collector hands them to the outbox and the lake."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa

from lake import METER, VEHICLE, Stream

HOUR_10 = datetime(2026, 11, 20, 10, tzinfo=UTC)
ANY_TIME = datetime.max.replace(tzinfo=UTC)
"""As the latest event time that is believed: every one is."""


def heartbeats(stream: Stream, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """A table with the stream's columns; what a row leaves out is null, or its usual value."""
    usual = {
        "timestamp": HOUR_10,
        "reading_type": "interval",
        "received_at": HOUR_10 + timedelta(hours=1),
    }
    empty = pl.from_arrow(stream.arrow_schema.empty_table())
    assert isinstance(empty, pl.DataFrame)
    names = empty.columns
    filled = [{name: {**usual, **row}.get(name) for name in names} for row in rows]
    return pl.DataFrame(filled, schema=empty.schema).to_arrow().cast(stream.arrow_schema)


def meter_rows(*rows: Mapping[str, Any]) -> pa.Table:
    """Meter heartbeats; `meter_id` defaults to METER001."""
    return heartbeats(METER, [{"meter_id": "METER001", **row} for row in rows])


def vehicle_rows(*rows: Mapping[str, Any]) -> pa.Table:
    """Vehicle heartbeats; `vehicle_id` defaults to VEH001."""
    return heartbeats(VEHICLE, [{"vehicle_id": "VEH001", **row} for row in rows])
