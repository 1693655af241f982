"""Tariffs, and the cost of lost energy."""

from lake.costs.losses import (
    Costs,
    EfficiencyPointValue,
    calculate_costs,
    group_by_price,
    hourly_flows,
    sum_energies,
    value_of_one_point,
    worst_devices,
)
from lake.costs.tariff import BadTariff, Tariff, prices_of_hours, read_tariff

__all__ = [
    "BadTariff",
    "Costs",
    "EfficiencyPointValue",
    "Tariff",
    "calculate_costs",
    "group_by_price",
    "hourly_flows",
    "prices_of_hours",
    "read_tariff",
    "sum_energies",
    "value_of_one_point",
    "worst_devices",
]
