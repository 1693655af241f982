"""The simulator speaks to a collector like devices: patient, complete, and again the same."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from local_stack.fleet_model import FleetModel
from local_stack.simulated_heartbeats import arrivals
from tests.integration.api_collector import running_collector
from tests.integration.moody_collector import MoodyCollector, moody_collector

FLEET, SEED = 4, 7


@contextmanager
def simulator(folder: Path, url: str) -> Iterator[subprocess.Popen[str]]:
    """A simulated fleet, as `wattlake up` starts it; ended at the end of the block."""
    arguments = ["--fleet", str(FLEET), "--seed", str(SEED), "--state", str(folder / "state.json")]
    with subprocess.Popen(
        [sys.executable, "-m", "local_stack", "simulate", *arguments, "--url", url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(10)


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def noted(folder: Path) -> dict[str, int]:
    state = folder / "state.json"
    found: dict[str, int] = json.loads(state.read_text()) if state.exists() else {}
    return found


def as_texts(heartbeats: list[dict[str, object]]) -> Counter[str]:
    return Counter(json.dumps(heartbeat, sort_keys=True) for heartbeat in heartbeats)


def expected(first: int, end: int, since: int) -> Counter[str]:
    model = FleetModel(FLEET, SEED)
    return as_texts([dict(a.heartbeat) for a in arrivals(model, first, end, since)])


def received(collector: MoodyCollector) -> Counter[str]:
    return as_texts([heartbeat for _, heartbeat in collector.heartbeats])


def test_the_last_three_hours_come_first_and_are_complete_whatever_the_collector_does(
    tmp_path: Path,
) -> None:
    with (
        moody_collector(503, 0, 503, 201, 0) as collector,
        simulator(tmp_path, collector.url) as process,
    ):
        began = int(time.time()) // 60
        wait_for(lambda: noted(tmp_path).get("posted_before", 0) >= began, process)
        state = noted(tmp_path)
        assert state["since"] in {(began // 60 - 3) * 60, ((began + 1) // 60 - 3) * 60}
        history = expected(state["since"], state["posted_before"], state["since"])
        assert history <= received(collector)


def test_a_device_posts_one_heartbeat_at_a_time(tmp_path: Path) -> None:
    with moody_collector() as collector, simulator(tmp_path, collector.url) as process:
        wait_for(
            lambda: (
                {"/v1/ingest/meter", "/v1/ingest/vehicle"}
                <= {path for path, _ in collector.heartbeats}
            ),
            process,
        )


def test_a_simulator_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    with moody_collector() as collector:
        with simulator(tmp_path, collector.url) as process:
            wait_for(lambda: noted(tmp_path), process)
            process.kill()
        # as if it had been away for the last twenty minutes
        state = noted(tmp_path)
        state["posted_before"] -= 20
        (tmp_path / "state.json").write_text(json.dumps(state))
        collector.heartbeats.clear()
        with simulator(tmp_path, collector.url) as process:
            now = int(time.time()) // 60
            wait_for(lambda: noted(tmp_path)["posted_before"] >= now, process)
            after = noted(tmp_path)
        missed = expected(state["posted_before"], after["posted_before"], state["since"])
        assert missed <= received(collector)
        before = expected(state["since"], state["posted_before"] - 60, state["since"])
        assert not before & received(collector)


def test_a_refusal_ends_the_simulator_with_one_clear_line(tmp_path: Path) -> None:
    with (
        moody_collector(*[400] * 100) as collector,
        simulator(tmp_path, collector.url) as process,
    ):
        _, error = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "answers 400 (mood 400)" in error
        assert error.count("\n") == 1


def test_the_collector_takes_every_simulated_heartbeat(tmp_path: Path, database_url: str) -> None:
    with (
        running_collector(database_url, tmp_path / "collector") as collector,
        simulator(tmp_path, str(collector.http.base_url)) as process,
    ):
        now = int(time.time()) // 60
        wait_for(lambda: noted(tmp_path).get("posted_before", 0) >= now, process)
        state = noted(tmp_path)
        status = collector.http.get("/v1/status").json()
    history = expected(state["since"], state["posted_before"], state["since"])
    assert status["recordsAcknowledged"] >= history.total() > FLEET * 2 * 170
