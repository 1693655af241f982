"""What happens to the collector's own threads and tasks, and to a log that can't be written."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from ingestion_api.__main__ import PART_ENDED, main
from ingestion_api.alerts.event_feed import AlertEventFeed
from ingestion_api.alerts.live_evaluator import LiveEvaluator
from ingestion_api.analytics.prewarming import CacheWarmer
from ingestion_api.auth.api_keys import ApiKeyCache
from ingestion_api.commit.commit_queue import CommitQueue
from ingestion_api.outbox.backlog import OutboxMonitor
from ingestion_api.outbox.flush import OutboxFlush
from ingestion_api.rejections.store import RejectionStore
from ingestion_api.report_delivery.service import ReportDelivery
from tests.harness.collector import Collector, running_collector
from tests.harness.heartbeats import device, meter
from tests.harness.waiting import wait_for

# What each part does again and again.
WORK: dict[str, tuple[Any, str]] = {
    "the committer": (CommitQueue, "next_group"),
    "the lake writer": (OutboxFlush, "flush"),
    "the outbox watch": (OutboxMonitor, "_read_backlog"),
    "the rejection log": (RejectionStore, "write"),
    "the reading of API keys": (ApiKeyCache, "_load"),
    "reading ahead": (CacheWarmer, "_index_one"),
    "alerts": (AlertEventFeed, "_catch_up"),
    "alerts, on a thread": (LiveEvaluator, "evaluate"),
    "reports": (ReportDelivery, "_deliver_all"),
}
POSTED_TO = {"the committer", "the rejection log", "the lake writer"}


def run_with_fault(part: str, fault: Path) -> int:
    """The collector's own main; once the file is there, a part meets what nobody foresaw."""
    owner, name = WORK[part]
    work: Callable[..., Any] = getattr(owner, name)

    def work_or_fail(*args: Any, **kwargs: Any) -> Any:
        if fault.exists():
            raise LookupError("a fault that nobody foresaw")
        return work(*args, **kwargs)

    with patch.object(owner, name, work_or_fail):
        return main()


@pytest.mark.parametrize("part", WORK)
def test_a_part_that_ends_ends_the_process_with_a_reason_and_loses_nothing(
    part: str, database_url: str, tmp_path: Path
) -> None:
    fault = tmp_path / "fault"
    often = dict.fromkeys(("FLUSH_SECONDS", "KEY_REFRESH_SECONDS", "INDEX_SECONDS"), "0.2")
    program = partial(run_with_fault, part, fault)
    with Collector(database_url, tmp_path, often, program=program) as collector:
        collector.wait_until_ready()
        assert collector.post("/v1/ingest/meter", meter(device("M"))).status_code == 201
        taken = 1
        fault.touch()
        if part in POSTED_TO:
            batch = [meter(device("M")), {"meterId": "M"}]
            answer = collector.post("/v1/ingest/meter/batch", batch)
            assert answer.status_code == (503 if part == "the committer" else 207)
            taken += answer.status_code == 207
        assert collector.wait() == PART_ENDED
    told = collector.log.read_text().splitlines()
    assert told[-1].startswith(f"collector: {part.split(',', maxsplit=1)[0]} ended by a fault")
    assert any("a fault that nobody foresaw" in line for line in told)
    if part not in POSTED_TO:
        return
    with running_collector(database_url, tmp_path) as again:
        wait_for(lambda: again.http.get("/v1/status").json()["outboxRows"] == 0)
        assert again.http.get("/v1/status").json()["rowsInLake"] >= taken


def test_a_log_that_cant_be_written_stops_nothing(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "collector.log").symlink_to("/dev/full")  # every write: no space left
    with running_collector(database_url, tmp_path, FLUSH_SECONDS="0.2") as collector:
        for round_ in range(1, 4):
            collector.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
            wait_for(lambda: is_taken(collector))
            wait_for(partial(has_in_lake, collector, round_))
        assert collector.http.get("/healthz").status_code == 200
        (failed,) = (
            float(line.split()[1])
            for line in collector.http.get("/metrics").text.splitlines()
            if line.startswith("wattlake_log_writes_failed_total ")
        )
        assert failed > 0
        assert collector.stop() == 0


def is_taken(collector: Collector) -> bool:
    return collector.post("/v1/ingest/meter", meter(device("M"))).status_code == 201


def has_in_lake(collector: Collector, rows: int) -> bool:
    """Whether at least so many rows were taken, and all that were taken are in the lake."""
    answer = collector.http.get("/v1/status")
    if answer.status_code == 503:  # it was on a connection that was just cut
        return False
    status = answer.json()
    return bool(status["rowsInLake"] == status["recordsAcknowledged"] >= rows)
