"""The heartbeats of a side as columns for the mathematics."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from lake.energy.intervals import (
    KWH,
    Channels,
    EnergyReadings,
    Integers,
    expand_ranges,
)
from lake.schema.streams import METER, REGISTER, VEHICLE, Stream
from lake.settings import EnergySettings

SECOND: Final = 1_000_000
PHASE: Final = "phase"
CADENCE: Final = "cadence_seconds"
"""How often a device sends as people say, in each of its rows; null: not said."""
# The columns of what tells the class of each charger, by its meter.
CHARGER_CLASSES: Final = {"meter_id": pl.String(), "charger_class": pl.String()}


class Side(NamedTuple):
    """Heartbeats of one stream by device, then time; a device is its number in `devices`."""

    devices: pl.Series
    """Ids in order, once each."""
    readings: EnergyReadings
    channels: Channels
    channel_device: Integers
    """The device of each channel."""
    device: Integers
    """Of each heartbeat; of several phases at one time there is one."""
    time: Integers
    duplicates: Integers
    temperature_device: Integers
    temperature_time: Integers
    temperature: Integers
    """Of batteries, thousandths of a degree Celsius."""


def read_side(
    rows: pl.DataFrame,
    stream: Stream,
    settings: EnergySettings,
    charger_classes: pl.DataFrame | None = None,
) -> Side:
    """Turn rows with the columns of the history into columns.

    `charger_classes` has meter_id and charger_class, one row for each meter that has a class. A
    CADENCE in `rows` counts before that of the class.
    """
    names, time = rows[stream.device], rows["timestamp"].to_physical().to_numpy()
    devices, device, place = device_order(names, time)
    time = time[place]
    channel, channel_device = _channels(rows, device, place)
    readings = _energies(rows, stream, channel, time, place)
    told = None
    if CADENCE in rows.columns and rows[CADENCE].null_count() < rows.height:
        first = np.flatnonzero(np.diff(device, prepend=-1))
        told = rows[CADENCE].fill_null(0).to_numpy()[place][first]
    own = channels_of_devices(devices, stream, settings, charger_classes, told)
    again = np.zeros(len(time), np.bool_)
    again[1:] = (device[1:] == device[:-1]) & (time[1:] == time[:-1])
    duplicates = _integers(rows, "duplicates")[place]
    warm = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    if stream is VEHICLE and "battery_temp" in rows.columns:
        is_warm = rows["battery_temp"].is_not_null().to_numpy()[place]
        degrees = rows["battery_temp"].to_numpy()[place][is_warm]
        warm = device[is_warm], time[is_warm], np.rint(degrees * 1000).astype(np.int64)
    stay = ~again
    if again.any():
        duplicates = np.add.reduceat(duplicates, np.flatnonzero(stay))
        device_of, time_of = device[stay], time[stay]
    else:
        device_of, time_of = device, time
    return Side(
        devices,
        readings,
        Channels(
            own.cadence[channel_device],
            own.power_kw[channel_device],
            own.register_size[channel_device],
        ),
        channel_device,
        device_of,
        time_of,
        duplicates,
        *warm,
    )


def _channels(
    rows: pl.DataFrame, device: Integers, place: Integers | slice
) -> tuple[Integers, Integers]:
    """Return the channel of each row in order, and the device of each channel."""
    count = int(device[-1]) + 1 if len(device) else 0
    if PHASE not in rows.columns or rows[PHASE].null_count() == rows.height:
        return device, np.arange(count)
    pairs = pl.DataFrame({"device": device, "phase": rows[PHASE][place]})
    known = pairs.unique().sort("device", "phase").with_row_index("channel")
    channel = pairs.join(
        known, on=["device", "phase"], how="left", nulls_equal=True, maintain_order="left"
    )
    return (
        channel["channel"].cast(pl.Int64).to_numpy(),
        known["device"].cast(pl.Int64).to_numpy(),
    )


def _energies(
    rows: pl.DataFrame,
    stream: Stream,
    channel: Integers,
    time: Integers,
    place: Integers | slice,
) -> EnergyReadings:
    energy = _whole(rows[stream.energy])[place]
    is_register = (rows["reading_type"] == REGISTER).to_numpy()[place]
    declared = np.zeros(len(time), np.int64)
    if _has(rows, "interval_seconds"):
        seconds = rows["interval_seconds"].fill_null(0).to_numpy()[place]
        declared = np.rint(seconds * SECOND).astype(np.int64)
    other = energy
    if _has(rows, "conflicting_energy"):
        other = _whole(rows["conflicting_energy"].fill_null(rows[stream.energy]))[place]
    readings = EnergyReadings(channel, time, energy, is_register, declared, other)
    is_known = rows[stream.energy].is_not_null().to_numpy()[place]
    if not is_known.all():
        readings = readings.of(is_known)
    if (np.diff(readings.channel) < 0).any():
        readings = readings.of(np.lexsort((readings.time, readings.channel)))
    return readings


def device_order(names: pl.Series, time: Integers) -> tuple[pl.Series, Integers, Integers | slice]:
    """Return the ids in order, and by device, then time, the device and the place of each row.

    Rows of a device stand together in each part of a window, so runs of ids are sorted, and texts
    hardly compared.
    """
    runs = np.flatnonzero((names != names.shift(1)).fill_null(True).to_numpy())
    heads = names.gather(runs).cast(pl.String)
    ids = heads.unique().sort()
    number = ids.search_sorted(heads).cast(pl.Int64).to_numpy()
    count = np.diff(runs, append=len(names))
    place: Integers | slice = slice(None)
    if (np.diff(number) < 0).any():
        order = np.argsort(number, kind="stable")
        number, count = number[order], count[order]
        _, place = expand_ranges(runs[order], count)
    device, time = np.repeat(number, count), time[place]
    if ((device[1:] == device[:-1]) & (time[1:] < time[:-1])).any():
        order = np.lexsort((time, device))
        place = order if isinstance(place, slice) else place[order]
    return ids, device, place


def channels_of_devices(
    devices: pl.Series,
    stream: Stream,
    settings: EnergySettings,
    charger_classes: pl.DataFrame | None,
    told: npt.NDArray[np.float64] | None = None,
) -> Channels:
    """Return cadence, greatest power and register size of each device.

    `told` is how often each sends as people say, seconds, 0: not said; it counts before the class.
    """
    count = len(devices)
    power = settings.greatest_power_kw if stream is METER else settings.greatest_vehicle_power_kw
    size = settings.register_size_kwh or 0.0
    cadence, powers, sizes = np.zeros(count), np.full(count, power), np.full(count, size)
    if stream is METER and charger_classes is not None and settings.charger_classes:
        described = charger_classes.filter(
            pl.col("charger_class").is_in(list(settings.charger_classes))
        )
        at = devices.to_frame("meter_id").with_row_index().join(described, on="meter_id")
        for index, name in at.select("index", "charger_class").iter_rows():
            own = settings.charger_classes[name]
            cadence[index] = own.cadence_seconds or 0.0
            powers[index] = own.greatest_power_kw or power
            sizes[index] = own.register_size_kwh or size
    if told is not None:
        cadence = np.where(told > 0, told, cadence)
    return Channels(
        np.rint(cadence * SECOND).astype(np.int64), powers, np.rint(sizes * KWH).astype(np.int64)
    )


def _whole(energy: pl.Series) -> Integers:
    whole: Integers = np.rint(energy.fill_null(0.0).to_numpy() * KWH).astype(np.int64)
    return whole


def _integers(rows: pl.DataFrame, name: str) -> Integers:
    if not _has(rows, name):
        return np.zeros(rows.height, np.int64)
    counts: Integers = rows[name].fill_null(0).cast(pl.Int64).to_numpy()
    return counts


def _has(rows: pl.DataFrame, name: str) -> bool:
    return name in rows.columns and rows[name].null_count() < rows.height
