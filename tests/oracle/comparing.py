"""The rows of the oracle beside those of `lake`."""

from datetime import datetime
from typing import Any

from lake.energy.efficiency import efficiency_of_window
from tests.oracle.rows import charger_row, moment, vehicle_row
from tests.oracle.worlds import Fleet

Row = dict[str, Any]
Differences = dict[tuple[str, str], tuple[Any, Any]]


def tables(fleet: Fleet, start: int, end: int) -> tuple[dict[str, Row], dict[str, Row]]:
    """The rows of `lake` by vehicle and by meter."""
    found = efficiency_of_window(*fleet.frames(), moment(start), moment(end), fleet.settings).tables
    return (
        {row["vehicle_id"]: row for row in found.vehicles.to_dicts()},
        {row["meter_id"]: row for row in found.chargers.to_dicts()},
    )


def expected(fleet: Fleet, start: int, end: int) -> tuple[dict[str, Row], dict[str, Row]]:
    """The rows of the oracle."""
    world = fleet.world()
    vehicles = {
        v: vehicle_row(world, v, fleet.classes, start, end, fleet.settings)
        for v in fleet.vehicle_ids
    }
    chargers = {
        m: charger_row(world, m, fleet.classes, start, end, fleet.settings) for m in fleet.meter_ids
    }
    return (
        {v: row for v, row in vehicles.items() if row},
        {m: row for m, row in chargers.items() if row},
    )


def differences(fleet: Fleet, start: int, end: int) -> Differences:
    """Where they differ: (owner, column) -> (by the oracle, by lake)."""
    found: Differences = {}
    for right, got in zip(expected(fleet, start, end), tables(fleet, start, end), strict=True):
        found |= row_differences(right, got)
    return found


def row_differences(right: dict[str, Row], got: dict[str, Row]) -> Differences:
    """Where rows differ."""
    found: Differences = {}
    for owner in right.keys() | got.keys():
        if owner not in right or owner not in got:
            found[owner, "row"] = (owner in right, owner in got)
            continue
        for column, value in right[owner].items():
            if not alike(value, got[owner][column]):
                found[owner, column] = (value, got[owner][column])
    return found


def alike(a: Any, b: Any) -> bool:
    """Equal; numbers to their ninth decimal, as tables show them."""
    if isinstance(a, float) and isinstance(b, int | float):
        return abs(a - b) < 0.6e-9 + 4e-16 * abs(a)
    if isinstance(a, datetime) and isinstance(b, datetime):
        return a == b
    return bool(a == b)
