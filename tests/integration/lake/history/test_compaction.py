"""The history of an hour on real Delta tables."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from lake import (
    HOUR,
    METER,
    Lake,
    StaleRead,
    compact_hour,
    compact_hours,
    read_delivered_horizon,
    scan_history,
)
from lake.delta.replace import replace_window
from lake.history import compaction
from lake.schema.history import encode_history, history_table
from tests.harness.raw_table import append_from
from tests.samples import HOUR_10, meter_rows

horizons = count(100)


def append(lake: Lake, rows: pa.Table) -> None:
    before = read_delivered_horizon(lake, METER, "test")
    append_from(lake, METER, rows, "test", next(horizons), before.horizon)


def history(lake: Lake) -> pl.DataFrame:
    return scan_history(lake, METER, HOUR_10, HOUR_10 + HOUR).collect()


def many(minutes: range, devices: int = 50) -> pa.Table:
    return meter_rows(
        *(
            {"meter_id": f"METER{n:03}", "timestamp": HOUR_10 + timedelta(minutes=minute)}
            for minute in minutes
            for n in reversed(range(devices))
        )
    )


def test_late_heartbeats_join_the_history_of_their_hour(lake: Lake) -> None:
    append(lake, many(range(10, 20)))
    first = compact_hour(lake, METER, HOUR_10)
    append(lake, many(range(10)))
    second = compact_hour(lake, METER, HOUR_10)
    assert (first.rows, second.rows) == (500, 1000)
    assert second.raw_version > first.raw_version


def test_a_correction_replaces_the_reading_and_is_counted(lake: Lake) -> None:
    append(lake, meter_rows({"kwh_consumed_ac": 0.1}))
    later = HOUR_10 + timedelta(hours=2)
    append(lake, meter_rows({"kwh_consumed_ac": 0.2, "received_at": later}))
    result = compact_hour(lake, METER, HOUR_10)
    assert (result.rows, result.duplicates_removed, result.raw_rows) == (1, 1, 2)
    assert history(lake)["kwh_consumed_ac"].to_list() == [0.2]


def test_compacting_again_writes_nothing_however_the_hours_are_put_together(lake: Lake) -> None:
    append(lake, many(range(50, 70)))
    hours = [HOUR_10, HOUR_10 + HOUR]
    for hour in reversed(hours):
        assert compact_hour(lake, METER, hour).changed
    version = lake.open(METER.history_table).version()
    for again in ([HOUR_10], hours):
        done = compact_hours(lake, METER, again)
        assert not any(one.changed for one in done)
        assert {one.history_version for one in done} == {version}


def test_other_hours_stay_as_they_are(lake: Lake) -> None:
    append(lake, meter_rows({}, {"timestamp": HOUR_10 + HOUR}))
    compact_hour(lake, METER, HOUR_10)
    compact_hour(lake, METER, HOUR_10 + HOUR)
    append(lake, meter_rows({"meter_id": "METER009"}))
    compact_hour(lake, METER, HOUR_10)
    both = scan_history(lake, METER, HOUR_10, HOUR_10 + 2 * HOUR).collect()
    assert both.height == 3


def test_an_hour_is_one_sorted_file(lake: Lake) -> None:
    for minute in range(3):
        append(lake, many(range(minute * 20, minute * 20 + 20), devices=400))
    compact_hour(lake, METER, HOUR_10)
    (file,) = lake.open(METER.history_table).file_uris()
    rows = pl.read_parquet(file).select(METER.key)
    assert rows.equals(rows.sort(METER.key))
    assert pq.ParquetFile(file).schema_arrow.field("meter_id").type != pa.string_view()


def test_an_hour_of_many_groups_of_rows_is_one_file_too_and_loses_nothing(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its groups are put together in one thread and encoded in another."""
    small = replace(history_table(METER), rows_a_group=1_000)
    monkeypatch.setattr(compaction, "history_table", lambda _: small)
    append(lake, many(range(60), devices=41))
    done = compact_hour(lake, METER, HOUR_10)
    (file,) = lake.open(METER.history_table).file_uris()
    groups = pq.ParquetFile(file).metadata
    assert [groups.row_group(n).num_rows for n in range(3)] == [1_000, 1_000, 460]
    rows = pl.read_parquet(file).select(METER.key)
    assert rows.equals(rows.sort(METER.key))
    assert rows.n_unique() == rows.height == done.rows == 2_460
    assert not compact_hour(lake, METER, HOUR_10).changed


def test_heartbeats_that_arrive_during_a_compaction_are_never_overwritten(lake: Lake) -> None:
    """The trap of the library: the handle that was read is the one that must write."""
    append(lake, meter_rows({}))
    compact_hour(lake, METER, HOUR_10)
    stale = lake.open(METER.history_table)
    rival = encode_history(history(lake).with_columns(meter_id=pl.lit("METER777")))
    window = HOUR_10, HOUR_10 + HOUR
    replace_window(lake, lake.open(METER.history_table), history_table(METER), rival, *window)
    with pytest.raises(StaleRead):
        replace_window(lake, stale, history_table(METER), rival.clear(), *window)
    assert history(lake)["meter_id"].to_list() == ["METER777"]


def test_two_compactions_of_one_hour_at_once_keep_every_heartbeat_once(lake: Lake) -> None:
    append(lake, many(range(30)))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: compact_hour(lake, METER, HOUR_10), range(4)))
    assert history(lake).height == 1500
    assert history(lake).select(METER.key).is_unique().all()


def test_an_append_from_a_stale_view_is_refused_and_writes_nothing(lake: Lake) -> None:
    append(lake, meter_rows({}))
    with pytest.raises(StaleRead):
        append_from(lake, METER, meter_rows({}), "test", next(horizons), 1)
    assert lake.open(METER.raw_table).count() == 1


def test_optimize_twice_doubles_rows_in_this_library_version(tmp_path: Path) -> None:
    """If this fails, nothing here need avoid optimize: reconsider the pinned version."""
    for _ in range(3):
        write_deltalake(tmp_path / "t", pa.table({"n": list(range(10))}), mode="append")
    first, second = DeltaTable(tmp_path / "t"), DeltaTable(tmp_path / "t")
    first.optimize.compact()
    second.optimize.compact()
    assert DeltaTable(tmp_path / "t").count() == 60
