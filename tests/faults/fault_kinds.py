"""The faults: each does its harm at a random moment and repairs only what it broke itself.

A fault returns how many processes it killed by SIGKILL; the database server with all its children
counts as one.
"""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import psycopg

from ingestion_api.outbox.flush import STEPS
from tests.faults.disk import LakeDisk
from tests.faults.stack import StackUnderTest
from tests.harness.flaky_proxy import Fault as StoreFault
from tests.harness.object_store import COMMIT, ObjectStore
from tests.harness.processes import children, kill_with_children, signal_all

Fault = Callable[[StackUnderTest], int]
_ALL: Final = 1_000_000  # requests


def kill_collector(stack: StackUnderTest) -> int:
    """SIGKILL at any moment; started again."""
    victim = stack.some_collector()
    victim.kill()
    stack.pause(0.5)
    victim.start()
    return 1


def kill_writer_at(step: str, stack: StackUnderTest) -> int:
    """The collector that writes the lake dies by SIGKILL in the middle of a flush."""
    victim = stack.writer()
    victim.die_at(step, stack.chance.randint(1, 3))
    stack.wait_until(f"the writer dies at {step}", lambda: victim.exit_code is not None)
    assert victim.wait(10) == -signal.SIGKILL, f"{victim.name} ended otherwise. {stack.describe()}"
    stack.pause(0.5)
    victim.start()
    return 1


def move_writer(stack: StackUnderTest) -> int:
    """The lock's holder dies; the other collector has to take over before it is back."""
    victim = stack.writer()
    victim.kill()
    stack.wait_until("the other one writes", lambda: stack.writer() is not victim)
    stack.pause(0.5)
    victim.start()
    return 1


def take_lock_from_writer(stack: StackUnderTest) -> int:
    """The writer hangs in the middle of a flush, loses the lock, and goes on after another one."""
    victim = stack.writer()
    (other,) = (collector for collector in stack.collectors if collector is not victim)
    victim.hang_at(stack.chance.choice(STEPS), stack.chance.randint(1, 3))
    try:
        stack.wait_until("the writer hangs", lambda: victim.hangs)
        _end_lock(stack)
        stack.wait_until("the other one writes", lambda: other.writes_lake)
        stack.pause(1)
    finally:
        victim.resume()
    return 0


def stop_collector(stack: StackUnderTest) -> int:
    """SIGTERM: it has to end in order."""
    victim = stack.some_collector()
    code = victim.stop()
    assert code == 0, f"{victim.name} ended with {code}. {stack.describe()}"
    victim.start()
    return 0


def kill_database(stack: StackUnderTest) -> int:
    """SIGKILL of the server and all its children at once; started again."""
    with stack.database_fault():
        kill_with_children(stack.postgres.pid)
        stack.pause(1)
        stack.postgres.start()
    return 1


def kill_backend(stack: StackUnderTest) -> int:
    """SIGKILL of one of the server's processes: it ends all connections and recovers by itself."""
    with stack.database_fault():
        signal_all([stack.chance.choice(children(stack.postgres.pid))], signal.SIGKILL)
        stack.wait_until("the database recovers", partial(_database_answers, stack))
    return 1


def cut_connections(stack: StackUnderTest) -> int:
    """Every connection to the database is ended; new ones are taken at once."""
    with (
        stack.database_fault(),
        psycopg.connect(stack.postgres.url(), autocommit=True) as conn,
    ):
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    return 0


def stop_database(seconds: float, stack: StackUnderTest) -> int:
    """An orderly stop, and a start after so many seconds."""
    with stack.database_fault():
        stack.postgres.stop()
        kills = _outage(stack, seconds)
        stack.postgres.start()
    return kills


