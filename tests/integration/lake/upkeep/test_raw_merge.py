"""Merging the raw files of an hour changes no row, and nobody who writes meanwhile."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from lake import HOUR, METER, Lake, compact_hour, read_delivered_horizon, rows_by_hour
from lake.schema.partitions import with_partition
from lake.schema.streams import DATE_PARTITION, HOUR_PARTITION
from lake.upkeep.archive import ArchiveResult
from lake.upkeep.raw_merge import merge_raw_hours
from lake.upkeep.raw_retention import drop_raw_partitions
from tests.harness.raw_table import append_from
from tests.samples import HOUR_10, meter_rows


def send(lake: Lake, minute: int, hour: int = 0) -> None:
    before = read_delivered_horizon(lake, METER, "test").horizon
    at = HOUR_10 + hour * HOUR + timedelta(minutes=minute)
    rows = meter_rows(*({"meter_id": f"M{n}", "timestamp": at} for n in range(5)))
    append_from(lake, METER, rows, "test", before + 1, before)


def raw(lake: Lake) -> pl.DataFrame:
    return lake.scan(lake.open(METER.raw_table)).sort(pl.all()).collect()


def test_each_old_hour_becomes_one_file_with_the_same_rows(lake: Lake) -> None:
    for hour in range(3):
        for minute in (0, 0, 1, 2):  # a minute that was sent twice stays twice
            send(lake, minute, hour)
    before, hours = raw(lake), rows_by_hour(lake, METER)
    done = merge_raw_hours(lake, METER, HOUR_10 + 2 * HOUR)
    assert [merged.files_before for merged in done] == [4, 4]
    assert raw(lake).equals(before)
    assert rows_by_hour(lake, METER) == hours
    assert len(lake.open(METER.raw_table).file_uris()) == 1 + 1 + 4
    assert merge_raw_hours(lake, METER, HOUR_10 + 2 * HOUR) == []


def test_a_merged_hour_is_compacted_and_appended_to_as_before(lake: Lake) -> None:
    for minute in range(3):
        send(lake, minute)
    compact_hour(lake, METER, HOUR_10)
    merge_raw_hours(lake, METER, HOUR_10 + HOUR)
    assert not compact_hour(lake, METER, HOUR_10).changed
    send(lake, 2)
    done = compact_hour(lake, METER, HOUR_10)
    assert (done.rows, done.duplicates_removed, done.raw_rows) == (15, 5, 20)


def test_merges_and_appends_at_once_lose_and_double_nothing(lake: Lake) -> None:
    for minute in range(4):
        send(lake, minute)
    with ThreadPoolExecutor(3) as pool:
        merges = [pool.submit(merge_raw_hours, lake, METER, HOUR_10 + HOUR) for _ in range(2)]
        appends = [pool.submit(send, lake, minute) for minute in range(4, 5)]
        for minute in range(5, 12):
            appends[-1].result()
            appends.append(pool.submit(send, lake, minute))
        done = [merge.result() for merge in merges]
        appends[-1].result()
    assert any(merged.files_before > 1 for of_merge in done for merged in of_merge)
    rows = raw(lake)
    assert rows.height == 12 * 5
    assert rows.select(METER.key).is_unique().all()


def test_files_from_before_a_column_was_added_are_merged_with_nulls(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    old = [column.field() for column in METER.columns if column.name != "voltage"]
    partition = [DATE_PARTITION.name, HOUR_PARTITION.name]
    fields = [*old, DATE_PARTITION.field(), HOUR_PARTITION.field()]
    rows = pl.DataFrame(meter_rows({"timestamp": HOUR_10})).drop("voltage")
    table = DeltaTable.create(
        lake.table_uri(METER.raw_table), pa.schema(fields), partition_by=partition
    )
    write_deltalake(table, with_partition(rows, "timestamp").rechunk().to_arrow(), mode="append")
    lake.create_tables()
    send(lake, 1)
    before = raw(lake)
    assert merge_raw_hours(lake, METER, HOUR_10 + HOUR)[0].files_before == 2
    assert raw(lake).equals(before)
    assert before.height == 6


def test_a_merge_brings_its_commit_to_the_disk_though_a_flush_follows_at_once(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log entry that a power cut takes away would hide every later one: acknowledged rows."""
    send(lake, 0)
    send(lake, 1)
    merged = lake.open(METER.raw_table).version() + 1
    synced = followed_by(monkeypatch, lambda: send(lake, 2))
    merge_raw_hours(lake, METER, HOUR_10 + HOUR)
    assert lake.open(METER.raw_table).version() == merged + 1
    assert {f"{merged:020}.json", "_delta_log"} <= synced


def test_a_replacement_brings_its_commit_to_the_disk_though_another_follows_at_once(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(lake, 0)
    send(lake, 1, hour=1)
    mine = lake.open(METER.history_table).version() + 1
    synced = followed_by(monkeypatch, lambda: compact_hour(lake, METER, HOUR_10 + HOUR))
    compact_hour(lake, METER, HOUR_10)
    assert lake.open(METER.history_table).version() == mine + 1
    assert {f"{mine:020}.json", "_delta_log", "date=2026-11-20"} <= synced


def followed_by(monkeypatch: pytest.MonkeyPatch, other: Callable[[], object]) -> set[str]:
    """Names of what is synced, except by `other`, which commits right after the next commit."""
    synced: set[str] = set()
    fsync, commit = os.fsync, DeltaTable.create_write_transaction

    def noting(descriptor: int) -> None:
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def committing(*arguments: Any, **named: Any) -> None:
        commit(*arguments, **named)
        monkeypatch.setattr(DeltaTable, "create_write_transaction", commit)
        monkeypatch.setattr(os, "fsync", fsync)
        other()
        monkeypatch.setattr(os, "fsync", noting)

    monkeypatch.setattr(DeltaTable, "create_write_transaction", committing)
    monkeypatch.setattr(os, "fsync", noting)
    return synced


def test_a_merge_brings_back_no_row_of_an_hour_that_is_dropped_meanwhile(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(lake, 0)
    send(lake, 1)
    compact_hour(lake, METER, HOUR_10)
    commit = DeltaTable.create_write_transaction

    def late(*arguments: Any, **named: Any) -> None:
        monkeypatch.setattr(DeltaTable, "create_write_transaction", commit)
        assert drop_raw_partitions(lake, METER, {HOUR_10: 10}).dropped
        commit(*arguments, **named)

    monkeypatch.setattr(DeltaTable, "create_write_transaction", late)
    assert merge_raw_hours(lake, METER, HOUR_10 + HOUR)[0].files_before == 0
    assert raw(lake).is_empty()


def test_a_drop_starts_over_when_its_hour_is_merged_meanwhile(lake: Lake) -> None:
    send(lake, 0)
    send(lake, 1)
    compact_hour(lake, METER, HOUR_10)
    merges: list[ArchiveResult] = []

    def merge(_: object) -> None:
        if not merges:
            merges.extend(merge_raw_hours(lake, METER, HOUR_10 + HOUR))

    done = drop_raw_partitions(lake, METER, {HOUR_10: 10}, merge)
    assert merges[0].files_before == 2
    assert done.dropped[HOUR_10].files == 1
    assert raw(lake).is_empty()


def test_a_table_without_files_has_nothing_to_merge(lake: Lake) -> None:
    assert merge_raw_hours(lake, METER, HOUR_10) == []
