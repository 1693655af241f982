"""The cost of energy by UTC hour."""

from datetime import UTC, datetime
from decimal import Decimal

from lake.costs import cost_of_hours
from lake.costs.tariff import Tariff

TARIFF = Tariff.model_validate(
    {
        "currency": "EUR",
        "time_zone": "Europe/Amsterdam",
        "periods": [
            {
                "valid_from": "2026-11-20",
                "price_per_kwh": "0.30",
                "bands": [{"from_hour": 0, "to_hour": 6, "price_per_kwh": "0.20"}],
            }
        ],
    }
)


def test_each_hour_costs_what_its_band_says() -> None:
    # 04 to 07 UTC are 05 to 08 in Amsterdam.
    cost = cost_of_hours([1.5, 0.1, 0.2], datetime(2026, 11, 20, 4, tzinfo=UTC), TARIFF)
    assert cost == Decimal("0.39")


def test_energy_before_the_first_price_has_no_cost_and_no_energy_needs_none() -> None:
    before = datetime(2026, 11, 19, 21, tzinfo=UTC)
    assert cost_of_hours([0.0, 0.1], before, TARIFF) is None
    assert cost_of_hours([0.0, 0.0, 1.0], before, TARIFF) == Decimal("0.20")
    assert cost_of_hours([], before, TARIFF) == 0
