"""Cadences of devices: how often their heartbeats come, of whatever kind.

Explained in docs/energy.md.
"""

from datetime import datetime
from typing import Final

import numpy as np
import polars as pl

from lake.energy.cadence import MOST_READINGS, is_alike, newest_cadences
from lake.energy.readings import CADENCE
from lake.engine import IN_MEMORY
from lake.schema.partitions import DAY, utc_window
from lake.schema.streams import INTERVAL_SECONDS, METER, Stream
from lake.settings import EnergySettings

LOOK_BACK: Final = 8 * DAY
"""No device is expected for longer after a heartbeat: older ones say nothing of a cadence."""

_SECOND: Final = 1_000_000
_TAIL: Final = 7  # heartbeats that end six steps
_SAMPLED: Final = 10  # times shorter than the cadence, and a declared interval is that of a sample
_TIME: Final = pl.Datetime("us", "UTC")
_MUTE: Final = "_mute"


def device_cadences(
    readings: pl.DataFrame,
    stream: Stream,
    charger_classes: pl.DataFrame,
    start: datetime,
    end: datetime,
    settings: EnergySettings,
) -> pl.DataFrame:
    """Return the cadence of each device at the end of an hour, by its heartbeats up to then.

    `readings` and `charger_classes` are those of `HourInputs`. A row has the device; `cadence` in
    microseconds: declared, as people say, of the charger's class or learned; `own`, the same but
    for what is declared; both null where nothing tells; and `last`, the time of its newest
    heartbeat. A learned cadence that is about the nominal one is the nominal one. Of a device with
    several series the shortest counts.
    """
    start, end = utc_window(start, end)
    at, device = pl.col("timestamp"), stream.device
    series = ["reading_type", *([] if stream.part is None else [stream.part.name]), _MUTE]
    rows = readings.filter(at >= start - LOOK_BACK, at < end).select(
        device,
        "timestamp",
        *series[:-1],
        pl.col(stream.energy).is_null().alias(_MUTE),
        declared=(pl.col(INTERVAL_SECONDS.name) * _SECOND).round().cast(pl.Int64),
    )
    plain = _of_one_series(rows.filter(at >= start), device, series)
    others = rows.join(plain, on=device, how="anti") if plain.height else rows
    found = pl.concat([plain, _by_series(others, device, series)])
    nominal = round(settings.nominal_interval_seconds * _SECOND)
    is_nominal = pl.Series(is_alike(found["learned"].to_numpy(), nominal))
    learned = pl.when(is_nominal).then(nominal).when(pl.col("learned") > 0).then(pl.col("learned"))
    newest = pl.max("last").over(device)
    return (
        found.join(_class_cadences(charger_classes, device, settings), on=device, how="left")
        .join(_told_cadences(readings, device), on=device, how="left")
        .with_columns(own=pl.coalesce("told", "of_class", learned))
        .with_columns(
            cadence=pl.when(_SAMPLED * pl.col("declared") >= pl.col("own").fill_null(nominal))
            .then("declared")
            .otherwise("own")
        )
        # A series that has ended says nothing: of one that sends in the hour, others do not count.
        .filter(pl.col("last") >= pl.min_horizontal(newest, pl.lit(start, _TIME)))
        .group_by(device)
        .agg(pl.min("cadence", "own"), pl.max("last"))
    )


def _of_one_series(rows: pl.DataFrame, device: str, series: list[str]) -> pl.DataFrame:
    """The devices of which six steps of the hour tell it, and all heartbeats are of one series.

    These are nearly all: sorted and counted in place, they cost little.
    """
    times = rows["timestamp"].to_physical().to_numpy()
    begins = rows.select(_changes([device])).to_series().to_numpy()
    starts = np.flatnonzero(begins)
    ids = rows[device][starts]
    if not len(ids) or ids.n_unique() < len(ids):  # not in the order of devices
        starts = starts[:0]
    else:
        is_odd = rows.select(_changes(series)).to_series().to_numpy()
        is_odd |= np.diff(times, prepend=times[:1]) <= 0
        lengths = np.diff(starts, append=len(times))
        is_plain = ~np.logical_or.reduceat(is_odd & ~begins, starts) & (lengths >= _TAIL)
        starts = (starts + lengths - _TAIL)[is_plain]
    places = starts[:, None] + np.arange(_TAIL)
    channel = np.repeat(np.arange(len(starts)), _TAIL)
    learned = newest_cadences(channel, times[places].ravel(), tries=1)
    last = pl.Series(places[learned > 0, -1], dtype=pl.UInt32)
    return rows.select(pl.all().gather(last)).select(
        device,
        "declared",
        last="timestamp",
        learned=pl.Series(learned[learned > 0], dtype=pl.Int64),
    )


def _by_series(rows: pl.DataFrame, device: str, series: list[str]) -> pl.DataFrame:
    """Each series of each device, with the cadence that its heartbeats tell; 0: none."""
    at, mute = pl.col("timestamp"), pl.col(_MUTE)
    newest = pl.col("declared").first()
    if rows["declared"].null_count() < rows.height:
        newest = pl.col("declared").filter(at == at.max()).max()
    # Heartbeats of several phases at one moment are one; without an energy they have one series.
    found = pl.concat(
        rows.lazy()
        .filter(of_kind)
        .group_by(keys)
        .agg(newest, times=times.sort().tail(MOST_READINGS))
        .select(device, "declared", "times")
        for of_kind, keys, times in (
            (~mute, [device, *series[:-1]], at),
            (mute, [device], at.unique()),
        )
    ).collect(engine=IN_MEMORY)
    times = found["times"].explode().to_physical().to_numpy()
    channel = np.repeat(np.arange(found.height), found["times"].list.len().to_numpy())
    learned = pl.Series(newest_cadences(channel, times), dtype=pl.Int64)
    return found.select(device, "declared", last=pl.col("times").list.last(), learned=learned)


def _changes(names: list[str]) -> pl.Expr:
    """Where a row differs from the one before it."""
    return pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift(1)) for name in names)


def _told_cadences(readings: pl.DataFrame, device: str) -> pl.DataFrame:
    """The devices of which people say how often they send, and it in microseconds as `told`."""
    schema = {device: pl.String(), "told": pl.Int64()}
    if CADENCE not in readings.columns or readings[CADENCE].null_count() == readings.height:
        return pl.DataFrame(schema=schema)
    told = (pl.col(CADENCE) * _SECOND).round().cast(pl.Int64).alias("told")
    return readings.filter(pl.col(CADENCE).is_not_null()).select(device, told).unique(device)


def _class_cadences(
    charger_classes: pl.DataFrame, device: str, settings: EnergySettings
) -> pl.DataFrame:
    """The meters whose class has a cadence, and it in microseconds as `of_class`."""
    known = {
        name: round(one.cadence_seconds * _SECOND)
        for name, one in settings.charger_classes.items()
        if one.cadence_seconds is not None and device == METER.device
    }
    cadence = pl.col("charger_class").replace_strict(known, default=None, return_dtype=pl.Int64)
    return charger_classes.select(pl.col(METER.device).alias(device), of_class=cadence).drop_nulls()
