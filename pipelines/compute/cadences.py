"""The cadences of devices, noted in live state for who asks whether they still report."""

from typing import Final

import polars as pl
import psycopg

from lake import METER, STREAMS, VEHICLE, EnergySettings
from lake.rollups import HourInputs, cadences_of_hour
from warehouse_sql.named_queries import query

_QUERIES: Final = {METER.name: "note_meter_cadences", VEHICLE.name: "note_vehicle_cadences"}
_SECOND: Final = 1_000_000
_DIGITS: Final = 3  # of a cadence: not every step of its median is news


def note_cadences(
    connection: psycopg.Connection, inputs: HourInputs, settings: EnergySettings
) -> None:
    """Let live state have the cadences that devices had at the end of an hour.

    Those of their charger classes, else those that were learned; null where one is nominal. Nothing
    is noted of an hour after which another one is computed, as of one that is computed again.
    """
    nominal = settings.nominal_interval_seconds
    seconds = (pl.col("own") / _SECOND).round_sig_figs(_DIGITS)
    for name, cadences in cadences_of_hour(inputs, settings).items():
        told = cadences.filter(pl.col("own").is_not_null()).select(
            STREAMS[name].device,
            cadence=pl.when(pl.col("own") != round(nominal * _SECOND)).then(seconds),
        )
        devices, values = (column.to_list() for column in told)
        asked = {"hour": inputs.start, "devices": devices, "cadences": values}
        connection.execute(query(_QUERIES[name]), asked)
