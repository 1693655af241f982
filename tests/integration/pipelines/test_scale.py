"""Many hours at once: a backfill is one run, one partition has one writer, years stay usable."""

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy
from dagster._core.definitions.selector import (
    PartitionRangeSelector,
    PartitionsByAssetSelector,
    PartitionsSelector,
)
from dagster._core.execution.backfill import PartitionBackfill
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster_shared.yaml_utils import load_yaml_from_path

from lake import HOUR, METER, VEHICLE
from pipelines.assets.hourly import FLEET
from pipelines.automation import sensors
from pipelines.automation.jobs import OLD_RANGE, RANGE_END, RANGE_START
from pipelines.automation.runs import HOURLY_ASSETS
from pipelines.automation.sensors import changed_days, late_hours
from pipelines.definitions import definitions
from pipelines.partitions import HOURLY, hour_key
from tests.harness.pipelines import WAIT_FOR_CODE_SERVERS, PipelineStack
from tests.samples import HOUR_10

PROJECT = Path(__file__).parents[3]
# Nearly three years.
HOURS = 25_000


@pytest.fixture
def kept(stack: PipelineStack, tmp_path: Path) -> Iterator[PipelineStack]:
    """A stack whose Dagster instance is kept in files, as the daemon needs it."""
    with dg.DagsterInstance.local_temp(str(tmp_path), WAIT_FOR_CODE_SERVERS) as stack.instance:
        yield stack


def test_a_backfill_of_48_hours_from_the_pages_is_one_run(kept: PipelineStack) -> None:
    first, last = hour_key(HOUR_10 - 60 * HOUR), hour_key(HOUR_10 - 13 * HOUR)
    two_days = PartitionsSelector([PartitionRangeSelector(first, last)])
    with create_test_daemon_workspace_context(
        ModuleTarget("pipelines.definitions", None, None, "pipelines"), kept.instance
    ) as workspace:
        graph = workspace.create_request_context().asset_graph
        kept.instance.add_backfill(
            PartitionBackfill.from_partitions_by_assets(
                backfill_id="two_days",
                asset_graph=graph,
                backfill_timestamp=time.time(),
                tags={},
                dynamic_partitions_store=kept.instance,
                partitions_by_assets=[
                    PartitionsByAssetSelector(asset_key=key, partitions=two_days)
                    for key in sorted(HOURLY_ASSETS)
                ],
                title=None,
                description=None,
                run_config=None,
            )
        )
        errors = [*execute_backfill_iteration(workspace, logging.getLogger(__name__))]

    assert not any(errors)
    (run,) = kept.instance.get_runs()
    assert (run.tags[RANGE_START], run.tags[RANGE_END]) == (first, last)
    assert run.asset_selection == HOURLY_ASSETS


def test_the_sensor_splits_a_backlog_into_runs_of_hours_per_run(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sensors, "_SETTINGS", sensors._SETTINGS.model_copy(update={"hours_per_run": 20})
    )
    _wait(stack, HOUR_10 - 48 * HOUR, 48)

    requests = stack.evaluate_sensor(late_hours).run_requests or []

    spans = [(request.tags[RANGE_START], request.tags[RANGE_END]) for request in requests]
    starts = [HOUR_10 - n * HOUR for n in (8, 28, 48)]
    ends = [HOUR_10 - n * HOUR for n in (1, 9, 29)]
    assert spans == [(hour_key(a), hour_key(b)) for a, b in zip(starts, ends, strict=True)]


def test_dagster_lets_two_old_ranges_run_at_a_time_and_keeps_a_place_for_the_newest() -> None:
    settings = load_yaml_from_path(str(PROJECT / "pipelines" / "dagster.yaml"))
    assert isinstance(settings, dict)
    runs = settings["concurrency"]["runs"]
    ((key, value),) = OLD_RANGE.items()

    assert {"key": key, "value": value, "limit": 2} in runs["tag_concurrency_limits"]
    assert runs["max_concurrent_runs"] > 2


