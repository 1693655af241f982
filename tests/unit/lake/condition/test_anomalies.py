"""Which device is at fault, in what way, and what is not held against it."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lake.condition import find_anomalies
from lake.condition.anomalies import ANOMALIES
from tests.unit.lake.condition.samples import (
    YEAR_ENDS,
    at,
    busiest_depot,
    busiest_home,
    since,
    sound_year,
    worsened,
)

SESSIONS = sound_year().sessions
METER, VEHICLE = busiest_home(SESSIONS)
DEPOT_METER, DEPOT_VEHICLE = busiest_depot(SESSIONS)
LATE = pl.col("begins") >= since(240)


def sure(sessions: pl.DataFrame, through: float = 365) -> pl.DataFrame:
    found = find_anomalies(sessions, since(through))
    return found.filter(pl.col("confidence") >= 0.6)


def changed(where: pl.Expr, **columns: pl.Expr) -> pl.DataFrame:
    return SESSIONS.with_columns(
        pl.when(where).then(value).otherwise(name).alias(name) for name, value in columns.items()
    )


def times(factor: float, *names: str) -> dict[str, pl.Expr]:
    return {name: pl.col(name) * factor for name in names}


AC = ("energy_ac_kwh", "matched_energy_ac_kwh", "mean_power_ac_kw", "peak_power_ac_kw")


@pytest.mark.parametrize("day", [120, 210, 300, 365])
def test_nobody_is_sent_to_a_sound_fleet(day: int) -> None:
    assert sure(SESSIONS, day).is_empty()


def test_neither_to_one_whose_chargers_have_no_class() -> None:
    assert sure(SESSIONS.with_columns(charger_class=pl.lit(None, pl.String))).is_empty()


def test_a_charger_that_is_low_with_every_vehicle_is_failing() -> None:
    (row,) = sure(worsened(SESSIONS, at(meter=DEPOT_METER) & LATE, 0.9)).iter_rows(named=True)
    assert (row["device_kind"], row["device_id"]) == ("meter", DEPOT_METER)
    assert row["kind"] == "sudden_drop"
    assert row["may_be_kind"] is None
    assert row["others"] >= 5
    assert row["size_percent"] == pytest.approx(10.5, abs=2)
    assert abs((row["since"] - since(240)).days) <= 14
    assert "vehicles here are as usual elsewhere" in row["reason"]


def test_a_charger_that_was_low_from_the_first_day_is_found() -> None:
    (row,) = sure(worsened(SESSIONS, at(meter=DEPOT_METER), 0.85)).iter_rows(named=True)
    assert (row["device_id"], row["kind"], row["may_be_kind"]) == (DEPOT_METER, "always_low", None)
    assert row["size_percent"] == pytest.approx(16, abs=4)


def test_a_vehicle_that_is_low_at_every_charger_is_failing() -> None:
    (row,) = sure(worsened(SESSIONS, at(vehicle=DEPOT_VEHICLE) & LATE, 0.9)).iter_rows(named=True)
    assert (row["device_kind"], row["device_id"]) == ("vehicle", DEPOT_VEHICLE)
    assert "chargers here are as usual elsewhere" in row["reason"]


def test_of_a_pair_that_has_no_others_either_may_be_the_one() -> None:
    alone = SESSIONS.filter(~at(vehicle=VEHICLE) | at(meter=METER))
    alone = alone.filter(~at(meter=METER) | at(vehicle=VEHICLE))
    (row,) = sure(worsened(alone, at(meter=METER) & LATE, 0.9)).iter_rows(named=True)
    assert (row["device_id"], row["may_be_kind"], row["partner_id"]) == (METER, "vehicle", VEHICLE)
    assert f"may as well be vehicle {VEHICLE}" in row["reason"]


def test_a_drift_is_seen_early_with_the_days_that_are_left() -> None:
    days = (pl.col("begins") - since(240)).dt.total_days().clip(lower_bound=0)
    drifting = worsened(SESSIONS, at(vehicle=DEPOT_VEHICLE), (-0.025 * days / 30).exp())
    (row,) = sure(drifting, 330).iter_rows(named=True)
    assert (row["device_id"], row["kind"]) == (DEPOT_VEHICLE, "slow_drift")
    assert row["slope_percent_a_month"] == pytest.approx(-2.5, abs=1)
    assert 0 < row["days_to_limit_low"] <= row["days_to_limit"]
    assert row["mending_saves_kwh_a_year"] > 0


@pytest.mark.parametrize(
    ("sessions", "device_id", "kind"),
    [
        (changed(at(meter=METER) & LATE, **times(0, *AC)), METER, "stuck_register"),
        (
            changed(
                at(vehicle=VEHICLE) & LATE,
                **times(0, "energy_dc_kwh", "efficiency_percent", "peak_power_dc_kw"),
            ),
            VEHICLE,
            "stuck_register",
        ),
        (
            changed(
                at(meter=METER) & LATE,
                **times(1000, *AC),
                efficiency_percent=pl.col("efficiency_percent") / 1000,
            ),
            METER,
            "wrong_scale",
        ),
        (
            changed(
                at(vehicle=VEHICLE) & LATE,
                **times(1 / 60, "energy_dc_kwh", "efficiency_percent", "peak_power_dc_kw"),
            ),
            VEHICLE,
            "wrong_scale",
        ),
        (
            changed(
                at(meter=METER) & LATE,
                **times(0.3, "matched_energy_ac_kwh"),
                efficiency_percent=pl.lit(None),
            ),
            METER,
            "clock_error",
        ),
        (
            changed(
                at(meter=METER) & (pl.col("begins") >= since(320)),
                **times(2 / 3, "peak_power_ac_kw", "mean_power_ac_kw"),
            ),
            METER,
            "missing_phase",
        ),
    ],
    ids=["stuck-meter", "stuck-vehicle", "Wh", "kW", "clock", "phase"],
)
def test_a_fault_of_what_measures_is_named(
    sessions: pl.DataFrame, device_id: str, kind: str
) -> None:
    found = sure(sessions)
    assert found.select("device_id", "kind").rows() == [(device_id, kind)]
    assert found["mending_saves_kwh_a_year"].item() == 0


def test_what_is_at_stake_is_not_told_by_a_meter_that_is_wrong_as_well() -> None:
    """A vehicle whose register sticks charges now and then at a meter that counts Wh."""
    recent = pl.col("begins") >= since(330)
    sticks = changed(
        at(vehicle=DEPOT_VEHICLE) & recent,
        **times(0, "energy_dc_kwh", "matched_energy_dc_kwh", "peak_power_dc_kw"),
        efficiency_percent=pl.lit(0.0),
    )
    in_wh = at(meter=DEPOT_METER) & ~at(vehicle=DEPOT_VEHICLE) & recent
    both = sticks.with_columns(
        pl.when(in_wh | (at(meter=DEPOT_METER) & at(vehicle=DEPOT_VEHICLE) & recent))
        .then(pl.col(name) * 1000)
        .otherwise(name)
        .alias(name)
        for name in AC
    ).with_columns(
        efficiency_percent=pl.when(in_wh)
        .then(pl.col("efficiency_percent") / 1000)
        .otherwise("efficiency_percent")
    )
    rows = {row["device_id"]: row for row in sure(both).iter_rows(named=True)}
    assert rows[DEPOT_METER]["kind"] == "wrong_scale"
    assert rows[DEPOT_VEHICLE]["kind"] == "stuck_register"
    (alone,) = sure(sticks).iter_rows(named=True)
    told = rows[DEPOT_VEHICLE]["at_stake_kwh_a_year"]
    assert told == pytest.approx(alone["at_stake_kwh_a_year"], rel=0.25)


def test_a_loss_is_not_counted_by_the_energy_of_a_wrong_meter_that_is_seldom_used() -> None:
    failing = worsened(SESSIONS, at(vehicle=DEPOT_VEHICLE) & LATE, 0.88)
    meters = failing.filter(at(vehicle=DEPOT_VEHICLE) & LATE)["meter_ids"].list.first()
    rare = meters.value_counts(sort=True)["meter_ids"][-1]
    twice = at(vehicle=DEPOT_VEHICLE, meter=rare) & LATE
    in_wh = failing.with_columns(
        *(pl.when(twice).then(pl.col(name) * 1000).otherwise(name).alias(name) for name in AC),
        efficiency_percent=pl.when(twice).then(None).otherwise("efficiency_percent"),
    )
    (alone,), (told,) = (
        sure(sessions).filter(device_id=DEPOT_VEHICLE).to_dicts() for sessions in (failing, in_wh)
    )
    assert told["mending_saves_kwh_a_year"] == pytest.approx(
        alone["mending_saves_kwh_a_year"], rel=0.1
    )


def test_swapped_links_are_named_with_the_meter_that_fits() -> None:
    pairs = SESSIONS.group_by("vehicle_id", meter=pl.col("meter_ids").list.first()).len()
    own = pairs.filter(pl.col("meter") != METER).sort("len", "meter", descending=True)
    other = str(own["meter"][0])
    date = pl.col("begins").dt.date()
    ours = SESSIONS.with_columns(date=date, meter=pl.col("meter_ids").list.first())
    told = ours.filter(pl.col("meter").is_in([METER, other])).select(
        "date",
        "energy_ac_kwh",
        meter=pl.when(pl.col("meter") == METER).then(pl.lit(other)).otherwise(pl.lit(METER)),
    )
    swapped = (
        ours.join(told.unique(["date", "meter"]), on=["date", "meter"], how="left", suffix="_told")
        .with_columns(
            energy_ac_kwh=pl.when(LATE & pl.col("meter").is_in([METER, other]))
            .then(pl.col("energy_ac_kwh_told").fill_null(0))
            .otherwise("energy_ac_kwh")
        )
        .with_columns(matched_energy_ac_kwh="energy_ac_kwh")
        .with_columns(
            efficiency_percent=pl.when(pl.col("energy_ac_kwh") > 0.05).then(
                100 * pl.col("energy_dc_kwh") / pl.col("energy_ac_kwh")
            )
        )
    )
    found = find_anomalies(swapped, YEAR_ENDS).filter(pl.col("kind") == "swapped_link")
    assert set(found.select("device_id", "partner_id").rows()) == {(METER, other), (other, METER)}


def test_what_comes_later_has_no_part_and_neither_has_the_order_of_rows() -> None:
    ailing = worsened(SESSIONS, at(meter=DEPOT_METER) & LATE, 0.9)
    of_all = find_anomalies(ailing, since(300))
    until_then = find_anomalies(ailing.filter(pl.col("begins") < since(300)), since(300))
    assert_frame_equal(of_all, until_then, abs_tol=0.001)
    shuffled = find_anomalies(ailing.sample(fraction=1, shuffle=True, seed=1), since(300))
    keys = ["device_kind", "device_id", "kind", "sessions"]
    assert shuffled.select(keys).equals(of_all.select(keys))


def test_sessions_that_go_on_or_have_several_meters_are_left_out() -> None:
    going = SESSIONS.with_columns(ends=pl.lit(None, pl.Datetime("us", "UTC")))
    both = SESSIONS.with_columns(meter_ids=pl.concat_list("meter_ids", pl.lit("X")))
    added = pl.concat([SESSIONS, *(worsened(rows, pl.lit(True), 0.5) for rows in (going, both))])
    assert_frame_equal(find_anomalies(added, YEAR_ENDS), find_anomalies(SESSIONS, YEAR_ENDS))


def test_the_columns_are_those_that_are_documented() -> None:
    assert dict(find_anomalies(SESSIONS, YEAR_ENDS).schema) == ANOMALIES
