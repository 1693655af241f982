"""Upkeep of real tables, and what of the pinned library it relies on."""

import os
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import polars as pl
import pytest

from lake import HOUR, METER, Lake, compact_hour, read_delivered_horizon, rows_by_hour
from lake.delta import parquet_files
from lake.delta.parquet_files import write_data_file
from lake.delta.replace import replace_window
from lake.schema.history import history_table
from lake.upkeep.cleanup import checkpoint_if_due, clean_log, vacuum
from tests.harness.raw_table import append_from
from tests.integration.interruption import between_files_and_commit
from tests.samples import HOUR_10, meter_rows

REPOSITORY = Path(__file__).parents[4]
RAW = METER.raw_table


def append(lake: Lake, *rows: dict[str, Any]) -> None:
    before = read_delivered_horizon(lake, METER, "test").horizon
    append_from(lake, METER, meter_rows(*rows), "test", before + 1, before)


def age(lake: Lake, table: str, days: float) -> None:
    """Let every file of a table be older than it is."""
    moment = time.time() - days * 86400
    for path in (Path(lake.uri) / table).rglob("*"):
        if path.is_file():
            os.utime(path, (moment, moment))


def orphan(lake: Lake) -> Path:
    """A data file without a commit, as a flush that was killed leaves one."""
    hour = {"date": f"{HOUR_10:%Y-%m-%d}", "hour": f"{HOUR_10.hour}"}
    added = write_data_file(lake, RAW, hour, [pl.DataFrame(meter_rows({}))], [METER.device])
    return Path(lake.uri) / RAW / added.path


def test_a_vacuum_frees_the_orphans_of_dead_flushes_and_measures_them(lake: Lake) -> None:
    append(lake, {})
    dead = orphan(lake)
    size = dead.stat().st_size
    age(lake, RAW, days=8)
    living = orphan(lake)

    freed = vacuum(lake, RAW)

    assert (freed.files, freed.bytes) == (1, size)
    assert not dead.exists()
    assert living.exists()
    assert lake.open(RAW).count() == 1


def test_a_vacuum_that_finds_nothing_commits_nothing(lake: Lake) -> None:
    append(lake, {})
    orphan(lake)
    age(lake, RAW, days=8)
    vacuum(lake, RAW)
    version = lake.open(RAW).version()

    assert vacuum(lake, RAW).files == 0
    assert lake.open(RAW).version() == version


def test_files_that_were_replaced_lately_stay_however_old_they_are(lake: Lake) -> None:
    """Readers of the version before still have them open: the age of a removal counts."""
    append(lake, {})
    compact_hour(lake, METER, HOUR_10)
    reader = lake.open(METER.history_table)
    age(lake, METER.history_table, days=400)
    append(lake, {"meter_id": "METER009"})
    compact_hour(lake, METER, HOUR_10)
    lake.open(METER.history_table).create_checkpoint()

    assert vacuum(lake, METER.history_table).files == 0
    assert lake.scan(reader).collect().height == 1


def test_files_that_were_replaced_long_ago_go(lake: Lake) -> None:
    append(lake, {})
    compact_hour(lake, METER, HOUR_10)
    append(lake, {"meter_id": "METER009"})
    lake.open(METER.history_table).alter.set_table_properties(
        {"delta.deletedFileRetentionDuration": "interval 0 seconds"}
    )
    compact_hour(lake, METER, HOUR_10)

    freed = vacuum(lake, METER.history_table)

    assert freed.files == 1
    assert freed.bytes > 0
    assert lake.open(METER.history_table).count() == 2
    version = lake.open(METER.history_table).version()
    assert vacuum(lake, METER.history_table).files == 0
    assert lake.open(METER.history_table).version() == version


def test_a_partition_that_a_vacuum_empties_leaves_no_folder(lake: Lake) -> None:
    dead = orphan(lake)
    age(lake, RAW, days=8)
    vacuum(lake, RAW)
    assert not dead.parent.parent.exists()
    append(lake, {})
    assert lake.open(RAW).count() == 1