def freeze_database(stack: StackUnderTest) -> int:
    """The server hangs for longer than a commit may take, and then goes on."""
    with stack.database_fault():
        server = stack.postgres.pid
        os.kill(server, signal.SIGSTOP)
        frozen = [server, *children(server)]
        try:
            signal_all(frozen, signal.SIGSTOP)
            time.sleep(stack.chance.uniform(2.5, 3.5))
        finally:
            signal_all(frozen, signal.SIGCONT)
        # What was sent before may be committed only now.
        stack.wait_until("the database answers", partial(_database_answers, stack))
    return 0


def fill_disk(disk: LakeDisk, seconds: float, stack: StackUnderTest) -> int:
    """The lake's disk is full for so many seconds (ENOSPC)."""
    disk.fill(stack.chance)
    try:
        return _outage(stack, seconds)
    finally:
        disk.free()


def limit_files(seconds: float, stack: StackUnderTest) -> int:
    """Files can't grow beyond some bytes: a write breaks off half-way (EFBIG), for any user."""
    victims = [collector for collector in stack.collectors if collector.exit_code is None]
    size = stack.chance.choice((0, 1, 500, 1500))
    for victim in victims:
        victim.limit_files(size)
    stack.wait_until("a flush fails", stack.flush_failed)
    time.sleep(seconds)
    for victim in victims:
        victim.limit_files(-1)
    return 0


def lose_lake(disk: LakeDisk, seconds: float, stack: StackUnderTest) -> int:
    """Nothing is at the lake's path for so many seconds, as where a mount is lost."""
    return _without_lake(disk, seconds, stack, something_else_instead=False)


def block_lake(disk: LakeDisk, seconds: float, stack: StackUnderTest) -> int:
    """The lake's path leads to something that is no folder."""
    return _without_lake(disk, seconds, stack, something_else_instead=True)


def forbid_lake(disk: LakeDisk, seconds: float, stack: StackUnderTest) -> int:
    """The lake's folder may not be entered; for root there is no such thing."""
    mode = disk.lake.stat().st_mode
    disk.lake.chmod(0)
    try:
        return _outage(stack, seconds)
    finally:
        disk.lake.chmod(mode)


def disturb_store(
    fault: StoreFault, store: ObjectStore, seconds: float, stack: StackUnderTest
) -> int:
    """Something is wrong with requests to the store for so many seconds."""
    store.fail(fault)
    try:
        kills = _last(stack, seconds)
        stack.wait_until("a request meets it", lambda: store.faults_left() < _ALL)
    finally:
        store.fail()
    return kills


def disturb_some(fault: StoreFault, store: ObjectStore, stack: StackUnderTest) -> int:
    """Something is wrong with the next few requests of a kind."""
    store.fail(replace(fault, times=stack.chance.randint(1, 3)))
    stack.wait_until("they failed", lambda: not store.faults_left())
    return 0


def kill_writer_while_it_commits(store: ObjectStore, stack: StackUnderTest) -> int:
    """The writer dies with a commit on its way, which reaches the store some time later."""
    victim = stack.writer()
    store.fail(StoreFault(COMMIT, 1, is_held=True))
    stack.wait_until("a commit is on its way", lambda: not store.faults_left())
    victim.kill()
    stack.pause(5)
    store.fail()
    victim.start()
    return 1


def pause_writer_while_it_commits(store: ObjectStore, stack: StackUnderTest) -> int:
    """A commit is on its way for so long that the writer loses its lock to the other collector."""
    victim = stack.writer()
    (other,) = (collector for collector in stack.collectors if collector is not victim)
    store.fail(StoreFault(COMMIT, 1, is_held=True))
    stack.wait_until("a commit is on its way", lambda: not store.faults_left())
    _end_lock(stack)
    stack.wait_until("the other one writes", lambda: other.writes_lake)
    stack.pause(2)
    store.fail()
    return 0


