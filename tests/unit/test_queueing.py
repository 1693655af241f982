"""The simulated queues agree with what is known of such queues in closed form."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.queueing_models import (
    Collector,
    HourlyRuns,
    Store,
    group_commit,
    hours_after_outage,
    lake_writers,
)

ONE_SERVER = Collector(request=0.001, commit=0, row=0, connections=10**9)
ONE_COMMITTER = Collector(request=0, commit=0.01, row=0, connections=10**9, second_from=10**9)
UNHURRIED = Store(seconds=0.05)


def poisson(rate: float, seconds: float) -> list[float]:
    chance = np.random.default_rng(1)
    return list(chance.uniform(0, seconds, chance.poisson(rate * seconds)))


@pytest.mark.parametrize("busy", [0.3, 0.7])
def test_requests_wait_as_long_as_pollaczek_and_khinchine_say(busy: float) -> None:
    answers = group_commit(poisson(1000 * busy, 20 / busy), ONE_SERVER)
    waited = float(np.mean(answers.latencies)) - 0.001
    assert waited == pytest.approx(0.001 * busy / (2 * (1 - busy)), rel=0.05)


def test_a_commit_under_load_is_waited_for_one_and_a_half_times() -> None:
    """The rest of the commit under way, half of one on average, and the next."""
    answers = group_commit(poisson(10_000, 3), ONE_COMMITTER)
    assert np.mean(answers.latencies) == pytest.approx(0.015, rel=0.02)


def test_a_burst_is_answered_once_each_however_many_are_refused() -> None:
    service = replace(ONE_SERVER, connections=500)
    answers = group_commit([0.0] * 5_000, service)
    assert len(answers.latencies) == 5_000
    assert answers.refused > 4_000
    assert answers.end >= 5_000 * service.request


def test_a_lake_writer_alone_takes_the_requests_of_a_flush() -> None:
    done = lake_writers(1, 7, 500, UNHURRIED, tables=1)
    until_commit = UNHURRIED.before + UNHURRIED.look + UNHURRIED.put
    assert np.mean(done.seconds) == pytest.approx(until_commit * UNHURRIED.seconds, rel=0.05)
    whole = (until_commit + UNHURRIED.after) * UNHURRIED.seconds
    assert np.mean(done.cycle) == pytest.approx(7 + whole, rel=0.2)
    assert set(done.attempts) == {1}
    assert not done.again


def test_each_writer_reads_each_commit_of_the_others() -> None:
    """Where nobody hurries, a flush takes two requests for each other cell, before and after."""
    spread = Store(winner=1, other=1, seconds=0.001)
    alone, many = (lake_writers(cells, 10, 1_000, spread, tables=1) for cells in (1, 50))
    more = np.mean(many.cycle) - np.mean(alone.cycle)
    assert more == pytest.approx(49 * 2 * spread.seconds, rel=0.3)


def test_writers_of_one_table_commit_one_after_the_other() -> None:
    few, many = (lake_writers(cells, 0, 30, UNHURRIED, tables=1) for cells in (4, 40))
    most_a_second = 1 / (UNHURRIED.put * UNHURRIED.seconds * 0.7)
    assert len(few.seconds) < len(many.seconds) < 30 * most_a_second
    assert np.mean(few.attempts) < np.mean(many.attempts)


def test_a_flush_without_attempts_left_is_done_again_and_committed() -> None:
    done = lake_writers(4, 0, 30, replace(UNHURRIED, attempts=1), tables=1)
    assert done.again
    assert set(done.attempts) == {1}


def test_an_outage_is_caught_up_after_the_time_of_its_hours() -> None:
    service = HourlyRuns(start=10, alone=2, tables=3)
    done = hours_after_outage(24, 1, 1, service)
    assert done.hours == (10 + 24 * (2 + 3)) / 3600
    spread = hours_after_outage(240, 1, 10, service)
    assert spread.hours == (10 + 240 * 2 + 24 * 3) / 3600


@pytest.mark.parametrize("size", [1, 1000])
def test_every_hour_is_computed_or_waits(size: float) -> None:
    done = hours_after_outage(48, size, 2, HourlyRuns(), late=2)
    assert done.came == done.computed + done.waiting
    assert (done.waiting > 100) == (size == 1000)
