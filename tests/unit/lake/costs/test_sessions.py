"""What charging sessions cost: by the prices of their hours, as the hours of their vehicles do."""

from decimal import Decimal

import polars as pl
import pytest

from lake import HOUR
from lake.costs import Pricing, Tariffs, costs_of_day, price_sessions
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_HOURLY
from lake.schema.charging_session import CHARGING_SESSION
from lake.sessions import identified_sessions
from tests.unit.lake.sessions.samples import at, by_rule, heartbeats, merged, tables_of_hours

TARIFFS = Tariffs.model_validate(
    {
        "default": "night",
        "tariffs": {
            "night": {
                "currency": "EUR",
                "time_zone": "UTC",
                "periods": [
                    {
                        "valid_from": "2026-11-20",
                        "price_per_kwh": "0.3",
                        "bands": [{"from_hour": 0, "to_hour": 9, "price_per_kwh": "0.123456"}],
                    }
                ],
            },
            "flat": {
                "currency": "CHF",
                "time_zone": "UTC",
                "periods": [{"valid_from": "2026-01-01", "price_per_kwh": "0.2"}],
            },
        },
    }
)
NONE = pl.DataFrame(CHARGING_SESSION.schema.empty_table()).select(CHARGING_SESSION.names)
NO_CHARGERS = pl.DataFrame(CHARGER_EFFICIENCY_HOURLY.schema.empty_table())


def charged(*times: tuple[float, float]) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Sessions of a vehicle that charges at these hours, their stretches, and the hours."""
    meters, vehicles = heartbeats(list(times), 6, 13)
    stretches, hours = tables_of_hours(meters, vehicles, [by_rule(-24, 24)], 6, 13)
    sessions = identified_sessions(merged(stretches, hours, 13), NONE)
    return sessions, stretches, hours


def test_sessions_of_whole_hours_cost_what_these_do() -> None:
    sessions, stretches, hours = charged((8, 10), (11, 12))
    pricing = Pricing(TARIFFS, {})
    found = price_sessions(sessions, stretches, NO_CHARGERS, pricing)
    assert found.columns == sessions.columns
    assert found["currency"].to_list() == ["EUR", "EUR"]
    whole = hours.filter(pl.col("hour_start").is_in([at(8), at(9), at(11)]))
    of_day = costs_of_day(whole, NO_CHARGERS, [at(n) for n in range(24)], pricing).vehicles
    for cost in ("cost_of_energy", "cost_of_losses"):
        assert sum(found[cost].to_list(), Decimal()) == of_day[cost].item() > 0


def test_a_session_has_the_tariff_of_its_charger_and_none_without_a_price() -> None:
    sessions, stretches, _ = charged((7, 9))
    chargers = NO_CHARGERS.clear(2).with_columns(
        meter_id=pl.lit("M1"), hour_start=pl.Series([at(7), at(8)], dtype=pl.Datetime("us", "UTC"))
    )
    flat = price_sessions(sessions, stretches, chargers, Pricing(TARIFFS, {"M1": "flat"}))
    assert flat["currency"].item() == "CHF"
    energy = Decimal(repr(sessions["energy_ac_kwh"].item()))
    assert flat["cost_of_energy"].item() == energy * Decimal("0.2")

    earlier = pl.col(pl.Datetime("us", "UTC")) - 24 * HOUR  # before the first price
    before, parts = (rows.with_columns(earlier) for rows in (sessions, stretches))
    unpriced = price_sessions(before, parts, NO_CHARGERS, Pricing(TARIFFS, {}))
    assert unpriced.select("cost_of_energy", "cost_of_losses").row(0) == (None, None)
    assert price_sessions(sessions, stretches, NO_CHARGERS, None).equals(sessions)


@pytest.mark.parametrize("status", ["insufficient_data", "implausible", "idle"])
def test_the_losses_of_a_session_without_a_rating_have_no_cost(status: str) -> None:
    sessions, stretches, _ = charged((7, 9))
    unrated = sessions.with_columns(status=pl.lit(status))
    found = price_sessions(unrated, stretches, NO_CHARGERS, Pricing(TARIFFS, {}))
    assert found["cost_of_losses"].item() is None
    assert found["cost_of_energy"].item() > 0
