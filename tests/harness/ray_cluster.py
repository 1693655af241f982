"""A Ray cluster on this machine, whose nodes are started as `ray start` does and can be killed."""

import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.harness.processes import child_of, children, command_line
from tests.harness.waiting import wait_for

_PORT: Final = 6379
_START_SECONDS: Final = 180
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1


def command_on_loopback(module: str, *arguments: object) -> list[str]:
    """Command that runs a module of this project where there is no network but loopback.

    A node of Ray takes the address of the machine even where it is told 127.0.0.1, and listens to
    everybody there. The module calls `bring_loopback_up` first.
    """
    as_user = [] if os.geteuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
    return ["unshare", "--net", *as_user, sys.executable, "-m", module, *map(str, arguments)]


def bring_loopback_up() -> None:
    """Bring up the one interface of a new network namespace; OSError where that is not allowed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh", b"lo", _IFF_UP)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)


class RayNode:
    """A node of the cluster, of so many processors."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid
        """The process from which all others of the node come."""

    @property
    def raylet(self) -> int | None:
        """Process id of the part that starts the workers; None where there is none yet."""
        try:
            return child_of(self.pid, "raylet/raylet")
        except AssertionError:
            return None

    def workers(self, function: str) -> list[int]:
        """Process ids of the workers that are computing a function, by its name."""
        raylet = self.raylet
        found = [] if raylet is None else children(raylet)
        return [pid for pid in found if command_line(pid).startswith(f"ray::{function}")]

    def kill(self) -> None:
        """Kill the node at once, as a machine that is gone: its workers end with it."""
        raylet = self.raylet
        assert raylet is not None
        os.kill(raylet, signal.SIGKILL)
        self._process.wait(_START_SECONDS)

    def end(self) -> None:
        """End whatever is left of the node."""
        self._process.terminate()
        self._process.wait(_START_SECONDS)


@contextmanager
def ray_nodes(folder: Path, nodes: int, processors: int = 1) -> Iterator[tuple[str, list[RayNode]]]:
    """Address of a cluster, and its nodes, the head first; they have ended after the block.

    `folder` is a short path that is empty.
    """
    address = f"127.0.0.1:{_PORT}"
    head = ["--head", f"--port={_PORT}", "--include-dashboard=false", "--disable-usage-stats"]
    with ExitStack() as undo:
        started = []
        for number in range(nodes):
            role = [f"--address={address}"] if number else [*head, f"--temp-dir={folder}"]
            node = _start(folder.parent, *role, f"--num-cpus={processors}")
            undo.callback(node.end)
            wait_for(lambda of=node: of.raylet, _START_SECONDS)  # type: ignore[misc]
            if not number:
                wait_for(_answers, _START_SECONDS)
            started.append(node)
        yield address, started


def _start(folder: Path, *arguments: str) -> RayNode:
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *arguments]
    with (folder / "ray.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--node-ip-address=127.0.0.1", "--object-store-memory=100000000"],
            stdout=log,
            stderr=log,
            # Ray's workers give way to all else on their machine, such as to who waits for them.
            env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"},
        )
    return RayNode(process)


def _answers() -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", _PORT)) == 0
