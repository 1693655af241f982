"""Old days become one file each, and stay as open to late heartbeats as any other."""

from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl
import pytest
from deltalake import DeltaTable

from lake import HOUR, METER, Lake, compact_hour, read_delivered_horizon, scan_history
from lake.delta import replace as replace_module
from lake.delta.replace import (
    commit_replacement,
    replace_hours,
    replace_window,
    write_replacement,
)
from lake.errors import OldTable, StaleRead, UnusableFolder
from lake.schema.history import encode_history, history_table
from lake.schema.vehicle_efficiency import FLEET_EFFICIENCY_HOURLY
from lake.upkeep.archive import archive_day, days_to_archive
from tests.harness.raw_table import append_from
from tests.samples import HOUR_10, meter_rows

HISTORY = history_table(METER)
MIDNIGHT = HOUR_10.replace(hour=0)
DAY = timedelta(days=1)


@pytest.fixture
def day(lake: Lake) -> Lake:
    """A day of a few hours, and an hour of the next."""
    for hour in (MIDNIGHT, MIDNIGHT + 5 * HOUR, MIDNIGHT + 23 * HOUR, MIDNIGHT + DAY):
        send(lake, *({"meter_id": f"M{n}", "timestamp": hour + n * HOUR / 100} for n in range(99)))
        compact_hour(lake, METER, hour)
    return lake


def send(lake: Lake, *rows: dict[str, object]) -> None:
    before = read_delivered_horizon(lake, METER, "test").horizon
    append_from(lake, METER, meter_rows(*rows), "test", before + 1, before)


def history(lake: Lake) -> pl.DataFrame:
    rows = scan_history(lake, METER, MIDNIGHT, MIDNIGHT + 2 * DAY).collect()
    return rows.sort(METER.key)


def files(lake: Lake) -> list[str]:
    return sorted(lake.open(METER.history_table).file_uris())


def test_an_archived_day_is_one_sorted_file_with_the_same_rows(day: Lake) -> None:
    before = history(day)
    done = archive_day(day, HISTORY, MIDNIGHT.date())
    assert done.files_before == 3
    assert done.bytes_after < done.bytes_before
    assert history(day).equals(before)
    assert len(files(day)) == 2  # the other one is the next day's
    rows = pl.read_parquet(files(day)[0]).select(METER.key)
    assert rows.equals(rows.sort(METER.key))


def test_archiving_again_changes_nothing(day: Lake) -> None:
    archive_day(day, HISTORY, MIDNIGHT.date())
    version = day.open(HISTORY.name).version()
    again = archive_day(day, HISTORY, MIDNIGHT.date())
    assert (again.files_before, again.bytes_after) == (1, again.bytes_before)
    assert day.open(HISTORY.name).version() == version


def test_days_of_several_files_wait_to_be_archived(day: Lake) -> None:
    first = MIDNIGHT.date()
    assert days_to_archive(day, HISTORY, first) == []
    assert days_to_archive(day, HISTORY, first + 2 * DAY) == [first]
    archive_day(day, HISTORY, first)
    assert days_to_archive(day, HISTORY, first + 2 * DAY) == []


def test_a_day_without_rows_is_left_alone(day: Lake) -> None:
    assert archive_day(day, HISTORY, (MIDNIGHT - DAY).date()).files_before == 0


def test_a_late_heartbeat_finds_its_hour_in_an_archived_day(day: Lake) -> None:
    archive_day(day, HISTORY, MIDNIGHT.date())
    before = history(day)
    late = MIDNIGHT + 5 * HOUR + timedelta(minutes=59, seconds=59, microseconds=999_999)
    send(day, {"meter_id": "M500", "timestamp": late})
    assert compact_hour(day, METER, MIDNIGHT + 5 * HOUR).rows == 100
    after = history(day)
    assert after.filter(pl.col("meter_id") != "M500").equals(before)
    assert after.filter(pl.col("meter_id") == "M500")["timestamp"].to_list() == [late]
    assert len(files(day)) == 2


def test_a_day_larger_than_memory_is_archived_in_parts(
    day: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replace_module, "_ROWS_A_PART", 40)
    before = history(day)
    archive_day(day, HISTORY, MIDNIGHT.date())
    assert history(day).equals(before)
    rows = pl.read_parquet(files(day)[0]).select(METER.key)
    assert rows.equals(rows.sort(METER.key))


def test_of_an_archive_and_a_compaction_at_once_one_starts_over(day: Lake) -> None:
    stale = day.open(HISTORY.name)
    hour = scan_history(day, METER, MIDNIGHT, MIDNIGHT + HOUR).collect()
    archive_day(day, HISTORY, MIDNIGHT.date())
    with pytest.raises(StaleRead):
        replace_window(day, stale, HISTORY, encode_history(hour), MIDNIGHT, MIDNIGHT + HOUR)
    assert history(day).height == 4 * 99


