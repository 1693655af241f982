"""Everything is killed at a moment of an hourly run, and the next hour is computed all the same.

A real daemon of Dagster computes hours that arrive one after the other. At each of `MOMENTS` of a
run the database server is killed at once, with or without Dagster. Started again, and with no
hand laid on anything, both the run's hour and the next one are in the marts within three minutes.
"""

import random
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

import psycopg

from ingestion_api.outbox.flush import OutboxFlush
from lake import HOUR, METER, VEHICLE, Lake, hour_of
from local_stack.stack.service import Service
from tests.faults.console import print_line
from tests.harness.collector import environment
from tests.harness.outbox import store
from tests.harness.pipelines import minutes_of
from tests.harness.postgres import running_postgres, server_folder
from tests.harness.processes import free_port, kill_with_children, log_end
from tests.harness.waiting import wait_for
from tests.samples import meter_rows, vehicle_rows
from warehouse_sql.database_url import dagster_url
from warehouse_sql.migrate import migrate

_START_SECONDS: Final = 300
_ROOT: Final = Path(__file__).parents[2]
_STEPS: Final = (
    "meter_telemetry_history",
    "vehicle_telemetry_history",
    "hourly_tables",
    "efficiency_marts",
)
# An event of the run, with the step that it is of.
MOMENTS: Final = (
    ("ASSET_MATERIALIZATION_PLANNED", None),
    ("PIPELINE_ENQUEUED", None),
    ("PIPELINE_STARTING", None),
    ("PIPELINE_START", None),
    *((event, step) for step in _STEPS for event in ("STEP_START", "STEP_SUCCESS")),
    ("PIPELINE_SUCCESS", None),
)
_EVENT: Final = """
    SELECT 1 FROM dagster.event_logs
    WHERE id > %(after)s AND dagster_event_type = %(event)s
      AND (%(step)s::text IS NULL OR step_key = %(step)s)
      AND run_id IN (SELECT run_id FROM dagster.runs WHERE pipeline_name = 'hourly') LIMIT 1
"""
_NEWEST: Final = "SELECT coalesce(max(id), 0) FROM dagster.event_logs"
_PUBLISHED: Final = """
    SELECT count(*) = 2 FROM partition_ledger WHERE hour = %(hour)s
      AND published_version >= raw_version AND published_revision IS NOT DISTINCT FROM revision
"""


class HourlyRuns:
    """A database, a lake and a daemon of Dagster; `with` starts them and clears them away."""

    def __init__(
        self, chance: random.Random, recovery_seconds: float = 180, **settings: str
    ) -> None:
        """`settings` are environment variables of the daemon."""
        self.chance, self._recovery_seconds, self._settings = chance, recovery_seconds, settings
        self._hour = hour_of(datetime.now(UTC)) - timedelta(days=2)
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self._folder = undo.enter_context(server_folder())
            self.postgres = undo.enter_context(
                running_postgres(self._folder / "postgres", free_port(self.chance))
            )
            migrate(self.postgres.url())
            self.lake = Lake(str(self._folder / "lake"))
            self.lake.create_tables()
            self._daemon_log = self._folder / "daemon.log"
            self._daemon = self._service()
            undo.callback(self._daemon.kill)
            self._daemon.start()
            self._wait("Dagster has its tables", self._has_tables, _START_SECONDS)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def kill_at(self, event: str, step: str | None, *, dagster_too: bool) -> float:
        """Kill at this moment of the next run; the seconds from the start to the end of all work.

        AssertionError where that takes longer than `recovery_seconds`.
        """
        with psycopg.connect(self.postgres.url(), autocommit=True) as connection:
            newest = connection.execute(_NEWEST).fetchone()
            assert newest
            given = {"after": newest[0], "event": event, "step": step}
            first = self._deliver()

            def happened() -> bool:
                return connection.execute(_EVENT, given).fetchone() is not None

            self._wait(f"{event} of {step or 'the run'}", happened, _START_SECONDS, 0.002)
            self._kill(dagster_too=dagster_too)
        time.sleep(self.chance.uniform(0, 2))
        self.postgres.start()
        if dagster_too:
            self._daemon.start()
        started = time.monotonic()
        hours = (first, self._deliver())
        self._wait(
            "both hours are computed",
            lambda: all(map(self._is_published, hours)),
            self._recovery_seconds,
        )
        return time.monotonic() - started

    def _service(self) -> Service:
        home = self._folder / "dagster"
        home.mkdir()
        shutil.copyfile(_ROOT / "pipelines" / "dagster.yaml", home / "dagster.yaml")
        url = self.postgres.url()
        variables = environment(
            url,
            self._folder,
            DAGSTER_HOME=str(home),
            DAGSTER_POSTGRES_URL=dagster_url(url),
            **self._settings,
        )
        workspace = str(_ROOT / "workspace.yaml")
        command = [sys.executable, "-P", "-m", "dagster._daemon", "run", "--workspace", workspace]
        return Service("dagster-daemon", command, self._daemon_log, variables)

    def _deliver(self) -> datetime:
        """Bring the next hour's heartbeats into the lake; returns the hour."""
        self._hour += HOUR
        with psycopg.connect(self.postgres.url(), autocommit=True) as connection:
            for stream, rows in ((METER, meter_rows), (VEHICLE, vehicle_rows)):
                store(connection, stream, rows(*minutes_of(self._hour)))
                url = self.postgres.url()
                with OutboxFlush(url, connection, self.lake, 1_000_000) as flush:
                    flush.flush(stream)
        return self._hour

    def _kill(self, *, dagster_too: bool) -> None:
        kill_with_children(self.postgres.pid)
        if dagster_too:
            self._daemon.kill()

    def _has_tables(self) -> bool:
        with psycopg.connect(self.postgres.url()) as connection:
            found = connection.execute("SELECT to_regclass('dagster.job_ticks') IS NOT NULL")
            return found.fetchone() == (True,)

    def _is_published(self, hour: datetime) -> bool:
        with psycopg.connect(self.postgres.url()) as connection:
            return connection.execute(_PUBLISHED, {"hour": hour}).fetchone() == (True,)

    def _wait(
        self, what: str, condition: Callable[[], bool], seconds: float, pause: float = 0.5
    ) -> None:
        wait_for(
            condition,
            seconds,
            describe=lambda: f"until {what}:\n{log_end(self._daemon_log)}",
            meanwhile=self._daemon.watch,  # as any service manager does
            pause=pause,
        )


def kill_at_every_moment(
    seed: int, moments: Sequence[tuple[str, str | None]] = MOMENTS
) -> dict[str, float]:
    """Kill at each of the moments, with Dagster as the product runs it; prints each recovery.

    Returns the seconds of each. AssertionError, with the seed, where one takes too long.
    """
    chance = random.Random(seed)
    took: dict[str, float] = {}
    with HourlyRuns(chance) as runs:
        for event, step in moments:
            dagster_too = chance.random() < 0.5
            what = f"{event}{f' of {step}' if step else ''}{', Dagster too' if dagster_too else ''}"
            try:
                took[what] = runs.kill_at(event, step, dagster_too=dagster_too)
            except AssertionError as error:
                error.add_note(f"SEED={seed}; killed at {what}")
                raise
            print_line(f"{what}: {took[what]:.0f} s")
    return took
