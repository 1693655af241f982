"""The services of a collector: started one after the other, and all stopped, whatever fails."""

import asyncio
import gc
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psycopg
import psycopg_pool
import pytest
from starlette.types import Message

from ingestion_api.alerts.event_feed import AlertEventFeed
from ingestion_api.alerts.leased_worker import LeasedWorker
from ingestion_api.alerts.rule_file import read_rules
from ingestion_api.alerts.service import Alerts
from ingestion_api.analytics.live_states import LiveStateReader
from ingestion_api.analytics.prewarming import CacheWarmer
from ingestion_api.app import create_app
from ingestion_api.auth.api_keys import ApiKeyCache
from ingestion_api.auth.new_device_limit import NewDeviceLimiter
from ingestion_api.background_tasks import Supervisor
from ingestion_api.commit import committer
from ingestion_api.commit.group_commit import GroupCommit
from ingestion_api.outbox.backlog import OutboxMonitor
from ingestion_api.outbox.lake_writer import LakeWriter
from ingestion_api.rejections.recorder import RejectionRecorder
from ingestion_api.settings import CollectorSettings
from lake import EnergySettings, Lake
from tests.harness.waiting import wait_for
from warehouse_sql.settings import DatabaseSettings

# What a start does, in its order.
STEPS: list[tuple[Any, str]] = [
    (psycopg_pool.AsyncConnectionPool, "open"),
    (CacheWarmer, "start"),
    (ApiKeyCache, "start"),
    (NewDeviceLimiter, "start"),
    (OutboxMonitor, "start"),
    (RejectionRecorder, "start"),
    (AlertEventFeed, "start"),
    (LeasedWorker, "start"),
    (Alerts, "start"),
    (LakeWriter, "start"),
    (committer, "abort_after"),
    (GroupCommit, "start"),
    (Supervisor, "start"),
]


class UnforeseenError(Exception):
    """A fault that nobody foresaw."""


def failing(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step that fails once it is done."""

    async def fail_later(done: Awaitable[Any]) -> None:
        await done
        raise UnforeseenError

    def fail(*args: Any, **named: Any) -> Any:
        done = step(*args, **named)
        if asyncio.iscoroutine(done):
            return fail_later(done)
        raise UnforeseenError

    return fail


def run(database_url: str, lake: Lake, tmp_path: Path) -> list[Message]:
    """Start a collector and stop it at once; returns what it has told its server."""
    settings = CollectorSettings(_env_file=None, index_folder=tmp_path, flush_seconds=3600)
    told: list[Message] = []

    async def receive() -> Message:
        return {"type": "lifespan.shutdown" if told else "lifespan.startup"}

    async def send(message: Message) -> None:
        told.append(message)

    database = DatabaseSettings(_env_file=None, database_url=database_url)

    async def main() -> None:
        app = create_app(database, lake, settings, EnergySettings(), read_rules())
        try:
            await app({"type": "lifespan"}, receive, send)
        finally:
            assert asyncio.all_tasks() == {asyncio.current_task()}

    try:
        asyncio.run(main())
    finally:
        gc.unfreeze()
    return told


def open_things() -> tuple[set[str], list[str]]:
    """The names of the threads, and the sockets and files, of this process."""
    gc.collect()  # a connection that was cancelled in its making is closed as garbage
    # Those that read the lake are of the process, and wait for the next collector in it; those of
    # libraries come and go.
    threads = {
        thread.name
        for thread in threading.enumerate()
        if not thread.name.startswith(("lake-reading", "Dummy-"))
    }
    files = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:
            continue
        if target.startswith(("socket:", "/tmp", "/var/tmp")):
            files.append(target)
    return threads, sorted(files)


def connections(database_url: str) -> int:
    with psycopg.connect(database_url) as conn:
        found = conn.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()
    assert found is not None
    return int(found[0])


@pytest.mark.parametrize(("owner", "step"), STEPS, ids=lambda of: getattr(of, "__name__", of))
def test_a_start_that_fails_leaves_nothing_open(
    owner: Any,
    step: str,
    database_url: str,
    lake: Lake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(owner, step, failing(getattr(owner, step)))
    before = open_things()
    with pytest.raises(UnforeseenError):
        run(database_url, lake, tmp_path)
    # A thread of the Delta library may close a file of the log a moment after it has answered.
    wait_for(lambda: open_things() == before, 30, describe=lambda: f"{before}, {open_things()}")
    wait_for(lambda: connections(database_url) == 0)


def test_a_stop_goes_backwards_so_that_the_last_flush_has_all_that_was_committed(
    database_url: str, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[str] = []

    def noted(owner: Any, name: str) -> None:
        stop = getattr(owner, name)

        def note(self: Any, *args: Any) -> Any:
            stopped.append(owner.__name__)
            return stop(self, *args)

        monkeypatch.setattr(owner, name, note)

    order = [
        Supervisor,
        GroupCommit,
        LakeWriter,
        Alerts,
        AlertEventFeed,
        RejectionRecorder,
        OutboxMonitor,
        ApiKeyCache,
    ]
    order += [CacheWarmer, LiveStateReader]
    for service in order:
        noted(service, "stop")
    noted(psycopg_pool.AsyncConnectionPool, "close")
    before = open_things()
    told = run(database_url, lake, tmp_path)
    assert [one["type"] for one in told] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert stopped == [service.__name__ for service in order] + 2 * ["AsyncConnectionPool"]
    assert open_things() == before
    wait_for(lambda: connections(database_url) == 0)
