"""A key's rate limit: never exceeded, and never a dead end."""

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_api.auth.api_keys import LOOPBACK, Caller
from ingestion_api.rest.problems import Problem
from ingestion_api.token_bucket import TokenBucket

FULL_REQUEST = 10_000

rates = st.floats(min_value=0.01, max_value=1e6)
requests = st.lists(
    st.tuples(st.floats(min_value=0, max_value=100), st.integers(0, FULL_REQUEST)),
    min_size=1,
    max_size=40,
)


@dataclass
class Clock:
    """A clock that stands until it is moved; far from 0, as the machine's is."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def limited(rate: float, clock: Clock) -> Caller:
    return Caller("gateway", frozenset({"ingest"}), limit=TokenBucket(rate, clock=clock))


def retry_after(caller: Caller, records: int) -> int:
    """Spend, and return 0; or the seconds that the refusal asks to wait."""
    try:
        caller.spend(records)
    except Problem as refused:
        return int((refused.headers or {})["Retry-After"])
    return 0


@given(rates, requests)
def test_no_stretch_of_time_sees_more_than_the_rate_a_burst_and_the_rest_of_one_request(
    rate: float, sent: list[tuple[float, int]]
) -> None:
    clock = Clock()
    caller = limited(rate, clock)
    passed: list[tuple[float, int]] = []
    for gap, records in sent:
        clock.now += gap
        if not retry_after(caller, records):
            passed.append((clock.now, records))
    burst = 10 * rate
    for first, last in itertools.combinations_with_replacement(range(len(passed)), 2):
        seconds = passed[last][0] - passed[first][0]
        records = sum(records for _, records in passed[first : last + 1])
        rest = max(0.0, passed[last][1] - burst)
        assert records <= (rate * seconds + burst + rest) * (1 + 1e-9)


@given(rates, requests)
def test_who_waits_as_told_always_gets_through(rate: float, sent: list[tuple[float, int]]) -> None:
    clock = Clock()
    caller = limited(rate, clock)
    for gap, records in sent:
        clock.now += gap
        wait = retry_after(caller, records)
        clock.now += wait
        assert not wait or not retry_after(caller, records)


def test_a_full_request_passes_a_small_limit_and_is_paid_for_afterwards() -> None:
    clock = Clock()
    caller = limited(100, clock)
    assert retry_after(caller, FULL_REQUEST) == 0
    clock.now += 90  # 10,000 less the burst of 1,000, at 100 a second
    assert retry_after(caller, 1) == 1
    clock.now += 1
    assert retry_after(caller, 1) == 0


def test_a_steady_sender_at_the_limit_is_never_refused() -> None:
    clock = Clock()
    caller = limited(50, clock)
    for _ in range(1_000):
        assert retry_after(caller, 50) == 0
        clock.now += 1


def test_the_refusal_names_the_key_and_the_limit() -> None:
    caller = limited(5, Clock())
    caller.spend(50)
    with pytest.raises(
        Problem, match="'gateway' may send 5 records a second, and 50 at"
    ) as refused:
        caller.spend(1)
    assert refused.value.status == 429


def test_without_a_limit_everything_passes() -> None:
    for _ in range(10):
        assert retry_after(LOOPBACK, FULL_REQUEST) == 0


@given(st.integers(1, 4), st.floats(min_value=0.5, max_value=100), st.integers(1, 50))
def test_collectors_that_tell_each_other_give_the_rate_together_and_a_burst_each(
    collectors: int, rate: float, request: int
) -> None:
    """A caller that sends all it may, in requests of one size, to each of them."""
    clock, seconds = Clock(), 600
    buckets = [TokenBucket(rate, clock=clock) for _ in range(collectors)]
    told = [0] * collectors
    for second in range(seconds):
        clock.now += 1
        for bucket in buckets:
            while not bucket.try_acquire(request):
                pass
        if second % 2:
            news = [bucket.given - before for bucket, before in zip(buckets, told, strict=True)]
            for bucket, own in zip(buckets, news, strict=True):
                bucket.charge(sum(news) - own)
            told = [bucket.given for bucket in buckets]
    given = sum(bucket.given for bucket in buckets)
    # A request larger than a burst goes through once the bucket is full.
    assert given <= rate * seconds + collectors * (10 * rate + request)
    assert given >= rate * seconds / 2 - collectors * request  # what a full bucket is given is lost
