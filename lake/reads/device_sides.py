"""The readings of a few devices as a side of the mathematics, without a frame of their rows."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl

from lake.energy.intervals import KWH, EnergyReadings
from lake.energy.readings import CADENCE, Side, channels_of_devices, read_side
from lake.reads.device_readings import Readings, readings_beside
from lake.schema.streams import INTERVAL, REGISTER, VEHICLE, Stream
from lake.settings import EnergySettings

_DEGREE: Final = 1000
_TIME: Final = pl.Datetime("us", "UTC")


def side_of_devices(
    readings: Mapping[str, Readings],
    stream: Stream,
    settings: EnergySettings,
    charger_classes: pl.DataFrame | None = None,
    cadences: Mapping[str, float] | None = None,
) -> Side:
    """Return what `read_side` returns for the rows of these devices.

    `cadences` are how often devices send as people say, seconds.
    """
    heard = {name: readings[name] for name in sorted(readings) if readings[name].at.size}
    if any(part.details is not None for part in heard.values()):
        return read_side(_rows(heard, stream, cadences or {}), stream, settings, charger_classes)
    parts = [*heard.values()] or [Readings.none()]
    every = readings_beside(parts)
    device = np.repeat(np.arange(len(parts)), [part.at.size for part in parts])
    at, value, is_register = every.at, every.value, every.is_register
    known = np.flatnonzero(~np.isnan(value))
    energy = np.rint(value[known] * KWH).astype(np.int64)
    devices = pl.Series(stream.device, [*heard], pl.String)
    warm, degrees = np.zeros(0, np.int64), np.zeros(0)
    if stream is VEHICLE:
        degrees = every.battery_temp
        warm = np.flatnonzero(~np.isnan(degrees))
    return Side(
        devices,
        EnergyReadings(
            device[known],
            at[known],
            energy,
            is_register[known],
            np.zeros(known.size, np.int64),
            energy,
        ),
        channels_of_devices(
            devices,
            stream,
            settings,
            charger_classes,
            np.array([cadences.get(name, 0.0) for name in heard]) if cadences else None,
        ),
        np.arange(len(heard)),
        device,
        at,
        every.duplicates,
        device[warm],
        at[warm],
        np.rint(degrees[warm] * _DEGREE).astype(np.int64),
    )


def _rows(
    heard: Mapping[str, Readings], stream: Stream, cadences: Mapping[str, float]
) -> pl.DataFrame:
    """The rows of devices of which some have more to say than the arrays hold."""
    parts = []
    for name, part in heard.items():
        types = pl.Series(np.where(part.is_register, REGISTER, INTERVAL))
        rows = (
            pl.DataFrame(
                {
                    "timestamp": pl.Series(part.at).cast(_TIME),
                    stream.energy: pl.Series(part.value).fill_nan(None),
                    "reading_type": types,
                    "duplicates": part.duplicates,
                    "battery_temp": pl.Series(part.battery_temp).fill_nan(None),
                }
            )
            .with_columns(pl.lit(cadences.get(name), pl.Float64).alias(CADENCE))
            .insert_column(
                0, pl.Series(stream.device, [name], pl.String).new_from_index(0, part.at.size)
            )
        )
        parts.append(rows if part.details is None else rows.hstack(part.details))
    return pl.concat(parts, how="diagonal")
