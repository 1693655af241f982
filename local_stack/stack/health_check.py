"""`python -m local_stack.stack.health_check URL` (or a command): a container's check that helps.

Docker restarts a container whose main process has ended, and leaves one that is unhealthy as it is.
So a process that does not answer for about a minute is ended here. Needs only the standard library,
because it runs every few seconds.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

_TRIES = 6
_PAUSE_SECONDS = 6.0
_PATIENCE_SECONDS = 4.0  # for a URL; a command takes what it takes
_START_SECONDS = 300.0  # who is younger may still be starting
_END_SECONDS = 20.0


def main(asked: Sequence[str], first: int = 1) -> int:
    """Exit code: 0 if it is healthy; else 1, after the children of process `first` were ended.

    These are the main process under an init (compose: `init: true`). Without an init the main
    process is `first` itself, which hears of it as far as it still listens to signals.
    """
    for _ in range(_TRIES):
        if _is_healthy(asked):
            return 0
        time.sleep(_PAUSE_SECONDS)
    victims = _children(first) or [first]
    if max(map(_age, victims)) > _START_SECONDS:
        _say(f"{' '.join(asked)} has no good answer: the process ends, to be started again")
        _end(victims)
    return 1


def _is_healthy(asked: Sequence[str]) -> bool:
    if not asked[0].startswith("http"):
        return subprocess.run(asked, check=False).returncode == 0
    try:
        with urllib.request.urlopen(asked[0], timeout=_PATIENCE_SECONDS):
            return True
    except OSError as error:  # no answer, or one of an error
        _say(f"{asked[0]}: {error}")
        return False


def _end(victims: Sequence[int]) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
        deadline = time.monotonic() + _END_SECONDS
        while any(map(_lives, victims)) and time.monotonic() < deadline:
            time.sleep(0.1)


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if int(_stat(int(entry.name))[1]) == parent:
                found.append(int(entry.name))
    return found


def _age(pid: int) -> float:
    """Seconds since its start; 0 if it has ended."""
    with contextlib.suppress(OSError):
        up = float(Path("/proc/uptime").read_text().split()[0])
        return up - int(_stat(pid)[19]) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _lives(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return _stat(pid)[0] != "Z"
    return False


def _stat(pid: int) -> list[str]:
    """State, parent and more; the name before them may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
