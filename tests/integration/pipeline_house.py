"""A database, a lake and a Dagster instance that belong together, and what happens to them."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import psycopg
import pyarrow as pa
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData
from psycopg.rows import dict_row

from ingestion_api.outbox.flush import OutboxFlush
from lake import Lake, Stream
from pipelines.automation.jobs import range_tags
from pipelines.definitions import definitions
from pipelines.partitions import hour_key
from pipelines.resources import LakeResource, WarehouseResource
from tests.integration.api_collector import copied_database
from tests.integration.outbox_rows import store

RESOURCES: dict[str, object] = {"lake": LakeResource(), "warehouse": WarehouseResource()}
CODE_SERVERS_END: dict[str, object] = {
    "code_servers": {"wait_for_local_processes_on_shutdown": True}
}
"""Settings of an instance whose code servers have ended at its end: no leak in a later test."""


@dataclass
class House:
    """Real parts of one test; `DATABASE_URL` and `LAKE_URI` point at them."""

    lake: Lake
    database_url: str
    instance: dg.DagsterInstance

    def deliver(self, stream: Stream, rows: pa.Table) -> None:
        """Bring heartbeats into the lake and the ledger on the way that the collector takes."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            store(connection, stream, rows)
            with OutboxFlush(self.database_url, connection, self.lake, 1_000_000) as flush:
                flush.flush(stream)

    def run_hours(
        self, first: datetime, last: datetime, *, raise_on_error: bool = True
    ) -> dg.ExecuteInProcessResult:
        """A run of the hourly job over a range of hours."""
        return self.run("hourly", range_tags(hour_key(first), hour_key(last)), raise_on_error)

    def run(
        self, job: str, tags: Mapping[str, str], raise_on_error: bool = True
    ) -> dg.ExecuteInProcessResult:
        """A run of a job in this process."""
        return definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, tags=tags, raise_on_error=raise_on_error
        )

    def tick(self, sensor: dg.SensorDefinition, cursor: str | None = None) -> SensorExecutionData:
        """What a sensor asks for at this moment."""
        with dg.build_sensor_context(
            instance=self.instance, cursor=cursor, definitions=definitions, resources=RESOURCES
        ) as context:
            return sensor.evaluate_tick(context)

    def scheduled(
        self, schedule: dg.ScheduleDefinition, at: datetime
    ) -> dg.RunRequest | dg.SkipReason:
        """What a schedule asks for at a time."""
        with dg.build_schedule_context(
            instance=self.instance, scheduled_execution_time=at, resources=RESOURCES
        ) as context:
            answer = schedule(context)
        assert isinstance(answer, dg.RunRequest | dg.SkipReason)
        return answer

    def rows(self, sql: bytes, **parameters: object) -> Sequence[Mapping[str, Any]]:
        """Rows of the database."""
        with psycopg.connect(self.database_url, row_factory=dict_row) as connection:
            return connection.execute(sql, parameters).fetchall()

    def table(self, name: str) -> pl.DataFrame:
        """A whole table of the lake, sorted."""
        frame = self.lake.scan(self.lake.open(name)).collect()
        return frame.sort([column for column in frame.columns if column != "meter_ids"])


@dataclass(frozen=True)
class Model:
    """A database of a server and the folder of its lake, which houses are copied from."""

    server: str
    database: str
    lake: Path


@contextmanager
def built_like(model: Model, lake: Path) -> Iterator[House]:
    """A house with copies of the model's database and lake; its Dagster knows no run yet."""
    with (
        copied_database(model.server, model.database) as url,
        _inhabited(model, lake, url) as house,
    ):
        yield house


@contextmanager
def model(model: Model, lake: Path, prepare: Callable[[House], None]) -> Iterator[Model]:
    """A further model: what becomes of a house like the given one."""
    with copied_database(model.server, model.database) as url:
        with _inhabited(model, lake, url) as house:
            prepare(house)
        yield Model(model.server, url.rpartition("/")[2], lake)


@contextmanager
def _inhabited(model: Model, lake: Path, url: str) -> Iterator[House]:
    shutil.copytree(model.lake, lake)
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        patch.setenv("DATABASE_URL", url)
        patch.setenv("LAKE_URI", str(lake))
        patch.setenv("MART_RETENTION_DAYS", "36500")  # as in `house`
        yield House(Lake(str(lake)), url, instance)


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """Which checks of a run passed, by asset and check."""
    return {
        f"{check.asset_key.to_user_string()}: {check.check_name}": check.passed
        for check in result.get_asset_check_evaluations()
    }


def minutes_of(hour: datetime, **values: object) -> list[dict[str, object]]:
    """A heartbeat of every minute of an hour, received ten seconds later."""
    moments = [hour + timedelta(minutes=minute, seconds=5) for minute in range(60)]
    return [
        {"timestamp": moment, "received_at": moment + timedelta(seconds=10), **values}
        for moment in moments
    ]
