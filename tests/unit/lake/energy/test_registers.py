"""What each step of a register means; docs/energy.md, section 5."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.energy.intervals import (
    KNOWN,
    KWH,
    LEFT_OUT,
    SECOND,
    UNPLACED,
    Channels,
    EnergyReadings,
    energy_intervals,
)
from tests.unit.energy_samples import patiently

SIZE = 8388.608  # 2^23 Wh
NOISE = round(0.15 * KWH)
KINDS = {KNOWN: "known", UNPLACED: "unplaced", LEFT_OUT: "left out"}


class Step(NamedTuple):
    """Energy in kWh from one time to another, in minutes."""

    begins: float
    ends: float
    kwh: float
    kind: str = "known"


class Register(NamedTuple):
    """What was found of a register."""

    steps: list[Step]
    conflicting: float
    resets: int

    @property
    def kwh(self) -> float:
        """All energy that counts."""
        return round(sum(step.kwh for step in self.steps if step.kind != "left out"), 9)

    @property
    def left_out(self) -> list[float]:
        """The energy of each value that is left out."""
        return [step.kwh for step in self.steps if step.kind == "left out"]


def register(
    *values: float,
    at: list[float] | None = None,
    power: float = 500,
    size: float = 0,
    others: dict[int, float] | None = None,
) -> Register:
    """Judge values that come each minute, or at these minutes; `others` are second values."""
    return registers([list(values)], at=at, power=power, size=size, others=others)[0]


def registers(
    several: list[list[float]],
    at: list[float] | None = None,
    power: float = 500,
    size: float = 0,
    others: dict[int, float] | None = None,
) -> list[Register]:
    channel = np.repeat(np.arange(len(several)), [len(values) for values in several])
    minutes = [m for values in several for m in (at or list(range(len(values))))]
    energy = whole([value for values in several for value in values])
    other = energy.copy()
    for index, value in (others or {}).items():
        other[index] = round(value * KWH)
    count = len(several)
    found = energy_intervals(
        EnergyReadings(
            channel,
            np.rint(np.array(minutes) * 60 * SECOND).astype(np.int64),
            energy,
            np.ones(len(channel), np.bool_),
            np.zeros(len(channel), np.int64),
            other,
        ),
        Channels(
            np.zeros(count, np.int64),
            np.full(count, float(power)),
            np.full(count, round(size * KWH)),
        ),
        60 * SECOND,
        NOISE,
    )
    minute = 60 * SECOND
    return [
        Register(
            [
                Step(
                    int(found.start[i]) / minute,
                    int(found.end[i]) / minute,
                    int(found.energy[i]) / KWH,
                    KINDS[int(found.kind[i])],
                )
                for i in np.flatnonzero(found.channel == one)
            ],
            int(found.conflict[found.channel == one].sum()) / KWH,
            int(found.resets[found.channel == one].sum()),
        )
        for one in range(count)
    ]


def whole(kwh: list[float]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    energy: np.ndarray[tuple[int], np.dtype[np.int64]] = np.rint(np.array(kwh) * KWH).astype(int)
    return energy


def test_each_step_that_fits_is_an_interval_of_its_energy() -> None:
    found = register(10.0, 10.12, 10.12, 10.3)
    assert found.steps == [Step(0, 1, 0.12), Step(1, 2, 0.0), Step(2, 3, 0.18)]


def test_a_single_value_has_no_energy() -> None:
    assert register(910.0).steps == []


def test_noise_that_steps_back_counts_with_its_sign() -> None:
    assert register(10.0, 10.2, 10.05, 10.3).kwh == 0.3
    assert register(10.0, 10.2, 10.05, 10.3).resets == 0


@pytest.mark.parametrize(
    ("power", "rise", "left_out"),
    [(22, 0.516, False), (22, 0.517, True), (500, 8.483, False), (500, 8.484, True)],
)
def test_no_step_is_larger_than_the_greatest_power_allows(
    power: float, rise: float, left_out: bool
) -> None:
    values = [50.0, *(50.0 + rise + 0.1 * n for n in range(5))]
    assert bool(register(*values, power=power).left_out) == left_out


@pytest.mark.parametrize("false", [0.0, 5.0, 9999.0])
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_false_samples_are_left_out_and_bridged_by_their_neighbours(
    false: float, samples: int
) -> None:
    values = [910 + 0.12 * n for n in range(12)]
    values[5 : 5 + samples] = [false] * samples
    found = register(*values)
    assert found.kwh == 1.32
    assert found.left_out == [0.0] * samples
    assert found.resets == 0
    bridge = Step(4, 5 + samples, round(0.12 * (samples + 1), 9))
    assert bridge in found.steps


def test_the_last_sample_waits_until_its_successor_decides() -> None:
    assert register(50.0, 50.12, 0.0).steps[1:] == [Step(2, 2, 0.0, "left out")]
    decided = register(50.0, 50.12, 0.0, 50.36)
    assert (decided.kwh, decided.left_out) == (0.36, [0.0])
    reset = register(50.0, 50.12, 0.0, 0.12, 0.24, 0.36)
    assert (reset.kwh, reset.left_out, reset.resets) == (0.48, [], 1)


def test_a_value_from_which_the_register_falls_back_was_a_spike() -> None:
    found = register(0.018, 57.2, 0.018, 0.5, at=[0, 15, 30, 45])
    assert (found.kwh, found.left_out, found.resets) == (0.482, [0.0], 0)
    assert Step(0, 30, 0.0) in found.steps


def test_a_register_that_was_frozen_is_spread_over_its_standstill() -> None:
    values = [50.0, *[50.12] * 7, 50.96, 51.08]
    found = register(*values, power=22)
    assert found.steps == [Step(0, 1, 0.12), Step(1, 8, 0.84), Step(8, 9, 0.12)]
    waiting = register(*values[:-1], power=22)
    assert waiting.steps[-1] == Step(8, 8, 0.0, "left out")


def test_when_the_rise_of_a_register_that_was_frozen_for_long_flowed_is_not_known() -> None:
    rise = [50.96, 51.08]
    still = register(50.0, *[50.12] * 61, *rise, power=22)
    assert still.steps[-2:] == [Step(62, 62, 0.84, "unplaced"), Step(62, 63, 0.12)]
    assert {step.kwh for step in still.steps[1:-2]} == {0}
    assert register(50.0, *[50.12] * 60, *rise, power=22).steps[1] == Step(1, 61, 0.84)


def test_a_register_that_rolls_over_has_not_been_reset() -> None:
    found = register(8388.5, 8388.6, 2.49, 4.99, at=[0, 15, 30, 45], size=SIZE)
    assert (found.kwh, found.left_out, found.resets) == (5.098, [], 0)


def test_what_would_be_too_much_for_a_roll_over_is_a_reset() -> None:
    found = register(5000.0, 2.49, 2.6, 2.7, 2.8, at=[0, 15, 30, 45, 60], size=SIZE)
    assert (found.kwh, found.resets) == (2.8, 1)


def test_without_a_size_no_register_rolls_over() -> None:
    found = register(8388.5, 8388.6, 2.49, 4.99, 7.49, 9.99, at=[15.0 * n for n in range(6)])
    assert (found.kwh, found.resets) == (10.09, 1)


def test_two_registers_in_one_series_count_each_energy_once() -> None:
    values = [1000.0, 1002.0, 0.0, 0.1, 0.2, 0.3, 1002.4, 1004.4]
    found = register(*values, at=[0, 15, 16, 17, 18, 19, 20, 35])
    assert (found.kwh, found.left_out, found.resets) == (4.4, [], 1)


def test_a_correction_goes_on_from_the_new_value_and_its_interval_is_not_known() -> None:
    values = [25 + 0.11 * n for n in range(6)] + [25.14 + 0.11 * n for n in range(6)]
    found = register(*values)
    assert found.kwh == 1.10
    assert (found.steps[5].ends, found.left_out) == (6, [0.41])
    assert found.resets == 0


def test_a_reset_counts_what_the_new_value_says() -> None:
    found = register(20.0, 20.1, 0.05, 0.15, 0.25, 0.35)
    assert (found.kwh, found.left_out, found.resets) == (0.45, [], 1)


def test_a_new_value_that_the_power_forbids_is_unknown() -> None:
    """20 kWh in a minute: more than 500 kW."""
    found = register(300.0, 300.1, 20.0, 20.1, 20.2, 20.3)
    assert (found.kwh, found.left_out, found.resets) == (0.4, [280.1], 0)


def test_a_rise_that_nothing_explains_is_left_out_and_the_register_goes_on_from_it() -> None:
    found = register(50.0, 50.12, 950.0, 950.12, 950.24, 950.36, 950.48)
    assert (found.kwh, found.left_out) == (0.6, [899.88])


def test_a_long_rise_cannot_be_placed_and_a_standstill_is_known() -> None:
    hours = [0.0, 62 * 60, 62 * 60 + 1]
    assert register(1000.0, 1038.4, 1038.5, at=hours).steps == [
        Step(62 * 60, 62 * 60, 38.4, "unplaced"),
        Step(62 * 60, 62 * 60 + 1, 0.1),
    ]
    assert register(1000.0, 1000.0, at=[0, 62 * 60]).steps == [Step(0, 62 * 60, 0.0)]
    assert register(1000.0, 1010.0, at=[0, 60]).steps == [Step(0, 60, 10.0)]
    assert register(1000.0, 1010.0, at=[0, 60.1]).steps[0].kind == "unplaced"


@pytest.mark.parametrize(
    ("counts", "other", "conflicting"),
    [(0.0, 910.6, 0.0), (910.6, 0.0, 0.0), (910.6, 910.7, 0.1), (5.0, 6.0, 0.0)],
)
def test_of_two_values_of_one_time_the_one_that_fits_counts(
    counts: float, other: float, conflicting: float
) -> None:
    """Nothing is decided if both fit; or none, where a value that is left out has no conflict."""
    found = register(910.0, 910.48, counts, 910.72, others={2: other})
    assert found.kwh == 0.72
    assert found.left_out == ([0.0] if counts == 5.0 else [])
    assert found.conflicting == conflicting


def test_what_one_register_does_changes_nothing_of_the_next() -> None:
    good = [10 + 0.1 * n for n in range(6)]
    odd = [910.0, 910.12, 0.0, 910.36, 910.48, 910.6]
    found = registers([good, odd, good])
    assert found[0] == found[2] == register(*good)
    assert found[1] == register(*odd)


@patiently
@given(
    st.lists(st.integers(0, 300), min_size=2, max_size=40),
    st.sets(st.integers(1, 38), max_size=6),
    st.sampled_from([0.0, 3.0, 99999.0]),
)
def test_single_false_values_change_no_energy(
    steps: list[int], places: set[int], false: float
) -> None:
    """However many, as long as each has true neighbours on both sides."""
    true = np.round(1000 + np.cumsum(steps) / 1000, 9).tolist()
    apart = [p for p in sorted(places) if p < len(true) - 1 and p - 1 not in places]
    apart = [p for p in apart if p + 2 not in places and p - 2 not in places]
    sent = [false if n in apart else value for n, value in enumerate(true)]
    found = register(*sent)
    assert found.kwh == round(true[-1] - true[0], 9)
    assert len(found.left_out) == len(apart)


@patiently
@given(st.data())
def test_a_register_that_rolls_over_has_its_true_energy(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 30))
    steps = data.draw(st.lists(st.integers(0, 2000), min_size=count, max_size=count))
    steps.append(0)  # the last value of all would wait for the next
    begins = data.draw(st.integers(-20_000, 20_000))
    counts = (round(SIZE * 1000) + begins + np.cumsum(steps)).tolist()
    values = [n % round(SIZE * 1000) / 1000 for n in counts]
    found = register(*values, size=SIZE)
    assert found.resets == 0
    assert found.kwh == (counts[-1] - counts[0]) / 1000