def test_the_events_of_a_range_are_stored_together_and_pools_made_by_whoever_comes(
    charged: PipelineStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "")  # taken back afterwards
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE")
    url = charged.database_url.replace("postgresql:", "postgresql+psycopg2:")
    settings = load_yaml_from_path(str(PROJECT / "pipelines" / "dagster.yaml"))
    assert isinstance(settings, dict)
    settings["storage"]["custom"]["config"]["postgres_url"] = url
    own = {name: settings[name] for name in ("storage", "concurrency")}
    inserted: list[str] = []
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=own) as charged.instance:
        engine = charged.instance.event_log_storage._engine  # type: ignore[attr-defined]
        sqlalchemy.event.listen(
            engine, "before_cursor_execute", lambda *given: inserted.append(given[2])
        )
        connections: list[object] = []
        sqlalchemy.event.listen(engine, "connect", lambda *given: connections.append(given))
        charged.run_hours(HOUR_10 - 40 * HOUR, HOUR_10 + HOUR)

        for key in HOURLY_ASSETS:
            hours = charged.instance.get_materialized_partitions(key)
            assert hours >= {hour_key(HOUR_10 - n * HOUR) for n in range(-1, 41)}, key
        runs = charged.instance.get_run_records()
        assert [record.dagster_run.status for record in runs] == [dg.DagsterRunStatus.SUCCESS]
        storage = charged.instance.event_log_storage
        pool = METER.history_table  # two runs find it missing at once, and both make it
        assert [storage.initialize_concurrency_limit_to_default(pool) for _ in range(2)] == [
            True
        ] * 2
    planned = charged.rows(
        b"SELECT asset_key, count(DISTINCT partition) AS hours FROM event_logs"
        b" WHERE dagster_event_type = 'ASSET_MATERIALIZATION_PLANNED' GROUP BY asset_key"
    )
    assert [row["hours"] for row in planned] == [42] * len(HOURLY_ASSETS)
    events = [text for text in inserted if text.startswith("INSERT INTO event_logs")]
    assert len(events) < 42 * len(HOURLY_ASSETS)  # of each hour one planned, and one done
    assert len(connections) < len(HOURLY_ASSETS)


def test_every_table_has_a_pool() -> None:
    for spec in definitions.resolve_all_asset_specs():
        node = definitions.resolve_asset_graph().get(spec.key)
        assert node.pools or not node.is_materializable, spec.key


def test_two_runs_of_one_asset_do_not_write_at_once(tmp_path: Path) -> None:
    settings = load_yaml_from_path(str(PROJECT / "pipelines" / "dagster.yaml"))
    assert isinstance(settings, dict)
    pools = {"concurrency": settings["concurrency"]}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=pools) as instance:
        storage = instance.event_log_storage
        for pool in (METER.history_table, VEHICLE.history_table):
            storage.initialize_concurrency_limit_to_default(pool)
        first = storage.claim_concurrency_slot(METER.history_table, "run-1", "write")
        second = storage.claim_concurrency_slot(METER.history_table, "run-2", "write")
        other = storage.claim_concurrency_slot(VEHICLE.history_table, "run-2", "write")
        storage.free_concurrency_slots_for_run("run-1")
        after = storage.claim_concurrency_slot(METER.history_table, "run-2", "write")

    assert (first.is_claimed, second.is_claimed, other.is_claimed) == (True, False, True)
    assert after.is_claimed


def test_25_000_hours_stay_usable(stack: PipelineStack, tmp_path: Path) -> None:
    first = datetime(2023, 1, 1, tzinfo=UTC)
    url = stack.database_url.replace("postgresql:", "postgresql+psycopg2:")
    in_postgres = {"storage": {"postgres": {"postgres_url": url}}}
    took: dict[str, float] = {}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=in_postgres) as stack.instance:
        stack.instance.report_runless_asset_event(
            dg.AssetMaterialization(FLEET.key, partition=hour_key(first))
        )
        stack.rows(
            b"INSERT INTO event_logs (run_id, event, dagster_event_type, timestamp, step_key,"
            b" asset_key, partition) SELECT run_id, replace(event, partition, key),"
            b" dagster_event_type, timestamp, step_key, asset_key, key FROM event_logs,"
            b" LATERAL (SELECT to_char(%(first)s::timestamptz AT TIME ZONE 'UTC'"
            b" + n * interval '1 hour', 'YYYY-MM-DD-HH24:00') AS key"
            b" FROM generate_series(1, %(last)s) AS n) AS hours"
            b" WHERE dagster_event_type = 'ASSET_MATERIALIZATION' RETURNING 1",
            first=first,
            last=HOURS - 1,
        )
        _wait(stack, first, HOURS)
        for name, look in (
            ("late_hours", lambda: stack.evaluate_sensor(late_hours).run_requests),
            ("changed_days", lambda: stack.evaluate_sensor(changed_days).run_requests),
            ("partition status", lambda: _status(stack)),
        ):
            started = time.perf_counter()
            assert look(), name
            took[name] = time.perf_counter() - started

    # A tick may take a minute; a person waits for a page.
    assert max(took.values()) < 20, took


def _status(stack: PipelineStack) -> bool:
    """True if the pages see all the hours of an asset as materialized."""
    found = stack.instance.get_materialized_partitions(FLEET.key)
    subset = HOURLY.empty_subset().with_partition_keys(found)
    return len(subset) == HOURS


def _wait(stack: PipelineStack, first: datetime, count: int) -> None:
    """Let the ledger know `count` hours from `first` on that nobody has computed."""
    stack.rows(
        b"INSERT INTO partition_ledger (stream, hour, raw_rows, raw_version, last_arrival)"
        b" SELECT 'meter', hour, 60, 1, hour FROM"
        b" generate_series(%(first)s::timestamptz, %(last)s, interval '1 hour') AS hour"
        b" RETURNING 1",
        first=first,
        last=first + timedelta(hours=count - 1),
    )
