"""Oracle: the invariants of `test_faults`, checked exactly against the ledger.

Each function returns what contradicts its invariant: one line each, none if all is well.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import httpx
import polars as pl
import psycopg

from lake import STREAMS, Compaction, Lake, Stream, compact_hour, rows_by_hour
from lake.schema.history import decode_history
from tests.faults.ledger import Ledger, camel, serial_of
from warehouse_sql.named_queries import query

_SHOWN: Final = 5


@dataclass(frozen=True)
class Verdict:
    """Problems, and counts on the way."""

    problems: list[str]
    rows_in_lake: int
    rows_in_history: int
    duplicates_removed: int


def judge(
    ledger: Ledger,
    database_faults: list[tuple[float, float]],
    lake: Lake,
    database_url: str,
    address: str,
    status: dict[str, Any],
) -> Verdict:
    """Compact every hour and check everything; no client may be sending, the outbox is empty.

    `address` is that of a collector and `status` its answer to /v1/status.
    """
    problems: list[str] = []
    raw_rows = history_rows = removed = 0
    outcomes = ledger.outcomes(database_faults)
    for stream in STREAMS.values():
        sent = ledger.sent(stream).join(outcomes, on="serial")
        raw = lake.scan(lake.open(stream.raw_table)).with_columns(serial_of(stream)).collect()
        done = [compact_hour(lake, stream, hour) for hour in rows_by_hour(lake, stream)]
        history = decode_history(lake.scan(lake.open(stream.history_table)), stream)
        compacted = history.with_columns(serial_of(stream)).collect()
        problems += [
            f"{stream.name}: {problem}"
            for found in (
                raw_problems(stream, sent, raw),
                not_once_in_history(stream, raw, compacted),
                _outdated_in_history(stream, sent, compacted),
                _miscounted_duplicates(raw, compacted, done),
                _wrong_ledger(stream, raw, database_url),
                _wrong_live_state(stream, compacted, address),
            )
            for problem in found
        ]
        raw_rows += raw.height
        history_rows += compacted.height
        removed += sum(one.duplicates_removed for one in done)
    expected = {"recordsAcknowledged": raw_rows, "rowsInLake": raw_rows, "outboxRows": 0}
    told = {name: status[name] for name in expected}
    if told != expected:
        problems.append(f"/v1/status says {told}, it should be {expected}")
    return Verdict(problems, raw_rows, history_rows, removed)


def raw_problems(stream: Stream, sent: pl.DataFrame, raw: pl.DataFrame) -> list[str]:
    """Problems of raw rows, given the heartbeats that were sent and their outcomes."""
    return [
        *_invented_or_altered(stream, sent, raw),
        *_lost(sent, raw),
        *_stored_too_often(sent, raw),
    ]


def _invented_or_altered(stream: Stream, sent: pl.DataFrame, raw: pl.DataFrame) -> Iterator[str]:
    columns = [name for name in stream.arrow_schema.names if name != "received_at"]
    wrong = raw.join(sent, on=["serial", *columns], how="anti", nulls_equal=True)
    yield from _lines("in the raw table, but never sent so", wrong)


def _lost(sent: pl.DataFrame, raw: pl.DataFrame) -> Iterator[str]:
    acknowledged = sent.filter(pl.col("times_acknowledged") > 0)
    yield from _lines(
        "acknowledged, but not in the raw table", acknowledged.join(raw, on="serial", how="anti")
    )


def _stored_too_often(sent: pl.DataFrame, raw: pl.DataFrame) -> Iterator[str]:
    stored = raw.group_by("serial").agg(
        copies=pl.len().cast(pl.Int64),
        receipts=pl.col("received_at").n_unique().cast(pl.Int64),
    )
    both = sent.join(stored, on="serial")
    yield from _lines(
        "stored more or less often than it was accepted",
        both.filter(
            (pl.col("copies") < pl.col("times_acknowledged"))
            | (pl.col("receipts") > pl.col("times_sent"))
            | (pl.col("copies") > pl.col("times_sent") + pl.col("at_risk"))
        ),
    )


def not_once_in_history(stream: Stream, raw: pl.DataFrame, history: pl.DataFrame) -> Iterator[str]:
    """Problems of a history, given the raw rows that it was made of."""
    key = list(stream.key)
    yield from _lines("twice in the history", history.filter(pl.struct(key).is_duplicated()))
    yield from _lines(
        "raw, but not in the history", raw.join(history, on=key, how="anti", nulls_equal=True)
    )
    columns = stream.arrow_schema.names
    latest = raw.filter(pl.col("received_at") == pl.col("received_at").max().over(key))
    yield from _lines(
        "in the history, but not the last received raw row",
        history.join(latest, on=columns, how="anti", nulls_equal=True),
    )


def _outdated_in_history(
    stream: Stream, sent: pl.DataFrame, history: pl.DataFrame
) -> Iterator[str]:
    """Heartbeats that had arrived before a later one of the same identity was acknowledged."""
    identity = list(stream.key)
    others = sent.select(*identity, later="serial", later_from="acknowledged_from")
    kept = history.select(*identity, "serial").join(
        sent.select("serial", "settled_by"), on="serial"
    )
    yield from _lines(
        "in the history, though corrected later",
        kept.join(others, on=identity, nulls_equal=True).filter(
            (pl.col("serial") != pl.col("later")) & (pl.col("later_from") > pl.col("settled_by"))
        ),
    )


def _miscounted_duplicates(
    raw: pl.DataFrame, history: pl.DataFrame, done: list[Compaction]
) -> Iterator[str]:
    removed = sum(one.duplicates_removed for one in done)
    if raw.height != history.height + removed:
        yield f"{raw.height} raw rows, {history.height} in the history, {removed} removed"


def _wrong_ledger(stream: Stream, raw: pl.DataFrame, database_url: str) -> Iterator[str]:
    hours = raw.group_by(hour=pl.col("timestamp").dt.truncate("1h")).len()
    with psycopg.connect(database_url) as conn:
        for hour, rows in hours.sort("hour").iter_rows():
            found = conn.execute(query("ledger_of_hour"), {"hour": hour}).fetchall()
            known = {row[0]: row[2] for row in found}
            if known.get(stream.name) != rows:
                yield f"{hour} has {rows} raw rows, the partition ledger counts {known}"


def _wrong_live_state(stream: Stream, history: pl.DataFrame, address: str) -> Iterator[str]:
    """Differences of live state and raw rows, which are written in one transaction."""
    newest = history.sort("timestamp").group_by(stream.device).last()
    with httpx.Client(base_url=address, timeout=30) as http:
        for row in newest.iter_rows(named=True):
            path = f"/v1/analytics/{stream.name}/{row[stream.device]}/live"
            live = http.get(path).raise_for_status().json()
            told = {
                "timestamp": datetime.fromisoformat(live["timestamp"]),
                "received_at": datetime.fromisoformat(live["receivedAt"]),
                stream.energy: live[camel(stream.energy)],
            }
            if told != {name: row[name] for name in told}:
                yield f"live state {told}, the newest heartbeat is {row}"


def _lines(what: str, rows: pl.DataFrame) -> Iterator[str]:
    if rows.height:
        shown = "\n    ".join(str(row) for row in rows.head(_SHOWN).iter_rows(named=True))
        yield f"{rows.height} {what}:\n    {shown}"
