"""`wattlake up` as a new user runs it: from nothing to the first table, and no trace at the end."""

import os
import random
import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.faults.disk import Disk
from tests.harness.pooler import pooled
from tests.harness.postgres import server_folder
from tests.harness.processes import child_of, processes_of
from tests.harness.stack import FLEET, STOP_SECONDS, RunningStack, running_stack
from tests.harness.waiting import wait_for

# A slow machine fails no test: these are there to end one that hangs.
FIRST_TABLE_SECONDS = 200
RECOVERY_SECONDS = 90
pytestmark = pytest.mark.timeout(600)
HOUR_ROW = r"\d\d \w{3} \d\d:00 +([\d,.]+) +([\d,.]+) +[\d,.]+ +([\d.]+) %"


@pytest.fixture(scope="module")
def disk() -> Iterator[Disk]:
    """A data folder that every account reaches, also the database's, on a disk of its own."""
    with server_folder() as folder, Disk(folder / "data") as disk:
        yield disk


@pytest.fixture
def data(disk: Disk) -> Path:
    """The data folder."""
    return disk.folder


def test_the_first_table_comes_and_ctrl_c_leaves_nothing_behind(data: Path) -> None:
    with running_stack(data) as stack:
        stack.wait_for(lambda: "Worst vehicles" in stack.text, FIRST_TABLE_SECONDS)
        assert f"{stack.url}/docs" in stack.text
        assert "asset graph" in stack.text
        assert httpx.get(f"{stack.url}/docs").status_code == 200
        table = re.findall(HOUR_ROW, stack.text)
        assert len(table) in {2, 3}  # the history's whole hours, but for one that has just ended
        for ac, dc, percent in table:
            ratio = 100 * float(dc.replace(",", "")) / float(ac.replace(",", ""))
            assert float(percent) == pytest.approx(ratio, abs=0.2)
            assert 75 < ratio < 95
        stack.wait_for(
            lambda: re.search(r"\d acknowledged \| .* in the lake", stack.text), RECOVERY_SECONDS
        )
        assert "\x1b" not in stack.text  # no terminal, no control codes
        assert stack.stop() == 0
    assert processes_of(data) == []


def test_a_stack_goes_on_with_its_data_however_it_ended_and_no_second_one_runs_in_its_folder(
    data: Path, disk: Disk
) -> None:
    with running_stack(data, "--collectors", "2") as stack:
        stack.wait_for(lambda: "asset graph" in stack.text, FIRST_TABLE_SECONDS)
        assert stack.acknowledged() > 3 * 60 * 2 * FLEET * 0.95
        stack.wait_for(lambda: "Fleet efficiency" in stack.text, RECOVERY_SECONDS)
        with running_stack(data) as second:
            assert second.process.wait(RECOVERY_SECONDS) == 1
        assert f"Wattlake already runs in {data}" in second.text
        assert second.text.count("\n") == 1
        a_collector_that_dies_is_started_again_and_nothing_is_lost(stack)
        a_database_that_dies_is_started_again_and_nothing_is_lost(stack)
        a_full_disk_is_sat_out(stack, disk)
        no_process_that_ended_is_kept(stack)
        before = stack.acknowledged()
        a_second_signal_kills(stack)
    assert processes_of(data) == []
    with running_stack(data) as stack:
        stack.wait_for(lambda: "asset graph" in stack.text, FIRST_TABLE_SECONDS)
        assert stack.acknowledged() >= before  # the data survives
        a_killed_supervisor_takes_everything_along(stack, data)


def a_collector_that_dies_is_started_again_and_nothing_is_lost(stack: RunningStack) -> None:
    before = stack.acknowledged()
    os.kill(child_of(stack.process.pid, "ingestion_api"), signal.SIGKILL)
    stack.wait_for(lambda: re.search(r"collector-\d ended \(SIGKILL", stack.text), RECOVERY_SECONDS)
    stack.wait_for(lambda: is_ready(stack.url), RECOVERY_SECONDS)
    assert stack.acknowledged() >= before


def a_database_that_dies_is_started_again_and_nothing_is_lost(stack: RunningStack) -> None:
    before = stack.acknowledged()
    os.kill(child_of(stack.process.pid, "postgres"), signal.SIGKILL)
    stack.wait_for(lambda: "the database ended" in stack.text, RECOVERY_SECONDS)
    stack.wait_for(lambda: is_ready(stack.url), RECOVERY_SECONDS)
    assert stack.acknowledged() >= before


def a_full_disk_is_sat_out(stack: RunningStack, disk: Disk) -> None:
    """Everything is on it: database, lake, logs, state; the database is killed meanwhile."""
    if not disk.can_fill:
        return
    before = stack.acknowledged()
    disk.fill(random.Random(before))
    try:
        os.kill(child_of(stack.process.pid, "postgres"), signal.SIGKILL)
        stack.wait_for(lambda: not is_ready(stack.url), RECOVERY_SECONDS)
    finally:
        disk.free()
    stack.wait_for(lambda: is_ready(stack.url), RECOVERY_SECONDS)
    beat = {"meterId": "FULL", "timestamp": datetime.now(UTC).isoformat(), "kwhConsumedAc": 1}
    assert httpx.post(f"{stack.url}/v1/ingest/meter", json=beat).status_code == 201
    status = partial(httpx.get, f"{stack.url}/v1/status")
    stack.wait_for(lambda: status().json()["rowsInLake"] > before, RECOVERY_SECONDS)


def no_process_that_ended_is_kept(stack: RunningStack) -> None:
    """Dagster's runs have ended by now, and the processes of what was killed."""
    stack.wait_for(lambda: not stack.has_zombies, RECOVERY_SECONDS)


def a_second_signal_kills(stack: RunningStack) -> None:
    stack.process.send_signal(signal.SIGINT)
    stack.wait_for(lambda: "stopping" in stack.text, RECOVERY_SECONDS)
    stack.process.send_signal(signal.SIGINT)
    assert stack.process.wait(STOP_SECONDS) == 0


def a_killed_supervisor_takes_everything_along(stack: RunningStack, data: Path) -> None:
    stack.process.kill()
    stack.process.wait()
    wait_for(lambda: not processes_of(data), STOP_SECONDS, describe=lambda: str(processes_of(data)))


def test_it_runs_on_a_database_of_the_users_own(database_url: str, tmp_path: Path) -> None:
    # the folder needs no way for a database account: there is no embedded database in it
    data = tmp_path / "data"
    with (
        pooled(database_url) as url,
        running_stack(
            data, "--seed", "2", DATABASE_URL=url, DIRECT_DATABASE_URL=database_url
        ) as stack,
    ):
        stack.wait_for(lambda: "asset graph" in stack.text, FIRST_TABLE_SECONDS)
        assert stack.stop() == 0
    assert not (data / "postgres").exists()


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False
