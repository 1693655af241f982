"""Whatever the order, the copies and the flushes: one heartbeat for each identity, the latest."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from lake import METER
from lake.history.deduplication import merge_heartbeats, merge_in_parts
from lake.schema.history import DUPLICATES
from pipelines.checks.rules import lost_heartbeats
from tests.samples import HOUR_10, heartbeats

COLUMNS = [column.name for column in METER.columns]

one_heartbeat = st.fixed_dictionaries(
    {
        "meter_id": st.sampled_from(["METER001", "METER002", "m", "\u00e9"]),
        "timestamp": st.integers(0, 4).map(lambda minute: HOUR_10 + timedelta(minutes=minute)),
        "kwh_consumed_ac": st.none() | st.integers(0, 3).map(lambda n: n / 4),
        "voltage": st.none() | st.sampled_from([229.5, 230.0]),
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
    plainly = plain([heartbeat for heartbeat, _ in sent])
    assert history.drop("duplicates").rows(named=True) == [
        {name: value for name, value in row.items() if name != "duplicates"} for row in plainly
    ]
    counted, exact = history["duplicates"].to_list(), [row["duplicates"] for row in plainly]
    assert all(few <= many for few, many in zip(counted, exact, strict=True))
    if not any(dropped for _, dropped in sent):
        assert counted == exact


@given(st.lists(one_heartbeat, max_size=40))
def test_every_raw_row_is_kept_or_counted_as_a_duplicate(sent: list[dict[str, Any]]) -> None:
    history = merged(empty_history(), sent)
    assert history.height + history["duplicates"].sum() == len(sent)


def test_heartbeats_may_lie_any_time_apart() -> None:
    """Together more identities than 64 bits can number."""
    sent: list[dict[str, Any]] = [
        {
            "meter_id": f"METER{device:03d}",
            "timestamp": datetime(year, 1, 1, tzinfo=UTC),
            "kwh_consumed_ac": 1.0,
            "voltage": 230.0 + copy,
            "received_at": HOUR_10,
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
    return pl.DataFrame(METER.arrow_schema.append(DUPLICATES.field()).empty_table())


def plain(sent: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same by hand: the latest received wins; equal times are ordered by their values."""
    copies: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in sent:
        copies[row["meter_id"], row["timestamp"]].append(row)

    def rank(row: Mapping[str, Any]) -> tuple[Any, ...]:
        values = (row["kwh_consumed_ac"], row["voltage"])
        return (row["received_at"], *((v is not None, v) for v in values))

    return [
        {**sorted(rows, key=rank)[-1], "reading_type": "interval", "duplicates": len(rows) - 1}
        for _, rows in sorted(copies.items(), key=lambda item: (item[0][0].encode(), item[0][1]))
    ]
