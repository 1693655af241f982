"""Merging the raw files of an hour changes no row, and nobody who writes meanwhile."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import polars as pl

from lake import HOUR, METER, Lake, append_once, compact_hour, delivered, rows_by_hour
from lake.raw_files import merge_raw_hours
from tests.samples import HOUR_10, meter_rows


def send(lake: Lake, minute: int, hour: int = 0) -> None:
    before = delivered(lake, METER, "test").horizon
    at = HOUR_10 + hour * HOUR + timedelta(minutes=minute)
    rows = meter_rows(*({"meter_id": f"M{n}", "timestamp": at} for n in range(5)))
    append_once(lake, METER, rows, "test", before + 1, before)


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


def test_a_table_without_files_has_nothing_to_merge(lake: Lake) -> None:
    assert merge_raw_hours(lake, METER, HOUR_10) == []
