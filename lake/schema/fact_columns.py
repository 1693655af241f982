"""Columns of the facts of a window that add up, the same in every efficiency table.

Hours add up to days, and rows of any hours to any longer time: sums of sums, in SQL too.
`round(sum(...), 9)` is exact. Explained in docs/energy.md.
"""

from typing import Final

from lake.schema.streams import TIMESTAMP, Column
from lake.schema.table_spec import count_column, number_column

_NAMES: Final = {"ac": ("AC", "the meters'", "meter"), "dc": ("DC", "the vehicle's", "vehicle")}


def _of_side(side: str) -> tuple[Column, ...]:
    name, of_side, device = _NAMES[side]
    other = _NAMES["dc" if side == "ac" else "ac"][0]
    return (
        number_column(
            f"matched_energy_{side}_kwh",
            f"{name} energy that flowed while the {other} energy was known, kWh; ratios rest on it",
            nullable=False,
        ),
        number_column(
            f"unmatched_energy_{side}_kwh",
            f"{name} energy that flowed while the {other} energy was not known, kWh",
            nullable=False,
        ),
        number_column(
            f"gross_energy_{side}_kwh",
            f"matched and unmatched {name} energy without the signs of the readings, kWh",
            nullable=False,
        ),
        number_column(
            f"gross_matched_energy_{side}_kwh",
            f"matched {name} energy without the signs of the readings, kWh",
            nullable=False,
        ),
        number_column(
            f"unplaced_energy_{side}_kwh",
            f"part of energy_{side}_kwh that came after a silence, nobody knows when, kWh",
            nullable=False,
        ),
        number_column(
            f"left_out_energy_{side}_kwh",
            f"{name} energy of readings that are not believed, kWh",
            nullable=False,
        ),
        count_column(f"left_out_{side}", f"readings of {of_side} energy that are not believed"),
        count_column(f"conflicts_{side}", f"times with two values of {of_side} energy"),
        number_column(
            f"conflicting_energy_{side}_kwh",
            "by how much the two values of those times differ, kWh",
            nullable=False,
        ),
        number_column(
            f"known_{side}_seconds", f"time in which {of_side} energy is known", nullable=False
        ),
        Column(f"first_{side}", TIMESTAMP, f"first {device} heartbeat; null: none"),
        Column(f"last_{side}", TIMESTAMP, f"last {device} heartbeat; null: none"),
        number_column(
            f"inner_gap_{side}_seconds",
            f"longest time between two {device} heartbeats; 0 with fewer than two",
            nullable=False,
        ),
    )


FACT_COLUMNS: Final = (
    *_of_side("ac"),
    *_of_side("dc"),
)

TEMPERATURE_COLUMNS: Final = (
    number_column("battery_temp_sum", "sum of the battery temperatures, degrees Celsius", False),
    count_column("battery_temp_count", "number of battery temperatures"),
)
