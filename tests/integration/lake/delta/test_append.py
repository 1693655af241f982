"""Appends of several outboxes to one raw table.

Invariants, in whatever order they come and whatever else changes the table meanwhile:
- every row whose append returned is in the table exactly once, and none of an append that raised;
- an outbox that knows less than the table has of it delivers nothing;
- outboxes of other app ids do not refuse each other.
"""

import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake import HOUR, METER, Lake, StaleRead, append_once, read_delivered_horizon
from lake.delta.append import DeliveredHorizon
from lake.delta.commit import commit
from lake.upkeep import checkpoint_if_due, clean_log, vacuum
from lake.upkeep.raw_merge import merge_raw_hours
from tests.samples import HOUR_10, meter_rows

RAW = METER.raw_table


def append(lake: Lake, app_id: str, horizon: int, before: DeliveredHorizon) -> DeliveredHorizon:
    rows = meter_rows({"meter_id": f"{app_id}{horizon}", "timestamp": HOUR_10})
    return append_once(lake, METER, rows, app_id, horizon, before)


def appended(lake: Lake) -> list[str]:
    return sorted(lake.scan(lake.open(RAW)).collect()["meter_id"])


def clean(lake: Lake) -> None:
    checkpoint_if_due(lake, RAW, commits=0)
    clean_log(lake, RAW)
    vacuum(lake, RAW)


def drop_hour(lake: Lake) -> None:
    lake.open(RAW).delete(f"date = '{HOUR_10:%Y-%m-%d}' AND hour = {HOUR_10.hour}")


UPKEEP = {
    "merge": lambda lake: merge_raw_hours(lake, METER, HOUR_10 + HOUR),
    "clean": clean,
    "drop": drop_hour,
}
# Two processes of outbox A, of which the one has lost its lock and does not know; and one of B.
WRITERS = ("A", "A'", "B")


@settings(max_examples=10)
@given(st.lists(st.sampled_from([*WRITERS, *WRITERS, *UPKEEP]), max_size=14))
def test_any_order_of_writers_and_upkeep_delivers_each_transaction_once(steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(folder)
        lake.create_tables()
        known = {writer: read_delivered_horizon(lake, METER, writer[0]) for writer in WRITERS}
        horizons, expected = {"A": 0, "B": 0}, set[str]()
        was_dropped = dict.fromkeys(WRITERS, False)
        for step in steps:
            if upkeep := UPKEEP.get(step):
                upkeep(lake)
                if step == "drop":
                    was_dropped = {
                        writer: bool(expected) or was_dropped[writer] for writer in WRITERS
                    }
                    expected.clear()
                continue
            app_id = step[0]
            is_stale = known[step].horizon != horizons[app_id]
            try:
                known[step] = append(lake, app_id, known[step].horizon + 1, known[step])
                assert not is_stale
                horizons[app_id] += 1
                expected.add(f"{app_id}{horizons[app_id]}")
            except StaleRead:
                assert is_stale or was_dropped[step]
                known[step] = read_delivered_horizon(lake, METER, app_id)
            was_dropped[step] = False
            assert known[step].horizon == horizons[app_id]
            assert known[step] == read_delivered_horizon(lake, METER, app_id)
        assert appended(lake) == sorted(expected)


@pytest.mark.parametrize("apps", [["A", "B"], ["A", "A"]])
def test_of_two_at_once_both_are_kept_and_of_one_outbox_exactly_one(
    lake: Lake, apps: list[str]
) -> None:
    start = [read_delivered_horizon(lake, METER, app_id) for app_id in apps]

    def once(app_id: str, before: DeliveredHorizon) -> bool:
        try:
            append(lake, app_id, 1, before)
        except StaleRead:
            return False
        return True

    with ThreadPoolExecutor() as threads:
        delivered = list(threads.map(once, apps, start))

    assert sum(delivered) == len(set(apps))
    assert appended(lake) == sorted(f"{app_id}1" for app_id in set(apps))
    assert [read_delivered_horizon(lake, METER, app_id).horizon for app_id in apps] == [1, 1]


def test_who_is_overtaken_right_after_a_commit_knows_it(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_delivered_horizon(lake, METER, "A")

    def commit_and_be_overtaken(*arguments: Any) -> None:
        monkeypatch.undo()
        commit(*arguments)
        append(lake, "B", 1, read_delivered_horizon(lake, METER, "B"))
        append(lake, "A", 2, read_delivered_horizon(lake, METER, "A"))

    monkeypatch.setattr("lake.delta.append.commit", commit_and_be_overtaken)
    delivered = append(lake, "A", 1, before)
    assert (delivered.horizon, delivered.version) == (2, 3)
    append(lake, "A", 3, delivered)
    assert appended(lake) == ["A1", "A2", "A3", "B1"]


def test_the_version_that_is_told_is_on_the_disk_whoever_committed_it(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_delivered_horizon(lake, METER, "A")
    synced: set[str] = set()

    def commit_before_another(*arguments: Any) -> None:
        commit(*arguments)
        drop_hour(lake)  # which syncs nothing
        monkeypatch.setattr(os, "fsync", lambda fd: synced.add(os.readlink(f"/proc/self/fd/{fd}")))

    monkeypatch.setattr("lake.delta.append.commit", commit_before_another)
    assert append(lake, "A", 1, before).version == 2
    assert f"{lake.uri}/{RAW}/_delta_log/{2:020}.json" in synced


def test_what_was_read_serves_one_append(lake: Lake) -> None:
    before = read_delivered_horizon(lake, METER, "A")
    append(lake, "A", 1, before)
    with pytest.raises(StaleRead, match="already"):
        append(lake, "A", 2, before)
    assert appended(lake) == ["A1"]


@pytest.mark.parametrize("commits_there", [0, 1, 2])
def test_a_table_in_the_place_of_another_is_not_appended_to(
    lake: Lake, tmp_path: Path, commits_there: int
) -> None:
    """Shorter than the one that was read, as long, and longer."""
    delivered = append(lake, "A", 1, read_delivered_horizon(lake, METER, "A"))
    other = Lake(str(tmp_path / "other"))
    other.create_tables()
    there = read_delivered_horizon(other, METER, "A")
    for n in range(1, commits_there + 1):
        there = append(other, "A", n, there)
    shutil.rmtree(lake.uri)
    shutil.copytree(other.uri, lake.uri)

    with pytest.raises(StaleRead, match="another table"):
        append(lake, "A", 2, delivered)

    assert appended(lake) == [f"A{n}" for n in range(1, commits_there + 1)]
