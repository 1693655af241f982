"""Child processes that end when their parent ends, however that one ended (PR_SET_PDEATHSIG).

The kernel (Linux) sends the child a signal at the parent's death, even by `kill -9`. A program
must ask for that itself and must have dropped its privileges before, so this file is also a tiny
program that does both and becomes the command. It needs nothing but the standard library, and
nothing of that once the privileges are gone: Python may lie in a home that is then closed.
"""

import contextlib
import ctypes
import errno
import os
import signal
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

NOT_STARTED = 126
"""Exit code where the command could not be started; the reason is the last line of stderr."""

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>


@dataclass(frozen=True)
class Account:
    """A user of this machine."""

    name: str
    uid: int
    gid: int


def die_with_parent(
    command: Sequence[str],
    at_death: signal.Signals = signal.SIGTERM,
    account: Account | None = None,
) -> list[str]:
    """The command line that runs `command`, as `account`, until the calling process ends.

    The signal comes at the end of the thread that starts the child: start it from the main thread.
    """
    identity = f"{account.uid}:{account.gid}" if account else "-"
    return [
        *(sys.executable, "-I", "-S", os.path.abspath(__file__)),
        *(str(os.getpid()), str(int(at_death)), identity),
        *command,
    ]


def set_parent_death_signal(at_death: signal.Signals) -> None:
    """Let the kernel send the calling process a signal when its parent ends."""
    _prctl(_PR_SET_PDEATHSIG, at_death)


def adopt_orphans() -> None:
    """Let processes that children leave behind become our children, not those of process 1.

    In a container, process 1 often does not look after them, and they stay in the list for ever.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def reap_orphans(own: Collection[int]) -> None:
    """Reap adopted processes that have ended; the children in `own` are left to their owners."""
    with contextlib.suppress(ChildProcessError):  # there are none
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid in own:
                return  # it is asked first; what waits behind it is found at the next look
            os.waitpid(ended.si_pid, 0)


def wait_for_orphans(seconds: float) -> None:
    """Wait for adopted processes to end; call it when no child of our own is left."""
    deadline = time.monotonic() + seconds
    with contextlib.suppress(ChildProcessError):  # there are none any more
        while time.monotonic() < deadline:
            ended, _ = os.waitpid(-1, os.WNOHANG)
            if not ended:
                time.sleep(0.02)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _become(parent: int, at_death: int, identity: str, command: list[str]) -> None:
    candidates = _candidates(command[0])
    try:
        if identity != "-":
            uid, gid = map(int, identity.split(":"))
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
    except OSError as error:
        _give_up(f"can't become user {identity}: {error.strerror}")
    set_parent_death_signal(signal.Signals(at_death))
    if os.getppid() != parent:  # it died before the signal was set
        sys.exit(1)
    for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored_by_python, signal.SIG_DFL)
    reason = os.strerror(errno.ENOENT)
    for path in candidates:
        try:
            os.execv(path, command)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            reason = os.strerror(error.errno or 0)
    _give_up(f"can't run {command[0]}: {reason}")


def _candidates(program: str) -> list[str]:
    """Paths of a program, as `os.execvp` looks for it; that imports modules to find out."""
    if os.sep in program:
        return [program]
    return [os.path.join(folder, program) for folder in os.get_exec_path()]


def _give_up(reason: str) -> None:
    os.write(2, f"{reason}\n".encode())
    os._exit(NOT_STARTED)


if __name__ == "__main__":
    _become(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
