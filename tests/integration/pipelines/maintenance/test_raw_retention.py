"""Raw hours go once the history has them, and nothing else ever does."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import psycopg
import pytest

from lake import (
    HOUR,
    METER,
    Lake,
    StaleRead,
    compact_hour,
    compact_hours,
    hour_of,
    read_delivered_horizon,
    rows_by_hour,
)
from lake.upkeep.raw_retention import drop_raw_partitions, raw_hour_sizes
from pipelines.assets import history
from pipelines.maintenance import raw_retention
from pipelines.maintenance.raw_retention import Retention, drop_old_hours
from tests.harness.outbox import flush_all, put, waiting_meters
from tests.harness.pipelines import PipelineStack, checks, run_maintenance
from tests.harness.postgres import someone_waits
from tests.harness.raw_table import append_from
from tests.harness.waiting import wait_for
from tests.integration.interruption import between_files_and_commit
from tests.samples import HOUR_10, meter_rows
from warehouse_sql.named_queries import query

RETENTION = "retention.raw_meter_heartbeats_retention"
LATER = HOUR_10 + timedelta(hours=5)


def append(lake: Lake, *rows: dict[str, Any]) -> None:
    before = read_delivered_horizon(lake, METER, "test").horizon
    append_from(lake, METER, meter_rows(*rows), "test", before + 1, before)


def drop(stack: PipelineStack, before: datetime = HOUR_10 + HOUR) -> Retention:
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        return drop_old_hours(stack.lake, connection, METER, before)


def ledger(stack: PipelineStack, hour: datetime = HOUR_10) -> tuple[int, int, bool]:
    """Rows ever appended, rows dropped, whether a drop is noted."""
    (row,) = stack.rows(
        b"SELECT raw_rows, raw_dropped_rows, raw_dropped_at IS NOT NULL AS noted"
        b" FROM partition_ledger WHERE stream = 'meter' AND hour = %(hour)s",
        hour=hour,
    )
    return row["raw_rows"], row["raw_dropped_rows"], row["noted"]


def meters(stack: PipelineStack) -> list[tuple[str, float, int]]:
    rows = stack.table(METER.history_table).sort(METER.key)
    return rows.select("meter_id", "kwh_consumed_ac", "duplicates").rows()


def at(minute: int, kwh: float, received: datetime = LATER) -> dict[str, object]:
    return {
        "timestamp": HOUR_10 + timedelta(minutes=minute),
        "kwh_consumed_ac": kwh,
        "received_at": received,
    }


def test_an_hour_that_the_history_has_taken_in_goes_in_one_commit(lake: Lake) -> None:
    append(lake, {}, {"timestamp": HOUR_10 + HOUR}, {"timestamp": HOUR_10 + 30 * HOUR})
    for hour in (HOUR_10, HOUR_10 + 30 * HOUR):
        compact_hour(lake, METER, hour)
    version = lake.open(METER.raw_table).version()

    done = drop_raw_partitions(lake, METER, {HOUR_10: 1, HOUR_10 + 30 * HOUR: 1})

    assert set(done.dropped) == {HOUR_10, HOUR_10 + 30 * HOUR}
    assert all((hour.rows, hour.files) == (1, 1) and hour.bytes for hour in done.dropped.values())
    assert set(raw_hour_sizes(lake, METER)) == {HOUR_10 + HOUR}
    assert lake.open(METER.raw_table).version() == version + 1


def test_dropping_again_commits_nothing(lake: Lake) -> None:
    append(lake, {})
    compact_hour(lake, METER, HOUR_10)
    drop_raw_partitions(lake, METER, {HOUR_10: 1})
    version = lake.open(METER.raw_table).version()
    again = drop_raw_partitions(lake, METER, {HOUR_10: 1})
    assert (again.dropped, again.kept) == ({}, {})
    assert lake.open(METER.raw_table).version() == version


def test_an_hour_of_phases_and_of_copies_without_energy_goes(lake: Lake) -> None:
    sent = [{**at(0, 0.1), "phase": phase} for phase in ("L1", "L2", None)]
    later = {**sent[0], "kwh_consumed_ac": None, "received_at": LATER + HOUR}
    append(lake, *sent, later)
    compact_hour(lake, METER, HOUR_10)
    assert set(drop_raw_partitions(lake, METER, {HOUR_10: 4}).dropped) == {HOUR_10}
    assert compact_hour(lake, METER, HOUR_10).rows == 3


def test_an_hour_with_a_heartbeat_that_the_history_lacks_is_kept(lake: Lake) -> None:
    append(lake, {})
    compact_hour(lake, METER, HOUR_10)
    append(lake, {"meter_id": "METER009"})
    done = drop_raw_partitions(lake, METER, {HOUR_10: 2})
    assert done.kept == {HOUR_10: "the history does not account for 1 heartbeats"}
    assert lake.open(METER.raw_table).count() == 2


@pytest.mark.parametrize("newer", [True, False])
def test_an_hour_with_a_copy_that_the_history_has_not_counted_is_kept(
    lake: Lake, newer: bool
) -> None:
    append(lake, {})
    compact_hour(lake, METER, HOUR_10)
    append(lake, at(0, 0.5, LATER if newer else HOUR_10))
    assert drop_raw_partitions(lake, METER, {HOUR_10: 2}).dropped == {}


def test_an_hour_with_rows_that_the_caller_does_not_know_is_kept(lake: Lake) -> None:
    append(lake, {})
    append(lake, {"meter_id": "METER009"})
    compact_hour(lake, METER, HOUR_10)
    done = drop_raw_partitions(lake, METER, {HOUR_10: 1})
    assert done.kept == {HOUR_10: "2 raw rows where 1 were taken in"}


def test_a_heartbeat_that_arrives_during_a_drop_keeps_its_hour(lake: Lake) -> None:
    append(lake, {})
    compact_hour(lake, METER, HOUR_10)
    arrived: list[object] = []

    def arrive(hours: object) -> None:
        if not arrived:
            arrived.append(hours)
            append(lake, {"meter_id": "METER009"})

    done = drop_raw_partitions(lake, METER, {HOUR_10: 1}, before_commit=arrive)

    assert done.kept == {HOUR_10: "2 raw rows where 1 were taken in"}
    assert lake.open(METER.raw_table).count() == 2


def test_a_heartbeat_of_another_hour_does_not_stop_a_drop(lake: Lake) -> None:
    append(lake, {})
    compact_hour(lake, METER, HOUR_10)

    done = drop_raw_partitions(
        lake, METER, {HOUR_10: 1}, lambda _: append(lake, {"timestamp": HOUR_10 + HOUR})
    )

    assert set(done.dropped) == {HOUR_10}
    assert set(raw_hour_sizes(lake, METER)) == {HOUR_10 + HOUR}


def test_an_append_that_a_drop_overtakes_is_refused_and_writes_nothing(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(lake, {})
    compact_hour(lake, METER, HOUR_10)
    between_files_and_commit(monkeypatch, lambda: drop_raw_partitions(lake, METER, {HOUR_10: 1}))
    with pytest.raises(StaleRead):
        append(lake, {"timestamp": HOUR_10 + HOUR})
    assert lake.open(METER.raw_table).count() == 0


def test_a_flush_that_a_drop_overtakes_loses_and_doubles_nothing(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.deliver(METER, meter_rows(at(0, 1.0), at(1, 1.0)))
    stack.run_hours(HOUR_10, HOUR_10)
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        put(connection, METER, meter_rows(at(2, 2.0), {"timestamp": HOUR_10 + HOUR}))
    overtaken: list[Retention] = []
    between_files_and_commit(monkeypatch, lambda: overtaken.append(drop(stack)))

    assert flush_all(stack.database_url, stack.lake) == 2

    assert set(overtaken[0].dropped) == {HOUR_10}
    assert {hour: of.rows for hour, of in raw_hour_sizes(stack.lake, METER).items()} == {
        HOUR_10: 1,
        HOUR_10 + HOUR: 1,
    }
    assert waiting_meters(stack.database_url) == []
    assert ledger(stack) == (3, 2, True)
    assert ledger(stack, HOUR_10 + HOUR) == (1, 0, False)
    stack.run_hours(HOUR_10, HOUR_10 + HOUR)
    assert stack.table(METER.history_table).height == 4


def test_what_comes_late_for_a_dropped_hour_joins_its_history_and_is_dropped_again(
    stack: PipelineStack,
) -> None:
    stack.deliver(METER, meter_rows(at(0, 1.0), at(0, 2.0), at(0, 3.0), at(1, 1.0)))
    stack.run_hours(HOUR_10, HOUR_10)
    assert set(drop(stack).dropped) == {HOUR_10}
    assert meters(stack) == [("METER001", 3.0, 2), ("METER001", 1.0, 0)]

    corrected = at(0, 9.0, LATER + HOUR)
    stale = at(1, 7.0, HOUR_10)
    stack.deliver(METER, meter_rows(corrected, stale, at(2, 4.0)))
    result = stack.run_hours(HOUR_10, HOUR_10)

    assert checks(result)["meter_telemetry_history: rows_conserved"]
    values = [(name, kwh) for name, kwh, _ in meters(stack)]
    assert values == [("METER001", 9.0), ("METER001", 1.0), ("METER001", 4.0)]
    assert ledger(stack) == (7, 4, True)
    assert drop(stack).dropped[HOUR_10].rows == 3
    assert ledger(stack) == (7, 7, True)
    before = stack.table(METER.history_table)
    stack.run_hours(HOUR_10, HOUR_10)
    assert stack.table(METER.history_table).equals(before)


def test_a_heartbeat_that_a_compaction_loses_is_noticed_in_a_dropped_hour_too(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.deliver(METER, meter_rows(at(0, 1.0)))
    stack.run_hours(HOUR_10, HOUR_10)
    drop(stack)
    stack.deliver(METER, meter_rows(at(1, 1.0)))

    def losing(lake: Lake, stream: Any, hours: Sequence[datetime]) -> object:
        done = compact_hours(lake, stream, hours)
        if stream is METER:
            lake.open(METER.history_table).delete("kwh_consumed_ac = 1.0")
        return done

    monkeypatch.setattr(history, "compact_hours", losing)
    result = stack.run_hours(HOUR_10, HOUR_10, raise_on_error=False)
    assert not checks(result)["meter_telemetry_history: rows_conserved"]


def test_an_hour_that_waits_for_its_compaction_is_kept(stack: PipelineStack) -> None:
    stack.deliver(METER, meter_rows(at(0, 1.0)))
    assert drop(stack).kept == {HOUR_10: "not compacted"}
    stack.run_hours(HOUR_10, HOUR_10)
    stack.deliver(METER, meter_rows(at(1, 1.0)))
    assert drop(stack).kept == {HOUR_10: "not compacted"}
    assert stack.lake.open(METER.raw_table).count() == 2


def test_hours_from_the_retention_on_stay(stack: PipelineStack) -> None:
    stack.deliver(METER, meter_rows(at(0, 1.0), {"timestamp": HOUR_10 + HOUR}))
    stack.run_hours(HOUR_10, HOUR_10 + HOUR)
    assert set(drop(stack, before=HOUR_10 + HOUR).dropped) == {HOUR_10}
    assert set(raw_hour_sizes(stack.lake, METER)) == {HOUR_10 + HOUR}


def test_a_kill_before_the_commit_is_made_good_by_the_next_drop(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.deliver(METER, meter_rows(at(0, 1.0)))
    stack.run_hours(HOUR_10, HOUR_10)

    def killed(*arguments: Any) -> None:
        arguments[-1]([HOUR_10])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(raw_retention, "drop_raw_partitions", killed)
        with pytest.raises(KeyboardInterrupt):
            drop(stack)
    assert ledger(stack) == (1, 0, True)
    assert set(drop(stack).dropped) == {HOUR_10}
    assert ledger(stack) == (1, 1, True)


def test_a_kill_after_the_commit_is_made_good_by_the_next_drop(stack: PipelineStack) -> None:
    stack.deliver(METER, meter_rows(at(0, 1.0), at(1, 1.0)))
    stack.run_hours(HOUR_10, HOUR_10)
    drop_raw_partitions(stack.lake, METER, {HOUR_10: 2})
    stack.deliver(METER, meter_rows(at(2, 1.0)))

    assert drop(stack).kept == {HOUR_10: "not compacted"}
    assert ledger(stack) == (3, 2, True)
    assert checks(stack.run_hours(HOUR_10, HOUR_10))["meter_telemetry_history: rows_conserved"]
    assert drop(stack).dropped[HOUR_10].rows == 1
    assert ledger(stack) == (3, 3, True)


def test_a_restored_ledger_finds_late_rows_of_a_dropped_hour(stack: PipelineStack) -> None:
    """Less is in the raw table than was ever appended, and still more than the ledger knows."""
    stack.deliver(METER, meter_rows(at(0, 1.0), at(1, 1.0)))
    stack.run_hours(HOUR_10, HOUR_10)
    drop(stack)
    append(stack.lake, at(2, 1.0))
    restore = {"stream": "meter", "version": 9, "hours": [HOUR_10], "rows": [1]}
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(query("restore_ledger"), restore)
    assert ledger(stack) == (3, 2, True)
    assert stack.rows(b"SELECT 1 FROM dirty_hour WHERE stream = 'meter'")


def test_a_count_of_the_raw_table_does_not_take_what_is_just_dropped_for_new(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.deliver(METER, meter_rows(at(0, 1.0), at(1, 1.0)))
    stack.run_hours(HOUR_10, HOUR_10)
    stack.rows(b"UPDATE outbox_delivery SET counted_version = NULL RETURNING 1")
    dropped = list[Future[Retention]]()
    with ThreadPoolExecutor(1) as other:

        def count_beside_a_drop(*of_table: Any) -> dict[datetime, int]:
            found = rows_by_hour(*of_table)
            dropped.append(other.submit(drop, stack))
            wait_for(lambda: someone_waits(stack.database_url) or dropped[0].done())
            return found

        counting = "ingestion_api.outbox.lake_binding.rows_by_hour"
        monkeypatch.setattr(counting, count_beside_a_drop)
        flush_all(stack.database_url, stack.lake)
    assert dropped[0].result().dropped[HOUR_10].rows == 2
    assert ledger(stack) == (2, 2, True)


def of_hour(hour: datetime) -> dict[str, object]:
    return {"timestamp": hour, "received_at": hour + timedelta(seconds=5)}


def test_the_nightly_job_drops_by_the_clock_and_tells_what_it_freed(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = hour_of(datetime.now(UTC))
    old, young, ahead = now - 73 * HOUR, now - 48 * HOUR, now + 30 * 24 * HOUR
    stack.deliver(METER, meter_rows(of_hour(old), of_hour(young), of_hour(ahead)))
    stack.run_hours(old, old)
    monkeypatch.setenv("RAW_RETENTION_DAYS", "3")

    done = run_maintenance(stack)

    assert set(raw_hour_sizes(stack.lake, METER)) == {young, ahead}
    dropped = done[RETENTION]
    assert (dropped["hours_dropped"], dropped["rows_dropped"], dropped["hours_kept"]) == (1, 1, 0)
    upkeep = done["upkeep.meter_telemetry_history_upkeep"]
    assert (upkeep["files_removed"], upkeep["bytes_freed"], upkeep["log_bytes_freed"]) == (0, 0, 0)


def test_without_a_retention_raw_heartbeats_are_kept_for_ever(stack: PipelineStack) -> None:
    hour = hour_of(datetime.now(UTC)) - 5000 * HOUR
    stack.deliver(METER, meter_rows(of_hour(hour)))
    stack.run_hours(hour, hour)
    done = run_maintenance(stack, RETENTION)
    assert done == {RETENTION: {"retention": "raw heartbeats are kept for ever"}}
    assert stack.lake.open(METER.raw_table).count() == 1


@pytest.mark.parametrize(
    "known",
    [
        b"UPDATE partition_ledger SET raw_version = 1000, compacted_version = 1000 RETURNING 1",
        b"UPDATE outbox_delivery SET settled_horizon = 1000000000 RETURNING 1",
    ],
)
def test_a_lake_that_is_older_than_the_ledger_loses_nothing(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch, known: bytes
) -> None:
    hour = hour_of(datetime.now(UTC)) - 100 * HOUR
    stack.deliver(METER, meter_rows(of_hour(hour)))
    stack.run_hours(hour, hour)
    stack.rows(known)
    monkeypatch.setenv("RAW_RETENTION_DAYS", "1")
    with pytest.raises(dg.Failure, match="another or a restored lake"):
        run_maintenance(stack, RETENTION)
    assert stack.lake.open(METER.raw_table).count() == 1