def fault_kinds(seconds: float, database_stop: float, stack: StackUnderTest) -> dict[str, Fault]:
    """Every kind of fault that this machine allows; outages last up to `seconds`."""
    found: dict[str, Fault] = {
        f"writer killed at {step}": partial(kill_writer_at, step) for step in STEPS
    }
    found |= {
        "collector killed": kill_collector,
        "writer's lock moved": move_writer,
        "writer's lock lost": take_lock_from_writer,
        "collector stopped": stop_collector,
        "database killed": kill_database,
        "database process killed": kill_backend,
        "connections cut": cut_connections,
        "database stopped": partial(stop_database, database_stop),
        "database frozen": freeze_database,
    }
    if stack.disk:
        found |= _faults_of_disk(stack.disk, seconds)
    if stack.store:
        found |= _faults_of_store(stack.store, seconds)
    return found


def _faults_of_disk(disk: LakeDisk, seconds: float) -> dict[str, Fault]:
    found: dict[str, Fault] = {
        "file size limited": partial(limit_files, seconds),
        "lake gone": partial(lose_lake, disk, seconds),
        "lake not a folder": partial(block_lake, disk, seconds),
    }
    if disk.can_fill:
        found["disk full"] = partial(fill_disk, disk, seconds)
    if os.geteuid() != 0:
        found["lake forbidden"] = partial(forbid_lake, disk, seconds)
    return found


def _faults_of_store(store: ObjectStore, seconds: float) -> dict[str, Fault]:
    lasting = {
        "slow": StoreFault(".", _ALL, seconds=0.5),
        "unavailable": StoreFault(".", _ALL, status=503),
        "throttled": StoreFault(".", _ALL, status=429),
        "silent": StoreFault(".", _ALL, is_held=True),
        "gone": StoreFault(".", _ALL, cut="before"),
        "forbidden": StoreFault(".", _ALL, status=403),
        "breaking off": StoreFault(".", _ALL, cut="within"),
        "deaf to writes": StoreFault("^P", _ALL, status=503),
    }
    single = {
        "commit cut before it arrives": StoreFault(COMMIT, 1, cut="before"),
        "commit cut after it arrived": StoreFault(COMMIT, 1, cut="after"),
        "commit failed": StoreFault(COMMIT, 1, status=500),
        "commit refused": StoreFault(COMMIT, 1, status=403),
        "file cut": StoreFault(r"PUT .*/part-", 1, cut="after"),
        "log unreadable": StoreFault(r"GET .*/_delta_log/\d+\.json", 1, status=403),
    }
    return {
        **{
            f"store {what}": partial(disturb_store, f, store, seconds)
            for what, f in lasting.items()
        },
        **{f"store: {what}": partial(disturb_some, f, store) for what, f in single.items()},
        "store: writer killed in a commit": partial(kill_writer_while_it_commits, store),
        "store: lock lost in a commit": partial(pause_writer_while_it_commits, store),
    }


def _without_lake(
    disk: LakeDisk, seconds: float, stack: StackUnderTest, *, something_else_instead: bool
) -> int:
    disk.take_away(something_else_instead=something_else_instead)
    try:
        return _outage(stack, seconds)
    finally:
        disk.bring_back()


def _end_lock(stack: StackUnderTest) -> None:
    """Take the lock from the collector that writes the lake."""
    with psycopg.connect(stack.postgres.url(), autocommit=True) as conn:
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        )


def _outage(stack: StackUnderTest, seconds: float) -> int:
    """Let it last from the first failure on."""
    stack.wait_until("a flush fails", stack.flush_failed)
    return _last(stack, seconds)


def _last(stack: StackUnderTest, seconds: float) -> int:
    """Let it last; sometimes a collector dies in the middle of it, and is started again."""
    if stack.chance.random() > 1 / 3:
        time.sleep(seconds)
        return 0
    half = stack.chance.uniform(0, seconds)
    time.sleep(half)
    kills = kill_collector(stack)
    time.sleep(seconds - half)
    return kills


def _database_answers(stack: StackUnderTest) -> bool:
    try:
        psycopg.connect(stack.postgres.url(), connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
