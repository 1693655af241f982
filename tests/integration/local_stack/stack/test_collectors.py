"""Collectors that share a port: heartbeats are taken and reach the lake whichever of them dies."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from local_stack.errors import StackError
from local_stack.settings import LocalStackSettings
from local_stack.stack.collectors import collector_ports
from local_stack.stack.stack import Stack
from tests.harness.collector import environment
from tests.harness.heartbeats import device, meter
from tests.harness.processes import children, free_port
from tests.harness.stack import ask
from tests.harness.waiting import wait_for

OWN_PORTS = (101, 102)


@pytest.fixture
def port(database_url: str, tmp_path: Path) -> Iterator[int]:
    """Port of two collectors that run, with what each says of itself."""
    port = free_port()
    settings = environment(
        database_url, tmp_path, PORT=str(port), COLLECTORS="2", FLUSH_SECONDS="0.2"
    )
    log = tmp_path / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "local_stack.stack.collectors"],
            cwd=tmp_path,
            env=settings,
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            wait_for(lambda: len(ready(port)) == 2, describe=log.read_text)
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            assert not children(process.pid)


def ready(port: int) -> dict[int, bool]:
    """Own port of each collector that is ready, and whether it writes the lake."""
    found = {one: ask(f"http://127.0.0.1:{port + one}/readyz") for one in OWN_PORTS}
    return {port + one: said["lakeWriter"] for one, said in found.items() if said and said["ready"]}


def process_at(own_port: int) -> int:
    """Process id of the collector of this port."""
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"\0OWN_PORT={own_port}\0".encode() in b"\0" + entry.read_bytes():
                return int(entry.parent.name)
        except OSError:  # it has ended meanwhile
            continue
    raise AssertionError(f"nobody listens on {own_port}")


def kill(pid: int) -> None:
    """Kill a process, and wait until no connection is given to it any more."""
    process = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    assert select.select([process], [], [], 30)[0]
    os.close(process)


def test_a_collector_that_dies_leaves_ingest_and_the_lake_to_the_other_and_comes_back(
    port: int,
) -> None:
    (writer,) = wait_for(lambda: [own for own, writes in ready(port).items() if writes])
    box, url = device("BOX"), f"http://127.0.0.1:{port}"
    path = f"{url}/v1/ingest/meter"
    for past in range(20):  # each on a connection of its own
        assert httpx.post(path, json=meter(box, -past)).status_code == 201
    taken = [counted(own) for own in ready(port)]
    assert sum(taken) == 20
    assert min(taken) > 0

    shared = httpx.get(f"{url}/metrics")
    assert (shared.status_code, "OWN_PORT" in shared.json()["detail"]) == (404, True)

    kill(process_at(writer))
    for past in range(20, 30):
        assert httpx.post(path, json=meter(box, -past)).status_code == 201
    wait_for(lambda: any(writes for own, writes in ready(port).items() if own != writer))
    wait_for(lambda: httpx.get(f"{url}/v1/status").json()["rowsInLake"] == 30)
    wait_for(lambda: len(ready(port)) == 2)


def counted(own_port: int) -> float:
    """Heartbeats that the collector of this port has taken."""
    text = httpx.get(f"http://127.0.0.1:{own_port}/metrics").text
    (line,) = (
        line
        for line in text.splitlines()
        if line.startswith('wattlake_records_total{outcome="accepted",stream="meter"}')
    )
    return float(line.split()[-1])


@pytest.mark.parametrize(("collectors", "dagster_port"), [(1, 3600), (2, 3600), (2, 3702)])
def test_a_port_that_two_parts_would_have_is_refused_before_anything_starts(
    tmp_path: Path, collectors: int, dagster_port: int
) -> None:
    settings = LocalStackSettings(
        _env_file=None,
        data_folder=tmp_path,
        port=3600,
        dagster_port=dagster_port,
        collectors=collectors,
    )
    stack = Stack(settings)
    with pytest.raises(StackError, match="set PORT or DAGSTER_PORT to another"):
        next(stack.start())
    list(stack.stop())
    assert [file.name for file in tmp_path.iterdir()] == ["lock"]


def test_own_ports_that_do_not_exist_are_one_clear_line() -> None:
    settings = LocalStackSettings(_env_file=None, port=65_535, collectors=2)
    with pytest.raises(StackError, match="leaves none for 2 collectors"):
        collector_ports(settings)
