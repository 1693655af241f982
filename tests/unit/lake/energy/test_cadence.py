"""How far back a reading of an interval reaches; docs/energy.md, sections 3 and 4."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.energy.cadence import interval_starts
from tests.unit.energy_samples import patiently

SECOND = 1_000_000
NOMINAL = 60


def reaches(
    *steps: float, declared: dict[int, float] | None = None, cadence: float = 0
) -> list[float]:
    """How far each reading reaches back, seconds; the readings are these steps apart."""
    times = [0.0, *itertools.accumulate(steps)]
    time = np.rint(np.array(times) * SECOND).astype(np.int64)
    stated = np.zeros(len(time), np.int64)
    for place, length in (declared or {}).items():
        stated[place] = round(length * SECOND)
    start = interval_starts(
        np.zeros(len(time), np.int64),
        time,
        stated,
        np.array([round(cadence * SECOND)]),
        NOMINAL * SECOND,
    )
    found: list[float] = ((time - start) / SECOND).tolist()
    return found


@pytest.mark.parametrize("step", [1, 10, 60, 300, 900, 3600, 86400])
def test_a_regular_device_is_known_all_the_time(step: float) -> None:
    assert reaches(*[step] * 8) == [step] * 9


def test_three_steps_are_enough_and_two_are_not() -> None:
    """Either way: the third of four ends two steps and begins, with its own, two."""
    assert reaches(900, 900) == [NOMINAL] * 3
    assert reaches(900, 900, 900) == [900, 900, NOMINAL, 900]
    assert reaches(900, 900, 900, 900) == [900] * 5


def test_a_lone_reading_has_the_nominal_cadence() -> None:
    assert reaches() == [NOMINAL]


def test_jitter_makes_no_hole() -> None:
    steps = [58, 63, 60, 55, 66, 61, 59, 64]
    assert reaches(*steps)[1:] == steps


def test_a_lost_heartbeat_is_a_hole_and_a_late_one_is_none() -> None:
    found = reaches(60, 60, 60, 60, 60, 60, 120, 60, 60, 60, 60, 60)
    assert found[7] == 60
    assert reaches(60, 60, 60, 60, 60, 60, 90, 60, 60, 60, 60, 60)[7] == 90
    assert reaches(60, 60, 60, 60, 60, 60, 91, 60, 60, 60, 60, 60)[7] == 60


def test_irregular_loss_is_no_slower_device() -> None:
    steps = [60, 120, 60, 180, 60, 60, 120, 60, 60, 240, 60]
    assert reaches(*steps) == [60] * 12


def test_every_third_lost_is_told() -> None:
    assert reaches(*[60, 120] * 6) == [60] * 13


def test_a_loss_as_regular_as_a_slow_device_is_told_only_by_what_is_declared() -> None:
    steps = [300] * 9
    assert reaches(*steps) == [300] * 10
    assert reaches(*steps, declared=dict.fromkeys(range(10), 60)) == [60] * 10
    assert reaches(*steps, cadence=60) == [60] * 10


def test_a_cadence_by_class_counts_before_what_is_learned() -> None:
    assert reaches(60, 60, 60, 60, 60, 60, 60, 300, cadence=300) == [300, *[60] * 7, 300]
    assert reaches(900, 900, cadence=900) == [900] * 3


def test_a_declared_interval_never_reaches_over_the_reading_before() -> None:
    assert reaches(60, 60, 60, declared={2: 900}) == [60, 60, 60, 60]
    assert reaches(60, 60, 60, declared={0: 900})[0] == 900


def test_a_declared_interval_says_nothing_of_other_readings() -> None:
    assert reaches(*[300] * 8, declared={4: 60}) == [*[300] * 4, 60, *[300] * 4]


def test_a_device_that_becomes_slower_is_believed_from_its_first_slow_step() -> None:
    assert reaches(*[60] * 7, *[300] * 6)[8:] == [300] * 6


def test_a_device_that_becomes_faster_is_known_all_the_time() -> None:
    assert reaches(*[300] * 7, *[60] * 7)[1:] == [*[300] * 7, *[60] * 7]


def test_the_cadence_of_one_device_is_not_that_of_the_next() -> None:
    time = np.array([0, 900, 1800, 2700, 3600, 0, 60, 120, 180, 240]) * SECOND
    channel = np.repeat(np.arange(2), 5)
    nothing = np.zeros(10, np.int64)
    start = interval_starts(channel, time, nothing, np.zeros(2, np.int64), NOMINAL * SECOND)
    assert ((time - start) / SECOND).tolist() == [900] * 5 + [60] * 5


@patiently
@given(st.lists(st.sampled_from([30, 60, 61, 90, 300, 900]), min_size=8, max_size=40), st.data())
def test_a_reading_reaches_as_far_with_six_steps_to_either_side(
    steps: list[float], data: st.DataObject
) -> None:
    """So two windows that cut a reading agree on it."""
    place = data.draw(st.integers(0, len(steps)))
    low, high = max(place - 7, 0), min(place + 6, len(steps))
    near = reaches(*steps[low:high])
    if low == 0 or place - low == 7:
        assert near[place - low] == reaches(*steps)[place]
