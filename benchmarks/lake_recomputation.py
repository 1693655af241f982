"""Number of times that an hour is computed, by the cadences of a fleet.

An hour is computed two minutes after its end, and again when a reading comes that it lacked: that
of a slow device, which crosses its end. Time is simulated; when an hour waits again is asked of the
product's own rule and query. Each device sends evenly, and none at the moment of another.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import psycopg

from benchmarks.lake_day import DAY
from benchmarks.table import Row
from lake import HOUR, METER
from pipelines.compute.awaited import awaited_readings, note_context
from pipelines.ledger import hours_to_refine
from pipelines.settings import PipelineSettings
from tests.harness.postgres import running_postgres
from warehouse_sql.migrate import migrate

_FLEETS: Final = ((60,), (60, 300), (60, 300, 900), (900,))
_DEVICES: Final = 20  # of each cadence
_HOURS: Final = 6
_FIRST: Final = DAY + 2 * HOUR
_SECOND: Final = 1_000_000

_NOTED: Final = b"UPDATE awaited_reading SET noted_at = %(now)s WHERE hour_start = %(hour)s"
_HEARD: Final = b"""
INSERT INTO meter_live_state (meter_id, "timestamp", kwh_consumed_ac, reading_type, received_at)
SELECT meter_id, heard_at, 0.1, 'interval', heard_at
FROM unnest(%(devices)s::text[], %(times)s::timestamptz[]) AS heard (meter_id, heard_at)
ON CONFLICT (meter_id) DO UPDATE SET "timestamp" = excluded."timestamp"
"""


def computations_an_hour(below: Path) -> list[Row]:
    """Simulate some hours of each fleet."""
    rows = []
    with running_postgres(below / "postgres") as server:
        migrate(server.url())
        with psycopg.connect(server.url(), autocommit=True) as connection:
            for cadences in _FLEETS:
                connection.execute(b"TRUNCATE awaited_reading, meter_live_state")
                counts = _computations(connection, _sent(cadences))
                mean = sum(counts[hour] for hour in counts) / len(counts)
                every = ", ".join(f"{cadence / 60:.0f}" for cadence in cadences)
                rows.append(Row(f"an hour of devices of {every} min is computed", "times", [mean]))
    return rows


def _sent(cadences: Sequence[int]) -> pl.DataFrame:
    """The meters' readings of all hours and of those beside them."""
    start, end = _seconds(_FIRST - 2 * HOUR), _seconds(_FIRST + (_HOURS + 3) * HOUR)
    parts = []
    for cadence in cadences:
        for number in range(_DEVICES):
            at = np.arange(start + cadence * (number + 0.5) / _DEVICES, end, cadence)
            times = pl.Series(np.rint(at * _SECOND).astype(np.int64))
            parts.append(
                pl.DataFrame({"timestamp": times.cast(pl.Datetime("us", "UTC"))}).select(
                    pl.lit(f"{cadence}-{number}").alias(METER.device),
                    "timestamp",
                    pl.lit(0.1).alias(METER.energy),
                    pl.lit("interval").alias("reading_type"),
                    pl.lit(None, pl.String).alias("phase"),
                )
            )
    return pl.concat(parts)


def _computations(connection: psycopg.Connection, sent: pl.DataFrame) -> dict[datetime, int]:
    """How often each hour is computed."""
    settings = PipelineSettings()
    pause = timedelta(seconds=settings.refine_pause_seconds)
    tick = timedelta(seconds=settings.sensor_interval_seconds)
    grace = timedelta(seconds=settings.hour_grace_seconds)
    counts = {_FIRST + n * HOUR: 0 for n in range(_HOURS)}
    now = _FIRST + HOUR
    while now < _FIRST + (_HOURS + 2) * HOUR:
        here = sent.filter(pl.col("timestamp") <= now)
        newest = here.group_by(METER.device).agg(pl.col("timestamp").max())
        devices, times = newest[METER.device].to_list(), newest["timestamp"].to_list()
        connection.execute(_HEARD, {"devices": devices, "times": times})
        due = {hour for hour, count in counts.items() if not count and now >= hour + HOUR + grace}
        due |= {*hours_to_refine(connection, now, pause, _FIRST)}
        for hour in sorted(due):
            near = here.filter(pl.col("timestamp") >= hour - HOUR)
            note_context(
                connection, [hour], [{METER.name: awaited_readings(near, METER, hour)}], [{}]
            )
            connection.execute(_NOTED, {"now": now, "hour": hour})
            counts[hour] += 1
        now += tick
    return counts


def _seconds(moment: datetime) -> float:
    return moment.timestamp()
