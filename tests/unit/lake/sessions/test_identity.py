"""Ids of sessions: they stay, the older one lives on, and what was taken in is told."""

from collections.abc import Sequence

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from lake.schema.charging_session import CHARGING_SESSION
from lake.sessions import identified_sessions
from tests.unit.energy_samples import patiently
from tests.unit.lake.sessions.samples import at

Span = tuple[float, float]
NONE = pl.DataFrame(CHARGING_SESSION.schema.empty_table()).select(CHARGING_SESSION.names)


def found(*spans: Span, vehicle: str = "V1") -> pl.DataFrame:
    rows = [
        {"vehicle_id": vehicle, "begins": at(start), "last_energy_at": at(end)}
        for start, end in spans
    ]
    return pl.concat([NONE, pl.DataFrame(rows)], how="diagonal_relaxed").cast(NONE.schema)


def again(spans: Sequence[Span], stored: pl.DataFrame) -> pl.DataFrame:
    return identified_sessions(found(*spans), stored)


def ids(sessions: pl.DataFrame) -> list[str]:
    return sessions["session_id"].to_list()


def test_an_id_is_made_of_vehicle_and_begin_and_stays_when_both_ends_move() -> None:
    first = again([(8, 9)], NONE)
    assert ids(first) == ids(again([(8, 10)], NONE))
    assert ids(first) != ids(identified_sessions(found((8, 9), vehicle="V2"), NONE))
    assert ids(again([(6, 12)], first)) == ids(first)


def test_of_merged_sessions_the_oldest_lives_on_and_names_the_others() -> None:
    stored = again([(8, 9), (10, 12), (13, 14)], NONE)
    old, *others = ids(stored)
    merged = again([(8, 14)], stored)
    assert ids(merged) == [old]
    assert merged["supersedes"].to_list() == [sorted(others)]
    assert again([(8, 14)], merged).equals(merged)
    # What it has taken in goes with it into another.
    later = again([(7, 15)], merged)
    assert later["supersedes"].to_list() == [sorted(others)]


def test_sessions_that_were_merged_and_are_divided_again_are_what_they_were() -> None:
    stored = again([(8, 9), (10, 12)], NONE)
    split = again([(8, 9), (10, 12)], again([(8, 12)], stored))
    assert ids(split) == ids(stored)
    assert split["supersedes"].to_list() == [[], []]


def test_of_a_divided_session_the_part_with_its_begin_has_its_id_or_else_the_longest() -> None:
    stored = again([(8, 12)], NONE)
    assert ids(again([(8, 8.5), (9, 12)], stored))[0] == ids(stored)[0]
    moved = again([(7, 12)], stored)
    assert ids(again([(7, 7.5), (9, 12)], moved))[1] == ids(stored)[0]
    assert ids(again([(7, 9), (10, 11)], moved))[0] == ids(stored)[0]


def test_a_new_session_never_has_the_id_of_one_that_lives() -> None:
    stored = again([(8, 9), (10, 12)], NONE)
    # The first has gone, and another begins where it began before the second reaches back to it.
    later = again([(7, 12)], stored)
    parts = again([(7, 7.5), (8.5, 12)], later)
    assert len({*ids(parts)}) == 2
    assert ids(parts)[1] == ids(stored)[0]
    assert len({*ids(again([(7, 7.5), (8, 8.25), (10, 12)], parts))}) == 3


spans = st.lists(st.integers(0, 96), min_size=2, max_size=12, unique=True).map(
    lambda edges: list(zip(sorted(edges)[::2], sorted(edges)[1::2], strict=False))
)


@patiently
@given(st.lists(spans, min_size=1, max_size=6))
def test_no_id_is_there_twice_and_the_same_sessions_have_the_same_ids(
    versions: list[list[Span]],
) -> None:
    stored = NONE
    for version in versions:
        sessions = again(version, stored)
        taken_in = sessions["supersedes"].explode().drop_nulls().to_list()
        assert len({*ids(sessions), *taken_in}) == sessions.height + len(taken_in)
        assert again(version, sessions).equals(sessions)
        stored = sessions
