"""Days, weeks and months of a time zone, in whole UTC hours."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.reports import KINDS, Kind, Period, parse_period

HOUR = timedelta(hours=1)
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Africa/Cairo",
)
DAYS = st.dates(date(2001, 1, 2), date(2099, 12, 30))


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-01-15", 24)]
)
def test_a_day_has_the_hours_that_its_clock_shows(day: str, hours: int) -> None:
    start, end = parse_period(day).window(ZoneInfo("Europe/Berlin"))

    assert (end - start) / HOUR == hours
    assert start.astimezone(ZoneInfo("Europe/Berlin")).hour == 0


def test_where_a_zone_is_off_by_half_an_hour_an_hour_belongs_to_the_day_in_which_it_begins() -> (
    None
):
    start, end = parse_period("2026-01-15").window(ZoneInfo("Asia/Kolkata"))

    # midnight is 18:30 UTC; the hour from 18:00 begins at 23:30 of the day before
    assert (start, end) == (
        datetime(2026, 1, 14, 19, tzinfo=UTC),
        datetime(2026, 1, 15, 19, tzinfo=UTC),
    )


@given(day=DAYS, zone=st.sampled_from(ZONES), kind=st.sampled_from(KINDS))
def test_periods_follow_one_another_without_a_gap_and_are_made_of_their_days(
    day: date, zone: str, kind: Kind
) -> None:
    period, clock = Period.holding(kind, day), ZoneInfo(zone)
    start, end = period.window(clock)
    days = period.window_of_days(clock)

    assert period.next().window(clock)[0] == end
    assert (days[0][1], days[-1][2]) == (start, end)
    assert all(before[2] == after[1] for before, after in pairwise(days))
    assert all(first.astimezone(clock).date() == of for of, first, _ in days if first < end)
    assert day in period.days
    assert period.next().moved(-1) == period


@given(day=DAYS, kind=st.sampled_from(KINDS))
def test_a_key_names_its_period(day: date, kind: Kind) -> None:
    period = Period.holding(kind, day)

    assert parse_period(period.key) == period


def test_weeks_are_those_of_iso_8601() -> None:
    assert Period.holding("week", date(2027, 1, 3)).key == "2026-W53"
    assert parse_period("2026-W01").first == date(2025, 12, 29)


@pytest.mark.parametrize("key", ["2026-W54", "2026-13", "2026-02-30", "2026", "", "2026-W3", "x"])
def test_a_key_of_no_period_is_refused_with_examples(key: str) -> None:
    with pytest.raises(ValueError, match="2026-W03"):
        parse_period(key)
