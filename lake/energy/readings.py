"""The heartbeats of a side as columns for the mathematics."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from lake.energy.intervals import KWH, Channels, EnergyReadings, Flags, Integers
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
    rows = _in_order(rows, stream)
    names = rows[stream.device]
    is_first = (names != names.shift(1)).fill_null(True)
    device = (is_first.cum_sum().cast(pl.Int64) - 1).to_numpy()
    devices = names.filter(is_first)
    channel, channel_device = _channels(rows, stream, device)
    time = rows["timestamp"].to_physical().to_numpy()
    is_known = rows[stream.energy].is_not_null().to_numpy()
    readings = _energies(rows, stream, channel, time, is_known)
    told = None
    if CADENCE in rows.columns and rows[CADENCE].null_count() < rows.height:
        told = rows[CADENCE].filter(is_first).fill_null(0).to_numpy()
    own = channels_of_devices(devices, stream, settings, charger_classes, told)
    again = np.zeros(len(time), np.bool_)
    again[1:] = (device[1:] == device[:-1]) & (time[1:] == time[:-1])
    duplicates = _integers(rows, "duplicates")
    warm = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    if stream is VEHICLE and "battery_temp" in rows.columns:
        is_warm = rows["battery_temp"].is_not_null().to_numpy()
        degrees = np.rint(rows["battery_temp"].to_numpy()[is_warm] * 1000).astype(np.int64)
        warm = device[is_warm], time[is_warm], degrees
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


def _in_order(rows: pl.DataFrame, stream: Stream) -> pl.DataFrame:
    """Sort by device, time and phase; rows that are sorted, as most are, are only looked at."""
    names, time = rows[stream.device], rows["timestamp"]
    same = names == names.shift(1)
    # A comparison of neighbours is far cheaper than a sort of texts.
    wrong = (names < names.shift(1)) | (same & (time < time.shift(1)))
    if not wrong.any():
        return rows.rechunk()
    return rows.sort(stream.device, "timestamp", maintain_order=True)


def _channels(rows: pl.DataFrame, stream: Stream, device: Integers) -> tuple[Integers, Integers]:
    """Return the channel of each row, and the device of each channel."""
    count = int(device[-1]) + 1 if len(device) else 0
    if PHASE not in rows.columns or rows[PHASE].null_count() == rows.height:
        return device, np.arange(count)
    pairs = pl.DataFrame({"device": device, "phase": rows[PHASE]})
    known = pairs.unique().sort("device", "phase").with_row_index("channel")
    channel = pairs.join(
        known, on=["device", "phase"], how="left", nulls_equal=True, maintain_order="left"
    )
    return (
        channel["channel"].cast(pl.Int64).to_numpy(),
        known["device"].cast(pl.Int64).to_numpy(),
    )


def _energies(
    rows: pl.DataFrame, stream: Stream, channel: Integers, time: Integers, is_known: Flags
) -> EnergyReadings:
    energy = _whole(rows[stream.energy])
    is_register = (rows["reading_type"] == REGISTER).to_numpy()
    declared = np.zeros(len(time), np.int64)
    if "interval_seconds" in rows.columns:
        declared = np.rint(rows["interval_seconds"].fill_null(0).to_numpy() * SECOND)
        declared = declared.astype(np.int64)
    other = energy
    if "conflicting_energy" in rows.columns:
        other = _whole(rows["conflicting_energy"].fill_null(rows[stream.energy]))
    columns = [channel, time, energy, is_register, declared, other]
    if not is_known.all():
        columns = [column[is_known] for column in columns]
    if (np.diff(columns[0]) < 0).any():
        order = np.lexsort((columns[1], columns[0]))
        columns = [column[order] for column in columns]
    return EnergyReadings(*columns)


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
    if name not in rows.columns:
        return np.zeros(rows.height, np.int64)
    counts: Integers = rows[name].fill_null(0).cast(pl.Int64).to_numpy()
    return counts
