"""Energies of a stream's heartbeats as amounts over intervals, before any device is linked.

Explained in docs/energy.md.
"""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from lake.energy.attribution import own_pieces
from lake.energy.intervals import HOUR, KNOWN, KWH, SECOND, Intervals, energy_intervals
from lake.energy.pieces import Windows
from lake.energy.readings import Side, read_side
from lake.energy.windows import energy_in
from lake.schema.partitions import EPOCH, microseconds, utc_window
from lake.schema.streams import REGISTER, Stream
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
    """Return what the energies of heartbeats mean; the arguments of `efficiency_of_window`."""
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


def jumps_after_standstill(
    rows: pl.DataFrame, stream: Stream, settings: EnergySettings
) -> pl.DataFrame:
    """Return the rises of registers that stood still before and that no power would explain.

    They may be spread over up to an hour before. With the columns of the series; `until`, when the
    register had risen; and `is_oldest`: it stood still since its first value in these rows.
    """
    energy, timestamp = pl.col(stream.energy), pl.col("timestamp")
    powers = [settings.greatest_power_kw, settings.greatest_vehicle_power_kw]
    of_classes = (of_class.greatest_power_kw for of_class in settings.charger_classes.values())
    least_kw = min(*powers, *(power for power in of_classes if power is not None))
    hours = (timestamp - timestamp.shift(1)).dt.total_microseconds() / HOUR
    begins = pl.any_horizontal(
        pl.col(name).ne_missing(pl.col(name).shift(1)) for name in stream.series
    )
    return (
        rows.filter(energy.is_not_null(), pl.col("reading_type") == REGISTER)
        .select(*stream.series, "timestamp", stream.energy)
        .sort(*stream.series, "timestamp")
        .with_columns(
            begins=begins.fill_null(value=True),
            rises=energy - energy.shift(1) > least_kw * hours + settings.register_noise_kwh,
        )
        .with_columns(run=(pl.col("begins") | (energy != energy.shift(1))).cum_sum())
        .with_columns(first_run=pl.when("begins").then("run").forward_fill())
        .with_columns(
            is_oldest=pl.col("run").shift(1) == pl.col("first_run"),
            stood=pl.col("run").shift(1) == pl.col("run").shift(2),
        )
        .filter("rises", ~pl.col("begins"), pl.col("is_oldest") | pl.col("stood"))
        .select(*stream.series, "is_oldest", until="timestamp")
    )


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

    The arguments are those of `measure_side`. Raises ValueError as `efficiency_of_window` does.
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
        intervals = intervals.of(near)
    # Only a register that stood still has a longer interval, of no energy.
    return intervals._replace(
        start=np.maximum(intervals.start, first), end=np.minimum(intervals.end, last)
    )
