"""Losses add up: energies to the last digit, money exactly, whatever they are grouped by."""

from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake import HOUR, hours_between
from lake.costs.losses import (
    Costs,
    calculate_costs,
    group_by_price,
    hourly_flows,
    sum_energies,
    value_of_one_point,
    worst_devices,
)
from lake.costs.tariff import Band, Tariff, TariffPeriod, prices_of_hours
from lake.schema.charger_efficiency import CHARGER_EFFICIENCY_HOURLY
from lake.schema.vehicle_efficiency import FLEET_EFFICIENCY_HOURLY, VEHICLE_EFFICIENCY_HOURLY
from tests.table_samples import table_rows

DAY = datetime(2026, 10, 25, tzinfo=UTC)  # 25 hours long in Berlin
TARIFF = Tariff(
    currency="EUR",
    time_zone="Europe/Berlin",
    periods=(
        TariffPeriod(
            valid_from=date(2020, 1, 1),
            price_per_kwh=Decimal("0.213457"),
            bands=(Band(from_hour=2, to_hour=6, price_per_kwh=Decimal("-0.05")),),
        ),
    ),
)
PRICES = prices_of_hours(TARIFF, hours_between(DAY, DAY + 48 * HOUR))
# Whole microwatt-hours: AC up to 50 kWh an hour, and the part of it that was stored.
HOURS = st.lists(
    st.tuples(
        st.integers(0, 47),
        st.sampled_from(["A", "B", "C"]),
        st.integers(0, 50 * 10**9),
        st.floats(0, 1),
        st.sampled_from(["good", "critical", "idle", "implausible", "unmapped"]),
    ),
    unique_by=lambda row: row[:2],
    max_size=30,
)


def vehicle_flows(hours: list[tuple[int, str, int, float, str]]) -> pl.LazyFrame:
    rows = []
    for hour, car, ac, share, status in hours:
        energy_ac, energy_dc = ac / 1e9, int(ac * share) / 1e9
        rows.append(
            {
                "hour_start": DAY + hour * HOUR,
                "vehicle_id": car,
                "status": status,
                "energy_ac_kwh": None if status == "unmapped" else energy_ac,
                "energy_dc_kwh": energy_dc,
                "matched_energy_ac_kwh": energy_ac,
                "matched_energy_dc_kwh": energy_dc,
                "loss_kwh": None if status == "unmapped" else round(energy_ac - energy_dc, 9),
            }
        )
    spec = VEHICLE_EFFICIENCY_HOURLY
    return hourly_flows(spec, table_rows(spec, *rows).lazy())


@given(HOURS)
def test_the_cost_of_hours_days_and_vehicles_adds_up_exactly_to_that_of_the_window(
    hours: list[tuple[int, str, int, float, str]],
) -> None:
    flows = vehicle_flows(hours)
    expected = Costs()
    for row in flows.collect().iter_rows(named=True):
        price = TARIFF.price_of_hour(row["hour_start"])
        assert price is not None
        loss = Decimal(repr(row["loss_kwh"] or 0.0)) * price
        energy = Decimal(repr(row["energy_ac_kwh"] or 0.0)) * price
        rated = Decimal(repr(row["rated_energy_ac_kwh"] or 0.0)) * price
        expected = Costs(expected.energy + energy, expected.rated + rated, expected.losses + loss)
    for by in (["hour_start"], ["date"], ["vehicle_id"], []):
        found = calculate_costs(group_by_price(flows, PRICES, by), by).values()
        total = Costs()
        for one in found:
            assert one is not None
            total = Costs(
                total.energy + one.energy, total.rated + one.rated, total.losses + one.losses
            )
        assert total == expected


@given(HOURS)
def test_the_worst_are_those_of_lowest_ratio_of_sums_over_their_rated_hours(
    hours: list[tuple[int, str, int, float, str]],
) -> None:
    added = sum_energies(group_by_price(vehicle_flows(hours), {}, ["vehicle_id"]), ["vehicle_id"])
    found = worst_devices(added, "vehicle_id", 2)
    sums: dict[str, list[int]] = {}
    for _, car, ac, share, status in hours:
        if status in ("good", "critical"):
            of_car = sums.setdefault(car, [0, 0])
            of_car[0] += ac
            of_car[1] += int(ac * share)
    ratios = {
        car: (round(100 * (dc / 1e9) / (ac / 1e9), 9), dc - ac, car)
        for car, (ac, dc) in sums.items()
        if ac > 0
    }
    expected = [car for _, _, car in sorted(ratios.values())][:2]
    assert found["vehicle_id"].to_list() == expected
    assert found["loss_kwh"].to_list() == [(sums[c][0] - sums[c][1]) / 1e9 for c in expected]


def test_vehicles_chargers_and_the_fleet_tell_the_same_energy() -> None:
    hour = {"hour_start": DAY}
    chargers = table_rows(
        CHARGER_EFFICIENCY_HOURLY,
        {
            **hour,
            "meter_id": "M",
            "status": "good",
            "energy_ac_kwh": 11.0,
            "unlinked_energy_ac_kwh": 1.0,
            "energy_dc_kwh": 9.0,
            "matched_energy_ac_kwh": 10.0,
            "matched_energy_dc_kwh": 9.0,
            "loss_kwh": 1.0,
        },
    )
    fleet = table_rows(
        FLEET_EFFICIENCY_HOURLY,
        {
            **hour,
            "energy_ac_kwh": 10.0,
            "unlinked_energy_ac_kwh": 1.0,
            "rated_energy_ac_kwh": 10.0,
            "rated_energy_dc_kwh": 9.0,
            "loss_kwh": 1.0,
        },
    )
    energies = [
        sum_energies(group_by_price(hourly_flows(spec, rows.lazy()), PRICES, []), []).to_dicts()
        for spec, rows in (
            (CHARGER_EFFICIENCY_HOURLY, chargers),
            (FLEET_EFFICIENCY_HOURLY, fleet),
        )
    ]
    assert energies[0] == energies[1]
    assert energies[0][0]["efficiency_percent"] == 90.0


def test_a_cost_is_not_known_where_energy_flowed_before_the_first_price() -> None:
    flows = vehicle_flows([(0, "A", 10**9, 0.9, "good"), (1, "A", 10**9, 0.9, "good")])
    later = {hour: price for hour, price in PRICES.items() if hour > DAY}
    assert calculate_costs(group_by_price(flows, later, []), []) == {(): None}
    by_hour = calculate_costs(group_by_price(flows, later, ["hour_start"]), ["hour_start"])
    assert by_hour[DAY,] is None
    assert by_hour[DAY + HOUR,] is not None


def test_one_percentage_point_is_worth_what_the_same_demand_takes_less() -> None:
    # 80 kWh of 100 in 24 hours, at 0.30 a kWh: a year has 365.25 such days.
    point = value_of_one_point(100.0, 80.0, 24, Decimal("30"))
    assert point is not None
    saved = 365.25 * (80 / 0.80 - 80 / 0.81)
    assert point.energy_kwh == pytest.approx(saved)
    assert point.cost is not None
    assert float(point.cost) == pytest.approx(saved * 0.30)
    assert value_of_one_point(0.0, 0.0, 24, None) is None
