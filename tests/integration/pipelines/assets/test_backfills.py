"""Backfills: whatever a person selects in the asset graph is computed, in as few runs as can be."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.api import execute_run
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._utils.hosted_user_process import recon_job_from_origin
from dagster_graphql.test.utils import execute_dagster_graphql

from lake import HOUR
from pipelines.assets.daily import TABLES as DAYS
from pipelines.assets.hourly import GRID, SPECS, VEHICLES
from pipelines.assets.marts import DAY_MARTS, HOUR_MARTS
from pipelines.definitions import definitions
from pipelines.partitions import hour_key
from tests.harness.pipelines import WAIT_FOR_CODE_SERVERS, PipelineStack, checks
from tests.samples import HOUR_10

# Dagster's own: its daemon calls what it has deprecated, its client leaves a coroutine behind.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Function `AssetSelection.sources`"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine 'BaseEventLoop:RuntimeWarning"),
]

HISTORIES = ["meter_telemetry_history", "vehicle_telemetry_history"]
TABLES = [spec.key.to_user_string() for spec in SPECS]
PUBLISHED = [mart.asset_key.to_user_string() for mart in HOUR_MARTS]
DAILY = [
    *(daily.table.name for daily in DAYS),
    *(mart.asset_key.to_user_string() for mart in DAY_MARTS),
]
REPORT = "daily_efficiency_report"
HOURLY = [*HISTORIES, *TABLES, *PUBLISHED]
EVERYTHING = [*HOURLY, *DAILY, REPORT]
HOURS = [hour_key(HOUR_10 - HOUR), hour_key(HOUR_10)]
DAY = f"{HOUR_10:%Y-%m-%d}"

LAUNCH = """mutation ($given: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $given) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on Error { message }
  }
}"""
RUNS = """mutation ($given: [ExecutionParams!]!) {
  launchMultipleRuns(executionParamsList: $given) {
    __typename
    ... on LaunchMultipleRunsResult {
      launchMultipleRunsResult {
        __typename
        ... on LaunchRunSuccess { run { runId } }
        ... on Error { message }
      }
    }
  }
}"""


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkspaceProcessContext]:
    """Instance and code location, as webserver and daemon have them; runs are only queued."""
    folder = str(tmp_path_factory.mktemp("dagster"))
    target = ModuleTarget("pipelines.definitions", None, None, "pipelines.definitions")
    with (
        dg.DagsterInstance.local_temp(folder, overrides=WAIT_FOR_CODE_SERVERS) as instance,
        WorkspaceProcessContext(instance, target) as workspace,
    ):
        yield workspace


def ask(dagster: WorkspaceProcessContext, mutation: str, given: object) -> Any:
    """Answer of the webserver to the one field of a mutation."""
    context = dagster.create_request_context()
    (answer,) = execute_dagster_graphql(context, mutation, {"given": given}).data.values()
    return answer


def paths(assets: Sequence[str]) -> list[dict[str, list[str]]]:
    """Asset keys as GraphQL takes them."""
    return [{"path": asset.split("/")} for asset in assets]


def launch(dagster: WorkspaceProcessContext, keys: list[str], assets: Sequence[str]) -> str:
    """Id of a backfill as the dialog asks for it."""
    answer = ask(dagster, LAUNCH, {"partitionNames": keys, "assetSelection": paths(assets)})
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    found: str = answer["backfillId"]
    return found


def look(dagster: WorkspaceProcessContext) -> None:
    """Run one iteration of the daemon's backfills."""
    assert not any(execute_backfill_iteration(dagster, logging.getLogger("backfill")))


def runs_of(dagster: WorkspaceProcessContext, backfill: str) -> Sequence[dg.DagsterRun]:
    """The runs of a backfill."""
    return dagster.instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill}))


