"""Processes of this machine, as Linux lists them in /proc, their ports and their logs."""

import contextlib
import os
import random
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

_LOG_END_BYTES = 3000


def signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to those of the processes that still live."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def kill_with_children(pid: int) -> None:
    """SIGKILL a process and its children at once."""
    os.kill(pid, signal.SIGSTOP)  # so that it starts no more of them
    signal_all([pid, *children(pid)], signal.SIGKILL)


def children(parent: int) -> list[int]:
    """Process ids of the living children of a process, zombies included."""
    return [pid for pid, _ in _children(parent)]


def states_of_children(parent: int) -> list[str]:
    """States of the children of a process in the kernel's letters; Z is a zombie."""
    return [state for _, state in _children(parent)]


def child_of(parent: int, module: str) -> int:
    """Process id of the child that runs a module."""
    for pid in children(parent):
        if module in command_line(pid):
            return pid
    raise AssertionError(f"no {module} runs")


def processes_of(data: Path) -> list[str]:
    """Command lines of every process that works for this data folder."""
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):  # it has ended meanwhile, or is another user's
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            if str(data).encode() in environment or str(data) in command_line(pid):
                found.append(command_line(pid))
    return found


def command_line(pid: int) -> str:
    """Arguments of a process, with blanks between them; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def process_state(pid: int) -> str:
    """State of a process in the kernel's letters; OSError if there is none."""
    return _status(pid)[0]


def free_port(chance: random.Random | None = None) -> int:
    """Port that nothing listens on, below those that the kernel gives to clients.

    A client that tries to reach a server that is down can be given the server's own port, and
    then talks to itself while the server finds its port taken.
    """
    chance = chance or random.SystemRandom()
    while True:
        port = chance.randrange(15_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def log_end(file: Path) -> str:
    """Last 3000 bytes of a log."""
    with file.open("rb") as log:
        log.seek(max(0, os.path.getsize(file) - _LOG_END_BYTES))
        return log.read().decode(errors="replace")


def _children(parent: int) -> Iterator[tuple[int, str]]:
    for pid in _pids():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            state, its_parent, *_ = _status(pid)
            if its_parent == str(parent):
                yield pid, state


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").glob("[0-9]*"))


def _status(pid: int) -> list[str]:
    """State, parent and more of a process; OSError if there is none."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
