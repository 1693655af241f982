"""The hourly tables of a simulated fleet come to its true energies, whatever its devices are."""

from collections.abc import Collection

import polars as pl
import pytest

from lake.energy import RATED
from tests.harness.true_fleet.fleet import TrueFleet
from tests.harness.true_fleet.kinds import KINDS
from tests.harness.true_fleet.scoreboard import judged_hours, score

# All that flowed follows from what was sent, to the reading.
WHOLE = (
    "1s",
    "1s-60s",
    "30s",
    "60s",
    "60s-registers",
    "30s-60s",
    "2min-30s",
    "5min-60s",
    "60s-5min",
    "5min-30s-jitter",
    "15min-60s",
    "60s-15min",
    "15min-60s-declared",
    "15min-60s-registers",
    "15min",
    "15min-registers",
    "hourly",
    "hourly-60s",
    "lost-10%-of-registers",
    "register-of-session",
    "register-rolls-over",
    "register-false-zero",
    "register-false-zero-5min",
    "register-spike",
    "repeated",
    "soc-apart",
    "soc-apart-registers",
    "ends-on-the-hour",
    "ends-on-the-hour-5min-60s",
    "ends-on-the-hour-60s-5min",
    "midnight",
    "midnight-15min-60s",
)
# The same, but a register is so rough, or readings so far apart, that a short hour is told badly.
ROUGH = (
    "60s-jitter",
    "15min-registers-jitter",
    "5min-out-of-step",
    "15min-out-of-step",
    "register-wobbles",
    "register-coarse",
    "register-coarse-5min",
    "hourly-15min",
    "hourly-out-of-step",
    "registers-silent",
)
# Heartbeats whose energy is gone.
LOSSY = (
    "lost-1%",
    "lost-5%",
    "lost-10%",
    "lost-33%",
    "lost-33%-of-vehicle",
    "lost-4-of-5",
    "lost-1-of-3",
    "lost-4-of-5-declared",
    "lost-in-bursts",
)
# Nobody can tell how much of a session before the hour lies in it, see docs/energy.md.
KNOWN_TO_STAY = ("15min-out-of-step", "hourly-out-of-step", "hourly-15min")

ENOUGH_KWH = 0.5  # a reading's share on either side of the hour is small beside it


@pytest.fixture(scope="module")
def judged() -> pl.DataFrame:
    return judged_hours(TrueFleet(vehicles_of_each=5, hours=72, seed=1))


def of_kinds(judged: pl.DataFrame, names: Collection[str]) -> pl.DataFrame:
    assert set(names) <= {kind.name for kind in KINDS}
    return judged.filter(pl.col("kind").is_in(list(names)))


@pytest.mark.parametrize("name", [*WHOLE, *ROUGH])
def test_all_energy_that_was_told_is_counted_once(judged: pl.DataFrame, name: str) -> None:
    found = score(name, of_kinds(judged, [name]))
    assert found.energy_ac == pytest.approx(0, abs=0.002)
    assert found.energy_dc == pytest.approx(0, abs=0.002)


@pytest.mark.parametrize("name", WHOLE)
def test_an_hour_whose_energies_follow_from_the_heartbeats_is_rated_as_it_is(
    judged: pl.DataFrame, name: str
) -> None:
    hours = of_kinds(judged, [name]).filter(pl.col("true_ac_kwh") >= ENOUGH_KWH)
    found = score(name, hours)
    assert found.rated == 1
    assert found.error_p99 is not None
    # Where charging begins, a vehicle's quarter of an hour is spread over its charger's minutes.
    assert found.error_p99 < (2.5 if name == "60s-15min" else 1)
    assert found.false_alarms == 0
    assert not found.missed


def test_a_healthy_vehicle_is_hardly_ever_told_to_be_failing(judged: pl.DataFrame) -> None:
    names = {kind.name for kind in KINDS} - set(KNOWN_TO_STAY)
    found = score("all", of_kinds(judged, names))
    assert found.false_alarms < 0.01 * found.healthy


@pytest.mark.parametrize("name", LOSSY)
def test_lost_heartbeats_never_look_like_a_failing_charger(judged: pl.DataFrame, name: str) -> None:
    found = score(name, of_kinds(judged, [name]))
    assert found.false_alarms <= 0.01 * found.healthy


def test_what_nobody_can_know_is_not_rated(judged: pl.DataFrame) -> None:
    names = [
        "lost-33%",
        "lost-33%-of-vehicle",
        "lost-4-of-5",
        "lost-4-of-5-declared",
        "lost-1-of-3",
    ]
    found = score("lost", of_kinds(judged, names))
    assert found.rated is not None
    assert found.rated < 0.02


def test_no_sample_of_a_register_makes_up_energy(judged: pl.DataFrame) -> None:
    # One that thaws after more than an hour may be counted in two hours, a little.
    is_long = pl.col("kind") == "register-freezes-long"
    hours = judged.filter(pl.col("kind").str.starts_with("register") & ~is_long)
    shown = hours.group_by("vehicle_id").agg(
        pl.sum("energy_ac_kwh"), pl.sum("energy_dc_kwh"), pl.sum("true_ac_kwh", "true_dc_kwh")
    )
    assert shown.filter(pl.col("energy_ac_kwh") > 1.01 * pl.col("true_ac_kwh") + 0.5).is_empty()
    assert shown.filter(pl.col("energy_dc_kwh") > 1.01 * pl.col("true_dc_kwh") + 0.5).is_empty()


def test_a_failing_charger_is_found_where_all_is_known(judged: pl.DataFrame) -> None:
    hours = judged.filter(pl.col("true_ac_kwh") >= ENOUGH_KWH, pl.col("true_efficiency") < 79)
    found = score("all", hours.filter(~pl.col("kind").is_in(list(KNOWN_TO_STAY))))
    assert found.bad > 1_000
    assert found.missed is not None
    assert found.missed < 0.02


def test_an_hour_in_which_nothing_flowed_has_no_rating(judged: pl.DataFrame) -> None:
    names = {*WHOLE, *LOSSY}
    idle = of_kinds(judged, names).filter(~pl.col("is_charging"))
    assert idle.filter(pl.col("status").is_in(RATED)).height < 0.02 * idle.height
