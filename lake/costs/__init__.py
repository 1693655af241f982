"""Tariffs, and the cost of energy and of what is lost of it."""

from lake.costs.day import DayCosts, costs_of_day
from lake.costs.losses import (
    EfficiencyPointValue,
    calculate_costs,
    costs_by_group,
    flows_of_fleet,
    group_by_price,
    hourly_flows,
    sum_energies,
    value_of_one_point,
    worst_devices,
)
from lake.costs.pricing import Pricing, needs_chargers, repriced
from lake.costs.sessions import price_sessions
from lake.costs.tariff import BadTariff, Tariffs, read_tariffs

__all__ = [
    "BadTariff",
    "DayCosts",
    "EfficiencyPointValue",
    "Pricing",
    "Tariffs",
    "calculate_costs",
    "costs_by_group",
    "costs_of_day",
    "flows_of_fleet",
    "group_by_price",
    "hourly_flows",
    "needs_chargers",
    "price_sessions",
    "read_tariffs",
    "repriced",
    "sum_energies",
    "value_of_one_point",
    "worst_devices",
]
