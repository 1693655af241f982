"""Tables recomputed for an hour, and the energies that must add up."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import polars as pl
import psycopg

from lake import DAY, HOUR, METER, VEHICLE, EnergySettings, Stream
from lake.energy import energy_of_devices, exact_sum
from lake.rollups import HourInputs, Tables, efficiency_of_hour, health_of_hour
from lake.schema import (
    CHARGER_EFFICIENCY_HOURLY,
    FLEET_EFFICIENCY_HOURLY,
    VEHICLE_EFFICIENCY_HOURLY,
    TableSpec,
)
from pipelines.compute.devices import charger_classes, with_cadences
from pipelines.compute.inputs import inputs_from_heartbeats


class Recomputed(NamedTuple):
    """The tables of an hour, and how often its links begin or end around it."""

    tables: Tables
    changes: int


def recomputed(
    connection: psycopg.Connection,
    meters: pl.DataFrame,
    vehicles: pl.DataFrame,
    read_more: Callable[[str, pl.DataFrame], pl.DataFrame],
    hour: datetime,
    settings: EnergySettings,
) -> Recomputed:
    """Rows that each of HOURLY_TABLES should hold of an hour; arguments as of its inputs."""
    inputs = inputs_from_heartbeats(connection, meters, vehicles, read_more, hour, settings)
    tables = {**efficiency_of_hour(inputs, settings), **health_of_hour(inputs, settings)}
    return Recomputed(tables, _count_changes(inputs))


def _count_changes(inputs: HourInputs) -> int:
    begins, ends = inputs.start - DAY, inputs.start + HOUR + DAY
    changes = pl.sum_horizontal(pl.col("valid_from") > begins, pl.col("valid_to") < ends).sum()
    count: int = inputs.links.select(changes).collect().item()
    return count


@dataclass(frozen=True)
class EnergySum:
    """Energy of an hour in kWh: measured by one stream, and its parts in the tables."""

    name: str
    stream: Stream
    table: TableSpec
    columns: tuple[str, ...]

    def agrees(self, measured_kwh: float, parts_kwh: float, changes: int) -> bool:
        """Tell whether the parts add up to what was measured.

        A reading that a link cuts is divided in whole microwatt-hours, and its part again by the
        window: of `changes` of links each may move what lies in it by so much.
        """
        most = _ROUNDED_KWH * changes if self.stream is METER else 0.0
        return round(abs(measured_kwh - parts_kwh), 9) <= most

    def parts(self, tables: Tables) -> float:
        """The sum of the columns, kWh."""
        sums = tables[self.table.name].select(exact_sum(pl.col(self.columns)).fill_null(0.0))
        kwh: float = round(sum(sums.row(0)), 9)
        return kwh


_ROUNDED_KWH: Final = 2e-9

ENERGY_SUMS: Final = (
    EnergySum(
        "AC energy, linked and unlinked",
        METER,
        FLEET_EFFICIENCY_HOURLY,
        ("energy_ac_kwh", "unlinked_energy_ac_kwh"),
    ),
    EnergySum("AC energy of all chargers", METER, CHARGER_EFFICIENCY_HOURLY, ("energy_ac_kwh",)),
    EnergySum("DC energy of all vehicles", VEHICLE, VEHICLE_EFFICIENCY_HOURLY, ("energy_dc_kwh",)),
)


def measured(
    connection: psycopg.Connection,
    readings: pl.DataFrame,
    stream: Stream,
    hour: datetime,
    settings: EnergySettings,
) -> float:
    """All energy that a stream's devices have measured in an hour, kWh."""
    classes = charger_classes(connection)
    readings = with_cadences(readings, connection, stream)
    energies = energy_of_devices(readings, stream, settings, classes, hour, hour + HOUR)
    kwh: float = energies.select(exact_sum(pl.col("energy_kwh")).fill_null(0.0)).item()
    return kwh
