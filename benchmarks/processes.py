"""CPU time, memory and files of processes, from /proc."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
_PROC: Final = Path("/proc")


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and all its descendants so far, the ended ones included."""
    # after the name in brackets: 1 is the parent, 11-14 are the times with those of ended children
    ticks = sum(sum(map(int, fields[11:15])) for _, fields in _family(pid))
    return ticks / _TICKS_A_SECOND


def peak_resident_bytes(pid: int) -> int:
    """The most memory that a process has held (VmHWM), and its descendants that live now."""
    return sum(_kilobytes(one, "status", "VmHWM:") for one, _ in _family(pid)) * 1024


def open_files(pid: int, suffix: str) -> list[Path]:
    """Files that a process has open and whose names end so, as paths that open them."""
    return [
        file
        for file in (_PROC / str(pid) / "fd").iterdir()
        if file.is_file() and file.readlink().suffix == suffix
    ]


class PeakShare:
    """The most memory of a process with its descendants while this context is open.

    The sum of their proportional shares (Pss), which counts memory that they share once; sampled
    once a second, because the kernel has to walk through all their pages.
    """

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._pid = pid
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="peak-share", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ending.wait(1):
            now = sum(_kilobytes(one, "smaps_rollup", "Pss:") for one, _ in _family(self._pid))
            self.bytes = max(self.bytes, now * 1024)


def _family(pid: int) -> Iterator[tuple[int, list[str]]]:
    """Process ids of a process and its descendants, with the fields of their `stat`."""
    stats: dict[int, list[str]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
                stats[int(entry.name)] = stat.rpartition(")")[2].split()
    found = [pid]
    for one in found:
        if one in stats:
            yield one, stats[one]
        found += [child for child, fields in stats.items() if int(fields[1]) == one]


def _kilobytes(pid: int, file: str, name: str) -> int:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
        for line in (_PROC / str(pid) / file).read_text(encoding="ascii").splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    return 0
