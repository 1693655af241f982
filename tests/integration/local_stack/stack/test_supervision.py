"""Supervision of parts that end, hang or can't be started, and of orphans."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
import yaml

import local_stack
from ingestion_api.__main__ import GRACEFUL_SECONDS
from ingestion_api.settings import CollectorSettings
from local_stack.errors import PostgresError
from local_stack.settings import LocalStackSettings
from local_stack.stack import health_check, supervision
from local_stack.stack.collectors import collector_stop_seconds
from local_stack.stack.liveness import daemon_works, url_answers
from local_stack.stack.service import Service
from local_stack.stack.supervision import Supervised
from tests.harness.processes import free_port
from tests.harness.waiting import wait_for

REPOSITORY = Path(local_stack.__file__).parents[1]
HEARTBEATS = (
    "CREATE TABLE dagster.daemon_heartbeats (daemon_type text, daemon_id text, timestamp timestamp)"
)
LONG = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks without pauses."""
    monkeypatch.setattr(supervision, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(supervision, "_LONGEST_PAUSE", 0.01)


@pytest.fixture
def stop() -> Iterator[list[Service]]:
    """Services to stop at the end."""
    services: list[Service] = []
    yield services
    for service in services:
        service.kill()


def watch_until(part: Supervised, condition: Callable[[], object]) -> list[str]:
    """Watch until the condition holds; what was said meanwhile."""
    said: list[str] = []

    def watch() -> None:
        if text := part.watch():
            said.append(text)

    wait_for(condition, 60, describe=lambda: str(said), meanwhile=watch, pause=0.01)
    return said


def test_a_part_that_does_not_answer_is_killed_and_started_again(
    tmp_path: Path, stop: list[Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(supervision, "time", clock)
    is_answering = True
    service = Service("part", LONG, tmp_path / "part.log", os.environ, lambda: is_answering)
    stop.append(service)
    service.start()
    assert service.watch() is None
    first = service.pid
    is_answering = False
    assert looks_until_killed(service, clock, seconds=12) == 5  # each takes a while itself
    watch_until(service, lambda: service.running)
    assert service.pid != first
    assert looks_until_killed(service, clock, seconds=10) == 30  # a start takes longer
    watch_until(service, lambda: service.running)
    is_answering = True
    clock.now += 10
    assert service.watch() is None
    is_answering = False
    assert looks_until_killed(service, clock, seconds=9_000) == 4  # the machine slept in between


class Clock:
    """The supervisor's, and only that: what it sees of `time`."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def monotonic(self) -> float:
        return self.now


def looks_until_killed(service: Service, clock: Clock, seconds: float) -> int:
    """How often a silent part is looked at, so many seconds apart, until it is killed."""
    for looks in range(1, 100):
        clock.now += seconds
        if text := service.watch():
            assert "does not answer" in text
            clock.now += 60
            return looks
    raise AssertionError("it is never killed")


def test_a_part_starts_although_its_log_cant_be_opened_or_kept(
    tmp_path: Path, stop: list[Service]
) -> None:
    service = Service("part", LONG, tmp_path / "gone" / "part.log", os.environ)
    stop.append(service)
    service.start()
    first = service.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    said = watch_until(service, lambda: service.running and service.pid != first)
    assert [text.split(";")[0] for text in said] == ["part ended (SIGKILL"]


class Unwilling(Supervised):
    """Something whose start fails some times: a database whose disk is full."""

    def __init__(self, failures: list[Exception]) -> None:
        super().__init__("the database")
        self.failures, self.running_now = failures, True
        self._note_start()

    @property
    def pid(self) -> None:
        return None

    @property
    def running(self) -> bool:
        return self.running_now

    def exit_reason(self) -> str:
        return "PANIC"

    def kill(self) -> None:
        self.running_now = False

    def _launch(self) -> None:
        if self.failures:
            raise self.failures.pop()
        self.running_now = True


def test_a_part_that_cant_be_started_is_tried_until_it_can() -> None:
    full = [OSError(errno.ENOSPC, "No space left on device") for _ in range(3)]
    database = Unwilling([PostgresError("the database does not start"), *full])
    database.running_now = False
    said = watch_until(database, lambda: database.running)
    assert said == [
        "the database ended (PANIC) and starts again",
        "the database can't be started ([Errno 28] No space left on device); it is tried again",
        "the database can't be started (the database does not start); it is tried again",
    ]


def test_a_silent_daemon_is_told_from_a_living_one_and_from_a_database_that_is_away(
    database_url: str,
) -> None:
    works = daemon_works(database_url)
    assert works()  # Dagster has not made its tables yet
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(HEARTBEATS)
        assert not works()
        beat = (
            "INSERT INTO dagster.daemon_heartbeats"
            " VALUES (%s, %s, now() AT TIME ZONE 'UTC' - make_interval(secs => %s))"
        )
        conn.execute(beat, ("GONE", "an older daemon", 9_999))
        conn.execute(beat, ("SENSOR", "it", 500))
        assert not works()
        conn.execute(beat, ("SCHEDULER", "it", 5))
        assert works()  # one thread is busy
        conn.execute(beat, ("BACKFILL", "it", 3_000))
        assert not works()  # one hangs
    assert daemon_works(f"postgresql://nobody@127.0.0.1:{free_port()}/none")()
    assert not url_answers(f"http://127.0.0.1:{free_port()}/healthz")()


def test_an_orphan_that_ended_is_no_zombie_and_a_child_keeps_its_exit_code() -> None:
    program = """
        import os, subprocess, sys, time
        from pathlib import Path
        from local_stack.stack.parent_death import adopt_orphans, reap_orphans

        def zombies():
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            states = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                      for pid in children]
            return states.count("Z")

        adopt_orphans()
        leaving = subprocess.run(["sh", "-c", "sleep 0.05 & sleep 0.05 &"])
        own = subprocess.Popen(["sh", "-c", "exit 7"])
        deadline = time.monotonic() + 30
        while zombies() < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for _ in range(3):
            reap_orphans({own.pid})
        assert own.poll() == 7
        reap_orphans({own.pid})
        assert zombies() == 0
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60)


def test_a_screen_that_cant_be_written_ends_nothing() -> None:
    program = """
        import sys
        from rich.text import Text
        from local_stack.terminal import Terminal, guard_output
        guard_output()
        with Terminal() as terminal:
            for _ in range(2_000):
                terminal.print("a line")
                terminal.show_status(Text("another"))
        raise SystemExit(7)
    """
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)], stdout=full, stderr=full, check=False
        )
    assert done.returncode == 7
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()  # as `| head` does
        assert process.wait(60) == 7


