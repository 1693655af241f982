"""The simulated fleet: what its devices send adds up to what is true of it."""

import numpy as np
import pytest

from lake.history import READINGS_BESIDE
from tests.harness.true_fleet.fleet import TrueFleet
from tests.harness.true_fleet.kinds import KINDS

CADENCES = ("1s-60s", "60s", "60s-registers", "5min-30s-jitter", "15min-registers-jitter", "hourly")


def of_kinds(*names: str, hours: int = 24, seed: int = 1) -> TrueFleet:
    return TrueFleet(4, hours, seed, kinds=[kind for kind in KINDS if kind.name in names])


@pytest.mark.parametrize("name", CADENCES)
def test_readings_that_nothing_befell_add_up_to_the_true_energy(name: str) -> None:
    for one in of_kinds(name).vehicles:
        for sent, curve in ((one.ac, one.charging.ac), (one.dc, one.charging.dc)):
            told = sent.value - sent.value[0] if sent.is_register else np.cumsum(sent.value)
            begin = sent.time[0] if sent.is_register else sent.since[0]
            true = curve.at(sent.time) - curve.at(np.array([begin]))
            assert np.abs(told - true).max() < 1e-5
            assert sent.arrives.all()
            assert not sent.unknown


def test_a_lost_interval_makes_its_hour_incomplete_and_a_lost_register_does_not() -> None:
    fleet = of_kinds("lost-10%", "lost-10%-of-registers")
    whole = {str(name): rows["is_whole"].mean() for (name,), rows in fleet.truth().group_by("kind")}
    assert whole == {"lost-10%": 0, "lost-10%-of-registers": 1}


def test_the_share_of_failing_chargers_is_as_told_and_the_others_are_healthy() -> None:
    fleet = TrueFleet(10, 24, failing_share=0.3, kinds=[kind for kind in KINDS if not kind.is_rare])
    efficiencies = {
        is_healthy: [v.charging.efficiency for v in fleet.vehicles if v.is_healthy is is_healthy]
        for is_healthy in (True, False)
    }
    assert len(efficiencies[False]) == 0.3 * len(fleet.vehicles)
    assert min(efficiencies[True]) >= 0.88
    assert max(efficiencies[False]) <= 0.84


def test_a_kind_is_the_same_in_any_fleet_and_another_with_another_seed() -> None:
    alone, together, otherwise = (
        fleet.truth().filter(kind="lost-5%").drop("vehicle_id")
        for fleet in (of_kinds("lost-5%"), of_kinds("60s", "lost-5%"), of_kinds("lost-5%", seed=2))
    )
    assert alone.equals(together)
    assert not alone.equals(otherwise)


def test_an_hour_has_as_many_readings_beside_it_as_the_lake_gives_it() -> None:
    fleet = of_kinds("hourly")
    start = fleet.starts[12]
    readings = fleet.inputs(start).meters.collect()
    for _, of_meter in readings.group_by("meter_id"):
        times = of_meter["timestamp"]
        assert (times <= start).sum() == READINGS_BESIDE
        assert (times > start).sum() == READINGS_BESIDE + 1
