"""The mathematics of energy, pure: what readings mean, attribution, efficiency and its evidence."""

from lake.energy.curve import curve_step, vehicle_curve
from lake.energy.efficiency import (
    FactsOfFew,
    efficiency_of_few,
    facts_of_few,
    merged_few,
    rows_of_few,
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
    measured,
    reach_of_crossing,
)
from lake.energy.network import Link, linked_sides
from lake.energy.readings import CHARGER_CLASSES
from lake.energy.status import RATED, REASONS, STATUSES

__all__ = [
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
    "charger_totals",
    "contested_meters",
    "curve_step",
    "efficiency_of_few",
    "energy_of_devices",
    "exact_sum",
    "facts_of_few",
    "fleet_efficiency",
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
    "time_of_unbroken_name",
    "uncontested_links",
    "vehicle_curve",
]
