"""Tables recomputed for an hour, and the energies that must add up."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl
import psycopg

from lake import HOUR, METER, VEHICLE, EnergySettings, Stream
from lake.energy import exact_sum, measured_energy
from lake.rollups import Tables, efficiency_of_hour, health_of_hour
from lake.schema import (
    CHARGER_EFFICIENCY_HOURLY,
    FLEET_EFFICIENCY_HOURLY,
    VEHICLE_EFFICIENCY_HOURLY,
    TableSpec,
)
from pipelines.compute.devices import charger_classes
from pipelines.compute.inputs import inputs_from_heartbeats


def recomputed(
    connection: psycopg.Connection,
    meters: pl.DataFrame,
    vehicles: pl.DataFrame,
    hour: datetime,
    settings: EnergySettings,
) -> Tables:
    """Rows that each of HOURLY_TABLES should hold of an hour, from its heartbeats."""
    inputs = inputs_from_heartbeats(connection, meters, vehicles, hour, settings)
    return {**efficiency_of_hour(inputs, settings), **health_of_hour(inputs, settings)}


@dataclass(frozen=True)
class EnergySum:
    """Energy of an hour in kWh: measured by one stream, and its parts in the tables."""

    name: str
    stream: Stream
    table: TableSpec
    columns: tuple[str, ...]

    def parts(self, tables: Tables) -> float:
        """The sum of the columns, kWh."""
        sums = tables[self.table.name].select(exact_sum(pl.col(self.columns)).fill_null(0.0))
        kwh: float = round(sum(sums.row(0)), 9)
        return kwh


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
    energies = measured_energy(
        readings.lazy(), stream, hour, hour + HOUR, settings, charger_classes(connection).lazy()
    )
    kwh: float = energies.select(exact_sum(pl.col("energy_kwh")).fill_null(0.0)).collect().item()
    return kwh
