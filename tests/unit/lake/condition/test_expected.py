"""What a charger class should reach at a power and a temperature."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.condition import excess_loss, expected_efficiency, fit_expected, prepare_sessions
from lake.condition.expected import MODEL
from tests.unit.lake.condition.samples import at, busiest_depot, sound_year, worsened

COEFFICIENTS = [name for name in MODEL if name.startswith(("standing", "heater", "share"))]


@pytest.fixture(scope="module")
def prepared() -> pl.DataFrame:
    return prepare_sessions(sound_year().sessions)


@pytest.fixture(scope="module")
def model(prepared: pl.DataFrame) -> pl.DataFrame:
    return fit_expected(prepared)


def asked(prepared: pl.DataFrame, name: str, power: float, temperature: float) -> pl.DataFrame:
    return prepared.head(1).with_columns(
        charger_class=pl.lit(name),
        mean_power_ac_kw=pl.lit(power),
        temperature=pl.lit(temperature),
    )


def reached(
    prepared: pl.DataFrame, model: pl.DataFrame, name: str, power: float, t: float
) -> float:
    found = expected_efficiency(asked(prepared, name, power, t), model)
    return float(found["expected_efficiency_percent"].item())


@settings(max_examples=40)
@given(st.sampled_from(["household", "wallbox-11", "wallbox-22"]), st.data())
def test_cold_never_raises_what_is_expected(
    prepared: pl.DataFrame, model: pl.DataFrame, name: str, data: st.DataObject
) -> None:
    power = data.draw(st.floats(1, 30))
    colder, warmer = sorted((data.draw(st.floats(-30, 45)), data.draw(st.floats(-30, 45))))
    assert reached(prepared, model, name, power, colder) <= (
        reached(prepared, model, name, power, warmer) + 1e-9
    )


def test_at_low_power_more_power_loses_less(prepared: pl.DataFrame, model: pl.DataFrame) -> None:
    powers = [3.7, 4.5, 5.5, 6.5]
    at_power = [reached(prepared, model, "wallbox-22", power, 20) for power in powers]
    assert at_power == sorted(at_power)
    assert (model.select(COEFFICIENTS).to_numpy() >= 0).all()


def test_a_cold_battery_and_a_household_socket_are_no_fault(
    prepared: pl.DataFrame, model: pl.DataFrame
) -> None:
    found = expected_efficiency(prepared, model)
    for where in (
        pl.col("charger_class") == "household",
        pl.col("average_battery_temp") < 0,
        (pl.col("charger_class") == "household") & (pl.col("average_battery_temp") < 3),
    ):
        deviation = found.filter(where)["deviation_percent"].median()
        assert isinstance(deviation, float)
        assert abs(deviation) < 1.5


def test_devices_that_fail_do_not_lower_what_is_expected() -> None:
    sessions = sound_year().sessions
    numbers = pl.col("vehicle_id").str.slice(4).cast(pl.Int64)
    ailing = prepare_sessions(worsened(sessions, numbers % 5 == 0, 0.85))
    of_all = fit_expected(prepare_sessions(sessions))
    with_them, without = (
        expected_efficiency(ailing, model)["expected_efficiency_percent"].to_numpy()
        for model in (fit_expected(ailing), of_all)
    )
    assert abs(float(np.median(with_them - without))) < 1.0


def test_excess_loss_is_what_a_fault_costs(prepared: pl.DataFrame, model: pl.DataFrame) -> None:
    meter, _ = busiest_depot(sound_year().sessions)
    ailing = prepare_sessions(worsened(sound_year().sessions, at(meter=meter), 0.9))
    of_meter = excess_loss(expected_efficiency(ailing, model)).filter(
        (pl.col("meter_id") == meter) & pl.col("is_measured")
    )
    lost = float(of_meter["excess_loss_kwh"].to_numpy().sum())
    energy = of_meter["matched_energy_ac_kwh"] * of_meter["efficiency_percent"] / 100
    arrived = float(energy.to_numpy().sum())
    assert lost == pytest.approx(arrived / 0.9 * 0.1, rel=0.25)


def test_a_class_that_is_seldom_used_has_the_model_of_all(
    prepared: pl.DataFrame, model: pl.DataFrame
) -> None:
    assert reached(prepared, model, "unheard-of", 11, 20) == pytest.approx(
        reached(prepared, model.filter(pl.col("charger_class").is_null()), "wallbox-11", 11, 20)
    )


def test_a_session_without_a_temperature_has_that_of_the_fleet_on_its_day() -> None:
    rows = prepare_sessions(sound_year().sessions.with_columns(average_battery_temp=pl.lit(None)))
    assert rows["temperature"].unique().to_list() == [20.0]
    some = prepare_sessions(sound_year().sessions)
    assert some.filter(pl.col("average_battery_temp").is_null())["temperature"].n_unique() > 100


def test_too_few_sessions_are_told(prepared: pl.DataFrame) -> None:
    few = prepared.head(20)
    with pytest.raises(ValueError, match="wait until there are so many"):
        fit_expected(few)