def test_a_stretch_across_midnight_is_replaced_in_both_days(lake: Lake) -> None:
    spec = FLEET_EFFICIENCY_HOURLY
    hours = [MIDNIGHT + n * HOUR for n in range(-3, 3)]
    replace_hours(lake, spec, fleet(hours, 1.0), hours[0], hours[-1] + HOUR)
    replace_hours(lake, spec, fleet(hours[2:4], 2.0), hours[2], hours[3] + HOUR)
    rows = lake.scan(lake.open(spec.name)).sort("hour_start").collect()
    assert rows["hour_start"].to_list() == hours
    assert rows["energy_ac_kwh"].to_list() == [1.0, 1.0, 2.0, 2.0, 1.0, 1.0]
    replace_hours(lake, spec, fleet([], 0.0), hours[0], hours[-1] + HOUR)
    assert lake.scan(lake.open(spec.name)).collect().is_empty()


def test_stretches_that_were_written_at_once_share_a_file_and_are_committed_in_any_order(
    lake: Lake,
) -> None:
    spec = FLEET_EFFICIENCY_HOURLY
    hours = [MIDNIGHT + n * HOUR for n in range(6)]
    replace_hours(lake, spec, fleet(hours, 1.0), hours[0], hours[-1] + HOUR)
    first, second = (
        write_replacement(lake, spec, fleet(part, kwh), part[0], part[-1] + HOUR)
        for part, kwh in ((hours[:2], 2.0), (hours[2:4], 3.0))
    )
    rows = lake.scan(lake.open(spec.name)).sort("hour_start")
    assert rows.collect()["energy_ac_kwh"].to_list() == [1.0] * 6

    for written in (second, first, first, second):
        commit_replacement(lake, written)

    rows = lake.scan(lake.open(spec.name)).sort("hour_start")
    assert rows.collect()["hour_start"].to_list() == hours
    assert rows.collect()["energy_ac_kwh"].to_list() == [2.0, 2.0, 3.0, 3.0, 1.0, 1.0]


def test_files_from_before_a_column_was_added_are_kept_with_nulls(lake: Lake) -> None:
    spec = FLEET_EFFICIENCY_HOURLY
    earlier = replace(spec, columns=spec.columns[:-1])
    old = Lake(f"{lake.uri}/old")
    DeltaTable.create(old.table_uri(spec.name), earlier.schema, partition_by=["date"])
    hours = [MIDNIGHT, MIDNIGHT + HOUR]
    replace_hours(old, earlier, fleet(hours, 1.0), hours[0], hours[-1] + HOUR)
    old.create_tables()
    replace_hours(old, spec, fleet(hours[1:], 2.0), hours[1], hours[1] + HOUR)
    rows = old.scan(old.open(spec.name)).sort("hour_start").collect()
    assert rows["energy_ac_kwh"].to_list() == [1.0, 2.0]
    assert rows[spec.names[-1]].to_list() == [None, 0]


def test_a_table_in_the_layout_of_an_earlier_version_is_refused(lake: Lake) -> None:
    old = Lake(f"{lake.uri}/old")
    old.create_tables()
    schema = old.open(METER.raw_table).schema()
    old.file_system().delete_dir(HISTORY.name)
    DeltaTable.create(old.table_uri(HISTORY.name), schema, partition_by=["date", "hour"])
    for refused in (old.create_tables, lambda: old.open(HISTORY.name)):
        with pytest.raises(OldTable, match="wattlake verify --repair"):
            refused()


def test_a_raw_table_in_another_layout_is_refused_and_nobody_is_told_to_move_it(lake: Lake) -> None:
    old = Lake(f"{lake.uri}/old")
    schema = lake.open(METER.raw_table).schema()
    DeltaTable.create(old.table_uri(METER.raw_table), schema, partition_by=["date"])
    with pytest.raises(OldTable, match="leave it as it is") as refused:
        old.create_tables()
    assert METER.raw_table in str(refused.value)
    assert "move" not in str(refused.value)


@pytest.mark.parametrize("name", ["my lake", "100%25", "zähler", "a#b", "a[1]", "env=test"])
def test_a_folder_whose_files_would_not_be_found_again_is_refused(lake: Lake, name: str) -> None:
    with pytest.raises(UnusableFolder, match="choose a folder without"):
        Lake(f"{lake.uri}/{name}").create_tables()


def fleet(hours: list[datetime], energy: float) -> pl.DataFrame:
    spec = FLEET_EFFICIENCY_HOURLY
    usual = {"energy_ac_kwh": energy} | dict.fromkeys(spec.names[2:], 0)
    empty = pl.DataFrame(spec.schema.empty_table()).drop("date")
    return pl.DataFrame([{"hour_start": hour, **usual} for hour in hours], schema=empty.schema)
