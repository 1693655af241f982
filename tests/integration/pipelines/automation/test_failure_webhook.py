"""Failed runs and the webhook: each is told once, whatever the receiver does in between."""

import pytest
from dagster import DagsterRunStatus

from lake import METER
from pipelines.automation.failure_webhook import failed_runs
from pipelines.automation.jobs import range_tags
from pipelines.definitions import definitions
from pipelines.partitions import hour_key
from tests.harness.pipelines import PipelineStack
from tests.harness.webhook_receiver import receiver
from tests.samples import HOUR_10, meter_rows


@pytest.fixture
def told_from(stack: PipelineStack) -> str:
    """The cursor of the sensor after its first look."""
    return str(stack.evaluate_sensor(failed_runs).cursor)


def fail(stack: PipelineStack, reason: str) -> str:
    """A run of the hourly job that failed without a step; its id."""
    run = stack.instance.create_run_for_job(
        definitions.resolve_job_def("hourly"),
        status=DagsterRunStatus.STARTED,
        tags=range_tags(hour_key(HOUR_10), hour_key(HOUR_10)),
    )
    stack.instance.report_run_failed(run, reason)
    return run.run_id


def test_a_failed_step_is_told_with_its_hours_and_its_error(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch, told_from: str
) -> None:
    stack.deliver(METER, meter_rows({}))
    stack.rows(b"UPDATE partition_ledger SET raw_version = 1000 RETURNING 1")
    run_id = stack.run_hours(HOUR_10, HOUR_10, raise_on_error=False).run_id
    monkeypatch.setenv("DAGSTER_URL", "https://dagster.example/")

    with receiver() as server:
        monkeypatch.setenv("RUN_FAILURE_WEBHOOK", server.url)
        stack.evaluate_sensor(failed_runs, told_from)

    (told,) = server.taken
    assert "this is another or a restored lake" in told.pop("error")
    assert told.pop("failedAt").endswith("+00:00")
    assert told == {
        "event": "run_failure",
        "job": "hourly",
        "runId": run_id,
        "firstPartition": hour_key(HOUR_10),
        "lastPartition": hour_key(HOUR_10),
        "step": "meter_telemetry_history",
        "url": f"https://dagster.example/runs/{run_id}",
    }
    assert server.keys == [run_id]


def test_a_run_whose_process_was_killed_is_told_and_a_long_reason_is_cut(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch, told_from: str
) -> None:
    fail(stack, "the process of this run is gone" + "." * 5_000)

    with receiver() as server:
        monkeypatch.setenv("RUN_FAILURE_WEBHOOK", server.url)
        stack.evaluate_sensor(failed_runs, told_from)

    (told,) = server.taken
    assert "the process of this run is gone" in told["error"]
    assert len(told["error"]) == 2_000
    assert (told["step"], told["url"]) == (None, None)


def test_failures_wait_for_a_receiver_that_is_away_and_are_told_once_each_in_order(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch, told_from: str
) -> None:
    runs = [fail(stack, f"reason {n}") for n in range(4)]
    with receiver() as server:
        url, port = server.url, server.server_address[1]
    monkeypatch.setenv("RUN_FAILURE_WEBHOOK", url)

    tick = stack.evaluate_sensor(failed_runs, told_from)
    assert tick.cursor == told_from
    assert "the next one waits: ConnectError" in str(tick.skip_message)
    assert "secret" not in str(tick.skip_message)

    with receiver(201, 503, 200, 302, port=int(port)) as server:
        cursor: str | None = tick.cursor
        ticks = 0
        while len(server.taken) < len(runs):
            cursor, ticks = stack.evaluate_sensor(failed_runs, cursor).cursor, ticks + 1
        assert stack.evaluate_sensor(failed_runs, cursor).skip_message == "0 failed runs told"

    assert [told["runId"] for told in server.taken] == runs
    assert ticks == 3


def test_what_failed_before_there_was_a_receiver_is_not_told(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch, told_from: str
) -> None:
    fail(stack, "long ago")
    cursor = stack.evaluate_sensor(failed_runs, told_from).cursor
    run_id = fail(stack, "now")

    with receiver() as server:
        monkeypatch.setenv("RUN_FAILURE_WEBHOOK", server.url)
        stack.evaluate_sensor(failed_runs, cursor)

    assert [told["runId"] for told in server.taken] == [run_id]


def test_a_run_that_succeeds_is_not_told(
    stack: PipelineStack, monkeypatch: pytest.MonkeyPatch, told_from: str
) -> None:
    assert stack.run("observe_raw", {}).success

    with receiver() as server:
        monkeypatch.setenv("RUN_FAILURE_WEBHOOK", server.url)
        stack.evaluate_sensor(failed_runs, told_from)

    assert server.taken == []
