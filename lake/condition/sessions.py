"""Sessions as the condition of devices is judged by them: the columns, and what is derived."""

from typing import Final

import polars as pl

from lake.schema.charging_session import CHARGING_SESSION
from lake.schema.table_spec import TableSpec

METER: Final = "meter"
VEHICLE: Final = "vehicle"
DEVICE_COLUMNS: Final = {METER: "meter_id", VEHICLE: "vehicle_id"}


def column_types(spec: TableSpec) -> dict[str, pl.DataType]:
    """Return the columns of a table, without the day, and their types."""
    types = pl.DataFrame(spec.schema.empty_table()).schema
    return {name: kind for name, kind in types.items() if name != "date"}


_TYPES: Final = column_types(CHARGING_SESSION)
# The columns of CHARGING_SESSION that are read; energies in kWh, powers in kW, degrees Celsius.
SESSIONS: Final = {
    name: _TYPES[name]
    for name in (
        "vehicle_id",
        "meter_ids",
        "begins",
        "ends",
        "energy_ac_kwh",
        "energy_dc_kwh",
        "matched_energy_ac_kwh",
        "efficiency_percent",
        "mean_power_ac_kw",
        "peak_power_ac_kw",
        "peak_power_dc_kw",
        "average_battery_temp",
        "charger_class",
        "coverage_ac",
        "coverage_dc",
        "link_source",
    )
}

# What more `prepare_sessions` says of a session.
PREPARED: Final = {
    "meter_id": pl.String(),
    "temperature": pl.Float64(),
    "is_measured": pl.Boolean(),
}

SMALLEST_ENERGY_KWH: Final = 1.0
"""Of less energy a ratio says nothing: registers count in steps of a tenth."""

BELIEVABLE_PERCENT: Final = (30.0, 120.0)
"""Ratios outside are no loss of a device. Some above 100 are noise, and leaving those out alone
would make each level too low."""

_MILD: Final = 20.0
_LEAST_COVERAGE: Final = 0.5


def prepare_sessions(sessions: pl.DataFrame) -> pl.DataFrame:
    """Return the sessions that have ended, with one meter, and the columns SESSIONS and PREPARED.

    `meter_id` is that meter. `temperature` is the battery's or, where none was sent, the median of
    the fleet's batteries on that UTC day (20 without any). `is_measured`: the ratio counts.
    """
    day = pl.col("begins").dt.truncate("1d")
    low, high = BELIEVABLE_PERCENT
    return (
        sessions.lazy()
        .select(*SESSIONS)
        .filter(pl.col("ends").is_not_null() & (pl.col("meter_ids").list.len() == 1))
        .with_columns(
            meter_id=pl.col("meter_ids").list.first(),
            temperature=pl.coalesce(
                "average_battery_temp", pl.col("average_battery_temp").median().over(day)
            ).fill_null(_MILD),
            is_measured=pl.col("efficiency_percent").is_between(low, high).fill_null(False)
            & (pl.col("matched_energy_ac_kwh") >= SMALLEST_ENERGY_KWH)
            & (pl.col("mean_power_ac_kw").fill_null(0.0) > 0)
            & (pl.min_horizontal("coverage_ac", "coverage_dc") >= _LEAST_COVERAGE),
        )
        .collect()
    )
