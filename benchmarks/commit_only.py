"""The committer's statements without HTTP: a process of its own that reports one JSON line.

It writes prepared columns through one database connection, group after group, while a lake
writer flushes them as in the collector.
"""

import argparse
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import psycopg
import pyarrow as pa
import uvloop
from pydantic.alias_generators import to_camel

from benchmarks import fleet
from ingestion_api.commit.transaction import committer_settings, statements
from ingestion_api.heartbeats.batch import HeartbeatBatch
from ingestion_api.observability.logs import configure_logging
from ingestion_api.outbox.lake_writer import LakeWriter
from ingestion_api.settings import CollectorSettings
from lake import INTERVAL, STREAMS, Lake, Stream
from lake.settings import LakeSettings
from warehouse_sql.settings import DatabaseSettings
from warehouse_sql.statement_pipeline import StatementPipeline

_READY_SECONDS: Final = 60
_LAST_FLUSH_SECONDS: Final = 60


@dataclass(frozen=True)
class CommitOnlyRun:
    """Result of one stretch. The next one goes on at `next_position` of each stream."""

    seconds: float
    records: int
    cpu_seconds: float
    next_position: int


class Committer:
    """A connection that is used as the collector's committer does; only this knows how."""

    def __init__(self, conn: psycopg.AsyncConnection, settings: CollectorSettings) -> None:
        self._trip, self._settings = StatementPipeline(conn), settings

    @classmethod
    @asynccontextmanager
    async def connected(cls, dsn: str, settings: CollectorSettings) -> AsyncIterator["Committer"]:
        """Connect, and close at the end."""
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
            committer = cls(conn, settings)
            await committer._trip.commit([committer_settings(is_local=False)])
            yield committer

    async def commit(self, group: Mapping[str, HeartbeatBatch]) -> None:
        """Return when the heartbeats of each stream are durable."""
        until = datetime.now(UTC) + timedelta(seconds=self._settings.future_tolerance_seconds)
        await self._trip.commit(statements(group, {}, self._settings.statement_rows, until))


class PreparedFleet:
    """A stream's heartbeats as columns; only the times are put in for each group."""

    def __init__(self, stream: Stream) -> None:
        # Twice the fleet, so that a group can go on with the first device after the last one.
        rows = [
            {**heartbeat, "timestamp": 0, "receivedAt": 0, "readingType": INTERVAL}
            for heartbeat in fleet.heartbeats(stream.name) * 2
        ]
        table = {
            column.name: pa.array([row.get(to_camel(column.name)) for row in rows], column.type)
            for column in stream.columns
        }
        self._rows = HeartbeatBatch.from_arrow(stream, pa.table(table))

    def group(self, position: int, rows: int, first_event: int) -> HeartbeatBatch:
        """`rows` heartbeats from `position` in the endless sequence of rounds; received now.

        `first_event` is the event time of the first round in seconds since 1970.
        """
        first = position % fleet.DEVICES
        rounds = np.arange(position, position + rows) // fleet.DEVICES
        return replace(
            self._rows.slice(first, first + rows),
            times=(first_event + rounds * fleet.ROUND_SECONDS) * 1_000_000,
            received=np.full(rows, time.time_ns() // 1000),
        )


async def _write(
    writer: LakeWriter, dsn: str, settings: CollectorSettings, given: argparse.Namespace
) -> CommitOnlyRun:
    prepared = {name: PreparedFleet(stream) for name, stream in STREAMS.items()}
    each = min(max(1, given.group_rows // len(prepared)), fleet.DEVICES)
    position = given.first_position
    async with Committer.connected(dsn, settings) as committer:
        cpu, began = time.process_time(), time.perf_counter()
        while (now := time.perf_counter()) < began + given.seconds:
            await committer.commit(
                {
                    name: one.group(position, each, given.first_event)
                    for name, one in prepared.items()
                }
            )
            writer.committed(each * len(prepared))
            position += each
    return CommitOnlyRun(
        seconds=now - began,
        records=(position - given.first_position) * len(prepared),
        cpu_seconds=time.process_time() - cpu,
        next_position=position,
    )


def main() -> int:
    """Run one stretch; 1 with one line of what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.commit_only", description=__doc__)
    parser.add_argument("--group-rows", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--first-event", type=int, required=True)
    parser.add_argument("--first-position", type=int, default=0)
    given = parser.parse_args()
    configure_logging("console")  # to stderr; the report alone goes to stdout
    settings, dsn = CollectorSettings(), DatabaseSettings().dsn
    writer = LakeWriter(dsn, Lake.from_settings(LakeSettings()), settings)
    writer.start()
    deadline = time.monotonic() + _READY_SECONDS
    while not writer.state.is_writer:
        if time.monotonic() > deadline:
            sys.stderr.write(f"commit-only: the lake writer is not ready: {writer.state.error}\n")
            return 1
        time.sleep(0.05)
    done = uvloop.run(_write(writer, dsn, settings, given))
    if not writer.stop(_LAST_FLUSH_SECONDS) or writer.state.error:
        sys.stderr.write(f"commit-only: the last flush failed: {writer.state.error}\n")
        return 1
    sys.stdout.write(json.dumps(asdict(done)) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
