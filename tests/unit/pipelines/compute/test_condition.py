"""Prices of devices for what is at stake: the mean of a week, by the tariff of the charger."""

from datetime import UTC, datetime

import polars as pl

from lake.condition import PRICES
from lake.costs import Pricing, Tariffs
from pipelines.compute.condition import device_prices

AT = datetime(2026, 5, 31, tzinfo=UTC)
SESSIONS = pl.DataFrame(
    [("V1", ["N"], 10.0), ("V1", ["S"], 4.0), ("V1", ["S"], 5.0), ("V2", ["S"], 1.0)],
    schema={"vehicle_id": pl.String, "meter_ids": pl.List(pl.String), "energy_ac_kwh": pl.Float64},
    orient="row",
)


def pricing(valid_from: str = "2026-01-01", default: str | None = "south") -> Pricing:
    cheap = [{"from_hour": 0, "to_hour": 6, "price_per_kwh": 0.1}]
    content = {
        "north": ("EUR", [{"valid_from": valid_from, "price_per_kwh": 0.3, "bands": cheap}]),
        "south": ("CHF", [{"valid_from": "2026-01-01", "price_per_kwh": 0.2}]),
    }
    tariffs = {
        name: {"currency": currency, "time_zone": "UTC", "periods": periods}
        for name, (currency, periods) in content.items()
    }
    found = Tariffs.model_validate({"tariffs": tariffs, "default": default})
    return Pricing(found, {"N": "north"})


def prices(pricing: Pricing | None) -> dict[str, tuple[float, str]]:
    found = device_prices(SESSIONS, pricing, AT)
    assert dict(found.schema) == PRICES
    return {device: (price, currency) for _, device, price, currency in found.iter_rows()}


def test_a_vehicle_has_the_mean_price_of_the_charger_that_gave_it_the_most() -> None:
    assert prices(pricing()) == {
        "N": (0.25, "EUR"),
        "S": (0.2, "CHF"),
        "V1": (0.25, "EUR"),
        "V2": (0.2, "CHF"),
    }


def test_where_a_week_has_not_a_price_all_the_time_or_nobody_a_tariff_there_is_none() -> None:
    assert prices(pricing(valid_from="2026-05-30")).keys() == {"S", "V2"}
    assert prices(pricing(default=None)).keys() == {"N", "V1"}
    assert prices(None) == {}
