"""Readings that an hour needs beside its context, for energy that crosses its edges.

Energy that crosses an edge is divided as the energy of the other side was, if that is known all the
while: a meter's hour from 9:05 to 10:05 takes a vehicle's minutes of both hours. Both hours have to
know them, or they would divide one reading in two ways.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from lake.energy.measured_side import crossing_energies
from lake.engine import IN_MEMORY
from lake.rollups.hour import HourInputs
from lake.schema.partitions import DAY
from lake.schema.streams import METER, STREAMS, VEHICLE, Stream
from lake.settings import EnergySettings

LACKING: Final = pl.Schema(
    {
        "device_id": pl.String(),
        "since": pl.Datetime("us", "UTC"),
        "until": pl.Datetime("us", "UTC"),
    }
)
"""Readings with an energy of a device in [since, until)."""

_EVER: Final = datetime.min.replace(tzinfo=UTC)
_TICK: Final = timedelta(microseconds=1)
_OTHER: Final = {METER.name: VEHICLE, VEHICLE.name: METER}


def lacking_readings(
    inputs: HourInputs, settings: EnergySettings, context_readings: int
) -> Mapping[str, pl.DataFrame]:
    """Return by stream what an hour with so many readings beside it lacks: LACKING, by device.

    As much more is asked for as the context has, from which the cadence of the first follows.
    """
    meters, vehicles, links, classes = pl.collect_all(
        [inputs.meters, inputs.vehicles, inputs.links, inputs.charger_classes], engine=IN_MEMORY
    )
    rows = {METER.name: meters, VEHICLE.name: vehicles}
    start, end = inputs.window
    largest_gap = timedelta(seconds=settings.largest_gap_seconds)
    pairs = links.select("meter_id", "vehicle_id").unique()
    edges = {
        name: _context(of_stream, STREAMS[name], inputs, context_readings)
        for name, of_stream in rows.items()
    }
    found = {}
    for name, stream in STREAMS.items():
        other = _OTHER[name]
        beside = pairs.join(edges[name], on=stream.device, how="left").join(
            edges[other.name], on=other.device, suffix="_other"
        )
        # Nothing crosses an edge for longer than from the reading before it to the one after it.
        may_cross = (pl.col("last").fill_null(_EVER) < pl.col("oldest_other")) | (
            pl.col("first") > pl.col("newest_other")
        )
        beside = beside.filter(may_cross)
        if beside.is_empty():
            found[other.name] = pl.DataFrame(schema=LACKING)
            continue
        slow = rows[name].filter(pl.col(stream.device).is_in(beside[stream.device].implode()))
        crossing = crossing_energies(slow, stream, settings, classes, start, end)
        crossing = beside.join(crossing, on=stream.device)
        found[other.name] = _lacking(crossing, other, inputs, largest_gap)
    return found


def _context(
    rows: pl.DataFrame, stream: Stream, inputs: HourInputs, context_readings: int
) -> pl.DataFrame:
    """Times of each device's context: the last before and the first after, and how far it goes.

    `oldest` is null where there is nothing older; `goes_on` tells whether there may be later ones.
    """
    start, end = inputs.window
    timestamp = pl.col("timestamp")
    is_before, is_after = timestamp < start, timestamp >= end
    return (
        rows.lazy()
        .filter(pl.col(stream.energy).is_not_null(), is_before | is_after)
        .group_by(stream.series)
        .agg(
            last=timestamp.filter(is_before).max(),
            oldest=pl.when(is_before.sum() >= context_readings).then(timestamp.min()),
            first=timestamp.filter(is_after).min(),
            newest=timestamp.max(),
            goes_on=is_after.sum() >= context_readings,
        )
        .group_by(stream.device)
        .agg(
            pl.col("last", "newest").min(), pl.col("oldest", "first").max(), pl.col("goes_on").any()
        )
        .collect(engine=IN_MEMORY)
    )


def _lacking(
    crossing: pl.DataFrame, other: Stream, inputs: HourInputs, largest_gap: timedelta
) -> pl.DataFrame:
    start, end = inputs.window
    since, until = pl.col("since"), pl.col("until")
    oldest, newest = pl.col("oldest_other"), pl.col("newest_other")
    known_until = pl.max_horizontal(newest, pl.lit(end))
    # Of devices that report alike the last minute, which has not arrived yet, is not waited for.
    matters = pl.col("goes_on_other") | (until - since > largest_gap)
    before = crossing.filter(since < oldest).select(
        device_id=other.device,
        since=since - pl.min_horizontal(start - oldest, pl.lit(DAY)),
        until=oldest,
    )
    after = crossing.filter(until > known_until, matters).select(
        device_id=other.device,
        since=pl.max_horizontal(newest + _TICK, pl.lit(end)),
        until=until + pl.min_horizontal(known_until - end, pl.lit(DAY)) + _TICK,
    )
    return (
        pl.concat([before, after])
        .group_by("device_id", pl.col("since") < start)
        .agg(pl.col("since").min().alias("from"), pl.col("until").max())
        .select("device_id", pl.col("from").alias("since"), "until")
        .sort("device_id", "since")
    )