def work_on(dagster: WorkspaceProcessContext, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    """Execute a queued run in this process; how it ended."""
    instance = dagster.instance
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_STARTING", run.job_name), run.run_id)
    started = instance.get_run_by_id(run.run_id)
    assert started is not None
    assert started.job_code_origin is not None
    execute_run(recon_job_from_origin(started.job_code_origin), started, instance)
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    return ended.status


@pytest.mark.parametrize(
    "selection",
    [
        [*HISTORIES, *TABLES],
        HOURLY,
        [HISTORIES[0], *TABLES],
        [*HISTORIES, VEHICLES.key.to_user_string()],
        HISTORIES[:1],
        [*TABLES, *PUBLISHED],
        [GRID.key.to_user_string()],
        PUBLISHED[:1],
        [*DAILY, REPORT],
        DAILY[2:3],
    ],
    ids=lambda selection: f"{selection[0]}..{len(selection)}",
)
def test_a_backfill_of_any_selection_is_one_run_of_it(
    dagster: WorkspaceProcessContext, selection: list[str]
) -> None:
    keys = [DAY] if set(selection) <= {*DAILY, REPORT} else HOURS
    backfill = launch(dagster, keys, selection)

    look(dagster)

    (run,) = runs_of(dagster, backfill)
    assert run.asset_selection is not None
    assert {key.to_user_string() for key in run.asset_selection} == {*selection}
    dagster.instance.report_run_canceled(run)
    look(dagster)


def test_a_backfill_of_everything_computes_the_hours_and_then_their_day(
    charged: PipelineStack, dagster: WorkspaceProcessContext
) -> None:
    backfill = launch(dagster, HOURS, EVERYTHING)
    statuses = []
    for _ in range(5):
        look(dagster)
        for run in runs_of(dagster, backfill):
            if run.status == dg.DagsterRunStatus.QUEUED:
                statuses.append(work_on(dagster, run))

    found = dagster.instance.get_backfill(backfill)
    assert found is not None
    assert found.status.value == "COMPLETED_SUCCESS"
    assert statuses == [dg.DagsterRunStatus.SUCCESS] * 2
    tables = {table: charged.table(table) for table in (TABLES[0], DAILY[0])}
    assert not any(rows.is_empty() for rows in tables.values())


def test_a_single_run_of_a_selection_is_taken(dagster: WorkspaceProcessContext) -> None:
    for selection in ([GRID.key.to_user_string()], [*HISTORIES, *TABLES], PUBLISHED[1:]):
        selector = {
            "repositoryLocationName": "pipelines.definitions",
            "repositoryName": "__repository__",
            "jobName": "__ASSET_JOB",
            "assetSelection": paths(selection),
        }
        tags = [{"key": "dagster/partition", "value": HOURS[0]}]
        given = [{"selector": selector, "executionMetadata": {"tags": tags}, "runConfigData": {}}]

        (launched,) = ask(dagster, RUNS, given)["launchMultipleRunsResult"]

        assert launched["__typename"] == "LaunchRunSuccess", launched


def test_what_is_computed_beside_the_selection_is_noted_on_its_page(charged: PipelineStack) -> None:
    job = definitions.resolve_implicit_global_asset_job_def()

    def computed(*assets: dg.AssetKey) -> tuple[set[dg.AssetKey | None], set[str]]:
        part = job.get_subset(asset_selection={*assets})
        key = DAY if assets[0].to_user_string() in DAILY else HOURS[0]
        result = part.execute_in_process(instance=charged.instance, partition_key=key)
        noted = {event.asset_key for event in result.get_asset_materialization_events()}
        return noted, set(checks(result))

    histories = {dg.AssetKey(name) for name in HISTORIES}
    noted, judged = computed(*histories, GRID.key)
    assert noted == {*histories, *(spec.key for spec in SPECS)}
    assert not [name for name in judged if name.startswith(VEHICLES.key.to_user_string())]
    noted, judged = computed(HOUR_MARTS[1].asset_key)
    assert judged == {f"{PUBLISHED[1]}: equals_lake_table"}
    noted, _ = computed(DAYS[1].key)
    assert noted == {day.key for day in DAYS}
