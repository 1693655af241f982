"""The fleet: what is true of each vehicle hour, and the heartbeats as the lake keeps them."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from lake import DAY, HOUR, METER, REGISTER, STREAMS, VEHICLE, EnergySettings, Stream
from lake.energy import CHARGER_CLASSES, PAIR, links_by_rule
from lake.history import READINGS_BESIDE, merge_heartbeats
from lake.rollups import HourInputs, lacking_readings
from lake.schema import decode_history, history_table
from lake.settings import ChargerClass
from tests.harness.true_fleet.charging import Charging, Curve, Floats, charge
from tests.harness.true_fleet.devices import Device, Sent
from tests.harness.true_fleet.kinds import KINDS, SMALL_REGISTER, SMALL_REGISTER_KWH, Kind

BEGIN: Final = datetime(2026, 11, 16, tzinfo=UTC)
HEALTHY: Final = (0.88, 0.94)  # efficiencies
FAILING: Final = (0.60, 0.84)
IDLE_SHARE: Final = 0.1

_IDLE_KWH: Final = 0.05  # AC energy under which nothing has flowed in an hour
_CADENCES_AROUND: Final = 12  # in which the devices are heard before the first hour, and after
_MICROSECOND: Final = 1_000_000
_HOUR_US: Final = 3600 * _MICROSECOND
_TIME: Final = pl.Datetime("us", "UTC")

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TrueVehicle:
    """A vehicle that is linked to one meter all the time, and all that they send."""

    number: int
    kind: Kind
    is_healthy: bool
    is_idle: bool
    charging: Charging
    ac: Sent
    dc: Sent

    @property
    def vehicle_id(self) -> str:
        """Its id."""
        return f"VEH-{self.number:05d}"

    @property
    def meter_id(self) -> str:
        """The id of its meter."""
        return f"METER{self.number:05d}"


class TrueFleet:
    """Vehicles of each kind over some hours from BEGIN on, which follow from the seed.

    Of each kind `failing_share` are truly failing and a tenth never charge. A kind has the same
    vehicles whichever other kinds there are.
    """

    def __init__(
        self,
        vehicles_of_each: int,
        hours: int,
        seed: int = 1,
        failing_share: float = 0.2,
        kinds: Sequence[Kind] = KINDS,
    ) -> None:
        self.starts = [BEGIN + n * HOUR for n in range(hours)]
        self.vehicles: list[TrueVehicle] = []
        for kind in kinds:
            count = max(1, vehicles_of_each // 10) if kind.is_rare else vehicles_of_each
            of_kind = zlib.crc32(kind.name.encode())
            places = np.random.default_rng([seed, of_kind]).permutation(count)
            for number, condition in enumerate((places + 0.5) / count):
                chance = np.random.default_rng([seed, of_kind, number])
                is_failing = condition >= 1 - failing_share
                is_idle = count > 1 and condition < IDLE_SHARE
                self.vehicles.append(
                    _vehicle(len(self.vehicles) + 1, kind, hours, chance, is_failing, is_idle)
                )

    def settings(self) -> EnergySettings:
        """The defaults, and the class of the meters whose register rolls over."""
        classes = {SMALL_REGISTER: ChargerClass(register_size_kwh=SMALL_REGISTER_KWH)}
        return EnergySettings(_env_file=None, charger_classes=classes)

    def truth(self) -> pl.DataFrame:
        """One row for each vehicle and hour.

        `kind`, `vehicle_id`, `hour_start`, `true_ac_kwh`, `true_dc_kwh`;
        `true_efficiency`: percent, that of the charger where nothing flowed;
        `is_healthy`; `is_charging`: energy flowed;
        `is_whole`: the energies of the hour follow from what was sent.
        """
        edges: Floats = np.arange(len(self.starts) + 1, dtype=np.float64) * 3600
        tables = []
        for one in self.vehicles:
            ac, dc = (np.diff(curve.at(edges)) for curve in (one.charging.ac, one.charging.dc))
            is_charging = ac >= _IDLE_KWH
            is_whole = np.ones(len(self.starts), np.bool_)
            for begin, end in (*one.ac.unknown, *one.dc.unknown):
                is_whole &= (edges[1:] <= begin) | (edges[:-1] >= end)
            ratio = np.where(is_charging, dc / np.maximum(ac, 1e-9), one.charging.efficiency)
            tables.append(
                pl.DataFrame(
                    {
                        "kind": [one.kind.name] * len(ac),
                        "vehicle_id": [one.vehicle_id] * len(ac),
                        "hour_start": pl.Series(self.starts, dtype=_TIME),
                        "true_ac_kwh": ac,
                        "true_dc_kwh": dc,
                        "true_efficiency": 100 * ratio,
                        "is_healthy": [one.is_healthy] * len(ac),
                        "is_charging": is_charging,
                        "is_whole": is_whole,
                    }
                )
            )
        return pl.concat(tables)

    def inputs(self, start: datetime) -> HourInputs:
        """What the tables of an hour are computed from, once everything has arrived.

        The readings have a context before the hour and after it: at least READINGS_BESIDE with
        energy, all of the hour after, and what they lack for energy that crosses an edge.
        """
        rows = {name: history.window(start) for name, history in self._histories.items()}
        inputs = self._inputs(start, rows)
        lacking = lacking_readings(inputs, self.settings(), READINGS_BESIDE)
        if not any(wanted.height for wanted in lacking.values()):
            return inputs
        for name, stream in STREAMS.items():
            more = self._histories[name].of_ranges(lacking[name], stream)
            more = more.join(rows[name], on=stream.key, how="anti", nulls_equal=True)
            rows[name] = pl.concat([rows[name], more])
        return self._inputs(start, rows)

    def _inputs(self, start: datetime, rows: dict[str, pl.DataFrame]) -> HourInputs:
        return HourInputs(
            start=start,
            meters=rows[METER.name].lazy(),
            vehicles=rows[VEHICLE.name].lazy(),
            links=links_by_rule(self._pairs.lazy(), start - DAY, start + HOUR + DAY),
            charger_classes=self._classes.lazy(),
            expected={
                METER.name: self._pairs.lazy().select(METER.device),
                VEHICLE.name: self._pairs.lazy().select(VEHICLE.device),
            },
        )

    @cached_property
    def _pairs(self) -> pl.DataFrame:
        pairs = [(one.meter_id, one.vehicle_id) for one in self.vehicles]
        return pl.DataFrame(pairs, schema=PAIR, orient="row")

    @cached_property
    def _classes(self) -> pl.DataFrame:
        classes = [
            (one.meter_id, one.kind.charger_class)
            for one in self.vehicles
            if one.kind.charger_class is not None
        ]
        return pl.DataFrame(classes, schema=CHARGER_CLASSES, orient="row")

    @cached_property
    def _histories(self) -> dict[str, "_History"]:
        return {name: _History(_history(self.vehicles, s), s) for name, s in STREAMS.items()}


class _History:
    """The history of a stream, to cut windows with their context out of it."""

    def __init__(self, rows: pl.DataFrame, stream: Stream) -> None:
        self._rows = rows
        time, has_energy = (
            rows["timestamp"].to_physical().to_numpy(),
            rows[stream.energy].is_not_null(),
        )
        first = np.flatnonzero(rows[stream.device].rle_id().diff().fill_null(1).to_numpy())
        self._devices: list[tuple[int, Ints, Ints, Ints]] = []
        for begin, end in zip(first, [*first[1:], len(time)], strict=True):
            at = np.flatnonzero(has_energy[begin:end].to_numpy())
            self._devices.append((int(begin), time[begin:end], at, time[begin:end][at]))

    def of_ranges(self, wanted: pl.DataFrame, stream: Stream) -> pl.DataFrame:
        """The readings of the ranges that `lacking_readings` returned, sorted."""
        timestamp = pl.col("timestamp")
        return (
            self._rows.join(wanted, left_on=stream.device, right_on="device_id")
            .filter(timestamp >= pl.col("since"), timestamp < pl.col("until"))
            .drop("since", "until")
            .sort(stream.key)
        )

    def window(self, start: datetime) -> pl.DataFrame:
        """The readings of an hour with their context, sorted by device and time."""
        first = int(start.timestamp()) * _MICROSECOND
        end = first + _HOUR_US
        numbers = []
        for begin, time, with_energy, energy_time in self._devices:
            if not len(with_energy):
                continue
            before = max(int(np.searchsorted(energy_time, first, "right")) - READINGS_BESIDE, 0)
            after = int(np.searchsorted(energy_time, end, "right")) + READINGS_BESIDE
            after = min(after, len(with_energy))
            until = int(np.searchsorted(time, end + _HOUR_US, "right"))
            low = int(with_energy[before]) if before < len(with_energy) else len(time)
            numbers.append(
                np.arange(begin + low, begin + max(until, int(with_energy[after - 1]) + 1))
            )
        return self._rows[np.concatenate(numbers)]


def _vehicle(
    number: int,
    kind: Kind,
    hours: int,
    chance: np.random.Generator,
    is_failing: bool,
    is_idle: bool,
) -> TrueVehicle:
    around = 3600 + _CADENCES_AROUND * max(kind.meter.cadence, kind.vehicle.cadence)
    begin, end = -around, 3600 * hours + around
    efficiency = chance.uniform(*(FAILING if is_failing else HEALTHY))
    charging = charge(chance, begin, end, efficiency, kind.habit, is_idle=is_idle)

    def measure(device: Device, curve: Curve) -> Sent:
        around = 3600 + (_CADENCES_AROUND - 1) * device.cadence
        return device.measure(charging, curve, -around, 3600 * hours + around, chance)

    ac = measure(kind.meter, charging.ac)
    dc = measure(kind.vehicle, charging.dc)
    return TrueVehicle(number, kind, not is_failing, is_idle, charging, ac, dc)


def _history(vehicles: Sequence[TrueVehicle], stream: Stream) -> pl.DataFrame:
    """The heartbeats of a stream as the lake's own compaction leaves them."""
    received = pl.concat([_received(one, stream) for one in vehicles], how="diagonal")
    columns = stream.arrow_schema
    missing = pl.DataFrame(columns.empty_table()).drop(received.columns)
    whole = pl.concat([received, missing], how="diagonal").select(columns.names)
    nothing = decode_history(pl.LazyFrame(history_table(stream).schema.empty_table()), stream)
    return merge_heartbeats(stream, nothing, [whole.lazy()]).collect()


