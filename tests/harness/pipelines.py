"""Pipelines in the process of a test: a database, a lake and a Dagster instance for them."""

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
from tests.harness.outbox import store
from tests.harness.postgres import copied_database

RESOURCES: dict[str, object] = {"lake": LakeResource(), "warehouse": WarehouseResource()}
WAIT_FOR_CODE_SERVERS: dict[str, object] = {
    "code_servers": {"wait_for_local_processes_on_shutdown": True}
}
"""Settings of an instance that closes after its code servers: none leaks into a later test."""


@dataclass
class PipelineStack:
    """Real parts of one test, which `DATABASE_URL` and `LAKE_URI` point at."""

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
        """Run the hourly job over a range of hours."""
        return self.run("hourly", range_tags(hour_key(first), hour_key(last)), raise_on_error)

    def run(
        self, job: str, tags: Mapping[str, str], raise_on_error: bool = True
    ) -> dg.ExecuteInProcessResult:
        """Run a job in this process."""
        return definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, tags=tags, raise_on_error=raise_on_error
        )

    def evaluate_sensor(
        self, sensor: dg.SensorDefinition, cursor: str | None = None
    ) -> SensorExecutionData:
        """Return the requests of a sensor at this moment."""
        with dg.build_sensor_context(
            instance=self.instance, cursor=cursor, definitions=definitions, resources=RESOURCES
        ) as context:
            return sensor.evaluate_tick(context)

    def evaluate_schedule(
        self, schedule: dg.ScheduleDefinition, at: datetime
    ) -> dg.RunRequest | dg.SkipReason:
        """Return the request of a schedule at a time."""
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
        """Whole table of the lake, sorted."""
        frame = self.lake.scan(self.lake.open(name)).collect()
        lists = pl.selectors.list()
        return frame.sort(pl.selectors.all() - lists)


@dataclass(frozen=True)
class StackTemplate:
    """Database of a server and folder of its lake, to copy."""

    server: str
    database: str
    lake: Path


@contextmanager
def pipeline_stack(
    lake: Lake, database_url: str, patch: pytest.MonkeyPatch
) -> Iterator[PipelineStack]:
    """Stack of these parts; its Dagster knows no run yet."""
    patch.setenv("DATABASE_URL", database_url)
    patch.setenv("LAKE_URI", lake.uri)
    # The hours of the samples lie in the past for ever.
    patch.setenv("MART_RETENTION_DAYS", "36500")
    with dg.DagsterInstance.ephemeral() as instance:
        yield PipelineStack(lake, database_url, instance)


@contextmanager
def copied_stack(template: StackTemplate, lake: Path) -> Iterator[PipelineStack]:
    """Stack with copies of the template's database and lake."""
    shutil.copytree(template.lake, lake)
    with (
        copied_database(template.server, template.database) as url,
        pytest.MonkeyPatch.context() as patch,
        pipeline_stack(Lake(str(lake)), url, patch) as stack,
    ):
        yield stack


@contextmanager
def prepared_template(
    template: StackTemplate, lake: Path, prepare: Callable[[PipelineStack], None]
) -> Iterator[StackTemplate]:
    """Further template: a stack like the given one, after `prepare`."""
    with copied_database(template.server, template.database) as url:
        between = StackTemplate(template.server, url.rpartition("/")[2], lake)
        shutil.copytree(template.lake, lake)
        with (
            pytest.MonkeyPatch.context() as patch,
            pipeline_stack(Lake(str(lake)), url, patch) as stack,
        ):
            prepare(stack)
        yield between


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """Map of each check of a run to its success, by asset and check."""
    return {
        f"{check.asset_key.to_user_string()}: {check.check_name}": check.passed
        for check in result.get_asset_check_evaluations()
    }


def run_maintenance(stack: PipelineStack, *steps: str) -> dict[str, dict[str, Any]]:
    """Run steps of the nightly job, without any all of them; what each has noted."""
    result = definitions.resolve_job_def("maintenance").execute_in_process(
        instance=stack.instance, op_selection=list(steps) or None
    )
    return {
        str(event.step_key): {
            name: value.value for name, value in event.step_output_data.metadata.items()
        }
        for event in result.filter_events(lambda event: event.is_successful_output)
    }


def minutes_of(hour: datetime, **values: object) -> list[dict[str, object]]:
    """Heartbeats of every minute of an hour, each received ten seconds later."""
    moments = [hour + timedelta(minutes=minute, seconds=5) for minute in range(60)]
    return [
        {"timestamp": moment, "received_at": moment + timedelta(seconds=10), **values}
        for moment in moments
    ]
