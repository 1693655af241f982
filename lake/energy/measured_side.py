"""Energies of a stream's heartbeats as amounts over intervals, before any device is linked.

Explained in docs/energy.md.
"""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from lake.energy.attribution import own_pieces
from lake.energy.intervals import HOUR, KNOWN, KWH, SECOND, Intervals, energy_intervals
from lake.energy.readings import Side, read_side
from lake.energy.windows import Windows, energy_in
from lake.schema.partitions import EPOCH, microseconds, utc_window
from lake.schema.streams import Stream
from lake.settings import EnergySettings

_MICROSECOND: Final = timedelta(microseconds=1)
_LONGEST_INTERVAL: Final = 8 * 24 * HOUR


class MeasuredSide(NamedTuple):
    """Heartbeats of a stream, and what their energies mean."""

    side: Side
    intervals: Intervals


def measure_side(
    rows: pl.DataFrame,
    stream: Stream,
    settings: EnergySettings,
    charger_classes: pl.DataFrame | None = None,
) -> MeasuredSide:
    """Return what the energies of heartbeats mean; the arguments of `efficiency_tables`."""
    return measured(read_side(rows, stream, settings, charger_classes), settings)


def measured(side: Side, settings: EnergySettings) -> MeasuredSide:
    """Return a side with what its energies mean."""
    intervals = energy_intervals(
        side.readings,
        side.channels,
        round(settings.nominal_interval_seconds * SECOND),
        round(settings.register_noise_kwh * KWH),
    )
    return MeasuredSide(side, intervals)


def reach_of_crossing(
    ac: MeasuredSide, dc: MeasuredSide, start: datetime, end: datetime
) -> tuple[datetime, datetime]:
    """Return the time of a window and of all energy that crosses an edge of it."""
    since, until = microseconds(start), microseconds(end)
    first, last = since, until
    for _, intervals in (ac, dc):
        flows = (intervals.kind == KNOWN) & (intervals.energy != 0)
        begins, ends = intervals.start[flows], intervals.end[flows]
        first = min(first, int(begins[(begins < since) & (ends > since)].min(initial=first)))
        last = max(last, int(ends[(begins < until) & (ends > until)].max(initial=last)))
    return EPOCH + first * _MICROSECOND, EPOCH + last * _MICROSECOND


def crossing_energies(
    rows: pl.DataFrame,
    stream: Stream,
    settings: EnergySettings,
    charger_classes: pl.DataFrame,
    start: datetime,
    end: datetime,
) -> pl.DataFrame:
    """Return the energies of these rows that cross an edge of [start, end): device, since, until.

    The arguments are those of `measure_side`.
    """
    side, intervals = measure_side(rows, stream, settings, charger_classes)
    crosses = np.zeros(len(intervals.start), np.bool_)
    for edge in (microseconds(start), microseconds(end)):
        crosses |= (intervals.start < edge) & (intervals.end > edge)
    crosses &= (intervals.kind == KNOWN) & (intervals.energy != 0)
    time = pl.Datetime("us", "UTC")
    return pl.DataFrame(
        {
            stream.device: side.devices.gather(side.channel_device[intervals.channel[crosses]]),
            "since": pl.Series(intervals.start[crosses]).cast(time),
            "until": pl.Series(intervals.end[crosses]).cast(time),
        }
    )


def energy_of_devices(
    rows: pl.DataFrame,
    stream: Stream,
    settings: EnergySettings,
    charger_classes: pl.DataFrame,
    start: datetime,
    end: datetime,
) -> pl.DataFrame:
    """Return each device of these rows with its `energy_kwh` in [start, end).

    The arguments are those of `measure_side`. Raises ValueError as `efficiency_tables` does.
    """
    start, end = utc_window(start, end)
    first, last = microseconds(start), microseconds(end)
    side, intervals = measure_side(rows, stream, settings, charger_classes)
    windows = Windows.alike(len(side.devices), first, last)
    pieces = own_pieces(near_window(intervals, first, last), side.channel_device)
    energy = energy_in(pieces, windows).total
    return side.devices.to_frame(stream.device).with_columns(energy_kwh=pl.Series(energy / KWH))


def near_window(intervals: Intervals, start: int, end: int) -> Intervals:
    """Return the intervals that a window may have to do with, for what crosses its edges as well.

    Readings of clocks that stood years ago are context too, and times of all owners share an axis.
    """
    first, last = start - _LONGEST_INTERVAL, end + _LONGEST_INTERVAL
    near = (intervals.end > first) & (intervals.start < last)
    if not near.all():
        intervals = Intervals(*(column[near] for column in intervals))
    # Only a register that stood still has a longer interval, of no energy.
    return intervals._replace(
        start=np.maximum(intervals.start, first), end=np.minimum(intervals.end, last)
    )
