"""The simulator speaks to a collector like devices: patient, complete, and again the same."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from local_stack.simulator.fleet_model import FleetModel
from local_stack.simulator.heartbeats import arrivals
from tests.harness.collector import running_collector
from tests.harness.command_line import run_command
from tests.harness.flaky_collector import FlakyCollector, flaky_collector
from tests.harness.forked import Forked
from tests.harness.waiting import wait_for

FLEET, SEED = 4, 7


@contextmanager
def simulator(folder: Path, url: str) -> Iterator[Forked]:
    """A simulated fleet, as `wattlake up` starts it; ended at the end of the block.

    What it says on standard error is in the file `errors`.
    """
    arguments = ["--fleet", str(FLEET), "--seed", str(SEED), "--state", str(folder / "state.json")]
    command = partial(run_command, ["simulate", *arguments, "--url", url])
    with (folder / "says").open("wb") as says, (folder / "errors").open("wb") as errors:
        process = Forked(command, folder, os.environ, says.fileno(), errors.fileno())
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def wait_for_simulator(condition: Callable[[], object], process: Forked) -> None:
    wait_for(lambda: condition() or process.poll() is not None, 60)
    assert process.poll() is None, process.poll()


def noted(folder: Path) -> dict[str, int]:
    state = folder / "state.json"
    found: dict[str, int] = json.loads(state.read_text()) if state.exists() else {}
    return found


def as_texts(heartbeats: list[dict[str, object]]) -> Counter[str]:
    return Counter(json.dumps(heartbeat, sort_keys=True) for heartbeat in heartbeats)


def expected(first: int, end: int, since: int) -> Counter[str]:
    model = FleetModel(FLEET, SEED)
    return as_texts([dict(a.heartbeat) for a in arrivals(model, first, end, since)])


def received(collector: FlakyCollector) -> Counter[str]:
    return as_texts([heartbeat for _, heartbeat in collector.heartbeats])


def test_the_last_three_hours_come_first_and_are_complete_whatever_the_collector_does(
    tmp_path: Path,
) -> None:
    with (
        flaky_collector(503, 0, 503, 201, 0) as collector,
        simulator(tmp_path, collector.url) as process,
    ):
        began = int(time.time()) // 60
        wait_for_simulator(lambda: noted(tmp_path).get("posted_before", 0) >= began, process)
        state = noted(tmp_path)
        assert state["since"] in {(began // 60 - 3) * 60, ((began + 1) // 60 - 3) * 60}
        history = expected(state["since"], state["posted_before"], state["since"])
        assert history <= received(collector)


def test_a_device_posts_one_heartbeat_at_a_time(tmp_path: Path) -> None:
    with flaky_collector() as collector, simulator(tmp_path, collector.url) as process:
        wait_for_simulator(
            lambda: (
                {"/v1/ingest/meter", "/v1/ingest/vehicle"}
                <= {path for path, _ in collector.heartbeats}
            ),
            process,
        )


def test_a_simulator_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    with flaky_collector() as collector:
        with simulator(tmp_path, collector.url) as process:
            wait_for_simulator(lambda: noted(tmp_path), process)
            process.kill()
        # as if it had been away for the last twenty minutes
        state = noted(tmp_path)
        state["posted_before"] -= 20
        (tmp_path / "state.json").write_text(json.dumps(state))
        collector.heartbeats.clear()
        with simulator(tmp_path, collector.url) as process:
            now = int(time.time()) // 60
            wait_for_simulator(lambda: noted(tmp_path)["posted_before"] >= now, process)
            after = noted(tmp_path)
        missed = expected(state["posted_before"], after["posted_before"], state["since"])
        assert missed <= received(collector)
        before = expected(state["since"], state["posted_before"] - 60, state["since"])
        assert not before & received(collector)


def test_a_simulator_goes_on_while_it_can_note_and_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(b"{")  # half of a note, as a power cut may leave it
    (tmp_path / "state.unfinished").symlink_to("/dev/full")  # every write: no space left
    (tmp_path / "says").symlink_to("/dev/full")
    with flaky_collector(503) as collector, simulator(tmp_path, collector.url) as process:
        devices = 2 * FLEET
        wait_for_simulator(lambda: received(collector).total() > 150 * devices, process)
        (tmp_path / "state.unfinished").unlink()
        wait_for_simulator(lambda: (tmp_path / "state.json").read_bytes() != b"{", process)
        state = noted(tmp_path)
        history = expected(state["since"], state["posted_before"], state["since"])
        assert history <= received(collector)


def test_a_simulator_waits_where_it_brings_too_many_new_devices(tmp_path: Path) -> None:
    with (
        flaky_collector(207, 207, 429) as collector,
        simulator(tmp_path, collector.url) as process,
    ):
        now = int(time.time()) // 60
        wait_for_simulator(lambda: noted(tmp_path).get("posted_before", 0) >= now, process)
        state = noted(tmp_path)
    history = expected(state["since"], state["posted_before"], state["since"])
    assert history <= received(collector)


def test_a_refusal_ends_the_simulator_with_one_clear_line(tmp_path: Path) -> None:
    with (
        flaky_collector(*[400] * 100) as collector,
        simulator(tmp_path, collector.url) as process,
    ):
        assert process.wait(60) == 1
        error = (tmp_path / "errors").read_text()
        assert "answers 400 (answer 400)" in error
        assert error.count("\n") == 1


def test_the_collector_takes_every_simulated_heartbeat(tmp_path: Path, database_url: str) -> None:
    with (
        running_collector(database_url, tmp_path / "collector") as collector,
        simulator(tmp_path, str(collector.http.base_url)) as process,
    ):
        now = int(time.time()) // 60
        wait_for_simulator(lambda: noted(tmp_path).get("posted_before", 0) >= now, process)
        state = noted(tmp_path)
        status = collector.http.get("/v1/status").json()
    history = expected(state["since"], state["posted_before"], state["since"])
    assert status["recordsAcknowledged"] >= history.total() > FLEET * 2 * 170
