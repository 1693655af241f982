"""Whatever the order, the copies and the flushes: one heartbeat for each identity, the latest."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake import METER
from lake.history.deduplication import merge_heartbeats, merge_in_parts
from lake.schema.history import COPIES
from pipelines.checks.rules import lost_heartbeats
from tests.samples import HOUR_10, heartbeats

COLUMNS = [column.name for column in METER.columns]

one_heartbeat = st.fixed_dictionaries(
    {
        "meter_id": st.sampled_from(["METER001", "METER002", "m", "\u00e9"]),
        "timestamp": st.integers(0, 4).map(lambda minute: HOUR_10 + timedelta(minutes=minute)),
        "kwh_consumed_ac": st.none() | st.integers(0, 3).map(lambda n: n / 4),
        "voltage": st.none() | st.sampled_from([229.5, 230.0]),
        "phase": st.sampled_from([None, None, "L1", "L2"]),
        "interval_seconds": st.sampled_from([None, 60.0]),
        "imported_at": st.sampled_from([None, None, HOUR_10, HOUR_10 + timedelta(seconds=3)]),
        "received_at": st.integers(0, 5).map(lambda second: HOUR_10 + timedelta(seconds=second)),
    }
)


@given(st.lists(one_heartbeat, max_size=40), st.data())
def test_interleaved_compactions_equal_a_plain_recomputation(
    sent: list[dict[str, Any]], data: st.DataObject
) -> None:
    flushed = data.draw(st.permutations(sent))
    history = empty_history()
    for upto in sorted(data.draw(st.lists(st.integers(0, len(flushed)), max_size=3))):
        history = merged(history, flushed[:upto])
    history = merged(history, flushed)
    assert history.rows(named=True) == plain(sent)


@given(st.lists(one_heartbeat, max_size=40))
def test_a_repeated_compaction_changes_nothing(sent: list[dict[str, Any]]) -> None:
    once = merged(empty_history(), sent)
    assert merged(once, sent).equals(once)


@given(
    st.lists(one_heartbeat, max_size=40), st.lists(one_heartbeat, max_size=10), st.integers(1, 9)
)
def test_taken_in_parts_of_any_size_it_is_the_same(
    sent: list[dict[str, Any]], late: list[dict[str, Any]], rows: int
) -> None:
    history, raw = merged(empty_history(), sent), pl.DataFrame(heartbeats(METER, sent + late))
    in_parts, whole = merge_in_parts(METER, history, raw), merged(history, sent + late)
    parts = list(in_parts.parts(rows))
    assert all(part.height == rows for part in parts[:-1])
    assert pl.concat([history.clear(), *parts]).equals(whole)
    assert in_parts.duplicates.sum() == whole["duplicates"].sum()
    assert in_parts.equals(whole)
    assert in_parts.equals(history) == whole.equals(history)


@given(st.lists(one_heartbeat, max_size=40))
def test_history_keeps_what_the_raw_table_has_dropped(sent: list[dict[str, Any]]) -> None:
    once = merged(empty_history(), sent)
    assert merged(once, []).equals(once)


@settings(max_examples=50)
@given(st.lists(st.tuples(one_heartbeat, st.booleans()), max_size=12), st.data())
def test_readings_stay_right_however_often_raw_rows_are_dropped_in_between(
    sent: list[tuple[dict[str, Any], bool]], data: st.DataObject
) -> None:
    """After a drop a copy may be counted too little, but never is a row lost or made up."""
    history, raw = empty_history(), list[dict[str, Any]]()
    for heartbeat, dropped_after in sent:
        raw.append(heartbeat)
        if data.draw(st.booleans()) or dropped_after:
            history = merged(history, raw)
            received = pl.DataFrame(heartbeats(METER, raw)).lazy()
            lost = lost_heartbeats(received, history.lazy(), METER, raw_is_whole=False)
            assert lost.collect().is_empty()
        if dropped_after:
            raw.clear()
    history = merged(history, raw)
    plainly = pl.DataFrame(plain([heartbeat for heartbeat, _ in sent]), history.schema)
    names = [column.name for column in COPIES]
    assert history.drop(names).equals(plainly.drop(names))
    assert (history["duplicates"] <= plainly["duplicates"]).all()
    assert merged(history, raw).equals(history)
    if not any(dropped for _, dropped in sent):
        assert history.equals(plainly)


@given(st.lists(one_heartbeat, max_size=40))
def test_every_raw_row_is_kept_or_counted_as_a_duplicate(sent: list[dict[str, Any]]) -> None:
    history = merged(empty_history(), sent)
    assert history.height + history["duplicates"].sum() == len(sent)


@pytest.mark.parametrize(
    ("copies", "energy", "conflicts", "conflicting"),
    [
        ([(0.1, 1, None), (0.2, 2, None)], 0.2, 1, 0.1),
        ([(0.1, 1, None), (0.1, 2, None)], 0.1, 0, None),
        ([(0.1, 1, None), (None, 2, None)], 0.1, 0, None),
        ([(None, 1, None), (0.1, 2, None), (None, 3, None)], 0.1, 0, None),
        ([(0.1, 1, None), (0.2, 2, 2)], 0.2, 0, None),
        ([(0.1, 1, None), (None, 2, 2)], 0.1, 0, None),
        ([(0.1, 1, 1), (0.2, 2, 2)], 0.2, 0, None),
        ([(0.1, 1, 1), (0.2, 2, 1)], 0.2, 1, 0.1),
        ([(0.1, 1, 1), (0.3, 2, None), (0.2, 3, None)], 0.2, 2, 0.3),
    ],
    ids=[
        "two energies conflict",
        "a repeat does not",
        "a copy without energy hides none",
        "nor does it conflict",
        "an import corrects what was posted",
        "an import without energy corrects nothing",
        "an import corrects an import",
        "two energies of one import conflict",
        "what is posted after an import may conflict with it",
    ],
)
def test_two_energies_of_one_identity_are_told(
    copies: list[tuple[float | None, int, int | None]],
    energy: float,
    conflicts: int,
    conflicting: float | None,
) -> None:
    sent = [
        {
            "meter_id": "METER001",
            "timestamp": HOUR_10,
            "kwh_consumed_ac": sent_kwh,
            "received_at": HOUR_10 + timedelta(seconds=second),
            "imported_at": begun and HOUR_10 + timedelta(seconds=begun),
        }
        for sent_kwh, second, begun in copies
    ]
    for known in (sent, sent[:1]):
        history = merged(merged(empty_history(), known), sent)
        assert history.height == 1
        assert history.select("kwh_consumed_ac", "conflicts", "conflicting_energy").row(0) == (
            energy,
            conflicts,
            conflicting,
        )


def test_a_conflict_stays_told_when_the_raw_rows_are_dropped() -> None:
    def copy(energy: float, second: int) -> dict[str, Any]:
        received = HOUR_10 + timedelta(seconds=second)
        return {
            "meter_id": "METER001",
            "timestamp": HOUR_10,
            "kwh_consumed_ac": energy,
            "received_at": received,
        }

    history = merged(empty_history(), [copy(0.1, 1), copy(0.2, 2)])
    late = [copy(0.2, 9)]
    for _ in range(2):
        history = merged(history, late)
        assert history.select("kwh_consumed_ac", *(c.name for c in COPIES)).row(0) == (
            0.2,
            1,
            1,
            0.1,
        )
    once = merged(empty_history(), [copy(0.1, 1)])
    for _ in range(2):
        once = merged(once, late)
        assert once.select("duplicates", "conflicts", "conflicting_energy").row(0) == (1, 1, 0.1)


def test_heartbeats_may_lie_any_time_apart() -> None:
    """Together more identities than 64 bits can number."""
    sent: list[dict[str, Any]] = [
        {
            "meter_id": f"METER{device:03d}",
            "timestamp": datetime(year, 1, 1, tzinfo=UTC),
            "kwh_consumed_ac": 1.0,
            "voltage": 230.0 + copy,
            "received_at": HOUR_10,
            "phase": None,
        }
        for copy in range(2)
        for year in (9999, 2026, 1)
        for device in range(50)
    ]
    assert merged(empty_history(), sent).rows(named=True) == plain(sent)


def merged(history: pl.DataFrame, received: list[dict[str, Any]]) -> pl.DataFrame:
    rows = pl.DataFrame(heartbeats(METER, received)).lazy()
    return merge_heartbeats(METER, history.lazy(), [rows]).collect()


def empty_history() -> pl.DataFrame:
    schema = [*METER.arrow_schema, *(column.field() for column in COPIES)]
    return pl.DataFrame(pa.schema(schema).empty_table())


def plain(sent: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same by hand: the latest received that knows the energy wins, of equal ones by value."""
    copies: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in sent:
        one = {**dict.fromkeys(COLUMNS), **row, "reading_type": "interval"}
        copies[row["meter_id"].encode(), row["timestamp"], row.get("phase") or ""].append(one)
    return [counted(rows) for _, rows in sorted(copies.items(), key=lambda item: item[0])]


def counted(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The copy that counts, and what is told of the others."""

    def rank(row: Mapping[str, Any]) -> list[tuple[bool, Any]]:
        return [
            (row[name] is not None, row[name])
            for name in (
                "received_at",
                "kwh_consumed_ac",
                "voltage",
                "interval_seconds",
                "imported_at",
            )
        ]

    ranked = sorted(rows, key=rank)
    known = [row for row in ranked if row["kwh_consumed_ac"] is not None] or ranked
    imports = [row["imported_at"] for row in known if row["imported_at"] is not None]
    if imports:
        places = [n for n, row in enumerate(known) if row["imported_at"] == imports[-1]]
        known = known[places[0] :]
    energies = [row["kwh_consumed_ac"] for row in known]
    others = [energy for energy in energies if energy != energies[-1]]
    return {
        **known[-1],
        "duplicates": len(rows) - 1,
        "conflicts": len(others),
        "conflicting_energy": others[-1] if others else None,
    }
