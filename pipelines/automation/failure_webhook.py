"""Webhook for failed runs: each is posted once, also those that fail while it is away."""

import time
from datetime import UTC, datetime

import dagster as dg
import httpx

from pipelines.automation.jobs import part_keys
from pipelines.settings import PipelineSettings

# Together less than the minute that a tick may take.
_TIMEOUT_SECONDS, _LONGEST_TICK_SECONDS = 10.0, 30.0
_FAILURES_A_TICK = 50
_MOST_ERROR_CHARACTERS = 2_000


# Not Dagster's own failure sensor: that one goes on when a call fails, and the failure is lost.
@dg.sensor(
    name="failed_runs",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Posts every failed run to RUN_FAILURE_WEBHOOK. The cursor is the newest failure "
    "that the receiver has taken.",
)
def failed_runs(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Post the failures after the cursor, in order, until one is not taken; it comes again."""
    settings = PipelineSettings()
    if context.cursor is None or not settings.run_failure_webhook:
        # Nobody waits for what failed before there was a receiver.
        cursor = _newest_failure(context.instance)
        reason = "RUN_FAILURE_WEBHOOK is not set"
        if settings.run_failure_webhook:
            reason = "runs that fail from now on are told"
        return dg.SensorResult(cursor=str(cursor), skip_reason=reason)
    cursor, posted = int(context.cursor), 0
    until = time.monotonic() + _LONGEST_TICK_SECONDS
    with httpx.Client(timeout=_TIMEOUT_SECONDS) as client:
        for failure in _failures_after(context.instance, cursor):
            refused = _post(client, settings, context.instance, failure)
            if refused:
                context.log.warning(f"the failure webhook does not take it: {refused}")
                reason = f"{posted} failed runs told; the next one waits: {refused}"
                return dg.SensorResult(cursor=str(cursor), skip_reason=reason)
            cursor, posted = failure.storage_id, posted + 1
            if time.monotonic() > until:
                break
    return dg.SensorResult(cursor=str(cursor), skip_reason=f"{posted} failed runs told")


def _post(
    client: httpx.Client,
    settings: PipelineSettings,
    instance: dg.DagsterInstance,
    failure: dg.EventLogRecord,
) -> str | None:
    """Post one failure; return the reason if it was refused, without the URL, which is a secret."""
    body = _payload(instance, failure, settings.dagster_url)
    try:
        # A receiver that was told, and whose answer was lost, knows the second time by the key.
        answer = client.post(
            settings.run_failure_webhook, json=body, headers={"Idempotency-Key": failure.run_id}
        )
    except httpx.HTTPError as error:
        return type(error).__name__
    return None if answer.is_success else f"HTTP {answer.status_code}"


def _payload(
    instance: dg.DagsterInstance, failure: dg.EventLogRecord, dagster_url: str
) -> dict[str, object]:
    """JSON body of one failure."""
    event = failure.event_log_entry.dagster_event
    run = instance.get_run_by_id(failure.run_id)
    first, last = part_keys(run.tags) if run else (None, None)
    data = event.job_failure_data if event else None
    step = data.first_step_failure_event if data else None
    reason = step.step_failure_data.error if step else data.error if data else None
    text = reason.to_string() if reason else event.message if event else None
    return {
        "event": "run_failure",
        "job": failure.event_log_entry.job_name,
        "runId": failure.run_id,
        "failedAt": datetime.fromtimestamp(failure.timestamp, UTC).isoformat(),
        "firstPartition": first,
        "lastPartition": last,
        "step": step.step_key if step else None,
        "error": (text or "the run says no reason")[:_MOST_ERROR_CHARACTERS],
        "url": f"{dagster_url.rstrip('/')}/runs/{failure.run_id}" if dagster_url else None,
    }


def _failures_after(instance: dg.DagsterInstance, cursor: int) -> list[dg.EventLogRecord]:
    wanted = dg.RunStatusChangeRecordsFilter(
        event_type=dg.DagsterEventType.RUN_FAILURE, after_storage_id=cursor
    )
    found = instance.fetch_run_status_changes(wanted, limit=_FAILURES_A_TICK, ascending=True)
    return list(found.records)


def _newest_failure(instance: dg.DagsterInstance) -> int:
    found = instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1)
    return found.records[0].storage_id if found.records else 0