def test_a_folder_that_goes_right_before_an_append_writes_to_it_costs_one_more_attempt(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_folder() -> UUID:
        monkeypatch.setattr(parquet_files, "uuid4", uuid4)
        (Path(lake.uri) / RAW / f"date={HOUR_10:%Y-%m-%d}" / "hour=10").rmdir()
        return uuid4()

    monkeypatch.setattr(parquet_files, "uuid4", without_folder)
    before = lake.open(RAW).version()
    with pytest.raises(OSError, match="No such file"):  # which the lake writer and a run retry
        append(lake, {})
    assert lake.open(RAW).version() == before
    append(lake, {})
    assert lake.open(RAW).count() == 1


def test_a_vacuum_leaves_the_files_of_an_append_under_way(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(lake, {})
    dead = orphan(lake)
    age(lake, RAW, days=8)
    between_files_and_commit(monkeypatch, lambda: vacuum(lake, RAW))

    append(lake, {"meter_id": "METER002"})

    assert not dead.exists()
    assert lake.scan(lake.open(RAW)).collect().height == 2


def test_an_append_that_hung_for_a_week_is_refused_while_the_outbox_has_its_rows(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def a_week_later() -> None:
        age(lake, RAW, days=8)
        vacuum(lake, RAW)

    between_files_and_commit(monkeypatch, a_week_later)
    with pytest.raises(FileNotFoundError):
        append(lake, {})
    assert lake.open(RAW).count() == 0


def test_a_vacuum_does_not_disturb_a_compaction_under_way(lake: Lake) -> None:
    append(lake, {})
    compact_hour(lake, METER, HOUR_10)
    reading = lake.open(METER.history_table)
    folder = Path(lake.uri) / METER.history_table
    (folder / "part-dead.parquet").write_bytes(b"dead")
    age(lake, METER.history_table, days=8)
    assert vacuum(lake, METER.history_table).bytes == 4

    rows = lake.scan(reading).collect()
    replace_window(lake, reading, history_table(METER), rows, HOUR_10, HOUR_10 + HOUR)
    assert lake.open(METER.history_table).count() == 1


def test_a_checkpoint_is_made_only_where_the_newest_is_old(lake: Lake) -> None:
    for minute in range(5):
        append(lake, {"timestamp": HOUR_10 + timedelta(minutes=minute)})
    assert not checkpoint_if_due(lake, RAW, commits=5).made
    made = checkpoint_if_due(lake, RAW, commits=4)
    assert (made.version, made.made) == (5, True)
    again = checkpoint_if_due(lake, RAW, commits=4)
    assert (again.version, again.made) == (5, False)
    assert lake.open(RAW).count() == 5


def test_a_cleaned_log_still_knows_its_rows_and_how_far_the_outbox_came(lake: Lake) -> None:
    for minute in range(5):
        append(lake, {"timestamp": HOUR_10 + timedelta(minutes=minute)})
    checkpoint_if_due(lake, RAW, commits=1)
    append(lake, {"timestamp": HOUR_10 + timedelta(minutes=30)})
    age(lake, f"{RAW}/_delta_log", days=31)

    freed = clean_log(lake, RAW)

    assert freed.files == 5  # versions 0 to 4; the checkpoint is of version 5
    assert freed.bytes > 0
    # The ledger may still name a version from before a month of silence.
    assert rows_by_hour(lake, METER, version=2) == {HOUR_10: 6}
    assert rows_by_hour(lake, METER, version=5) == {HOUR_10: 5}
    assert read_delivered_horizon(lake, METER, "test").horizon == 6
    assert lake.open(RAW).count() == 6
    assert clean_log(lake, RAW).files == 0


def test_every_version_of_the_last_month_can_be_opened(lake: Lake) -> None:
    for minute in range(5):
        append(lake, {"timestamp": HOUR_10 + timedelta(minutes=minute)})
    age(lake, f"{RAW}/_delta_log", days=31)
    for minute in (30, 31):
        append(lake, {"timestamp": HOUR_10 + timedelta(minutes=minute)})
    checkpoint_if_due(lake, RAW, commits=1)  # of version 7: 6 needs all before it

    assert clean_log(lake, RAW).files == 0
    table = lake.open(RAW)
    table.load_as_version(6)
    assert table.count() == 6


def test_what_maintenance_commits_is_brought_to_the_disk(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log entry that a power cut takes away would hide every later one."""
    append(lake, {})
    orphan(lake)
    age(lake, RAW, days=8)
    synced = set()
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    before = lake.open(RAW).version()
    vacuum(lake, RAW)
    checkpoint_if_due(lake, RAW, commits=0)

    after = lake.open(RAW).version()
    assert after > before
    assert {f"{version:020}.json" for version in range(before + 1, after + 1)} <= synced
    assert {f"{after:020}.checkpoint.parquet", "_last_checkpoint", "_delta_log"} <= synced


def test_nothing_here_calls_optimize() -> None:
    """Two of them at once double rows in the pinned version of the library."""
    calls = re.compile(r"(?<!scipy)\.optimize\b|\bz_order\s*\(")
    sources = [
        file
        for package in ("ingestion_api", "lake", "local_stack", "pipelines", "warehouse_sql")
        for file in (REPOSITORY / package).rglob("*.py")
    ]
    assert sources
    assert [file.name for file in sources if calls.search(file.read_text(encoding="utf-8"))] == []
