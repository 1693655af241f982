"""What the collector counts, in Prometheus' terms."""

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client is half typed

REGISTRY: Final = CollectorRegistry()

REQUESTS: Final = Counter(
    "wattlake_requests",
    "HTTP requests answered",
    ["method", "route", "status"],
    registry=REGISTRY,
)
RECORDS: Final = Counter(
    "wattlake_records",
    "heartbeats by stream and outcome: accepted, rejected, or unavailable (answered 503)",
    ["stream", "outcome"],
    registry=REGISTRY,
)
COMMIT_ROWS: Final = Histogram(
    "wattlake_group_commit_rows",
    "heartbeats in one commit",
    buckets=(1, 2, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000, 20_000, 50_000, 100_000),
    registry=REGISTRY,
)
COMMIT_SECONDS: Final = Histogram(
    "wattlake_group_commit_seconds",
    "time of one commit, the transaction with its retries",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 15),
    registry=REGISTRY,
)
COMMIT_FAILURES: Final = Counter(
    "wattlake_group_commit_failures",
    "commits answered 503, by cause",
    ["cause"],
    registry=REGISTRY,
)
QUEUED_ROWS: Final = Gauge(
    "wattlake_queued_rows", "heartbeats waiting for their commit", registry=REGISTRY
)
DATABASE_UP: Final = Gauge(
    "wattlake_database_up", "1 while the committer is connected", registry=REGISTRY
)
OUTBOX_ROWS: Final = Gauge(
    "wattlake_outbox_rows",
    "acknowledged heartbeats that the lake does not hold yet",
    ["stream"],
    registry=REGISTRY,
)
OUTBOX_AGE: Final = Gauge(
    "wattlake_outbox_age_seconds", "age of the oldest of them", registry=REGISTRY
)
LAKE_ROWS: Final = Gauge(
    "wattlake_lake_rows_flushed",
    "heartbeats this process has brought to the lake",
    registry=REGISTRY,
)
