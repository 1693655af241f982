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
    flows_of_fleet,
    group_by_price,
    hourly_flows,
    sum_energies,
    value_of_one_point,
    worst_devices,
)
from lake.costs.pricing import Pricing
from lake.costs.tariff import Band, Tariff, TariffPeriod, Tariffs
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
SINGLE = Pricing(Tariffs(tariffs={"one": TARIFF}, default="one"), {})
PRICES = SINGLE.prices(hours_between(DAY, DAY + 48 * HOUR))
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
    return hourly_flows(spec, at_one_tariff(table_rows(spec, *rows)))


def at_one_tariff(rows: pl.DataFrame) -> pl.LazyFrame:
    return rows.lazy().with_columns(tariff=pl.lit("one"))


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
    added = sum_energies(
        group_by_price(vehicle_flows(hours), PRICES, ["vehicle_id"]), ["vehicle_id"]
    )
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
        sum_energies(
            group_by_price(hourly_flows(spec, at_one_tariff(rows)), PRICES, []), []
        ).to_dicts()
        for spec, rows in (
            (CHARGER_EFFICIENCY_HOURLY, chargers),
            (FLEET_EFFICIENCY_HOURLY, fleet),
        )
    ]
    assert energies[0] == energies[1]
    assert energies[0][0]["efficiency_percent"] == 90.0


def test_a_cost_is_not_known_where_energy_flowed_before_the_first_price() -> None:
    flows = vehicle_flows([(0, "A", 10**9, 0.9, "good"), (1, "A", 10**9, 0.9, "good")])
    later = PRICES.filter(pl.col("hour_start") > DAY)
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


CHF = Tariff(
    currency="CHF",
    time_zone="Europe/Zurich",
    periods=(TariffPeriod(valid_from=date(2020, 1, 1), price_per_kwh=Decimal("0.4")),),
)
CHEAP = Tariff(
    currency="EUR",
    time_zone="Asia/Kathmandu",
    periods=(
        TariffPeriod(
            valid_from=date(2020, 1, 1),
            price_per_kwh=Decimal("0.1"),
            bands=(Band(from_hour=22, to_hour=6, price_per_kwh=Decimal("0.02")),),
        ),
    ),
)
SEVERAL = Tariffs(tariffs={"one": TARIFF, "zurich": CHF, "cheap": CHEAP}, default="one")
METERS = ("M1", "M2", "M3")
CHARGED = st.lists(
    st.tuples(
        st.integers(0, 47),
        st.sampled_from(METERS),
        st.integers(0, 50 * 10**9),  # credited
        st.integers(0, 10**9),  # while it fed nobody
        st.floats(0, 1),
        st.sampled_from(["good", "critical", "idle", "implausible"]),
    ),
    unique_by=lambda row: row[:2],
    max_size=30,
)


@given(CHARGED, st.dictionaries(st.sampled_from(METERS), st.sampled_from([*SEVERAL.tariffs])))
def test_money_of_several_tariffs_adds_up_exactly_in_each_currency(
    hours: list[tuple[int, str, int, int, float, str]], of_meters: dict[str, str]
) -> None:
    """Each meter feeds a vehicle of its own, so both sides have the same money."""
    pricing = Pricing(SEVERAL, of_meters)
    chargers, vehicles = [], []
    expected: dict[str, Costs] = {}
    for hour, meter, credited, unlinked, share, status in hours:
        start, stored = DAY + hour * HOUR, int(credited * share)
        row = {
            "hour_start": start,
            "status": status,
            "energy_ac_kwh": credited / 1e9,
            "energy_dc_kwh": stored / 1e9,
            "matched_energy_ac_kwh": credited / 1e9,
            "matched_energy_dc_kwh": stored / 1e9,
        }
        vehicles.append({**row, "vehicle_id": f"V{meter}", "meter_ids": [meter]})
        whole = {"energy_ac_kwh": (credited + unlinked) / 1e9}
        nobody = {"unlinked_energy_ac_kwh": unlinked / 1e9}
        chargers.append({**row, **whole, **nobody, "meter_id": meter})
        tariff = SEVERAL.tariffs[of_meters.get(meter, "one")]
        price, is_rated = tariff.price_of_hour(start), status in ("good", "critical")
        assert price is not None
        before = expected.get(tariff.currency, Costs())
        expected[tariff.currency] = Costs(
            before.energy + Decimal(credited + unlinked) / 10**9 * price,
            before.rated + is_rated * Decimal(credited) / 10**9 * price,
            before.losses + is_rated * Decimal(credited - stored) / 10**9 * price,
        )
    of_vehicles = table_rows(VEHICLE_EFFICIENCY_HOURLY, *vehicles).lazy()
    of_chargers = table_rows(CHARGER_EFFICIENCY_HOURLY, *chargers).lazy()
    charger_flows = hourly_flows(CHARGER_EFFICIENCY_HOURLY, pricing.of_chargers(of_chargers))
    vehicle_flows = hourly_flows(
        VEHICLE_EFFICIENCY_HOURLY, pricing.of_vehicles(of_vehicles, of_chargers)
    )
    prices = pricing.prices(hours_between(DAY, DAY + 48 * HOUR))
    for flows in (charger_flows, flows_of_fleet(vehicle_flows, charger_flows)):
        for by in ([], ["hour_start"], ["date"]):
            keys = [*by, "currency"]
            found: dict[str, Costs] = {}
            for key, costs in calculate_costs(group_by_price(flows, prices, keys), keys).items():
                before = found.get(key[-1], Costs())
                assert costs is not None
                found[key[-1]] = Costs(
                    before.energy + costs.energy,
                    before.rated + costs.rated,
                    before.losses + costs.losses,
                )
            assert found == expected


def test_an_hour_at_chargers_of_several_tariffs_has_that_of_the_one_that_gave_most() -> None:
    pricing = Pricing(SEVERAL, {"M1": "zurich", "M2": "cheap"})
    hour = {"hour_start": DAY}
    chargers = table_rows(
        CHARGER_EFFICIENCY_HOURLY,
        {**hour, "meter_id": "M1", "energy_ac_kwh": 5.0, "unlinked_energy_ac_kwh": 4.0},
        {**hour, "meter_id": "M2", "energy_ac_kwh": 2.0, "unlinked_energy_ac_kwh": 0.0},
        {**hour, "meter_id": "M3", "energy_ac_kwh": 2.0, "unlinked_energy_ac_kwh": 0.0},
    )
    cars = {"A": ["M1", "M2"], "B": ["M3", "M2"], "C": [], "D": ["M1"], "E": ["unknown"]}
    vehicles = table_rows(
        VEHICLE_EFFICIENCY_HOURLY,
        *({**hour, "vehicle_id": name, "meter_ids": meters} for name, meters in cars.items()),
    )
    found = pricing.of_vehicles(vehicles.lazy(), chargers.lazy()).collect()
    assert dict(zip(found["vehicle_id"], found["tariff"], strict=True)) == {
        "A": "cheap",
        "B": "cheap",
        "C": "one",
        "D": "zurich",
        "E": "one",
    }
    assert SINGLE.only == "one"
    assert Pricing(SEVERAL, {"M1": "one"}).only == "one"
    assert pricing.only is None
