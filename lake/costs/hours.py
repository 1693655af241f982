"""The cost of energy that is known by UTC hour, as that of a charging session is."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

from lake.costs.tariff import Tariff
from lake.schema.partitions import HOUR

_WHOLE: Final = 10**9  # microwatt-hours of a kWh


def cost_of_hours(energies_kwh: Sequence[float], first: datetime, tariff: Tariff) -> Decimal | None:
    """Return the cost of the energy of successive UTC hours, the first of which begins at `first`.

    Exact, in the currency of the tariff; None where energy flowed in an hour without a price.
    """
    cost = Decimal(0)
    for number, energy in enumerate(energies_kwh):
        whole = round(energy * _WHOLE)
        if whole:
            price = tariff.price_of_hour(first + number * HOUR)
            if price is None:
                return None
            cost += price * whole / _WHOLE
    return cost
