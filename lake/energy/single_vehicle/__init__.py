"""The energy mathematics for one vehicle and the meter that feeds it, in NumPy."""

from lake.energy.single_vehicle.facts import LinkedMeter, facts_of_pair, facts_table
from lake.energy.single_vehicle.links import Range, SeveralMeters, named_meter
from lake.energy.single_vehicle.readings import Readings

__all__ = [
    "LinkedMeter",
    "Range",
    "Readings",
    "SeveralMeters",
    "facts_of_pair",
    "facts_table",
    "named_meter",
]
