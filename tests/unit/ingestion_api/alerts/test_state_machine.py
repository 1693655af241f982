"""The life of an alert: any sequence of observations, compared with what its words promise."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ingestion_api.alerts.state_machine import Condition, Level, Observation, step

START = datetime(2026, 3, 1, tzinfo=UTC)
THRESHOLD, CLEAR = 50.0, 40.0

holds = st.integers(0, 10).map(lambda minutes: timedelta(minutes=minutes))
steps = st.lists(
    st.tuples(st.integers(1, 6), st.sampled_from([30.0, 40.0, 45.0, 50.0, 51.0, 60.0]))
)


def observations(some: list[tuple[int, float]]) -> list[Observation]:
    """A value some minutes after the one before it."""
    seen, at = [], START
    for minutes, value in some:
        at += timedelta(minutes=minutes)
        level = Level.RAISED if value > THRESHOLD else Level.BETWEEN
        seen.append(Observation(at, at, Level.CLEARED if value <= CLEAR else level, value))
    return seen


def life(
    seen: list[Observation], hold: timedelta, begin: Condition | None = None
) -> list[Condition | None]:
    """What holds after each."""
    conditions = [begin]
    for one in seen:
        conditions.append(step(conditions[-1], one, hold))
    return conditions[1:]


def is_open(condition: Condition | None) -> bool:
    return condition is not None and condition.is_open


def test_a_condition_that_began_at_a_time_still_to_come_begins_with_the_next_observation() -> None:
    minute = timedelta(minutes=1)
    times = [START + timedelta(days=3), START, START + minute, START + 2 * minute]
    seen = [Observation(at, at, Level.RAISED, 51.0) for at in times]
    assert [is_open(one) for one in life(seen, 2 * minute)] == [False, False, False, True]


@given(steps, holds)
def test_an_alert_opens_once_all_was_beyond_the_threshold_for_the_hold_time(
    some: list[tuple[int, float]], hold: timedelta
) -> None:
    seen = observations(some)
    after = life(seen, hold)
    for index, (was, now) in enumerate(pairwise([None, *after])):
        if is_open(now) and not is_open(was):
            assert now is not None
            held = [one for one in seen[: index + 1] if one.at >= now.since]
            assert all(one.level is Level.RAISED for one in held)
            assert seen[index].at - now.since >= hold
            assert now.worst == max(one.value or 0 for one in held)
        # The other way round: nothing that held for so long goes without an alert.
        run = 0
        while run <= index and seen[index - run].level is Level.RAISED:
            run += 1
        if run and seen[index].at - seen[index - run + 1].at >= hold:
            assert is_open(now)


@given(steps, holds)
def test_an_open_alert_ends_at_the_clear_threshold_and_nowhere_else(
    some: list[tuple[int, float]], hold: timedelta
) -> None:
    seen = observations(some)
    for one, (was, now) in zip(seen, pairwise([None, *life(seen, hold)]), strict=True):
        if is_open(was):
            assert is_open(now) is (one.level is not Level.CLEARED)


@given(steps, holds, st.integers(0, 50))
def test_a_restart_changes_nothing(
    some: list[tuple[int, float]], hold: timedelta, restart: int
) -> None:
    seen = observations(some)
    whole = life(seen, hold)
    before = life(seen[:restart], hold)
    assert before + life(seen[restart:], hold, before[-1] if before else None) == whole


@given(st.lists(st.one_of(st.none(), st.floats(0, 100)), min_size=1))
def test_the_worst_value_may_be_the_smallest(values: list[float | None]) -> None:
    condition = None
    for minutes, value in enumerate(values):
        at = START + timedelta(minutes=minutes)
        seen = Observation(at, at, Level.RAISED, value)
        condition = step(condition, seen, timedelta(0), lower_is_worse=True)
    known = [value for value in values if value is not None]
    assert condition is not None
    assert condition.worst == min(known, default=None)
