"""Tariffs, and the cost of lost energy."""

from lake.costs.losses import (
    Costs,
    PointOfEfficiency,
    added_up,
    by_price,
    costs,
    hourly_flows,
    one_point_a_year,
    worst_devices,
)
from lake.costs.tariff import BadTariff, Tariff, prices_of_hours, read_tariff

__all__ = [
    "BadTariff",
    "Costs",
    "PointOfEfficiency",
    "Tariff",
    "added_up",
    "by_price",
    "costs",
    "hourly_flows",
    "one_point_a_year",
    "prices_of_hours",
    "read_tariff",
    "worst_devices",
]