def _received(one: TrueVehicle, stream: Stream) -> pl.DataFrame:
    """What was received of a device, with those columns of the stream that it sends."""
    is_meter = stream is METER
    sent, device = (one.ac, one.kind.meter) if is_meter else (one.dc, one.kind.vehicle)
    copies = [copy for copy in sent.copies if sent.arrives[copy[0]]]
    heard = np.flatnonzero(sent.arrives)
    at = np.concatenate([heard, np.array([number for number, _, _ in copies], np.int64)])
    value = np.concatenate([sent.value[heard], [energy for _, _, energy in copies]])
    delay = np.concatenate([np.full(len(heard), 0.1), [seconds for _, seconds, _ in copies]])
    time = (sent.time[at] * _MICROSECOND).astype(np.int64) + _micros(BEGIN)
    columns: dict[str, Any] = {
        stream.device: [one.meter_id if is_meter else one.vehicle_id] * len(at),
        "timestamp": pl.Series(time, dtype=pl.Int64).cast(_TIME),
        stream.energy: value,
        "reading_type": [REGISTER if sent.is_register else "interval"] * len(at),
        "received_at": pl.Series(time + (delay * _MICROSECOND).astype(np.int64)).cast(_TIME),
    }
    if device.declares_interval:
        columns["interval_seconds"] = sent.time[at] - sent.since[at]
    if is_meter:
        return pl.DataFrame({**columns, "voltage": 230.0})
    rows, battery = pl.DataFrame(columns), {"soc": 50.0, "battery_temp": 20.0}
    measured = [pl.lit(value).alias(name) for name, value in battery.items()]
    if not one.kind.soc_apart:
        return rows.with_columns(measured)
    later = timedelta(seconds=device.cadence / 2)
    apart = rows.with_columns(
        pl.col("timestamp", "received_at") + later,
        pl.lit(None, pl.Float64).alias(stream.energy),
        *measured,
    )
    return pl.concat([rows.with_columns(pl.lit(None, pl.Float64).alias(n) for n in battery), apart])


def _micros(moment: datetime) -> int:
    return int(moment.timestamp()) * _MICROSECOND
