"""The raw heartbeats of 10,000 meters and 10,000 vehicles, one a minute each, as frames."""

from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl

from lake import HOUR, METER, Stream
from local_stack.simulator.fleet_model import Bools, FleetModel
from local_stack.simulator.seeded_random import Floats, Ints

VEHICLES: Final = 10_000
SEED: Final = 1
_MICROSECONDS: Final = 1_000_000


class FullFleet:
    """Hours of the fleet that `wattlake simulate` plays, without the way over HTTP.

    The same hour has the same rows in every run: silences, resets, late and repeated heartbeats as
    the simulator has them by default. A device's clock shows whole seconds; it is heard 20 to 300
    milliseconds later, evenly spread, to the microsecond: 18 bits of each heartbeat that nothing
    can pack. Values are about as fine as what measured devices send. Energies are finer, 0.001 Wh
    where the finest measured step is 17 mWh. States of charge are given to 0.1 % (measured: 1 % and
    0.1 %), temperatures to 0.1 degrees (whole ones), voltages to 0.1 V (a meter 0.01 V, cars 1 V).
    """

    def __init__(self, vehicles: int = VEHICLES, seed: int = SEED) -> None:
        self._model = FleetModel(vehicles, seed)

    def hour(self, stream: Stream, hour: datetime) -> pl.DataFrame:
        """The heartbeats of an hour with the columns of the raw table, in order of receipt."""
        first = int(hour.timestamp()) // 60
        minutes = np.arange(first, first + HOUR.seconds // 60, dtype=np.int64)
        everyone = np.arange(len(self._model.numbers), dtype=np.int64)
        minute, index = (grid.ravel() for grid in np.meshgrid(minutes, everyone, indexing="ij"))
        heard = ~self._model.is_silent(stream.name, index, minute)
        once = self._heartbeats(stream, index[heard], minute[heard])
        is_twice = self._uniform(f"{stream.name} twice", index[heard], minute[heard])
        repeated = once.filter(is_twice < self._model.anomalies.duplicates).with_columns(
            pl.col("received_at") + pl.duration(seconds=7)
        )
        return pl.concat([once, repeated]).sort("received_at")

    def _heartbeats(self, stream: Stream, index: Ints, minute: Ints) -> pl.DataFrame:
        model, chance = self._model, self._model.chance
        readings = model.readings(index, minute)
        second = (60 * chance.stratified(f"{stream.name} second", model.numbers[index])).astype(int)
        measured = (60 * minute + second) * _MICROSECONDS
        delay = 20_000 + 280_000 * self._uniform("delay", index, minute)
        is_late = self._uniform(f"{stream.name} late", index, minute) < model.anomalies.late
        received = measured + delay.astype(np.int64) + is_late * 900 * _MICROSECONDS
        sends_registers = model.sends_registers[index]
        meter = _ids("METER", model.meter_numbers, index)
        values: dict[str, Any] = (
            {
                "meter_id": meter,
                "kwh_consumed_ac": _either(
                    sends_registers, readings.ac_register, readings.ac_interval
                ),
                "voltage": readings.voltage.round(1),
            }
            if stream is METER
            else {
                "vehicle_id": _ids("VEH", model.numbers, index),
                "kwh_delivered_dc": _either(
                    sends_registers, readings.dc_register, readings.dc_interval
                ),
                "soc": readings.soc.round(1),
                "battery_temp": _null_unless(
                    model.sends_temperature[index], pl.Series(readings.battery_temp.round(1))
                ),
                "meter_id": _null_unless(model.names_meter[index], meter),
            }
        )
        kinds = (
            pl.Series(sends_registers).cast(pl.Int8).replace_strict({0: "interval", 1: "register"})
        )
        rows = pl.DataFrame(
            {**values, "timestamp": measured, "reading_type": kinds, "received_at": received}
        )
        time = pl.col("timestamp", "received_at").cast(pl.Datetime("us", "UTC"))
        nothing = pl.DataFrame(
            stream.arrow_schema.empty_table()
        )  # has what these devices never send
        return pl.concat([nothing, rows.with_columns(time)], how="diagonal")

    def _uniform(self, question: str, index: Ints, minute: Ints) -> Floats:
        return self._model.chance.uniform(question, self._model.numbers[index], minute)


def _ids(prefix: str, numbers: Ints, index: Ints) -> pl.Series:
    return pl.Series([f"{prefix}{number:03d}" for number in numbers.tolist()]).gather(index)


def _either(is_register: Bools, register: Floats, interval: Floats) -> pl.Series:
    return pl.Series(np.where(is_register, register, interval) + 0.0).round(6)


def _null_unless(sent: Bools, values: pl.Series) -> pl.Series:
    return pl.select(pl.when(pl.Series(sent)).then(values)).to_series()
