"""Readings that an hour needs beside its context, for energy that crosses its edges.

Energy that crosses an edge is divided as the energy of the other side was, if that is known all the
while: a meter's hour from 9:05 to 10:05 takes a vehicle's minutes of both hours. Both hours have to
know them, or they would divide one reading in two ways. So it is with the rise of a register that
was frozen, which is spread over the time that it stood still.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from lake.energy.measured_side import crossing_energies, jumps_after_standstill
from lake.engine import IN_MEMORY
from lake.rollups.hour import HourInputs
from lake.schema.partitions import DAY, HOUR
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
    wanted: dict[str, list[pl.DataFrame]] = {name: [] for name in STREAMS}
    for name, stream in STREAMS.items():
        other = _OTHER[name]
        beside = pairs.join(edges[name], on=stream.device, how="left").join(
            edges[other.name], on=other.device, suffix="_other"
        )
        # Nothing crosses an edge for longer than from the reading before it to the one after it.
        may_cross = (pl.col("last").fill_null(_EVER) < pl.col("oldest_other")) | (
            pl.col("first") > pl.col("newest_other")
        )
        slow = beside.filter(may_cross)[stream.device].implode()
        of_slow = rows[name].filter(pl.col(stream.device).is_in(slow))
        crossing = crossing_energies(of_slow, stream, settings, classes, start, end)
        spread = _spread_rises(rows[name], stream, inputs, settings)
        crossing = beside.join(pl.concat([crossing, spread]), on=stream.device)
        wanted[other.name] += _lacking(crossing, other, inputs, largest_gap)
        own = edges[name].rename(lambda column: f"{column}_other")
        own = spread.join(own, left_on=stream.device, right_on=f"{stream.device}_other")
        wanted[name] += _lacking(own, stream, inputs, largest_gap)
    return {name: _as_ranges(parts, start) for name, parts in wanted.items()}


def _spread_rises(
    rows: pl.DataFrame, stream: Stream, inputs: HourInputs, settings: EnergySettings
) -> pl.DataFrame:
    """Over what rises of frozen registers may be spread, where it crosses an edge.

    With the hour before, which tells whether a register stood still for longer.
    """
    jumps = jumps_after_standstill(rows, stream, settings)
    since, until = pl.col("since"), pl.col("until")
    return jumps.select(stream.device, since=until - 2 * HOUR, until=until).filter(
        pl.any_horizontal((since < edge) & (until >= edge) for edge in inputs.window)
    )


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
            newest=pl.coalesce(
                timestamp.filter(is_after).bottom_k(context_readings).max(), timestamp.max()
            ),
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
) -> list[pl.DataFrame]:
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
    return [before, after]


def _as_ranges(parts: list[pl.DataFrame], start: datetime) -> pl.DataFrame:
    return (
        pl.concat([pl.DataFrame(schema=LACKING), *parts])
        .group_by("device_id", is_before=pl.col("since") < start)
        .agg(pl.col("since").min(), pl.col("until").max())
        .select(list(LACKING))
        .sort("device_id", "since")
    )
