"""Prometheus metrics of the collector.

No label has values that a client can invent, so the number of series stays small.
"""

import platform
from importlib.metadata import version
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)

disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client is half typed

_QUICK: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 15)  # seconds
_SLOW: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 300)  # seconds
_ROWS: Final = (1, 2, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000, 20_000, 50_000, 100_000)

REGISTRY: Final = CollectorRegistry()

REQUESTS: Final = Counter(
    "wattlake_requests",
    "HTTP requests answered; route is the path with the names of its parameters, or none",
    ["method", "route", "status"],
    registry=REGISTRY,
)
REQUEST_SECONDS: Final = Histogram(
    "wattlake_request_seconds",
    "time from a request's headers to the start of its answer",
    ["route", "status"],
    buckets=_QUICK,
    registry=REGISTRY,
)
RECORDS: Final = Counter(
    "wattlake_records",
    "heartbeats by stream and outcome: accepted, rejected, or unavailable (answered 503)",
    ["stream", "outcome"],
    registry=REGISTRY,
)
FIELDS_LEFT_OUT: Final = Counter(
    "wattlake_fields_left_out",
    "optional fields of taken heartbeats that were left out because of their values",
    ["stream", "field"],
    registry=REGISTRY,
)
COMMIT_ROWS: Final = Histogram(
    "wattlake_group_commit_rows", "heartbeats in one commit", buckets=_ROWS, registry=REGISTRY
)
COMMIT_SECONDS: Final = Histogram(
    "wattlake_group_commit_seconds",
    "time of one commit, the transaction with its retries",
    buckets=_QUICK,
    registry=REGISTRY,
)
COMMIT_FAILURES: Final = Counter(
    "wattlake_group_commit_failures",
    "commits answered 503, by cause",
    ["cause"],
    registry=REGISTRY,
)
QUEUED_ROWS: Final = Gauge(
    "wattlake_queued_rows",
    "heartbeats waiting for their commit, or in it",
    registry=REGISTRY,
)
QUEUE_LIMIT_ROWS: Final = Gauge(
    "wattlake_queue_limit_rows", "heartbeats that may wait; beyond it is 503", registry=REGISTRY
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
OUTBOX_BYTES: Final = Gauge(
    "wattlake_outbox_bytes", "bytes that they take in Postgres", registry=REGISTRY
)
OUTBOX_AGE: Final = Gauge(
    "wattlake_outbox_age_seconds", "age of the oldest of them", registry=REGISTRY
)
CELL_UNSEEN: Final = Gauge(
    "wattlake_cell_unseen_seconds",
    "since the changes of each cell were last merged here",
    ["cell"],
    registry=REGISTRY,
)
OUTBOX_LIMIT_ROWS: Final = Gauge(
    "wattlake_outbox_limit_rows",
    "heartbeats that the outbox may hold; beyond it is 503",
    registry=REGISTRY,
)
OUTBOX_LIMIT_BYTES: Final = Gauge(
    "wattlake_outbox_limit_bytes",
    "bytes that the outbox may take; beyond it is 503",
    registry=REGISTRY,
)
OUTBOX_AGE_WARNING: Final = Gauge(
    "wattlake_outbox_age_warning_seconds",
    "age of the outbox from which /readyz warns",
    registry=REGISTRY,
)
HOURS_WAITING: Final = Gauge(
    "wattlake_waiting_hours",
    "hours that are over and wait for their computation",
    registry=REGISTRY,
)
HOURS_WAITING_SECONDS: Final = Gauge(
    "wattlake_waiting_hours_left_seconds",
    "how long they will take, as fast as it went in the last quarter of an hour; NaN: too few "
    "were computed then to tell",
    registry=REGISTRY,
)
HOURS_REFINED: Final = Gauge(
    "wattlake_refined_hours",
    "how many hours were ever computed again because a reading came that they had lacked",
    registry=REGISTRY,
)
FIGURES_END: Final = Gauge(
    "wattlake_figures_end_timestamp_seconds",
    "Unix time at which the newest computed hour ends; 0: none is computed",
    registry=REGISTRY,
)
OLDEST_WAITING_HOUR: Final = Gauge(
    "wattlake_oldest_waiting_hour_seconds",
    "how long the closed hour waits that waits the longest for its computation, of those of the "
    "last day and those after the newest computed hour; 0: none waits",
    registry=REGISTRY,
)
HOURS_WARNING: Final = Gauge(
    "wattlake_hours_lag_warning_seconds",
    "from when on such an hour makes the figures late",
    registry=REGISTRY,
)
WRITES_THE_LAKE: Final = Gauge(
    "wattlake_lake_writer_active",
    "1 while this collector is the one that writes the lake",
    registry=REGISTRY,
)
LAKE_ROWS: Final = Counter(
    "wattlake_lake_rows",
    "heartbeats that this process has brought from the outbox to the lake",
    ["stream"],
    registry=REGISTRY,
)
FLUSH_SECONDS: Final = Histogram(
    "wattlake_flush_seconds",
    "time of one flush of a stream: read the outbox, append to the lake, forget the rows",
    ["stream"],
    buckets=_SLOW,
    registry=REGISTRY,
)
FLUSH_ROWS: Final = Histogram(
    "wattlake_flush_rows",
    "heartbeats in one flush",
    ["stream"],
    buckets=(1, 10, 100, 1_000, 10_000, 50_000, 100_000, 250_000, 500_000, 1_000_000),
    registry=REGISTRY,
)
FLUSH_FAILURES: Final = Counter(
    "wattlake_flush_failures",
    "attempts of the lake writer that failed, by what was at fault: database or lake",
    ["cause"],
    registry=REGISTRY,
)
LAST_FLUSH: Final = Gauge(
    "wattlake_last_flush_timestamp_seconds",
    "Unix time at which this collector last had nothing left to flush; 0: never",
    registry=REGISTRY,
)
DELTA_COMMIT_SECONDS: Final = Histogram(
    "wattlake_delta_commit_seconds",
    "time of one append to a raw table, until its files and its commit are durable",
    ["stream"],
    buckets=_SLOW,
    registry=REGISTRY,
)
LOG_WRITES_FAILED: Final = Counter(
    "wattlake_log_writes_failed",
    "lines of the log that could not be written at once: a full disk, a closed pipe",
    registry=REGISTRY,
)
INDEXED_HOURS: Final = Gauge(
    "wattlake_indexed_hours",
    "hours of a stream that are indexed by device, for answers about single devices",
    registry=REGISTRY,
)
REJECTS: Final = Counter(
    "wattlake_rejects",
    "reasons for which records were refused, by stream and code; a record may have several",
    ["stream", "reason"],
    registry=REGISTRY,
)
REJECTIONS_DROPPED: Final = Counter(
    "wattlake_rejections_dropped",
    "of them not kept for the operator, by cause: too many of one device or in all within a "
    "second (device, rate), or the database was away for too long (database)",
    ["cause"],
    registry=REGISTRY,
)
ALERTS_OPEN: Final = Gauge(
    "wattlake_alerts_open", "open alerts, whoever opened them", ["severity"], registry=REGISTRY
)
ALERT_EVALUATION_SECONDS: Final = Histogram(
    "wattlake_alert_look_seconds",
    "time of one look of the alert rules at live state (live) or at published hours (hours), in "
    "the collector that does it",
    ["rules"],
    buckets=_QUICK,
    registry=REGISTRY,
)
ALERT_WEBHOOK_POSTS: Final = Counter(
    "wattlake_alert_webhook_posts",
    "attempts to post an alert event to a webhook, by outcome: taken or failed",
    ["outcome"],
    registry=REGISTRY,
)
ALERT_DEAD_LETTERS: Final = Gauge(
    "wattlake_alert_dead_letters",
    "alert events that a webhook did not take, as GET /v1/alerts/dead-letters lists them",
    registry=REGISTRY,
)

Info("wattlake_build", "the version that runs", registry=REGISTRY).info(
    {"version": version("wattlake"), "python": platform.python_version()}
)
ProcessCollector(registry=REGISTRY)

# A series that only begins with its first event has no rate for it.
_BY_STREAM: Final[tuple[Counter | Gauge | Histogram, ...]] = (
    OUTBOX_ROWS,
    LAKE_ROWS,
    FLUSH_SECONDS,
    FLUSH_ROWS,
    DELTA_COMMIT_SECONDS,
)
for _stream in ("meter", "vehicle"):
    for _outcome in ("accepted", "rejected", "unavailable"):
        RECORDS.labels(_stream, _outcome)
    for _family in _BY_STREAM:
        _family.labels(_stream)
for _cause in ("database", "lake"):
    FLUSH_FAILURES.labels(_cause)
for _cause in ("database", "timeout"):
    COMMIT_FAILURES.labels(_cause)
for _cause in ("device", "rate", "database"):
    REJECTIONS_DROPPED.labels(_cause)
for _severity in ("info", "warning", "critical"):
    ALERTS_OPEN.labels(_severity)
for _outcome in ("taken", "failed"):
    ALERT_WEBHOOK_POSTS.labels(_outcome)
