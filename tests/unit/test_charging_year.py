"""The simulated year of charging: what befalls its devices, and how finds are held to it."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from lake import VEHICLE
from lake.condition import find_anomalies
from tests.harness.charging_year.faults import DRIFT, DROP, SHARES
from tests.harness.charging_year.fleet import DAYS, YEAR_BEGINS, ChargingYear, charging_year
from tests.harness.charging_year.heartbeats import sent_days
from tests.harness.charging_year.scoreboard import FLAGS, line_flags, score


@pytest.fixture(scope="module")
def year() -> ChargingYear:
    return charging_year(100, 4)


def told(truth: pl.DataFrame) -> pl.DataFrame:
    return truth.with_columns(
        partner_id=pl.lit(None, pl.String), at=pl.col("begins") + timedelta(days=1)
    ).select(*FLAGS)


def test_a_seed_makes_the_same_year(year: ChargingYear) -> None:
    again = charging_year(100, 4)
    assert again.sessions.equals(year.sessions)
    assert again.truth.equals(year.truth)


def test_each_kind_of_fault_is_there_and_no_device_has_two(year: ChargingYear) -> None:
    assert set(year.truth["kind"]) == {kind for kind, _ in SHARES}
    assert year.truth["device_id"].is_unique().all()


def test_only_what_loses_energy_crosses_the_limit(year: ChargingYear) -> None:
    crosses = year.truth.filter(pl.col("crosses").is_not_null())
    assert set(crosses["kind"]) <= {DRIFT, DROP}
    assert (crosses["crosses"] >= crosses["begins"] - timedelta(hours=12)).all()


def test_a_year_without_faults_has_none() -> None:
    sound = charging_year(100, 4, with_faults=False)
    assert sound.truth.is_empty()
    assert (sound.sessions["energy_ac_kwh"] > 0).all()


def test_the_heartbeats_of_its_last_days_tell_what_flows_one_car_at_a_charger_at_a_time(
    year: ChargingYear,
) -> None:
    sent = sent_days(year, datetime(2026, 10, 1, tzinfo=UTC), 3, 900, 1)
    flows = sent.flows
    assert sent.energies["meter"].sum() == pytest.approx(flows.sent_ac.sum())
    assert sent.energies["vehicle"].sum() == pytest.approx(flows.sent_dc.sum())
    at_chargers = pl.DataFrame(
        {"charger": flows.charger, "begin": flows.day, "end": flows.day + flows.hours / 24}
    ).sort("charger", "begin")
    free = at_chargers.select(free=pl.col("end").shift().over("charger"), begin="begin")
    assert (free["begin"] > free["free"]).all()
    rows = sent.of_day(VEHICLE, 1).filter(pl.col("reading_type") == "interval")
    moving = rows.filter(pl.col("kwh_delivered_dc") > 0)
    assert moving["meter_id"].null_count() == 0
    assert set(rows.filter(pl.col("meter_id").is_null())["kwh_delivered_dc"]) == {0.0}


def test_who_knows_the_truth_has_the_best_score(year: ChargingYear) -> None:
    best = score("truth", year, told(year.truth))
    assert (best.precision, best.recall) == (1, 1)
    assert best.false_per_1000_device_months == 0
    assert best.crossings_warned == best.crossings > 0


def test_a_visit_before_the_fault_or_to_a_sound_device_is_false(year: ChargingYear) -> None:
    early = told(year.truth).with_columns(at=pl.lit(YEAR_BEGINS))
    assert score("early", year, early).true_visits == 0
    sound = told(year.truth).with_columns(device_id=pl.col("device_id") + "-sound")
    assert score("sound", year, sound).true_visits == 0


def test_most_faults_are_found_and_the_fault_line_finds_others(year: ChargingYear) -> None:
    at = YEAR_BEGINS + timedelta(days=DAYS)
    found = find_anomalies(year.sessions, at).filter(pl.col("confidence") >= 0.6)
    partner = pl.when(pl.col("may_be_kind").is_not_null()).then("partner_id")
    flags = found.with_columns(partner_id=partner, at=pl.lit(at)).select(
        pl.col(name).cast(kind) for name, kind in FLAGS.items()
    )
    ours, line = score("ours", year, flags), score("85 %", year, line_flags(year))
    assert (ours.precision or 0) > 0.9 > (line.precision or 0)
    assert ours.recall >= 0.6