def test_a_containers_health_check_ends_what_hangs_and_only_that(
    monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setattr(health_check, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(health_check, "_END_SECONDS", 0.5)
    hangs = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        " print('it hangs', flush=True); signal.pause()"
    )
    init = f"import subprocess; raise SystemExit(-subprocess.call({[sys.executable, '-c', hangs]}))"
    with subprocess.Popen([sys.executable, "-c", init], stdout=subprocess.PIPE) as container:
        assert container.stdout is not None
        assert container.stdout.readline() == b"it hangs\n"
        check = partial(health_check.main, first=container.pid)
        monkeypatch.setenv("DATABASE_URL", f"postgresql://nobody@127.0.0.1:{free_port()}/none")
        monkeypatch.setattr(health_check, "_START_SECONDS", -1)
        daemon = [sys.executable, "-m", "local_stack.stack.liveness"]
        assert check(daemon) == 0  # who knows?
        monkeypatch.setattr(health_check, "_START_SECONDS", 300)
        monkeypatch.setenv("DATABASE_URL", database_url)
        assert check(daemon) == 0  # it has made no tables yet
        with psycopg.connect(database_url, autocommit=True) as conn:
            conn.execute(HEARTBEATS)
        nobody = [f"http://127.0.0.1:{free_port()}/healthz"]
        assert check(nobody) == 1
        assert container.poll() is None  # it may still be starting
        monkeypatch.setattr(health_check, "_START_SECONDS", -1)
        assert check(daemon) == 1
        assert container.wait(30) == signal.SIGKILL


def test_every_container_is_started_again_and_has_a_check_that_ends_what_hangs() -> None:
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))
    ours = {name: part for name, part in compose["services"].items() if name != "postgres"}
    assert all(part["init"] for part in ours.values())
    assert ours.pop("migrate")["restart"] == "on-failure"
    assert all(part["restart"] == "unless-stopped" for part in ours.values())
    image = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    assert "CMD python -m local_stack.stack.health_check http://127.0.0.1:$PORT/healthz" in image
    for name, asked in (
        ("dagster-webserver", ["http://127.0.0.1:3001/server_info"]),
        ("dagster-daemon", ["python", "-m", "local_stack.stack.liveness"]),
    ):
        test = ["CMD", "python", "-m", "local_stack.stack.health_check", *asked]
        assert ours[name]["healthcheck"]["test"] == test
    assert ours["collector"]["command"] == ["python", "-m", "local_stack.stack.collectors"]
    bounds = CollectorSettings(_env_file=None)
    wanted = GRACEFUL_SECONDS + bounds.last_flush_seconds
    assert int(ours["collector"]["stop_grace_period"].rstrip("s")) > wanted


def test_a_stop_leaves_the_collector_time_for_its_last_flush(tmp_path: Path) -> None:
    settings = LocalStackSettings(_env_file=None, data_folder=tmp_path, last_flush_seconds=70)
    assert collector_stop_seconds(settings) > GRACEFUL_SECONDS + 70
