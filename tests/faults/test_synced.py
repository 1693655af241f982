"""Heartbeats that the outbox forgets are on the disk: seen from the kernel, by strace.

Before the DELETE that forgets delivered heartbeats is sent to Postgres, an fsync that succeeded
has followed the last change of every data file, of the commit's log entry, and of every folder
that got a new entry. Data files are there before the commit that names them. delta-rs itself syncs
nothing.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import httpx
import pytest

from lake import METER, STREAMS, VEHICLE, Lake, Stream
from tests.faults.faulty_collector import FaultyCollector
from tests.faults.ledger import Heartbeat
from tests.faults.syscalls import CALLS, STRACE, Call, Record
from tests.harness.requirements import skip_or_fail
from tests.harness.waiting import wait_for

_FORGETS: Final = ("DELETE FROM", "partition_ledger")  # words of the statement
_NOON: Final = 1_795_262_400_000_000  # 2026-11-21 12:00 UTC, in microseconds
_HOUR: Final = 3_600_000_000
_MANY: Final = 60  # hours, and files: so many are synced at once and not one by one


@pytest.fixture
def strace() -> None:
    """Skip where strace can't be used, but not on the project's own test machine."""
    found = shutil.which("strace")
    works = (
        found
        and not subprocess.run(
            [*STRACE, "-o", os.devnull, "true"], capture_output=True, check=False
        ).returncode
    )
    if not works:
        skip_or_fail("strace may not trace here" if found else "strace is not installed")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path without links, as the kernel tells it."""
    with tempfile.TemporaryDirectory(prefix="wattlake-synced-") as name:
        yield Path(name).resolve()


@pytest.mark.usefixtures("strace")
def test_a_flush_syncs_files_log_and_folders_before_the_outbox_forgets(
    database_url: str, folder: Path
) -> None:
    record = run_traced(database_url, folder, post={METER: _MANY, VEHICLE: 1})
    for stream in STREAMS.values():
        settled = forgotten(record, stream)[-1]
        table = folder / "lake" / stream.raw_table
        above = {folder / "lake", folder}
        changed = {
            path
            for path in record.changed_before(settled)
            if path in above or path == table or table in path.parents
        }
        data, log = newest_commit(folder, stream)
        assert {*data, *log, *above} <= changed
        assert {path for path in changed if not record.synced_before(path, settled)} == set()
        committed = record.appearance_of(entry_of(log))
        assert {path for path in data if not record.synced_before(path, committed)} == set()


@pytest.mark.usefixtures("strace")
def test_a_restart_syncs_the_last_commit_before_the_outbox_forgets(
    database_url: str, folder: Path
) -> None:
    dying = FaultyCollector(folder, "dying", database_url, Lake(str(folder / "lake")))
    try:
        dying.start()
        wait_for(lambda: writes_the_lake(dying))
        dying.die_at("before_settle", 1)
        post_hours(dying, METER, 1)
        assert dying.wait(30) == -signal.SIGKILL
    finally:
        dying.close()
    needed = set().union(*newest_commit(folder, METER))
    record = run_traced(database_url, folder, post={})
    first = forgotten(record, METER)[0]
    assert {path for path in needed if not record.synced_before(path, first)} == set()


def run_traced(database_url: str, folder: Path, *, post: Mapping[Stream, int]) -> Record:
    """Run a collector until its outbox is empty, after a heartbeat in each of so many hours."""
    file = folder / "strace"
    wrapper = [*STRACE, "-o", str(file), "-e", CALLS]
    lake = Lake(str(folder / "lake"))
    collector = FaultyCollector(folder, "traced", database_url, lake, wrapper=wrapper)
    try:
        collector.start()
        wait_for(lambda: writes_the_lake(collector), 120)
        for stream, hours in post.items():
            post_hours(collector, stream, hours)
        wait_for(lambda: (collector.ask("/v1/status") or {}).get("outboxRows") == 0)
        assert collector.stop() == 0
    finally:
        collector.close()
    wait_for(lambda: "+++ exited with 0 +++" in file.read_text(errors="replace")[-100:])
    return Record.read(file)


def writes_the_lake(collector: FaultyCollector) -> bool:
    assert collector.exit_code is None, collector.log.read_text()
    return collector.writes_lake


def post_hours(collector: FaultyCollector, stream: Stream, hours: int) -> None:
    body = [Heartbeat(1, stream, "D1", _NOON - hour * _HOUR).body for hour in range(hours)]
    answer = httpx.post(f"{collector.address}/v1/ingest/{stream.name}/batch", json=body)
    assert answer.is_success, answer.text


def forgotten(record: Record, stream: Stream) -> list[Call]:
    """The statements that forget delivered heartbeats of a stream."""
    found = [
        call
        for call in record.calls
        if call.name == "sendto"
        and all(word in call.arguments for word in (*_FORGETS, stream.name))
    ]
    assert found, "no statement that forgets was seen"
    return found


def newest_commit(folder: Path, stream: Stream) -> tuple[set[Path], set[Path]]:
    """Paths that the newest commit of a raw table rests on: data files, and its entry in the log.

    Each with its folders up to that of the table.
    """
    table = Lake(str(folder / "lake")).open(stream.raw_table)
    root = folder / "lake" / stream.raw_table
    files = {Path(uri) for uri in table.file_uris()}
    above = {folder for file in files for folder in file.parents}
    log = root / "_delta_log"
    return (
        files | {path for path in above if root in (path, *path.parents)},
        {log / f"{table.version():020}.json", log},
    )


def entry_of(log: set[Path]) -> Path:
    (entry,) = (path for path in log if path.suffix == ".json")
    return entry
