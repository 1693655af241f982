"""Tariffs, and the cost of lost energy."""

from lake.costs.losses import (
    Costs,
    EfficiencyPointValue,
    calculate_costs,
    flows_of_fleet,
    group_by_price,
    hourly_flows,
    sum_energies,
    value_of_one_point,
    worst_devices,
)
from lake.costs.pricing import Pricing, needs_chargers
from lake.costs.tariff import BadTariff, Tariffs, read_tariffs

__all__ = [
    "BadTariff",
    "Costs",
    "EfficiencyPointValue",
    "Pricing",
    "Tariffs",
    "calculate_costs",
    "flows_of_fleet",
    "group_by_price",
    "hourly_flows",
    "needs_chargers",
    "read_tariffs",
    "sum_energies",
    "value_of_one_point",
    "worst_devices",
]
