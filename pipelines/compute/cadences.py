"""The cadences of devices, noted in live state for who asks whether they still report."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import polars as pl
import psycopg

from lake import METER, STREAMS, VEHICLE, EnergySettings
from lake.rollups import HourInputs, cadences_of_hour
from warehouse_sql.named_queries import query

_QUERIES: Final = {METER.name: "note_meter_cadences", VEHICLE.name: "note_vehicle_cadences"}
_SECOND: Final = 1_000_000
_DIGITS: Final = 3  # of a cadence: not every step of its median is news


def own_cadences(inputs: HourInputs, settings: EnergySettings) -> dict[str, pl.DataFrame]:
    """Return by stream device and cadence, in seconds, at the end of an hour, for `note_cadences`.

    The cadences are those of charger classes, else those that were learned; null where one is
    nominal.
    """
    nominal = settings.nominal_interval_seconds
    seconds = (pl.col("own") / _SECOND).round_sig_figs(_DIGITS)
    return {
        name: cadences.filter(pl.col("own").is_not_null()).select(
            STREAMS[name].device,
            cadence=pl.when(pl.col("own") != round(nominal * _SECOND)).then(seconds),
        )
        for name, cadences in cadences_of_hour(inputs, settings).items()
    }


def note_cadences(
    connection: psycopg.Connection, hour: datetime, cadences: Mapping[str, pl.DataFrame]
) -> None:
    """Let live state have the `own_cadences` of an hour.

    Nothing is noted of an hour after which another one is computed, as of one that is computed
    again.
    """
    for name, rows in cadences.items():
        devices, values = (column.to_list() for column in rows)
        asked = {"hour": hour, "devices": devices, "cadences": values}
        connection.execute(query(_QUERIES[name]), asked)
