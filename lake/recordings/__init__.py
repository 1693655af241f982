"""Recording files of heartbeats: the meaning of their columns, numbers, units and times.

`wattlake replay` and `wattlake import` read files with the same rules, which are here.
"""

from lake.recordings.column_mapping import (
    ENERGIES,
    FIELDS,
    IDS,
    NUMBERS,
    TEXTS,
    ColumnMapping,
    map_column,
    map_columns,
    unknown_columns,
    with_default_stream,
)
from lake.recordings.csv_files import cell_count_fault, read_header, require_utf8
from lake.recordings.local_times import LOCAL_TIME, LocalTimes, local_micros, no_zone_fault
from lake.recordings.numbers import parse_number
from lake.recordings.unit_check import EnergyRows, UnitCheck
from lake.recordings.units import MAX_INTERVAL_KWH, MAX_REGISTER_KWH, to_kwh

__all__ = [
    "ENERGIES",
    "FIELDS",
    "IDS",
    "LOCAL_TIME",
    "MAX_INTERVAL_KWH",
    "MAX_REGISTER_KWH",
    "NUMBERS",
    "TEXTS",
    "ColumnMapping",
    "EnergyRows",
    "LocalTimes",
    "UnitCheck",
    "cell_count_fault",
    "local_micros",
    "map_column",
    "map_columns",
    "no_zone_fault",
    "parse_number",
    "read_header",
    "require_utf8",
    "to_kwh",
    "unknown_columns",
    "with_default_stream",
]
