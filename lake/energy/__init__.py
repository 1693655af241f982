"""The mathematics of energy, pure: attribution, efficiency and its evidence."""

from lake.energy.curve import curve_step, vehicle_curve
from lake.energy.efficiency import (
    RATED,
    STATUSES,
    efficiency_percent,
    lowest_efficiency,
    vehicle_efficiency,
    vehicle_efficiency_rows,
)
from lake.energy.interval_energy import CHARGER_CLASSES, exact_sum, measured_energy
from lake.energy.links import (
    HEARTBEAT,
    LINK,
    PAIR,
    RULE,
    contested_meters,
    links_by_rule,
    named_links,
    resolve_links,
)

__all__ = [
    "CHARGER_CLASSES",
    "HEARTBEAT",
    "LINK",
    "PAIR",
    "RATED",
    "RULE",
    "STATUSES",
    "contested_meters",
    "curve_step",
    "efficiency_percent",
    "exact_sum",
    "links_by_rule",
    "lowest_efficiency",
    "measured_energy",
    "named_links",
    "resolve_links",
    "vehicle_curve",
    "vehicle_efficiency",
    "vehicle_efficiency_rows",
]
