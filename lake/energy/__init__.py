"""The mathematics of energy, pure: what readings mean, attribution, efficiency and its evidence."""

from lake.energy.curve import curve_step, vehicle_curve
from lake.energy.efficiency import (
    FactsOfFew,
    RunningFew,
    facts_of_few,
    joined_few,
    merged_few,
    rows_of_few,
    running_few,
)
from lake.energy.exact import exact_sum
from lake.energy.fleet import charger_totals, fleet_efficiency, ratio_percent
from lake.energy.links import (
    HEARTBEAT,
    LINK,
    PAIR,
    RULE,
    contested_meters,
    links_around,
    links_by_rule,
    named_links,
    resolve_links,
    time_of_unbroken_name,
    uncontested_links,
)
from lake.energy.measured_side import (
    MeasuredSide,
    energy_of_devices,
    jumps_after_standstill,
    measured,
    reach_of_crossing,
)
from lake.energy.network import Link, linked_sides
from lake.energy.readings import CADENCE, CHARGER_CLASSES
from lake.energy.status import RATED, REASONS, STATUSES

__all__ = [
    "CADENCE",
    "CHARGER_CLASSES",
    "HEARTBEAT",
    "LINK",
    "PAIR",
    "RATED",
    "REASONS",
    "RULE",
    "STATUSES",
    "FactsOfFew",
    "Link",
    "MeasuredSide",
    "RunningFew",
    "charger_totals",
    "contested_meters",
    "curve_step",
    "energy_of_devices",
    "exact_sum",
    "facts_of_few",
    "fleet_efficiency",
    "joined_few",
    "jumps_after_standstill",
    "linked_sides",
    "links_around",
    "links_by_rule",
    "measured",
    "merged_few",
    "named_links",
    "ratio_percent",
    "reach_of_crossing",
    "resolve_links",
    "rows_of_few",
    "running_few",
    "time_of_unbroken_name",
    "uncontested_links",
    "vehicle_curve",
]
