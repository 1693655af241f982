"""Recorded files of heartbeats: what their columns, numbers, units and times mean.

`wattlake replay` and `wattlake import` read files with the same rules, which are here.
"""

from lake.recordings.column_mapping import (
    ENERGIES,
    FIELDS,
    IDS,
    NUMBERS,
    Meaning,
    field_of,
    fields_of,
    of_columns,
)
from lake.recordings.csv_files import cell_count_fault, check_text, read_header
from lake.recordings.local_times import LOCAL_TIME, LocalTimes, local_micros, no_zone_fault
from lake.recordings.numbers import parse_number
from lake.recordings.units import MAX_INTERVAL_KWH, MAX_REGISTER_KWH, UNITS, UnitCheck, to_kwh

__all__ = [
    "ENERGIES",
    "FIELDS",
    "IDS",
    "LOCAL_TIME",
    "MAX_INTERVAL_KWH",
    "MAX_REGISTER_KWH",
    "NUMBERS",
    "UNITS",
    "LocalTimes",
    "Meaning",
    "UnitCheck",
    "cell_count_fault",
    "check_text",
    "field_of",
    "fields_of",
    "local_micros",
    "no_zone_fault",
    "of_columns",
    "parse_number",
    "read_header",
    "to_kwh",
]
