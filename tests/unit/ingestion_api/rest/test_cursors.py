"""A cursor leads to the place it was made for, in its own question, for an hour."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter

from ingestion_api.rest.cursors import LIFETIME, read_cursor, write_cursor
from ingestion_api.rest.problems import Problem

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
POSITION = TypeAdapter(tuple[datetime, str])
PLACE = (datetime(2026, 2, 1, tzinfo=UTC), 'a|b "c" ß')


def refusal(cursor: str, question: list[object], now: datetime = NOW) -> Problem:
    with pytest.raises(Problem) as refused:
        read_cursor(cursor, question, POSITION, now)
    return refused.value


@given(st.datetimes(timezones=st.just(UTC)), st.text(st.characters(exclude_categories=["Cs"])))
def test_a_cursor_is_plain_text_and_gives_back_its_position(at: datetime, device: str) -> None:
    cursor = write_cursor(["fleet", None], [at, device], NOW)
    assert cursor.isascii()
    assert not set(cursor) & set("+/&?# ")
    later = NOW + LIFETIME - timedelta(seconds=1)
    assert read_cursor(cursor, ["fleet", None], POSITION, later) == (at, device)


def test_an_old_cursor_is_410_and_says_what_to_do() -> None:
    cursor = write_cursor(["fleet"], PLACE, NOW)
    problem = refusal(cursor, ["fleet"], NOW + LIFETIME + timedelta(seconds=1))
    assert problem.status == 410
    assert "start again" in problem.detail


@pytest.mark.parametrize(
    "cursor",
    [
        *("", "x", "\x00", "ä", "MTIz", "AA==", "bnVsbA==", "W10=", "W251bGws"),
        write_cursor(["fleet"], PLACE, NOW)[:-4],
        write_cursor(["fleet"], PLACE, NOW) + "!",
        write_cursor(["fleet"], ["yesterday", "a"], NOW),
        write_cursor(["fleet"], [PLACE[0]], NOW),
        write_cursor(["fleet"], PLACE, NOW + timedelta(days=1)),
        write_cursor(["charger"], PLACE, NOW),
    ],
)
def test_a_broken_or_strange_cursor_is_422(cursor: str) -> None:
    assert refusal(cursor, ["fleet"]).status == 422


def test_a_position_is_checked_by_its_type() -> None:
    limited = TypeAdapter(tuple[Annotated[int, Field(le=5)]])
    with pytest.raises(Problem, match="is not one"):
        read_cursor(write_cursor([], [6], NOW), [], limited, NOW)
