"""The faults: each does its harm at a random moment and repairs only what it broke itself.

A fault returns how many processes it killed by SIGKILL; the database server with all its children
counts as one.
"""

import os
import signal
import time
from collections.abc import Callable
from functools import partial

import psycopg

from ingestion_api.outbox.flush import STEPS
from tests.faults.house import House, writes
from tests.faults.processes import children, signal_all

Fault = Callable[[House], int]


def kill_collector(house: House) -> int:
    """SIGKILL at any moment; started again."""
    victim = house.some_collector()
    victim.kill()
    house.pause(0.5)
    victim.start()
    return 1


def kill_writer_at(step: str, house: House) -> int:
    """The collector that writes the lake dies by SIGKILL in the middle of a flush."""
    victim = house.writer()
    victim.die_at(step, house.chance.randint(1, 3))
    house.wait_until(f"the writer dies at {step}", lambda: victim.exit_code is not None)
    assert victim.wait(10) == -signal.SIGKILL, f"{victim.name} ended otherwise. {house.how_it_is()}"
    house.pause(0.5)
    victim.start()
    return 1


def move_writer(house: House) -> int:
    """The lock's holder dies; the other collector has to take over before it is back."""
    victim = house.writer()
    victim.kill()
    house.wait_until("the other one writes", lambda: house.writer() is not victim)
    house.pause(0.5)
    victim.start()
    return 1


def take_lock_from_writer(house: House) -> int:
    """The writer hangs in the middle of a flush, loses the lock, and goes on after another one."""
    victim = house.writer()
    (other,) = (collector for collector in house.collectors if collector is not victim)
    victim.hang_at(house.chance.choice(STEPS), house.chance.randint(1, 3))
    try:
        house.wait_until("the writer hangs", lambda: victim.hangs)
        with psycopg.connect(house.postgres.url(), autocommit=True) as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks "
                "WHERE locktype = 'advisory' AND granted"
            )
        house.wait_until("the other one writes", lambda: writes(other))
        house.pause(1)
    finally:
        victim.go_on()
    return 0


def stop_collector(house: House) -> int:
    """SIGTERM: it has to end in order."""
    victim = house.some_collector()
    code = victim.stop()
    assert code == 0, f"{victim.name} ended with {code}. {house.how_it_is()}"
    victim.start()
    return 0


def kill_database(house: House) -> int:
    """SIGKILL of the server and all its children at once; started again."""
    with house.database_fault():
        server = house.postgres.pid
        os.kill(server, signal.SIGSTOP)  # so that it starts no more of them
        signal_all([server, *children(server)], signal.SIGKILL)
        house.pause(1)
        house.postgres.start()
    return 1


def kill_backend(house: House) -> int:
    """SIGKILL of one of the server's processes: it ends all connections and recovers by itself."""
    with house.database_fault():
        signal_all([house.chance.choice(children(house.postgres.pid))], signal.SIGKILL)
        house.wait_until("the database recovers", partial(_database_answers, house))
    return 1


def cut_connections(house: House) -> int:
    """Every connection to the database is ended; new ones are taken at once."""
    with (
        house.database_fault(),
        psycopg.connect(house.postgres.url(), autocommit=True) as conn,
    ):
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    return 0


def stop_database(seconds: float, house: House) -> int:
    """An orderly stop, and a start after so many seconds."""
    with house.database_fault():
        house.postgres.stop()
        kills = _outage(house, seconds)
        house.postgres.start()
    return kills


def freeze_database(house: House) -> int:
    """The server hangs for longer than a commit may take, and then goes on."""
    with house.database_fault():
        server = house.postgres.pid
        os.kill(server, signal.SIGSTOP)
        frozen = [server, *children(server)]
        try:
            signal_all(frozen, signal.SIGSTOP)
            time.sleep(house.chance.uniform(2.5, 3.5))
        finally:
            signal_all(frozen, signal.SIGCONT)
        # What was sent before may be committed only now.
        house.wait_until("the database answers", partial(_database_answers, house))
    return 0


def fill_disk(seconds: float, house: House) -> int:
    """The lake's disk is full for so many seconds (ENOSPC)."""
    house.disk.fill(house.chance)
    try:
        return _outage(house, seconds)
    finally:
        house.disk.free()


def limit_files(seconds: float, house: House) -> int:
    """Files can't grow beyond some bytes: a write breaks off half-way (EFBIG), for any user."""
    victims = [collector for collector in house.collectors if collector.exit_code is None]
    size = house.chance.choice((0, 1, 500, 1500))
    for victim in victims:
        victim.limit_files(size)
    house.wait_until("a flush fails", house.flush_failed)
    time.sleep(seconds)
    for victim in victims:
        victim.limit_files(-1)
    return 0


def lose_lake(seconds: float, house: House) -> int:
    """Nothing is at the lake's path for so many seconds, as where a mount is lost."""
    return _without_lake(seconds, house, something_else_instead=False)


def block_lake(seconds: float, house: House) -> int:
    """The lake's path leads to something that is no folder."""
    return _without_lake(seconds, house, something_else_instead=True)


def forbid_lake(seconds: float, house: House) -> int:
    """The lake's folder may not be entered; for root there is no such thing."""
    mode = house.disk.lake.stat().st_mode
    house.disk.lake.chmod(0)
    try:
        return _outage(house, seconds)
    finally:
        house.disk.lake.chmod(mode)


def kinds(seconds: float, database_stop: float, house: House) -> dict[str, Fault]:
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
        "file size limited": partial(limit_files, seconds),
        "lake gone": partial(lose_lake, seconds),
        "lake not a folder": partial(block_lake, seconds),
    }
    if house.disk.can_fill:
        found["disk full"] = partial(fill_disk, seconds)
    if os.geteuid() != 0:
        found["lake forbidden"] = partial(forbid_lake, seconds)
    return found


def _without_lake(seconds: float, house: House, *, something_else_instead: bool) -> int:
    house.disk.take_away(something_else_instead=something_else_instead)
    try:
        return _outage(house, seconds)
    finally:
        house.disk.bring_back()


def _outage(house: House, seconds: float) -> int:
    """Let it last; sometimes a collector dies in the middle of it, and is started again."""
    house.wait_until("a flush fails", house.flush_failed)
    if house.chance.random() > 1 / 3:
        time.sleep(seconds)
        return 0
    half = house.chance.uniform(0, seconds)
    time.sleep(half)
    kills = kill_collector(house)
    time.sleep(seconds - half)
    return kills


def _database_answers(house: House) -> bool:
    try:
        psycopg.connect(house.postgres.url(), connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
